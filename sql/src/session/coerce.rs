//! A query's values in a column's type: what INSERT … SELECT, UPDATE and tags need.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, make_array};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType as Arrow, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use model::schema::Column;
use model::{DataType, Precision, Result, Value, error, fail};

use crate::literal::{self, Literal, Reading};

/// `values` in the type of `column`: ranges and lengths are checked, nothing is cut off. Text is read as a literal would be.
///
/// # Errors
///
/// `NumericValueOutOfRange`, `StringDataRightTruncation`, `DatatypeMismatch`, and what reading text refuses.
pub(super) fn coerce(values: &ArrayRef, column: &Column, precision: Precision, reading: &Reading) -> Result<ArrayRef> {
    let to = column.data_type.arrow(precision);
    if values.data_type() == &Arrow::Null {
        return Ok(datafusion::arrow::array::new_null_array(&to, values.len()));
    }
    let text = matches!(values.data_type(), Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View);
    if text && !column.data_type.is_text() {
        return read_text(values, column, precision, reading);
    }
    if values.data_type() == &to && !column.data_type.is_text() {
        return Ok(values.clone());
    }
    if let (Arrow::Timestamp(unit, _), Arrow::Timestamp(..)) = (values.data_type(), &to) {
        return rescaled(values, *unit, precision);
    }
    if !assignable(values.data_type(), &to) {
        return Err(error!(
            DatatypeMismatch,
            "column \"{}\" is of type {} but expression is of type {}",
            column.name,
            column.data_type,
            crate::pgtype::PgType::of_arrow(values.data_type()).name
        )
        .with_hint("You will need to rewrite or cast the expression."));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let rounded = rounded(values, &to)?;
    let cast = cast_with_options(&rounded, &to, &strict).map_err(|_| {
        error!(NumericValueOutOfRange, "value out of range for column \"{}\" of type {}", column.name, column.data_type)
    })?;
    check_length(&cast, column)?;
    Ok(cast)
}

/// Floats and numerics become integers by rounding, as PostgreSQL assigns them.
fn rounded(values: &ArrayRef, to: &Arrow) -> Result<ArrayRef> {
    if values.data_type().is_decimal() && to.is_integer() {
        // Halves away from zero, as numerics round.
        return datafusion::arrow::compute::cast(values, &Arrow::Decimal256(76, 0)).map_err(model::Error::internal);
    }
    if !values.data_type().is_floating() || !to.is_integer() {
        return Ok(values.clone());
    }
    let wide = datafusion::arrow::compute::cast(values, &Arrow::Float64).map_err(model::Error::internal)?;
    Ok(std::sync::Arc::new(wide.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even)))
}

fn assignable(from: &Arrow, to: &Arrow) -> bool {
    let numeric = |of: &Arrow| of.is_numeric();
    let binary = |of: &Arrow| matches!(of, Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView);
    let text = |of: &Arrow| matches!(of, Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View);
    from == to
        || (numeric(from) && numeric(to))
        || (binary(from) && binary(to))
        || (text(from) && text(to))
        || matches!((from, to), (Arrow::Date32, Arrow::Timestamp(..)) | (Arrow::Int64, Arrow::Timestamp(..)))
}

/// Ticks of one unit in another: half a tick rounds up.
fn rescaled(values: &ArrayRef, unit: TimeUnit, precision: Precision) -> Result<ArrayRef> {
    let from = match unit {
        TimeUnit::Second => 1_000_000_000_i128,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    };
    let per_tick = i128::from(precision.nanos_per_tick());
    let ticks = datafusion::arrow::compute::cast(values, &Arrow::Int64).map_err(model::Error::internal)?;
    let rescale = |tick: i64| {
        let nanos = i128::from(tick) * from;
        i64::try_from((nanos + per_tick / 2).div_euclid(per_tick))
            .map_err(|_| error!(DatetimeFieldOverflow, "timestamp out of range"))
    };
    let ticks: Int64Array = ticks.as_primitive::<Int64Type>().try_unary(rescale)?;
    datafusion::arrow::compute::cast(&ticks, &DataType::Timestamp.arrow(precision)).map_err(model::Error::internal)
}

fn read_text(values: &ArrayRef, column: &Column, precision: Precision, reading: &Reading) -> Result<ArrayRef> {
    let texts = datafusion::arrow::compute::cast(values, &Arrow::Utf8).map_err(model::Error::internal)?;
    let mut builder = literal::ColumnBuilder::new(column.data_type, precision);
    for text in texts.as_string::<i32>() {
        let literal = text.map_or(Literal::Null, Literal::Text);
        builder.append(literal, reading)?;
    }
    Ok(builder.finish().0)
}

fn check_length(values: &ArrayRef, column: &Column) -> Result<()> {
    let (too_long, limit) = match column.data_type {
        DataType::Varchar(n) => (values.as_string::<i32>().iter().flatten().any(|text| text.len() > n as usize), n),
        DataType::NChar(n) => {
            (values.as_string::<i32>().iter().flatten().any(|text| text.chars().count() > n as usize), n)
        }
        DataType::Varbinary(n) | DataType::Geometry(n) => {
            (values.as_binary::<i32>().iter().flatten().any(|bytes| bytes.len() > n as usize), n)
        }
        _ => (false, 0),
    };
    if too_long {
        fail!(
            StringDataRightTruncation,
            "value too long for column \"{}\" of type {} ({limit})",
            column.name,
            column.data_type
        );
    }
    Ok(())
}

/// One value of an array in a column's type.
///
/// # Errors
///
/// `InternalError` for a type that no column has.
pub(super) fn value_at(values: &ArrayRef, row: usize) -> Result<Value> {
    if values.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! int {
        ($type:ty) => {
            Value::Int(i64::from(values.as_primitive::<$type>().value(row)))
        };
    }
    Ok(match values.data_type() {
        Arrow::Boolean => Value::Bool(values.as_boolean().value(row)),
        Arrow::Int8 => int!(Int8Type),
        Arrow::Int16 => int!(Int16Type),
        Arrow::Int32 => int!(Int32Type),
        Arrow::Int64 => int!(Int64Type),
        Arrow::Date32 => int!(Date32Type),
        Arrow::UInt8 => Value::UInt(u64::from(values.as_primitive::<UInt8Type>().value(row))),
        Arrow::UInt16 => Value::UInt(u64::from(values.as_primitive::<UInt16Type>().value(row))),
        Arrow::UInt32 => Value::UInt(u64::from(values.as_primitive::<UInt32Type>().value(row))),
        Arrow::UInt64 => Value::UInt(values.as_primitive::<UInt64Type>().value(row)),
        Arrow::Float32 => Value::Float(f64::from(values.as_primitive::<Float32Type>().value(row))),
        Arrow::Float64 => Value::Float(values.as_primitive::<Float64Type>().value(row)),
        Arrow::Decimal128(..) => Value::Decimal(values.as_primitive::<Decimal128Type>().value(row)),
        Arrow::Utf8 => Value::Text(values.as_string::<i32>().value(row).to_owned()),
        Arrow::Binary => Value::Bytes(values.as_binary::<i32>().value(row).to_vec()),
        Arrow::Timestamp(..) => {
            let ticks = make_array(
                values.to_data().into_builder().data_type(Arrow::Int64).build().map_err(model::Error::internal)?,
            );
            Value::Int(ticks.as_primitive::<Int64Type>().value(row))
        }
        other => fail!(InternalError, "no column has values of {other}"),
    })
}

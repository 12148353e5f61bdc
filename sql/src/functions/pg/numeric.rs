//! Arithmetic of numerics: what the planner puts in place of `+`, `-`, `*`, `/` and `%` of decimals, and the cast to numeric.
//!
//! Arrow's own operators fix the scale of a quotient and round by cutting off; PostgreSQL's do neither.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal256Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Field, FieldRef, i256};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use model::error;

use super::scalar::external;
use crate::numeric::{self, Shape};
use crate::pgtype::PgType;

/// One operator on exact numbers, of which at least one is a decimal.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Numeric {
    /// Which.
    pub(crate) operator: Operator,
    signature: Signature,
}

macro_rules! operators {
    ($($name:ident = $operator:ident)+) => {
        $(static $name: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
            let signature = Signature::any(2, Volatility::Immutable);
            Arc::new(ScalarUDF::from(Numeric { operator: Operator::$operator, signature }))
        });)+

        /// The function that is this operator; None for others than arithmetic.
        pub(crate) fn operator(of: Operator) -> Option<&'static Arc<ScalarUDF>> {
            match of {
                $(Operator::$operator => Some(&$name),)+
                _ => None,
            }
        }
    };
}

operators! {
    PLUS = Plus
    MINUS = Minus
    MULTIPLY = Multiply
    DIVIDE = Divide
    MODULO = Modulo
}

fn overflow() -> datafusion::error::DataFusionError {
    external(error!(NumericValueOutOfRange, "value overflows numeric format"))
}

fn division_by_zero() -> datafusion::error::DataFusionError {
    external(error!(DivisionByZero, "division by zero"))
}

/// An exact number type's shape.
fn shape(data_type: &DataType) -> Result<Shape> {
    match Shape::of(data_type) {
        Some(shape) => Ok(shape),
        None => plan_err!("{data_type} is no exact number"),
    }
}

/// The numbers of an exact type, unscaled.
pub(crate) fn unscaled(array: &ArrayRef) -> Result<Decimal256Array> {
    let wide = match array.data_type() {
        DataType::Decimal256(..) => Arc::clone(array),
        DataType::Decimal128(_, scale) => cast(array, &DataType::Decimal256(76, *scale))?,
        _ => cast(array, &DataType::Decimal256(76, 0))?,
    };
    Ok(wide.as_primitive::<Decimal256Type>().clone())
}

/// An array of a decimal type of unscaled numbers.
pub(crate) fn scaled(values: Vec<Option<i256>>, to: &DataType) -> Result<ArrayRef> {
    match to {
        DataType::Decimal128(..) => {
            let narrow = |value: i256| value.to_i128().ok_or_else(overflow);
            let values: Result<Vec<Option<i128>>> = values.into_iter().map(|of| of.map(narrow).transpose()).collect();
            Ok(Arc::new(Decimal128Array::from(values?).with_data_type(to.clone())))
        }
        DataType::Decimal256(..) => {
            let bound = numeric::power_of_ten(76).unwrap_or(i256::MAX);
            if values.iter().flatten().any(|value| *value >= bound || *value <= bound.wrapping_neg()) {
                return Err(overflow());
            }
            Ok(Arc::new(Decimal256Array::from(values).with_data_type(to.clone())))
        }
        other => exec_err!("{other} is no decimal"),
    }
}

impl Numeric {
    fn shape(&self, types: &[DataType]) -> Result<Shape> {
        let (left, right) = (shape(&types[0])?, shape(&types[1])?);
        Ok(match self.operator {
            Operator::Multiply => left.product(right),
            Operator::Divide => left.quotient(right),
            Operator::Modulo => left.remainder(right),
            _ => left.sum(right),
        })
    }

    /// The result of one row.
    fn apply(&self, left: (i256, Shape), right: (i256, Shape), to: Shape) -> Result<i256> {
        let at = |(value, shape): (i256, Shape), scale| numeric::rescaled(value, shape.scale, scale);
        let aligned = || at(left, to.scale).zip(at(right, to.scale)).ok_or_else(overflow);
        match self.operator {
            Operator::Plus => aligned().and_then(|(a, b)| a.checked_add(b).ok_or_else(overflow)),
            Operator::Minus => aligned().and_then(|(a, b)| a.checked_sub(b).ok_or_else(overflow)),
            Operator::Multiply => {
                let product = left.0.checked_mul(right.0).ok_or_else(overflow)?;
                numeric::rescaled(product, left.1.scale + right.1.scale, to.scale).ok_or_else(overflow)
            }
            _ if right.0 == i256::ZERO => Err(division_by_zero()),
            Operator::Modulo => aligned().and_then(|(a, b)| a.checked_rem(b).ok_or_else(overflow)),
            _ => quotient(left, right, to),
        }
    }
}

/// The quotient with as many digits as PostgreSQL gives this one, at the scale of `to`.
pub(crate) fn quotient(left: (i256, Shape), right: (i256, Shape), to: Shape) -> Result<i256> {
    let shown = quotient_scale(left, right).min(to.scale.into()) as u8;
    // a / 10^s / (b / 10^t) at scale r is a * 10^(r + t - s) / b.
    let shift = i32::from(shown) + i32::from(right.1.scale) - i32::from(left.1.scale);
    let power = |n: i32| numeric::power_of_ten(n.unsigned_abs());
    let result = if shift >= 0 {
        let dividend = power(shift).and_then(|power| left.0.checked_mul(power));
        dividend.and_then(|dividend| numeric::divided(dividend, right.0))
    } else {
        power(shift).and_then(|power| right.0.checked_mul(power)).and_then(|by| numeric::divided(left.0, by))
    };
    result.and_then(|result| numeric::rescaled(result, shown, to.scale)).ok_or_else(overflow)
}

/// PostgreSQL's scale of a quotient.
fn quotient_scale(left: (i256, Shape), right: (i256, Shape)) -> usize {
    let text = |value: i256| value.to_string().trim_start_matches('-').to_owned();
    let side = |(value, shape): (i256, Shape)| {
        let (text, scale) = (text(value), usize::from(shape.scale));
        let shown = numeric::shown_scale(shape.shown, &text, scale);
        let cut = if text == "0" { 0 } else { scale - shown };
        (text[..text.len() - cut].to_owned(), shown)
    };
    let (left, right) = (side(left), side(right));
    numeric::division_scale((&left.0, left.1), (&right.0, right.1))
}

/// A literal of PostgreSQL's own scale for the quotient of two literals.
///
/// # Errors
///
/// 22012 by zero, 22003 if the result is too large.
pub(crate) fn literal_quotient(left: &ScalarValue, right: &ScalarValue) -> Result<Option<ScalarValue>> {
    let side = |value: &ScalarValue| -> Result<Option<(i256, Shape)>> {
        let shape = shape(&value.data_type())?;
        let array = unscaled(&value.to_array()?)?;
        Ok((!array.is_null(0)).then(|| (array.value(0), shape)))
    };
    let (Some(left), Some(right)) = (side(left)?, side(right)?) else { return Ok(None) };
    if right.0 == i256::ZERO {
        return Err(division_by_zero());
    }
    let scale = u8::try_from(quotient_scale(left, right)).unwrap_or(u8::MAX).min(60);
    let value = quotient(left, right, Shape::fixed(0, scale))?;
    let whole = numeric::digits_of(value).saturating_sub(scale).max(1);
    let array = scaled(vec![Some(value)], &Shape::fixed(whole, scale).arrow())?;
    Ok(Some(ScalarValue::try_from_array(&array, 0)?))
}

impl ScalarUDFImpl for Numeric {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "numeric_add",
            Operator::Minus => "numeric_sub",
            Operator::Multiply => "numeric_mul",
            Operator::Divide => "numeric_div",
            _ => "numeric_mod",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.shape(types)?.arrow())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_type().clone();
        let scalars = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let array = match narrow(self.operator, &arrays, &to)? {
            Some(array) => array,
            None => {
                let shapes = [shape(arrays[0].data_type())?, shape(arrays[1].data_type())?];
                let (left, right) = (unscaled(&arrays[0])?, unscaled(&arrays[1])?);
                let shape = shape(&to)?;
                let one = |row: usize| {
                    if left.is_null(row) || right.is_null(row) {
                        return Ok(None);
                    }
                    self.apply((left.value(row), shapes[0]), (right.value(row), shapes[1]), shape).map(Some)
                };
                let values: Result<Vec<_>> = (0..rows).map(one).collect();
                scaled(values?, &to)?
            }
        };
        if scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// Sums and products that fit 38 digits, whose digits the type has room for: the fast way. None for all others.
fn narrow(operator: Operator, arrays: &[ArrayRef], to: &DataType) -> Result<Option<ArrayRef>> {
    let DataType::Decimal128(_, scale) = to else { return Ok(None) };
    let of = |array: &ArrayRef, scale: i8| -> Result<Decimal128Array> {
        Ok(cast(array, &DataType::Decimal128(38, scale))?.as_primitive::<Decimal128Type>().clone())
    };
    let own = |array: &ArrayRef| match array.data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    let result: Decimal128Array = match operator {
        Operator::Plus | Operator::Minus => {
            let (left, right) = (of(&arrays[0], *scale)?, of(&arrays[1], *scale)?);
            let plus = operator == Operator::Plus;
            arrow::compute::binary(&left, &right, |a, b| if plus { a.wrapping_add(b) } else { a.wrapping_sub(b) })?
        }
        Operator::Multiply => {
            let (left, right) = (of(&arrays[0], own(&arrays[0]))?, of(&arrays[1], own(&arrays[1]))?);
            arrow::compute::binary(&left, &right, i128::wrapping_mul)?
        }
        _ => return Ok(None),
    };
    Ok(Some(Arc::new(result.with_data_type(to.clone()))))
}

/// Decimal text as a numeric of just its digits; None if it is no number, or too long.
pub(crate) fn literal(text: &str) -> Option<ScalarValue> {
    let (value, scale) = numeric::parse(text.trim())?;
    let whole = numeric::digits_of(value).saturating_sub(scale).max(1);
    let array = scaled(vec![Some(value)], &Shape::fixed(whole, scale).arrow()).ok()?;
    ScalarValue::try_from_array(&array, 0).ok()
}

/// `CAST(x AS numeric)`, `CAST(x AS numeric(p, s))`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToNumeric {
    signature: Signature,
}

/// Every function of this file that SQL may name.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    vec![ScalarUDF::from(ToNumeric { signature })]
}

/// Precision and scale, if the cast says them.
fn modifier(scalars: &[Option<&ScalarValue>]) -> Result<Option<(u8, i8)>> {
    let number = |at: usize| match scalars.get(at).copied().flatten() {
        Some(ScalarValue::Int64(Some(n))) => Some(*n),
        Some(ScalarValue::Int32(Some(n))) => Some(i64::from(*n)),
        _ => None,
    };
    let Some(precision) = number(1) else { return Ok(None) };
    let scale = number(2).unwrap_or(0);
    if !(1..=1000).contains(&precision) {
        return Err(external(error!(
            InvalidParameterValue,
            "NUMERIC precision {precision} must be between 1 and 1000"
        )));
    }
    if precision > 76 || !(0..=precision).contains(&scale) {
        let error = error!(FeatureNotSupported, "numeric({precision},{scale}) is not supported");
        return Err(external(error.with_hint("A numeric has at most 76 digits, and a scale from 0 to its precision.")));
    }
    Ok(Some((precision as u8, scale as i8)))
}

fn decimal(precision: u8, scale: i8) -> DataType {
    if precision <= 38 { DataType::Decimal128(precision, scale) } else { DataType::Decimal256(precision, scale) }
}

impl ScalarUDFImpl for ToNumeric {
    fn name(&self) -> &'static str {
        "pg_numeric"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        datafusion::common::internal_err!("pg_numeric is asked for its return field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let given = args.arg_fields[0].data_type();
        let to = match modifier(args.scalar_arguments)? {
            Some((precision, scale)) => decimal(precision, scale),
            None => match (Shape::of(given), args.scalar_arguments.first().copied().flatten()) {
                (Some(shape), _) if given.is_integer() => shape.arrow(),
                (Some(_), _) => given.clone(),
                (None, Some(literal)) => match literal.try_as_str().flatten().and_then(numeric::parse) {
                    Some((value, scale)) => {
                        let whole = numeric::digits_of(value).saturating_sub(scale).max(1);
                        Shape::fixed(whole, scale).arrow()
                    }
                    None => Shape::FREE.arrow(),
                },
                (None, None) => Shape::FREE.arrow(),
            },
        };
        let known = given.is_numeric() || given.is_null() || given.is_string();
        if !known {
            let name = crate::pgvalue::full_name(PgType::of(&args.arg_fields[0]));
            return Err(external(error!(CannotCoerce, "cannot cast type {name} to numeric")));
        }
        Ok(Arc::new(Field::new("numeric", to, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if scalar { 1 } else { args.number_rows })?;
        let limited = args.args.len() > 1;
        let array = to_numeric(&array, args.return_type(), limited)?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// Numbers and texts as numerics of one type; `limited` if the type was asked for with its precision.
pub(crate) fn to_numeric(array: &ArrayRef, to: &DataType, limited: bool) -> Result<ArrayRef> {
    let wanted = shape(to)?;
    let values: Vec<Option<i256>> = match array.data_type() {
        DataType::Null => vec![None; array.len()],
        of if of.is_floating() => {
            let single = matches!(of, DataType::Float16 | DataType::Float32);
            let wide = cast(array, &DataType::Float64)?;
            let one = |value: f64| {
                let unscaled = numeric::of_float(value, single).ok_or_else(|| no_numeric(value))?;
                numeric::rescaled(unscaled, Shape::FREE.scale, wanted.scale).ok_or_else(overflow)
            };
            let wide = wide.as_primitive::<arrow::datatypes::Float64Type>();
            wide.iter().map(|value| value.map(one).transpose()).collect::<Result<_>>()?
        }
        of if of.is_string() => {
            let texts = cast(array, &DataType::Utf8)?;
            let one = |text: &str| {
                let refused = || crate::pgvalue::decode(PgType::NUMERIC, false, text.as_bytes(), &Default::default());
                let Some((value, scale)) = numeric::parse(text) else {
                    return Err(refused().err().map_or_else(overflow, external));
                };
                numeric::rescaled(value, scale, wanted.scale).ok_or_else(overflow)
            };
            texts.as_string::<i32>().iter().map(|text| text.map(one).transpose()).collect::<Result<_>>()?
        }
        of => {
            let from = shape(of)?;
            let one = |value| numeric::rescaled(value, from.scale, wanted.scale).ok_or_else(overflow);
            unscaled(array)?.iter().map(|value| value.map(one).transpose()).collect::<Result<_>>()?
        }
    };
    if limited && let DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) = to {
        check(&values, *precision, *scale)?;
    }
    scaled(values, to)
}

fn no_numeric(value: f64) -> datafusion::error::DataFusionError {
    let error = error!(NumericValueOutOfRange, "{value} cannot be a numeric here");
    external(error.with_hint("A numeric has at most 76 digits and is neither NaN nor infinite."))
}

fn check(values: &[Option<i256>], precision: u8, scale: i8) -> Result<()> {
    let bound = numeric::power_of_ten(precision.into()).unwrap_or(i256::MAX);
    if values.iter().flatten().all(|value| *value < bound && *value > bound.wrapping_neg()) {
        return Ok(());
    }
    let most = i32::from(precision) - i32::from(scale);
    let most = if most == 0 { "1".to_owned() } else { format!("10^{most}") };
    let detail =
        format!("A field with precision {precision}, scale {scale} must round to an absolute value less than {most}.");
    Err(external(error!(NumericValueOutOfRange, "numeric field overflow").with_detail(detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> ScalarValue {
        literal(text).expect("it is a number")
    }

    #[test]
    fn quotients_are_postgres() {
        // The answers of PostgreSQL 15.
        for (left, right, expected) in [
            ("1", "3.0", "0.33333333333333333333"),
            ("10", "4.0", "2.5000000000000000"),
            ("2", "-3.0", "-0.66666666666666666667"),
            ("100000", "7.0", "14285.714285714286"),
            ("0", "3.0", "0.00000000000000000000"),
        ] {
            let quotient = literal_quotient(&number(left), &number(right)).expect("it divides").expect("no null");
            let text = crate::pgvalue::scalar_text(&quotient, &Arc::default()).expect("it prints");
            assert_eq!(text.as_deref(), Some(expected), "{left} / {right}");
        }
        assert!(literal_quotient(&number("1"), &number("0.0")).is_err());
    }

    #[test]
    fn doubles_become_free_numerics() {
        assert_eq!(numeric::shown(&Shape::FREE.arrow()), numeric::Shown::Free(0));
        let doubles: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.1, 1.0 / 3.0, 2.5]));
        let array = to_numeric(&doubles, &Shape::FREE.arrow(), false).expect("they convert");
        let text = |row| crate::pgvalue::text_of(&array, row, PgType::NUMERIC, &Arc::default()).expect("it prints");
        assert_eq!([text(0), text(1), text(2)].map(Option::unwrap), ["0.1", "0.333333333333333", "2.5"]);
    }
}

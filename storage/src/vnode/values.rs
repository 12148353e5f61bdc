//! Single values as arrays, and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, StringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::ArrowNativeType;
use model::types::Value;
use model::{DataType, Precision};

use crate::codec::natives;

/// An array of a column's type. A value of another kind, or one that does not fit, is a defect of whoever checked it
/// before the log; it comes as null.
pub(crate) fn array_of<'a>(
    data_type: DataType,
    precision: Precision,
    values: impl Iterator<Item = &'a Value>,
) -> ArrayRef {
    let wanted = data_type.arrow(precision);
    match data_type {
        DataType::Timestamp => {
            let ticks: Int64Array = values.map(int).collect();
            arrow::compute::cast(&ticks, &wanted).expect("a timestamp is an integer")
        }
        DataType::Bool => Arc::new(values.map(boolean).collect::<BooleanArray>()),
        DataType::TinyInt => Arc::new(values.map(|value| narrow(int(value))).collect::<Int8Array>()),
        DataType::SmallInt => Arc::new(values.map(|value| narrow(int(value))).collect::<Int16Array>()),
        DataType::Int => Arc::new(values.map(|value| narrow(int(value))).collect::<Int32Array>()),
        DataType::BigInt => Arc::new(values.map(int).collect::<Int64Array>()),
        DataType::UTinyInt => Arc::new(values.map(|value| narrow(uint(value))).collect::<UInt8Array>()),
        DataType::USmallInt => Arc::new(values.map(|value| narrow(uint(value))).collect::<UInt16Array>()),
        DataType::UInt => Arc::new(values.map(|value| narrow(uint(value))).collect::<UInt32Array>()),
        DataType::UBigInt => Arc::new(values.map(uint).collect::<UInt64Array>()),
        DataType::Float => Arc::new(values.map(|value| float(value).map(|x| x as f32)).collect::<Float32Array>()),
        DataType::Double => Arc::new(values.map(float).collect::<Float64Array>()),
        DataType::Date => Arc::new(values.map(|value| narrow(int(value))).collect::<Date32Array>()),
        DataType::Decimal(digits, scale) => {
            let array: Decimal128Array = values.map(decimal).collect();
            Arc::new(array.with_precision_and_scale(digits, scale).expect("the schema has a valid precision"))
        }
        DataType::Varchar(_) | DataType::NChar(_) | DataType::Json | DataType::Text => {
            Arc::new(values.map(text).collect::<StringArray>())
        }
        DataType::Varbinary(_) | DataType::Geometry(_) => Arc::new(values.map(bytes).collect::<BinaryArray>()),
    }
}

/// A cell of a column.
pub(crate) fn value_at(cells: &ArrayRef, row: usize, data_type: DataType) -> Value {
    fn native<T: ArrowNativeType>(cells: &ArrayRef, row: usize) -> T {
        natives::<T>(cells)[row]
    }
    if cells.is_null(row) {
        return Value::Null;
    }
    match data_type {
        DataType::Timestamp | DataType::BigInt => Value::Int(native(cells, row)),
        DataType::Bool => Value::Bool(cells.as_boolean().value(row)),
        DataType::TinyInt => Value::Int(i64::from(native::<i8>(cells, row))),
        DataType::SmallInt => Value::Int(i64::from(native::<i16>(cells, row))),
        DataType::Int | DataType::Date => Value::Int(i64::from(native::<i32>(cells, row))),
        DataType::UTinyInt => Value::UInt(u64::from(native::<u8>(cells, row))),
        DataType::USmallInt => Value::UInt(u64::from(native::<u16>(cells, row))),
        DataType::UInt => Value::UInt(u64::from(native::<u32>(cells, row))),
        DataType::UBigInt => Value::UInt(native(cells, row)),
        DataType::Float => Value::Float(f64::from(native::<f32>(cells, row))),
        DataType::Double => Value::Float(native(cells, row)),
        DataType::Decimal(..) => Value::Decimal(native(cells, row)),
        DataType::Varchar(_) | DataType::NChar(_) | DataType::Json | DataType::Text => {
            Value::Text(cells.as_string::<i32>().value(row).to_owned())
        }
        DataType::Varbinary(_) | DataType::Geometry(_) => Value::Bytes(cells.as_binary::<i32>().value(row).to_vec()),
    }
}

fn narrow<A, B: TryFrom<A>>(value: Option<A>) -> Option<B> {
    B::try_from(value?).ok()
}

fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(x) => Some(*x),
        Value::UInt(x) => i64::try_from(*x).ok(),
        _ => None,
    }
}

fn uint(value: &Value) -> Option<u64> {
    match value {
        Value::UInt(x) => Some(*x),
        Value::Int(x) => u64::try_from(*x).ok(),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(x) => Some(*x),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(x) => Some(*x),
        _ => None,
    }
}

fn decimal(value: &Value) -> Option<i128> {
    match value {
        Value::Decimal(x) => Some(*x),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(x) => Some(x),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Bytes(x) => Some(x),
        _ => None,
    }
}

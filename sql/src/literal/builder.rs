//! A column that grows by one value at a time.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, PrimitiveArray,
    StringArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use model::{DataType, Precision, Result, Value, error};

use super::{Literal, Reading, binary, number, pg_name, time};

/// Most bytes of text in one column of one batch: Arrow's offsets are 32 bits.
const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// The values, each vector as long as the column.
#[derive(Debug)]
enum Store {
    Bool(Vec<bool>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I128(Vec<i128>),
    Bytes { offsets: Vec<i32>, data: Vec<u8> },
}

/// Builds one column of one type.
#[derive(Debug)]
pub struct ColumnBuilder {
    data_type: DataType,
    precision: Precision,
    store: Store,
    /// Set where there is a value; made at the first null.
    valid: Option<BooleanBufferBuilder>,
    /// Set where the row leaves the column as it was; made at the first such row.
    absent: Option<BooleanBufferBuilder>,
    rows: usize,
}

/// Does the same for each kind of vector; `$bytes` for the text.
macro_rules! each {
    ($store:expr, $vector:ident => $do:expr, $offsets:ident, $data:ident => $bytes:expr) => {
        match $store {
            Store::Bool($vector) => $do,
            Store::I8($vector) => $do,
            Store::I16($vector) => $do,
            Store::I32($vector) => $do,
            Store::I64($vector) => $do,
            Store::U8($vector) => $do,
            Store::U16($vector) => $do,
            Store::U32($vector) => $do,
            Store::U64($vector) => $do,
            Store::F32($vector) => $do,
            Store::F64($vector) => $do,
            Store::I128($vector) => $do,
            Store::Bytes { offsets: $offsets, data: $data } => $bytes,
        }
    };
}

impl ColumnBuilder {
    /// An empty column.
    #[must_use]
    pub fn new(data_type: DataType, precision: Precision) -> Self {
        let store = match data_type {
            DataType::Bool => Store::Bool(Vec::new()),
            DataType::TinyInt => Store::I8(Vec::new()),
            DataType::SmallInt => Store::I16(Vec::new()),
            DataType::Int | DataType::Date => Store::I32(Vec::new()),
            DataType::BigInt | DataType::Timestamp => Store::I64(Vec::new()),
            DataType::UTinyInt => Store::U8(Vec::new()),
            DataType::USmallInt => Store::U16(Vec::new()),
            DataType::UInt => Store::U32(Vec::new()),
            DataType::UBigInt => Store::U64(Vec::new()),
            DataType::Float => Store::F32(Vec::new()),
            DataType::Double => Store::F64(Vec::new()),
            DataType::Decimal(..) => Store::I128(Vec::new()),
            _ => Store::Bytes { offsets: vec![0], data: Vec::new() },
        };
        Self { data_type, precision, store, valid: None, absent: None, rows: 0 }
    }

    /// Rows so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Its type.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Bytes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        fn of<T>(vector: &[T]) -> usize {
            size_of_val(vector)
        }
        let bits = usize::from(self.valid.is_some()) + usize::from(self.absent.is_some());
        each!(&self.store, v => of(v), offsets, data => data.len() + of(offsets)) + bits * self.rows / 8
    }

    /// Takes one value.
    ///
    /// # Errors
    ///
    /// 22P02, 22007 for text that is no such value, 22003 and 22008 out of range, 22001 for a string that is too long,
    /// 22P03 for bad binary, 42804 for a literal of a kind that the type does not take. The column is as before then.
    pub fn append(&mut self, literal: Literal<'_>, reading: &Reading) -> Result<()> {
        if self.push_plain(literal) {
            self.pushed();
            return Ok(());
        }
        match literal {
            Literal::Null => self.push_empty(true, false),
            Literal::Absent => self.push_empty(true, true),
            Literal::Text(text) => {
                self.text(text, reading)?;
                self.pushed();
            }
            Literal::Number(digits) => {
                self.number(digits)?;
                self.pushed();
            }
            Literal::Bool(value) => {
                self.boolean(value)?;
                self.pushed();
            }
            Literal::Ticks(ticks) => {
                if self.data_type != DataType::Timestamp {
                    return Err(self.mismatch("timestamp with time zone"));
                }
                self.push_integer(i128::from(ticks));
                self.pushed();
            }
            Literal::Binary(bytes) => {
                let value = binary::read(bytes, self.data_type, self.precision)?;
                self.typed(&value)?;
            }
            Literal::Value(value) => self.typed(value)?,
        }
        Ok(())
    }

    /// Takes the number at the start of `text`, for a column of numbers, if it needs no second look and one of `ends`
    /// follows it. Gives its length; None if nothing was taken.
    pub(crate) fn push_number(&mut self, text: &[u8], ends: [u8; 2]) -> Option<usize> {
        let ended = |length: usize| text.get(length).is_some_and(|byte| ends.contains(byte));
        let length = match &mut self.store {
            Store::F64(v) => {
                let (value, length) = fast_float2::parse_partial::<f64, _>(text).ok()?;
                v.push(Some(value).filter(|value| value.is_finite() && ended(length))?);
                length
            }
            Store::F32(v) => {
                let (value, length) = fast_float2::parse_partial::<f32, _>(text).ok()?;
                v.push(Some(value).filter(|value| value.is_finite() && ended(length))?);
                length
            }
            _ => {
                let (value, length) = leading_integer(text).filter(|(_, length)| ended(*length))?;
                self.push_if_fits(value)?;
                length
            }
        };
        self.pushed();
        Some(length)
    }

    /// Pushes a value of a number's column; None if it is none, or the value is out of its range.
    fn push_if_fits(&mut self, value: i64) -> Option<()> {
        match (&mut self.store, self.data_type) {
            (Store::I64(v), DataType::BigInt) => v.push(value),
            (Store::I32(v), DataType::Int) => v.push(i32::try_from(value).ok()?),
            (Store::I16(v), _) => v.push(i16::try_from(value).ok()?),
            (Store::I8(v), _) => v.push(i8::try_from(value).ok()?),
            (Store::U64(v), _) => v.push(u64::try_from(value).ok()?),
            (Store::U32(v), _) => v.push(u32::try_from(value).ok()?),
            (Store::U16(v), _) => v.push(u16::try_from(value).ok()?),
            (Store::U8(v), _) => v.push(u8::try_from(value).ok()?),
            _ => return None,
        }
        Some(())
    }

    /// Leaves the column as it was in every row up to `row`.
    pub fn absent_to(&mut self, row: usize) {
        while self.rows < row {
            self.push_empty(true, true);
        }
    }

    /// The ticks or integer of a row that is not null.
    #[must_use]
    pub fn integer(&self, row: usize) -> Option<i64> {
        match self.value(row) {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a row.
    #[must_use]
    pub fn value(&self, row: usize) -> Value {
        if self.valid.as_ref().is_some_and(|valid| !valid.get_bit(row)) {
            return Value::Null;
        }
        match &self.store {
            Store::Bool(v) => Value::Bool(v[row]),
            Store::I8(v) => Value::Int(v[row].into()),
            Store::I16(v) => Value::Int(v[row].into()),
            Store::I32(v) => Value::Int(v[row].into()),
            Store::I64(v) => Value::Int(v[row]),
            Store::U8(v) => Value::UInt(v[row].into()),
            Store::U16(v) => Value::UInt(v[row].into()),
            Store::U32(v) => Value::UInt(v[row].into()),
            Store::U64(v) => Value::UInt(v[row]),
            Store::F32(v) => Value::Float(v[row].into()),
            Store::F64(v) => Value::Float(v[row]),
            Store::I128(v) => Value::Decimal(v[row]),
            Store::Bytes { offsets, data } => {
                let bytes = &data[offsets[row] as usize..offsets[row + 1] as usize];
                if self.data_type.is_text() {
                    Value::Text(String::from_utf8_lossy(bytes).into_owned())
                } else {
                    Value::Bytes(bytes.to_vec())
                }
            }
        }
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        each!(&mut self.store, v => v.clear(), offsets, data => {
            offsets.truncate(1);
            data.clear();
        });
        (self.valid, self.absent, self.rows) = (None, None, 0);
    }

    /// The array, and where the rows leave the column as it was.
    ///
    /// # Panics
    ///
    /// Never: every appended value was checked.
    #[must_use]
    pub fn finish(self) -> (ArrayRef, Option<BooleanBuffer>) {
        let nulls = self.valid.map(|mut valid| NullBuffer::new(valid.finish()));
        let absent = self.absent.map(|mut absent| absent.finish());
        fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
            Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls))
        }
        let array: ArrayRef = match (self.store, self.data_type) {
            (Store::Bool(v), _) => Arc::new(BooleanArray::new(BooleanBuffer::from(v), nulls)),
            (Store::I8(v), _) => primitive::<Int8Type>(v, nulls),
            (Store::I16(v), _) => primitive::<Int16Type>(v, nulls),
            (Store::I32(v), DataType::Date) => Arc::new(Date32Array::new(v.into(), nulls)),
            (Store::I32(v), _) => primitive::<Int32Type>(v, nulls),
            (Store::I64(v), DataType::Timestamp) => match self.precision {
                Precision::Milli => Arc::new(TimestampMillisecondArray::new(v.into(), nulls).with_timezone("UTC")),
                Precision::Micro => Arc::new(TimestampMicrosecondArray::new(v.into(), nulls).with_timezone("UTC")),
                Precision::Nano => Arc::new(TimestampNanosecondArray::new(v.into(), nulls).with_timezone("UTC")),
            },
            (Store::I64(v), _) => primitive::<Int64Type>(v, nulls),
            (Store::U8(v), _) => primitive::<UInt8Type>(v, nulls),
            (Store::U16(v), _) => primitive::<UInt16Type>(v, nulls),
            (Store::U32(v), _) => primitive::<UInt32Type>(v, nulls),
            (Store::U64(v), _) => primitive::<UInt64Type>(v, nulls),
            (Store::F32(v), _) => primitive::<Float32Type>(v, nulls),
            (Store::F64(v), _) => primitive::<Float64Type>(v, nulls),
            (Store::I128(v), data_type) => {
                let array = Decimal128Array::new(v.into(), nulls);
                Arc::new(array.with_data_type(data_type.arrow(self.precision)))
            }
            (Store::Bytes { offsets, data }, data_type) => {
                let offsets = OffsetBuffer::new(offsets.into());
                if data_type.is_text() {
                    Arc::new(StringArray::new(offsets, data.into(), nulls))
                } else {
                    Arc::new(BinaryArray::new(offsets, data.into(), nulls))
                }
            }
        };
        (array, absent)
    }

    // ---- Each kind of literal ----

    /// Takes what needs no second look: binary numbers of the column's own width, and short whole numbers. Most values
    /// are such. Whether it did.
    fn push_plain(&mut self, literal: Literal<'_>) -> bool {
        match (literal, &mut self.store, self.data_type) {
            (Literal::Binary(bytes), Store::I64(v), DataType::BigInt) => bytes.try_into().is_ok_and(|bytes| {
                v.push(i64::from_be_bytes(bytes));
                true
            }),
            (Literal::Binary(bytes), Store::F64(v), _) => bytes.try_into().is_ok_and(|bytes| {
                v.push(f64::from_be_bytes(bytes));
                true
            }),
            (Literal::Binary(bytes), Store::I32(v), DataType::Int) => bytes.try_into().is_ok_and(|bytes| {
                v.push(i32::from_be_bytes(bytes));
                true
            }),
            (Literal::Number(text) | Literal::Text(text), Store::I64(v), DataType::BigInt) => short_integer(text)
                .is_some_and(|value| {
                    v.push(value);
                    true
                }),
            (Literal::Number(text) | Literal::Text(text), Store::I32(v), DataType::Int) => {
                short_integer(text).and_then(|value| i32::try_from(value).ok()).is_some_and(|value| {
                    v.push(value);
                    true
                })
            }
            _ => false,
        }
    }

    fn text(&mut self, text: &str, reading: &Reading) -> Result<()> {
        match self.data_type {
            DataType::Timestamp => {
                let ticks = time::timestamp(text, self.precision, reading)?;
                self.push_integer(i128::from(ticks));
            }
            DataType::Date => {
                let days = time::date(text, reading)?;
                self.push_integer(i128::from(days));
            }
            DataType::Bool => {
                let value = number::boolean(text)?;
                self.push_integer(i128::from(value));
            }
            DataType::Float => self.push_float4(number::float4(text)?),
            DataType::Double => self.push_float(number::float(text, "double precision")?),
            DataType::Decimal(..) => self.decimal(text)?,
            DataType::Varbinary(_) | DataType::Geometry(_) => {
                let bytes = bytea(text)?;
                self.push_bytes(&bytes)?;
            }
            DataType::Json => {
                if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
                    return Err(number::malformed(text, "json"));
                }
                self.push_bytes(text.as_bytes())?;
            }
            DataType::Varchar(_) | DataType::NChar(_) | DataType::Text => {
                if text.contains('\0') {
                    return Err(error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x00"));
                }
                self.push_bytes(text.as_bytes())?;
            }
            _ => {
                let (min, max) = self.bounds();
                let value = number::integer(text, min, max, pg_name(self.data_type))?;
                self.push_integer(value);
            }
        }
        Ok(())
    }

    fn number(&mut self, digits: &str) -> Result<()> {
        let whole = digits.bytes().skip(usize::from(digits.starts_with(['-', '+']))).all(|byte| byte.is_ascii_digit());
        match self.data_type {
            DataType::Float => self.push_float4(number::float4(digits)?),
            DataType::Double => self.push_float(number::float(digits, "double precision")?),
            DataType::Decimal(..) => self.decimal(digits)?,
            DataType::Bool if whole => self.push_integer(i128::from(digits.bytes().any(|b| matches!(b, b'1'..=b'9')))),
            DataType::Timestamp if whole => {
                let ticks = number::integer(digits, i64::MIN.into(), i64::MAX.into(), "timestamp with time zone");
                self.push_integer(ticks.map_err(|_| {
                    error!(DatetimeFieldOverflow, "timestamp out of range: \"{}\"", super::shown(digits))
                })?);
            }
            DataType::Varchar(_) | DataType::NChar(_) | DataType::Text => {
                let text = plain(digits).ok_or_else(|| self.mismatch("numeric"))?;
                self.push_bytes(text.as_bytes())?;
            }
            DataType::Bool | DataType::Timestamp | DataType::Date | DataType::Json => {
                return Err(self.mismatch(if whole { "integer" } else { "numeric" }));
            }
            DataType::Varbinary(_) | DataType::Geometry(_) => return Err(self.mismatch("integer")),
            _ => {
                let (min, max) = self.bounds();
                let name = pg_name(self.data_type);
                let value = if whole {
                    number::integer(digits, min, max, name)?
                } else {
                    let value = number::decimal(digits, 0, name)?;
                    if value < min || value > max {
                        return Err(number::out_of_range(digits, name));
                    }
                    value
                };
                self.push_integer(value);
            }
        }
        Ok(())
    }

    fn boolean(&mut self, value: bool) -> Result<()> {
        match self.data_type {
            DataType::Bool => self.push_integer(i128::from(value)),
            DataType::Varchar(_) | DataType::NChar(_) | DataType::Text => {
                self.push_bytes(if value { b"true" } else { b"false" })?;
            }
            _ => return Err(self.mismatch("boolean")),
        }
        Ok(())
    }

    fn decimal(&mut self, text: &str) -> Result<()> {
        let DataType::Decimal(_, scale) = self.data_type else { return Err(self.mismatch("numeric")) };
        let value = number::decimal(text, scale, "numeric")?;
        self.push_decimal(value)
    }

    /// A value that is of the type already; its range is checked all the same.
    fn typed(&mut self, value: &Value) -> Result<()> {
        match (value, self.data_type) {
            (Value::Null, _) => {
                self.push_empty(true, false);
                return Ok(());
            }
            (Value::Bool(value), DataType::Bool) => self.push_integer(i128::from(*value)),
            (Value::Float(value), DataType::Float) => self.push_float4(*value as f32),
            (Value::Float(value), DataType::Double) => self.push_float(*value),
            (Value::Decimal(value), DataType::Decimal(..)) => self.push_decimal(*value)?,
            (Value::Decimal(value), DataType::UBigInt) => self.checked(*value)?,
            (Value::Int(value), _) if self.is_integer() => self.checked(i128::from(*value))?,
            (Value::UInt(value), _) if self.is_integer() => self.checked(i128::from(*value))?,
            (Value::Text(text), of) if of.is_text() => self.push_bytes(text.as_bytes())?,
            (Value::Bytes(bytes), DataType::Varbinary(_) | DataType::Geometry(_)) => self.push_bytes(bytes)?,
            (other, of) => {
                return Err(error!(DatatypeMismatch, "a value {other:?} cannot be stored as {of}"));
            }
        }
        self.pushed();
        Ok(())
    }

    fn checked(&mut self, value: i128) -> Result<()> {
        let (min, max) = self.bounds();
        if value < min || value > max {
            return Err(number::out_of_range(&value.to_string(), pg_name(self.data_type)));
        }
        self.push_integer(value);
        Ok(())
    }

    fn mismatch(&self, what: &str) -> model::Error {
        let name = pg_name(self.data_type);
        error!(DatatypeMismatch, "column is of type {name} but expression is of type {what}")
            .with_hint("write the value as a string literal of the column's type, or cast it")
    }

    fn is_integer(&self) -> bool {
        !matches!(self.store, Store::Bool(_) | Store::F32(_) | Store::F64(_) | Store::I128(_) | Store::Bytes { .. })
    }

    /// The least and the greatest integer of the type.
    fn bounds(&self) -> (i128, i128) {
        match self.store {
            Store::I8(_) => (i8::MIN.into(), i8::MAX.into()),
            Store::I16(_) => (i16::MIN.into(), i16::MAX.into()),
            Store::I32(_) => (i32::MIN.into(), i32::MAX.into()),
            Store::U8(_) => (0, u8::MAX.into()),
            Store::U16(_) => (0, u16::MAX.into()),
            Store::U32(_) => (0, u32::MAX.into()),
            Store::U64(_) => (0, u64::MAX.into()),
            _ => (i64::MIN.into(), i64::MAX.into()),
        }
    }

    // ---- The ends ----

    /// Notes that a value was pushed.
    fn pushed(&mut self) {
        self.rows += 1;
        if let Some(valid) = &mut self.valid {
            valid.append(true);
        }
        if let Some(absent) = &mut self.absent {
            absent.append(false);
        }
    }

    fn push_empty(&mut self, null: bool, absent: bool) {
        each!(&mut self.store, v => v.push(Default::default()), offsets, data => offsets.push(data.len() as i32));
        let rows = self.rows;
        let made = |value| {
            let mut bits = BooleanBufferBuilder::new(rows + 1);
            bits.append_n(rows, value);
            bits
        };
        if null || self.valid.is_some() {
            self.valid.get_or_insert_with(|| made(true)).append(!null);
        }
        if absent || self.absent.is_some() {
            self.absent.get_or_insert_with(|| made(false)).append(absent);
        }
        self.rows += 1;
    }

    /// An integer that is within [`Self::bounds`].
    fn push_integer(&mut self, value: i128) {
        match &mut self.store {
            Store::Bool(v) => v.push(value != 0),
            Store::I8(v) => v.push(value as i8),
            Store::I16(v) => v.push(value as i16),
            Store::I32(v) => v.push(value as i32),
            Store::I64(v) => v.push(value as i64),
            Store::U8(v) => v.push(value as u8),
            Store::U16(v) => v.push(value as u16),
            Store::U32(v) => v.push(value as u32),
            Store::U64(v) => v.push(value as u64),
            _ => unreachable!("only integer columns come here"),
        }
    }

    fn push_float4(&mut self, value: f32) {
        if let Store::F32(v) = &mut self.store {
            v.push(value);
        }
    }

    fn push_float(&mut self, value: f64) {
        if let Store::F64(v) = &mut self.store {
            v.push(value);
        }
    }

    fn push_decimal(&mut self, value: i128) -> Result<()> {
        let DataType::Decimal(precision, scale) = self.data_type else { return Err(self.mismatch("numeric")) };
        if value.unsigned_abs() >= 10_u128.pow(u32::from(precision)) {
            return Err(error!(NumericValueOutOfRange, "numeric field overflow").with_detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
                i32::from(precision) - i32::from(scale)
            )));
        }
        if let Store::I128(v) = &mut self.store {
            v.push(value);
        }
        Ok(())
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let too_long = |what: String| Err(error!(StringDataRightTruncation, "value too long for type {what}"));
        match self.data_type {
            DataType::Varchar(max) if bytes.len() > max as usize => {
                return too_long(format!("character varying({max})"));
            }
            DataType::NChar(max) if crate::parser::scan::characters(bytes) > max as usize => {
                return too_long(format!("nchar({max})"));
            }
            DataType::Varbinary(max) if bytes.len() > max as usize => return too_long(format!("varbinary({max})")),
            DataType::Geometry(max) if bytes.len() > max as usize => return too_long(format!("geometry({max})")),
            _ => {}
        }
        if let Store::Bytes { offsets, data } = &mut self.store {
            if data.len() + bytes.len() > TEXT_BYTES_MAX {
                return Err(error!(
                    OutOfMemory,
                    "more than {TEXT_BYTES_MAX} bytes of text in one column of a statement"
                )
                .with_hint("send the rows in several statements"));
            }
            data.extend_from_slice(bytes);
            offsets.push(data.len() as i32);
        }
        Ok(())
    }
}

/// The whole number at the start of `text` and its length, if it has so few digits that it cannot overflow.
pub(crate) fn leading_integer(text: &[u8]) -> Option<(i64, usize)> {
    let start = usize::from(text.first() == Some(&b'-'));
    let (mut value, mut at) = (0_i64, start);
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        at += 1;
    }
    let digits = at - start;
    (1..=18).contains(&digits).then(|| (if start > 0 { -value } else { value }, at))
}

/// A whole number of so few digits that it cannot overflow; None for any other text.
fn short_integer(text: &str) -> Option<i64> {
    let (value, length) = leading_integer(text.as_bytes())?;
    (length == text.len()).then_some(value)
}

/// The text of a number that a string column takes, as PostgreSQL prints it; None for one with an exponent.
fn plain(digits: &str) -> Option<String> {
    if digits.contains(['e', 'E']) {
        return None;
    }
    let (sign, unsigned) = match digits.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && fraction.bytes().all(|byte| byte == b'0');
    let sign = if zero { "" } else { sign };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// `\x` and hexadecimal digits, or the older form with backslash escapes.
fn bytea(text: &str) -> Result<Vec<u8>> {
    let bad = || number::malformed(text, "bytea");
    if let Some(hex) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        if !digits.len().is_multiple_of(2) {
            return Err(bad());
        }
        let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        return digits.chunks(2).map(pair).collect::<Option<Vec<u8>>>().ok_or_else(bad);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else {
            let octal = text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
            out.push(octal.ok_or_else(bad)?);
            at += 4;
        }
    }
    Ok(out)
}

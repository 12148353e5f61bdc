//! Arrays: `{1,2,NULL,"a b"}` and the binary form, and the vectors of the system catalogs, `1 2 3`.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use model::{Result, error, fail};

use super::encode::{Cell, ColumnEncoder, Target, column};
use crate::pgtype::PgType;

/// The rows of a list array, and the encoder of all their elements.
struct Lists {
    ranges: Box<dyn Fn(usize) -> std::ops::Range<usize> + Send + Sync>,
    inner: Inner,
}

/// What the elements are.
enum Inner {
    /// Another dimension: its rows and which are NULL.
    Lists(Box<Lists>, Option<datafusion::arrow::buffer::NullBuffer>),
    /// Values.
    Values(ColumnEncoder),
}

impl Lists {
    fn new(array: &ArrayRef, element: &Target) -> Result<Self> {
        let (ranges, values): (Box<dyn Fn(usize) -> std::ops::Range<usize> + Send + Sync>, ArrayRef) =
            match array.data_type() {
                DataType::List(_) => {
                    let list = array.as_list::<i32>();
                    let offsets = list.offsets().clone();
                    (Box::new(move |row| offsets[row] as usize..offsets[row + 1] as usize), Arc::clone(list.values()))
                }
                DataType::LargeList(_) => {
                    let list = array.as_list::<i64>();
                    let offsets = list.offsets().clone();
                    (Box::new(move |row| offsets[row] as usize..offsets[row + 1] as usize), Arc::clone(list.values()))
                }
                DataType::FixedSizeList(_, size) => {
                    let size = *size as usize;
                    let values = array.as_fixed_size_list().values();
                    (Box::new(move |row| row * size..(row + 1) * size), Arc::clone(values))
                }
                other => fail!(InternalError, "{other} is not a list"),
            };
        let nested =
            matches!(values.data_type(), DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..));
        let inner = if nested {
            Inner::Lists(Box::new(Self::new(&values, element)?), values.logical_nulls())
        } else {
            Inner::Values(column(&values, element)?)
        };
        Ok(Self { ranges, inner })
    }

    /// `{1,2,NULL,"a b"}`.
    fn put_text(&self, row: usize, out: &mut BytesMut, scratch: &mut BytesMut) -> Result<()> {
        out.put_u8(b'{');
        for (nth, at) in (self.ranges)(row).enumerate() {
            if nth > 0 {
                out.put_u8(b',');
            }
            match &self.inner {
                Inner::Lists(_, Some(nulls)) if nulls.is_null(at) => out.put_slice(b"NULL"),
                Inner::Lists(lists, _) => lists.put_text(at, out, scratch)?,
                Inner::Values(values) if values.is_null(at) => out.put_slice(b"NULL"),
                Inner::Values(values) => {
                    scratch.clear();
                    values.put(at, scratch)?;
                    put_element(out, scratch);
                }
            }
        }
        out.put_u8(b'}');
        Ok(())
    }

    /// `1 2 3`.
    fn put_vector(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        let Inner::Values(values) = &self.inner else { fail!(InternalError, "a vector has one dimension") };
        for (nth, at) in (self.ranges)(row).enumerate() {
            if nth > 0 {
                out.put_u8(b' ');
            }
            values.put(at, out)?;
        }
        Ok(())
    }

    /// The lengths of all dimensions; arrays of PostgreSQL are rectangular.
    fn dimensions(&self, rows: std::ops::Range<usize>, into: &mut Vec<i32>) -> Result<()> {
        let mut length = None;
        for row in rows.clone() {
            let this = (self.ranges)(row).len();
            if *length.get_or_insert(this) != this {
                fail!(FeatureNotSupported, "arrays of unequal lengths cannot be sent in binary format");
            }
        }
        into.push(i32::try_from(length.unwrap_or(0)).map_err(|_| error!(NumericValueOutOfRange, "array too long"))?);
        if let (Inner::Lists(lists, _), Some(first)) = (&self.inner, rows.clone().next()) {
            let inner = (self.ranges)(first).start..(self.ranges)(rows.end - 1).end;
            lists.dimensions(inner, into)?;
        }
        Ok(())
    }

    fn put_elements(&self, row: usize, out: &mut BytesMut, any_null: &mut bool) -> Result<()> {
        for at in (self.ranges)(row) {
            match &self.inner {
                Inner::Lists(lists, _) => lists.put_elements(at, out, any_null)?,
                Inner::Values(values) => {
                    *any_null |= values.is_null(at);
                    values.put_sized(at, out)?;
                }
            }
        }
        Ok(())
    }

    fn put_binary(&self, row: usize, out: &mut BytesMut, element: PgType, lower_bound: i32) -> Result<()> {
        let mut dimensions = Vec::new();
        self.dimensions(row..row + 1, &mut dimensions)?;
        if dimensions.contains(&0) {
            dimensions.clear();
        }
        let at = out.len();
        out.put_i32(dimensions.len() as i32);
        out.put_i32(0);
        out.put_u32(element.oid);
        for length in &dimensions {
            out.put_i32(*length);
            out.put_i32(lower_bound);
        }
        let mut any_null = false;
        self.put_elements(row, out, &mut any_null)?;
        out[at + 7] = u8::from(any_null);
        Ok(())
    }
}

/// The element type of an array or vector type.
fn element_of(pg_type: PgType, array: &ArrayRef) -> PgType {
    match pg_type {
        PgType::INT2VECTOR => PgType::INT2,
        PgType::OIDVECTOR => PgType::OID,
        array_type if array_type.element != 0 => PgType::from_oid(array_type.element).unwrap_or(PgType::TEXT),
        _ => {
            let natural = PgType::of_arrow(array.data_type());
            PgType::from_oid(natural.element).unwrap_or(PgType::TEXT)
        }
    }
}

/// The encoder of a list array.
pub(super) fn lists(array: &ArrayRef, target: &Target) -> Result<Cell> {
    let element = element_of(target.pg_type, array);
    let vector = matches!(target.pg_type, PgType::INT2VECTOR | PgType::OIDVECTOR);
    let binary = target.binary && (vector || target.pg_type.element != 0);
    let inner = Target { pg_type: element, binary, settings: Arc::clone(&target.settings) };
    let lists = Lists::new(array, &inner)?;
    Ok(match (binary, vector) {
        (true, _) => Box::new(move |row, out| lists.put_binary(row, out, element, i32::from(!vector))),
        (false, true) => Box::new(move |row, out| lists.put_vector(row, out)),
        (false, false) => Box::new(move |row, out| lists.put_text(row, out, &mut BytesMut::new())),
    })
}

/// The binary form of values that are kept as the text of an array, a vector or bytes.
pub(super) fn binary_of_text<A: Send + Sync + 'static>(
    array: A,
    target: &Target,
    value: fn(&A, usize) -> &str,
) -> Result<Cell> {
    let target = target.clone();
    Ok(Box::new(move |row, out| {
        let text = value(&array, row);
        let scalar = if matches!(target.pg_type, PgType::INT2VECTOR | PgType::OIDVECTOR) {
            let element = if target.pg_type == PgType::OIDVECTOR { PgType::OID } else { PgType::INT2 };
            let words = format!("{{{}}}", text.split_whitespace().collect::<Vec<_>>().join(","));
            let array_type = element.array_of().unwrap_or(PgType::TEXT);
            super::decode::decode(array_type, false, words.as_bytes(), &target.settings)?
        } else {
            super::decode::decode(target.pg_type, false, text.as_bytes(), &target.settings)?
        };
        let one = scalar.to_array().map_err(model::Error::internal)?;
        column(&one, &target)?.put(0, out)
    }))
}

/// An element of an array in text, quoted if it must be.
fn put_element(out: &mut BytesMut, text: &[u8]) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | 9..=13);
    if !text.is_empty() && !text.iter().any(special) && !text.eq_ignore_ascii_case(b"null") {
        return out.put_slice(text);
    }
    out.put_u8(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}

//! Columns: Arrow arrays as vectors of cells, of which only those with a value are encoded.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, StringArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;
use model::{DataType, Precision};

use crate::codec::bytes::{Reader, put_varint};
use crate::codec::coding::Light;
use crate::codec::{Coding, Corrupt, ROWS_MAX, VECTOR_ROWS, bitset, float, int, text, wide};

/// The format of columns that the general stage left as they were.
const FORMAT: u8 = 1;
/// The newest format: vectors may be packed by zstd, and integers by pco.
const FORMAT_GENERAL: u8 = 2;
const PLACE: &str = "column";

const HAS_NULLS: u8 = 1;
const HAS_ABSENT: u8 = 2;
const ZSTD: u8 = 4;
/// Vectors with fewer bytes do not pay for a zstd frame.
const ZSTD_BYTES_MIN: usize = 64;
/// Most bytes of a vector of numbers or truth values, with its cells.
const PLAIN_BYTES_MAX: usize = 64 << 10;

/// Appends one column of at most [`ROWS_MAX`] cells.
///
/// Cells are null where `values` is null and where `absent` is set; of the latter no value is kept.
///
/// # Panics
///
/// If `values` is not of an Arrow type of `data_type`, or lengths differ or are too large.
pub fn encode_column(values: &dyn Array, data_type: DataType, absent: Option<&BooleanBuffer>, out: &mut Vec<u8>) {
    encode_column_as(values, data_type, absent, Coding::default(), out);
}

/// [`encode_column`] as `coding` says.
pub(crate) fn encode_column_as(
    values: &dyn Array,
    data_type: DataType,
    absent: Option<&BooleanBuffer>,
    coding: Coding,
    out: &mut Vec<u8>,
) {
    assert!(values.len() <= ROWS_MAX, "a column of {} rows", values.len());
    assert!(absent.is_none_or(|absent| absent.len() == values.len()), "a column and its absent cells differ in length");
    let valid = valid_cells(values, absent);
    encode_vectors(values.len(), out, |rows, out| {
        let valid = valid.as_ref().map(|valid| valid.slice(rows.start, rows.len()));
        let absent = absent.map(|absent| absent.slice(rows.start, rows.len()));
        let start = out.len();
        encode_cells(valid.as_ref(), absent.as_ref(), out);
        let rows = Rows { start: rows.start, len: rows.len(), valid };
        let general = encode_values(values, data_type, &rows, coding, out);
        // Text has its zstd inside.
        let level = coding.zstd().filter(|_| !general && !is_text(data_type));
        general | level.is_some_and(|level| squeeze(start, level, out))
    });
}

/// Appends at most [`ROWS_MAX`] integers, none of them null, as a column.
///
/// # Panics
///
/// If there are more.
pub fn encode_longs(values: &[i64], out: &mut Vec<u8>) {
    encode_longs_as(values, Coding::default(), out);
}

/// [`encode_longs`] as `coding` says.
pub(crate) fn encode_longs_as(values: &[i64], coding: Coding, out: &mut Vec<u8>) {
    assert!(values.len() <= ROWS_MAX, "a column of {} rows", values.len());
    encode_vectors(values.len(), out, |rows, out| {
        let start = out.len();
        out.push(0);
        let general = int::encode_as(&values[rows], LONG, coding, out);
        general | coding.zstd().filter(|_| !general).is_some_and(|level| squeeze(start, level, out))
    });
}

/// The cells of `rows` of a column of `total` cells: an array of `data_type.arrow(precision)`, null where the cell is
/// NULL or absent, and which cells are absent (None: none of them).
///
/// # Errors
///
/// If the bytes are not such a column of a known format.
///
/// # Panics
///
/// If `rows` goes beyond `total`, or `total` beyond [`ROWS_MAX`].
pub fn decode_column(
    bytes: &[u8],
    data_type: DataType,
    precision: Precision,
    total: usize,
    rows: Range<usize>,
) -> Result<(ArrayRef, Option<BooleanBuffer>), Corrupt> {
    let bytes = plain(bytes, total, &rows)?;
    let vectors = vectors_of(&bytes, total, &rows)?;
    let mut cells = Cells::default();
    let values = decode_values(&vectors, data_type, &mut cells)?;
    let nulls = cells.concat(&cells.valid, true).map(NullBuffer::new);
    let array = build(values, nulls, data_type, precision)?;
    let from = rows.start - vectors.first().map_or(rows.start, |vector| vector.rows.start);
    let absent = cells.concat(&cells.absent, false).map(|absent| absent.slice(from, rows.len()));
    Ok((array.slice(from, rows.len()), absent.filter(|absent| absent.count_set_bits() > 0)))
}

/// The integers of `rows` of a column of `total` that [`encode_longs`] wrote.
///
/// # Errors
///
/// If the bytes are not such a column of a known format.
///
/// # Panics
///
/// If `rows` goes beyond `total`, or `total` beyond [`ROWS_MAX`].
pub fn decode_longs(bytes: &[u8], total: usize, rows: Range<usize>) -> Result<Vec<i64>, Corrupt> {
    let bytes = plain(bytes, total, &rows)?;
    let vectors = vectors_of(&bytes, total, &rows)?;
    let mut cells = Cells::default();
    let mut longs = decode_fixed(&vectors, &mut cells, int::decode)?;
    if !cells.valid.iter().all(Option::is_none) {
        return Err(Corrupt::damaged(PLACE, "a key is NULL"));
    }
    let from = rows.start - vectors.first().map_or(rows.start, |vector| vector.rows.start);
    longs.truncate(from + rows.len());
    longs.drain(..from);
    Ok(longs)
}

/// How each vector of a column of `total` cells is encoded, for people.
///
/// # Errors
///
/// If the bytes are not a column of a known format.
pub fn describe_column(bytes: &[u8], data_type: DataType, total: usize) -> Result<Vec<String>, Corrupt> {
    let mut described = Vec::new();
    let stored = vectors_of(bytes, total, &(0..total))?;
    let bytes = plain(bytes, total, &(0..total))?;
    for (mut vector, stored) in vectors_of(&bytes, total, &(0..total))?.into_iter().zip(stored) {
        let stored = stored.reader.rest();
        let size = stored.len();
        let zstd = if stored.first().is_some_and(|cells| cells & ZSTD != 0) { "+zstd" } else { "" };
        let (count, _, _) = decode_cells(&mut vector)?;
        let rest = vector.reader.rest();
        let encoding = match data_type {
            _ if count == 0 => "nothing".to_owned(),
            DataType::Bool => bitset::describe(rest),
            DataType::Float | DataType::Double => float::describe(rest),
            DataType::Decimal(..) => wide::describe(rest),
            DataType::Varchar(_) | DataType::NChar(_) | DataType::Varbinary(_) => text::describe(rest),
            DataType::Geometry(_) | DataType::Json | DataType::Text => text::describe(rest),
            _ => int::describe(rest.first().copied().unwrap_or(0xff)).to_owned(),
        };
        described.push(format!("{encoding}{zstd} {size}B"));
    }
    Ok(described)
}

/// Some rows of an array that is being encoded, and which of them have a value (None: all).
struct Rows {
    start: usize,
    len: usize,
    valid: Option<BooleanBuffer>,
}

impl Rows {
    /// The values of the valid ones among `all`, converted.
    fn pick<T: Copy, U>(&self, all: &[T], convert: impl Fn(T) -> U) -> Vec<U> {
        let all = &all[self.start..self.start + self.len];
        match &self.valid {
            None => all.iter().map(|value| convert(*value)).collect(),
            Some(valid) => valid.set_indices().map(|row| convert(all[row])).collect(),
        }
    }

    /// The rows that are valid.
    fn indices(&self) -> Vec<usize> {
        match &self.valid {
            None => (self.start..self.start + self.len).collect(),
            Some(valid) => valid.set_indices().map(|row| self.start + row).collect(),
        }
    }
}

/// Where there is a value; None: everywhere.
pub(crate) fn valid_cells(values: &dyn Array, absent: Option<&BooleanBuffer>) -> Option<BooleanBuffer> {
    let valid = values.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.inner().clone());
    match (valid, absent.filter(|absent| absent.count_set_bits() > 0)) {
        (Some(valid), Some(absent)) => Some(&valid & &!absent),
        (None, Some(absent)) => Some(!absent),
        (valid, None) => valid,
    }
}

/// Appends the frame of a column, with `encode` for each vector, which says whether the general stage did something.
fn encode_vectors(total: usize, out: &mut Vec<u8>, encode: impl Fn(Range<usize>, &mut Vec<u8>) -> bool) {
    let mut general = false;
    let mut vectors = Vec::new();
    let mut ends = Vec::with_capacity(ROWS_MAX / VECTOR_ROWS);
    for start in (0..total).step_by(VECTOR_ROWS) {
        general |= encode(start..total.min(start + VECTOR_ROWS), &mut vectors);
        ends.push(vectors.len());
    }
    out.push(if general { FORMAT_GENERAL } else { FORMAT });
    let mut start = 0;
    for end in ends {
        put_varint(out, (end - start) as u64);
        start = end;
    }
    out.extend_from_slice(&vectors);
}

fn encode_cells(valid: Option<&BooleanBuffer>, absent: Option<&BooleanBuffer>, out: &mut Vec<u8>) {
    let valid = valid.filter(|valid| valid.count_set_bits() < valid.len());
    let absent = absent.filter(|absent| absent.count_set_bits() > 0);
    out.push((u8::from(valid.is_some()) * HAS_NULLS) | (u8::from(absent.is_some()) * HAS_ABSENT));
    if let Some(valid) = valid {
        bitset::encode(valid, out);
    }
    if let Some(absent) = absent {
        bitset::encode(absent, out);
    }
}

/// The native values of an array, nulls included.
pub(crate) fn natives<T: ArrowNativeType>(values: &dyn Array) -> ScalarBuffer<T> {
    let data = values.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// How an integer is kept where it is not encoded.
#[derive(Clone, Copy)]
pub(super) struct Width {
    pub(super) bits: u32,
    pub(super) signed: bool,
}

const LONG: Width = Width { bits: 64, signed: true };

fn signed(bits: u32) -> Width {
    Width { bits, signed: true }
}

fn unsigned(bits: u32) -> Width {
    Width { bits, signed: false }
}

fn is_text(data_type: DataType) -> bool {
    data_type.is_text() || matches!(data_type, DataType::Varbinary(_) | DataType::Geometry(_) | DataType::Json)
}

/// Appends the values of a vector; whether only format 2 has them so.
fn encode_values(values: &dyn Array, data_type: DataType, rows: &Rows, coding: Coding, out: &mut Vec<u8>) -> bool {
    let none = rows.valid.as_ref().is_some_and(|valid| valid.count_set_bits() == 0);
    if none {
        return false;
    }
    let mut ints = |values: &[i64], width: Width| int::encode_as(values, width, coding, out);
    match data_type {
        DataType::Timestamp | DataType::BigInt => return ints(&rows.pick(&natives::<i64>(values), |v| v), LONG),
        DataType::TinyInt => return ints(&rows.pick(&natives::<i8>(values), i64::from), signed(8)),
        DataType::SmallInt => return ints(&rows.pick(&natives::<i16>(values), i64::from), signed(16)),
        DataType::Int | DataType::Date => return ints(&rows.pick(&natives::<i32>(values), i64::from), signed(32)),
        DataType::UTinyInt => return ints(&rows.pick(&natives::<u8>(values), i64::from), unsigned(8)),
        DataType::USmallInt => return ints(&rows.pick(&natives::<u16>(values), i64::from), unsigned(16)),
        DataType::UInt => return ints(&rows.pick(&natives::<u32>(values), i64::from), unsigned(32)),
        DataType::UBigInt => return ints(&rows.pick(&natives::<u64>(values), |v| v as i64), LONG),
        DataType::Float => float::encode(&rows.pick(&natives::<f32>(values), |v| v), coding, out),
        DataType::Double => float::encode(&rows.pick(&natives::<f64>(values), |v| v), coding, out),
        DataType::Decimal(..) => {
            wide::encode(&rows.pick(&natives::<i128>(values), |v| v), coding.light == Light::Off, out);
        }
        DataType::Bool => {
            let bits = values.as_boolean().values().slice(rows.start, rows.len);
            let bits = match &rows.valid {
                None => bits,
                Some(valid) => valid.set_indices().map(|row| bits.value(row)).collect(),
            };
            if coding.light == Light::Off { bitset::encode_plain(&bits, out) } else { bitset::encode(&bits, out) }
        }
        DataType::Varchar(_) | DataType::NChar(_) | DataType::Json | DataType::Text => {
            let texts = values.as_string::<i32>();
            let picked: Vec<&[u8]> = rows.indices().into_iter().map(|row| texts.value(row).as_bytes()).collect();
            text::encode(&picked, coding, out);
        }
        DataType::Varbinary(_) | DataType::Geometry(_) => {
            let blobs = values.as_binary::<i32>();
            let picked: Vec<&[u8]> = rows.indices().into_iter().map(|row| blobs.value(row)).collect();
            text::encode(&picked, coding, out);
        }
    }
    false
}

/// Packs the vector that begins at `start` by zstd, if that saves a sixteenth of it.
fn squeeze(start: usize, level: i32, out: &mut Vec<u8>) -> bool {
    let rest = &out[start + 1..];
    let length = rest.len();
    if !(ZSTD_BYTES_MIN..=PLAIN_BYTES_MAX).contains(&length) {
        return false;
    }
    let Some(packed) = text::compress(rest, level).filter(|packed| packed.len() + 3 < length - length / 16) else {
        return false;
    };
    out[start] |= ZSTD;
    out.truncate(start + 1);
    put_varint(out, length as u64);
    out.extend_from_slice(&packed);
    true
}

/// The column with the vectors of `rows` as the light stage left them; others may be empty then.
fn plain<'a>(bytes: &'a [u8], total: usize, rows: &Range<usize>) -> Result<Cow<'a, [u8]>, Corrupt> {
    if bytes.first() != Some(&FORMAT_GENERAL) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut vectors = Vec::new();
    let mut ends = Vec::with_capacity(ROWS_MAX / VECTOR_ROWS);
    let mut stored = vectors_of(bytes, total, rows)?.into_iter().peekable();
    for start in (0..total).step_by(VECTOR_ROWS) {
        if let Some(vector) = stored.next_if(|vector| vector.rows.start == start) {
            unpack(vector.reader, &mut vectors)?;
        }
        ends.push(vectors.len());
    }
    let mut out = vec![FORMAT_GENERAL];
    let mut start = 0;
    for end in ends {
        put_varint(&mut out, (end - start) as u64);
        start = end;
    }
    out.extend_from_slice(&vectors);
    Ok(Cow::Owned(out))
}

/// Appends a vector without what [`squeeze`] did.
fn unpack(mut reader: Reader<'_>, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let all = reader.rest();
    let cells = reader.u8()?;
    if cells & ZSTD == 0 {
        out.extend_from_slice(all);
        return Ok(());
    }
    let length = reader.varint_up_to(PLAIN_BYTES_MAX)?;
    let plain = text::decompress(reader.rest(), length).filter(|plain| plain.len() == length);
    out.push(cells & !ZSTD);
    out.extend_from_slice(&plain.ok_or_else(|| reader.damaged("zstd refuses a vector"))?);
    Ok(())
}

/// One encoded vector.
struct Vector<'a> {
    rows: Range<usize>,
    reader: Reader<'a>,
}

/// The vectors that hold `rows`.
fn vectors_of<'a>(bytes: &'a [u8], total: usize, rows: &Range<usize>) -> Result<Vec<Vector<'a>>, Corrupt> {
    assert!(rows.start <= rows.end && rows.end <= total && total <= ROWS_MAX, "rows {rows:?} of {total}");
    let mut reader = Reader::new(bytes, PLACE);
    let format = reader.u8()?;
    if !(FORMAT..=FORMAT_GENERAL).contains(&format) {
        return Err(Corrupt::Format { place: PLACE, found: format, known: FORMAT_GENERAL });
    }
    let starts = (0..total).step_by(VECTOR_ROWS);
    let mut lengths = Vec::with_capacity(starts.len());
    for _ in starts.clone() {
        lengths.push(reader.varint_up_to(bytes.len())?);
    }
    let mut vectors = Vec::new();
    for (start, length) in starts.zip(lengths) {
        let vector = reader.take(length)?;
        let end = total.min(start + VECTOR_ROWS);
        if start < rows.end && rows.start < end {
            vectors.push(Vector { rows: start..end, reader: Reader::new(vector, "vector") });
        }
    }
    reader.end()?;
    Ok(vectors)
}

/// Validity and absent bits of decoded vectors with their lengths; None where all cells are alike.
#[derive(Default)]
struct Cells {
    lengths: Vec<usize>,
    valid: Vec<Option<BooleanBuffer>>,
    absent: Vec<Option<BooleanBuffer>>,
}

type Bits = Option<BooleanBuffer>;

/// How many cells of a vector have a value, which, and which are absent. Leaves the reader at the values.
fn decode_cells(vector: &mut Vector<'_>) -> Result<(usize, Bits, Bits), Corrupt> {
    let reader = &mut vector.reader;
    let flags = reader.u8()?;
    if flags & !(HAS_NULLS | HAS_ABSENT) != 0 {
        return Err(Corrupt::Encoding { place: "cells", found: flags });
    }
    let rows = vector.rows.len();
    let valid = if flags & HAS_NULLS != 0 { Some(bitset::decode(reader, rows)?) } else { None };
    let absent = if flags & HAS_ABSENT != 0 { Some(bitset::decode(reader, rows)?) } else { None };
    if let Some(absent) = &absent {
        let both = valid.as_ref().map_or(absent.count_set_bits(), |valid| (valid & absent).count_set_bits());
        if both > 0 {
            return Err(reader.damaged("an absent cell has a value"));
        }
    }
    let count = valid.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
    Ok((count, valid, absent))
}

/// Decoded values, one per cell; where there is no value, anything.
enum Decoded {
    Fixed(Buffer, usize),
    Bits(BooleanBuffer),
    Text(text::Values),
}

fn fixed<T: ArrowNativeType>(values: Vec<T>) -> Decoded {
    let count = values.len();
    Decoded::Fixed(Buffer::from_vec(values), count)
}

fn decode_values(vectors: &[Vector<'_>], data_type: DataType, cells: &mut Cells) -> Result<Decoded, Corrupt> {
    Ok(match data_type {
        DataType::Timestamp | DataType::BigInt => fixed(decode_fixed(vectors, cells, int::decode)?),
        DataType::TinyInt => fixed(decode_ints(vectors, cells, |value| value as i8)?),
        DataType::SmallInt => fixed(decode_ints(vectors, cells, |value| value as i16)?),
        DataType::Int | DataType::Date => fixed(decode_ints(vectors, cells, |value| value as i32)?),
        DataType::UTinyInt => fixed(decode_ints(vectors, cells, |value| value as u8)?),
        DataType::USmallInt => fixed(decode_ints(vectors, cells, |value| value as u16)?),
        DataType::UInt => fixed(decode_ints(vectors, cells, |value| value as u32)?),
        DataType::UBigInt => fixed(decode_ints(vectors, cells, |value| value as u64)?),
        DataType::Float => fixed(decode_fixed(vectors, cells, float::decode::<f32>)?),
        DataType::Double => fixed(decode_fixed(vectors, cells, float::decode::<f64>)?),
        DataType::Decimal(..) => fixed(decode_fixed(vectors, cells, wide::decode)?),
        DataType::Bool => Decoded::Bits(decode_bools(vectors, cells)?),
        DataType::Varchar(_) | DataType::NChar(_) | DataType::Json | DataType::Text => {
            Decoded::Text(decode_texts(vectors, cells)?)
        }
        DataType::Varbinary(_) | DataType::Geometry(_) => Decoded::Text(decode_texts(vectors, cells)?),
    })
}

/// Decodes values of a fixed size, `decode` filling one vector's.
fn decode_fixed<T: Copy + Default>(
    vectors: &[Vector<'_>],
    cells: &mut Cells,
    decode: impl Fn(&mut Reader<'_>, &mut [T]) -> Result<(), Corrupt>,
) -> Result<Vec<T>, Corrupt> {
    let total = vectors.iter().map(|vector| vector.rows.len()).sum();
    let mut all = vec![T::default(); total];
    let mut rest = &mut all[..];
    for vector in vectors {
        let mut vector = Vector { rows: vector.rows.clone(), reader: vector.reader.clone() };
        let (target, after) = std::mem::take(&mut rest).split_at_mut(vector.rows.len());
        rest = after;
        let (count, valid, absent) = decode_cells(&mut vector)?;
        match &valid {
            _ if count == 0 => {}
            None => decode(&mut vector.reader, target)?,
            Some(valid) => {
                let mut some = [T::default(); VECTOR_ROWS];
                decode(&mut vector.reader, &mut some[..count])?;
                for (row, value) in valid.set_indices().zip(some) {
                    target[row] = value;
                }
            }
        }
        cells.push(&vector, valid, absent)?;
    }
    Ok(all)
}

fn decode_ints<T: Copy + Default>(
    vectors: &[Vector<'_>],
    cells: &mut Cells,
    narrow: impl Fn(i64) -> T,
) -> Result<Vec<T>, Corrupt> {
    decode_fixed(vectors, cells, |reader, values: &mut [T]| {
        let mut longs = [0; VECTOR_ROWS];
        let longs = &mut longs[..values.len()];
        int::decode(reader, longs)?;
        values.iter_mut().zip(longs).for_each(|(value, long)| *value = narrow(*long));
        Ok(())
    })
}

fn decode_bools(vectors: &[Vector<'_>], cells: &mut Cells) -> Result<BooleanBuffer, Corrupt> {
    let mut all = arrow::array::BooleanBufferBuilder::new(ROWS_MAX);
    for vector in vectors {
        let mut vector = Vector { rows: vector.rows.clone(), reader: vector.reader.clone() };
        let (count, valid, absent) = decode_cells(&mut vector)?;
        match &valid {
            _ if count == 0 => all.append_n(vector.rows.len(), false),
            None => all.append_buffer(&bitset::decode(&mut vector.reader, count)?),
            Some(valid) => {
                let some = bitset::decode(&mut vector.reader, count)?;
                let mut next = 0;
                for cell in valid {
                    all.append(cell && some.value(next));
                    next += usize::from(cell);
                }
            }
        }
        cells.push(&vector, valid, absent)?;
    }
    Ok(all.finish())
}

fn decode_texts(vectors: &[Vector<'_>], cells: &mut Cells) -> Result<text::Values, Corrupt> {
    let mut all = text::Values::with_capacity(vectors.iter().map(|vector| vector.rows.len()).sum());
    for vector in vectors {
        let mut vector = Vector { rows: vector.rows.clone(), reader: vector.reader.clone() };
        let (count, valid, absent) = decode_cells(&mut vector)?;
        match &valid {
            _ if count == 0 => (0..vector.rows.len()).for_each(|_| all.push(&[])),
            None => text::decode(&mut vector.reader, count, &mut all)?,
            Some(valid) => {
                // The offsets of the valid cells are stretched over all cells: the others are empty.
                let start = all.offsets.len();
                text::decode(&mut vector.reader, count, &mut all)?;
                let some = all.offsets.split_off(start);
                let mut next = 0;
                let mut end = all.offsets.last().copied().unwrap_or(0);
                for cell in valid {
                    if cell {
                        end = some[next];
                        next += 1;
                    }
                    all.offsets.push(end);
                }
            }
        }
        cells.push(&vector, valid, absent)?;
    }
    Ok(all)
}

impl Cells {
    /// Notes the cells of a vector, which must have been read to its end.
    fn push(&mut self, vector: &Vector<'_>, valid: Bits, absent: Bits) -> Result<(), Corrupt> {
        vector.reader.end()?;
        self.lengths.push(vector.rows.len());
        self.valid.push(valid);
        self.absent.push(absent);
        Ok(())
    }

    /// The bits of all vectors, `default` where a vector has none; None if no vector has any.
    fn concat(&self, parts: &[Bits], default: bool) -> Bits {
        if parts.iter().all(Option::is_none) {
            return None;
        }
        let mut all = arrow::array::BooleanBufferBuilder::new(ROWS_MAX);
        for (part, length) in parts.iter().zip(&self.lengths) {
            match part {
                Some(bits) => all.append_buffer(bits),
                None => all.append_n(*length, default),
            }
        }
        Some(all.finish())
    }
}

fn build(
    values: Decoded,
    nulls: Option<NullBuffer>,
    data_type: DataType,
    precision: Precision,
) -> Result<ArrayRef, Corrupt> {
    let refused = |_| Corrupt::damaged(PLACE, "it is not valid text");
    Ok(match values {
        Decoded::Fixed(buffer, count) => {
            let arrow = data_type.arrow(precision);
            let data = ArrayData::builder(arrow).len(count).add_buffer(buffer).nulls(nulls).build();
            make_array(data.map_err(|_| Corrupt::damaged(PLACE, "Arrow refuses its values"))?)
        }
        Decoded::Bits(bits) => Arc::new(BooleanArray::new(bits, nulls)),
        Decoded::Text(text) => {
            let offsets = OffsetBuffer::new(ScalarBuffer::from(text.offsets));
            let bytes = Buffer::from_vec(text.bytes);
            if matches!(data_type, DataType::Varbinary(_) | DataType::Geometry(_)) {
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls).map_err(refused)?)
            } else {
                Arc::new(StringArray::try_new(offsets, bytes, nulls).map_err(refused)?)
            }
        }
    })
}

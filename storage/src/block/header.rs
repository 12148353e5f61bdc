//! The header of a block: everything a reader needs before it touches a chunk.
//!
//! ```text
//! format u8 | precision u8 | suid, rows varint
//! series varint | sids as integers | rows of each as integers
//! key min zigzag | key max - key min varint | version min varint | version max - version min varint
//! chunks varint | place of the keys | place of the versions, unless all are alike
//! columns varint | column …
//! column = id varint | type | place | statistics
//! type   = tag u8 | length varint (VARCHAR, NCHAR, VARBINARY, GEOMETRY) or digits u8, scale u8 (DECIMAL)
//! place  = chunk, offset, length varint
//! statistics = flags u8 | values, NULLs, absent varint | min, max | sum | first | last     each where its flag is set
//! ```
//!
//! Integers are vectors of `codec::int` of at most 1,024, one after another.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use model::{ColumnId, DataType, Precision, Sid, Suid, Value};

use crate::Corrupt;
use crate::block::{CompensatedSum, ROWS_MAX, Statistics, Sum};
use crate::codec::bytes::{Reader, put_varint, put_zigzag};
use crate::codec::{self, VECTOR_ROWS, int};

/// The format that is written, and the newest that is read.
const FORMAT: u8 = 1;
const PLACE: &str = "block header";
const CHUNK: &str = "block chunk";

const HAS_NAN: u8 = 1;
const HAS_RANGE: u8 = 2;
const HAS_SUM: u8 = 4;
const HAS_FIRST: u8 = 8;
const HAS_LAST: u8 = 16;

/// The chunk that holds the keys, and the versions where they differ.
pub const KEYS_CHUNK: u16 = 0;

/// A decoded block header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The relation.
    pub suid: Suid,
    /// Length of a tick.
    pub precision: Precision,
    /// Rows: 1 to [`crate::block::ROWS_MAX`].
    pub rows: usize,
    /// Which rows are whose: ascending, each sid once, together all rows.
    pub directory: Vec<SidRun>,
    /// Least key of the block.
    pub key_min: i64,
    /// Greatest key of the block.
    pub key_max: i64,
    /// Oldest version of a row.
    pub version_min: u64,
    /// Newest version of a row.
    pub version_max: u64,
    /// How many chunks there are.
    pub chunks: u16,
    /// Columns in the order of the input, without the key.
    pub columns: Vec<ColumnMeta>,
    pub(super) keys: Place,
    pub(super) versions: Option<Place>,
}

/// The rows of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SidRun {
    /// Whose.
    pub sid: Sid,
    /// Its first row.
    pub start: u32,
    /// The row after its last one.
    pub end: u32,
}

/// What the header says about one column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnMeta {
    /// Which.
    pub id: ColumnId,
    /// Its type when it was written.
    pub data_type: DataType,
    /// What its cells are like.
    pub statistics: Statistics,
    pub(super) place: Place,
}

/// Where an encoded column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) chunk: u16,
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Place {
    /// The bytes at this place of its chunk.
    pub(super) fn of(self, chunk: &[u8]) -> Result<&[u8], Corrupt> {
        let (start, length) = (self.offset as usize, self.length as usize);
        let bytes = chunk.get(start..).and_then(|rest| rest.get(..length));
        bytes.ok_or_else(|| Corrupt::damaged(CHUNK, "it is shorter than its header says"))
    }
}

impl ColumnMeta {
    /// The chunk that the column is in.
    #[must_use]
    pub const fn chunk(&self) -> u16 {
        self.place.chunk
    }

    /// Bytes of the encoded column.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.place.length
    }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// If the bytes are not a header of a known format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes, PLACE);
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(Corrupt::Format { place: PLACE, found: format, known: FORMAT });
        }
        let precision = match reader.u8()? {
            0 => Precision::Milli,
            1 => Precision::Micro,
            2 => Precision::Nano,
            found => return Err(Corrupt::Encoding { place: "precision of a block", found }),
        };
        let suid = Suid(reader.varint_up_to(u32::MAX as usize)? as u32);
        let rows = reader.varint_up_to(ROWS_MAX)?;
        let directory = take_directory(&mut reader, rows)?;
        let key_min = reader.zigzag()?;
        let key_max = key_min.checked_add_unsigned(reader.varint()?);
        let version_min = reader.varint()?;
        let version_max = version_min.checked_add(reader.varint()?);
        let (Some(key_max), Some(version_max)) = (key_max, version_max) else {
            return Err(reader.damaged("a range is out of range"));
        };
        let chunks = reader.varint_up_to(usize::from(u16::MAX))? as u16;
        let keys = take_place(&mut reader, chunks)?;
        let versions = if version_min < version_max { Some(take_place(&mut reader, chunks)?) } else { None };
        let mut columns = Vec::new();
        for _ in 0..reader.varint_up_to(usize::from(u16::MAX))? {
            let id = ColumnId(reader.varint_up_to(usize::from(u16::MAX))? as u16);
            let data_type = take_type(&mut reader)?;
            let place = take_place(&mut reader, chunks)?;
            let statistics = take_statistics(&mut reader)?;
            columns.push(ColumnMeta { id, data_type, statistics, place });
        }
        reader.end()?;
        Ok(Self {
            suid,
            precision,
            rows,
            directory,
            key_min,
            key_max,
            version_min,
            version_max,
            chunks,
            columns,
            keys,
            versions,
        })
    }

    /// What [`Header::decode`] reads.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, self.precision as u8];
        put_varint(&mut out, u64::from(self.suid.0));
        put_varint(&mut out, self.rows as u64);
        put_directory(&mut out, &self.directory);
        put_zigzag(&mut out, self.key_min);
        put_varint(&mut out, self.key_max.wrapping_sub(self.key_min) as u64);
        put_varint(&mut out, self.version_min);
        put_varint(&mut out, self.version_max - self.version_min);
        put_varint(&mut out, u64::from(self.chunks));
        put_place(&mut out, self.keys);
        if let Some(versions) = self.versions {
            put_place(&mut out, versions);
        }
        put_varint(&mut out, self.columns.len() as u64);
        for column in &self.columns {
            put_varint(&mut out, u64::from(column.id.0));
            put_type(&mut out, column.data_type);
            put_place(&mut out, column.place);
            put_statistics(&mut out, &column.statistics);
        }
        out
    }

    /// What is known of a column; None if it is absent in all rows.
    #[must_use]
    pub fn column(&self, id: ColumnId) -> Option<&ColumnMeta> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// Whether all rows belong to one series, so that keys ascend over the whole block.
    #[must_use]
    pub fn is_single_series(&self) -> bool {
        self.directory.len() == 1
    }

    /// Sid of the first row.
    #[must_use]
    pub fn sid_min(&self) -> Sid {
        self.directory.first().map_or(Sid(0), |run| run.sid)
    }

    /// Sid of the last row.
    #[must_use]
    pub fn sid_max(&self) -> Sid {
        self.directory.last().map_or(Sid(0), |run| run.sid)
    }

    /// The rows of one series; empty if it has none.
    #[must_use]
    pub fn rows_of(&self, sid: Sid) -> Range<usize> {
        match self.directory.binary_search_by_key(&sid, |run| run.sid) {
            Ok(at) => self.directory[at].start as usize..self.directory[at].end as usize,
            Err(_) => 0..0,
        }
    }

    /// The sid of each of `rows`.
    ///
    /// # Panics
    ///
    /// If `rows` goes beyond the block.
    #[must_use]
    pub fn sids(&self, rows: Range<usize>) -> Vec<u32> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let mut sids = Vec::with_capacity(rows.len());
        let first = self.directory.partition_point(|run| run.end as usize <= rows.start);
        for run in &self.directory[first..] {
            let (start, end) = (rows.start.max(run.start as usize), rows.end.min(run.end as usize));
            if start >= end {
                break;
            }
            sids.extend(std::iter::repeat_n(run.sid.0, end - start));
        }
        sids
    }

    /// The chunk that [`Header::decode_versions`] reads; None when all rows have one version. It is not always
    /// [`KEYS_CHUNK`]: keys and versions that do not pack well fill more than one.
    #[must_use]
    pub fn versions_chunk(&self) -> Option<u16> {
        self.versions.map(|place| place.chunk)
    }

    /// The keys of `rows` from the bytes of [`KEYS_CHUNK`].
    ///
    /// # Errors
    ///
    /// If the chunk is not this block's.
    ///
    /// # Panics
    ///
    /// If `rows` goes beyond the block.
    pub fn decode_keys(&self, chunk: &[u8], rows: Range<usize>) -> Result<Vec<i64>, Corrupt> {
        codec::decode_longs(self.keys.of(chunk)?, self.rows, rows)
    }

    /// The versions of `rows` from the bytes of [`Header::versions_chunk`], which may be empty where there is none.
    ///
    /// # Errors
    ///
    /// If the chunk is not this block's.
    ///
    /// # Panics
    ///
    /// If `rows` goes beyond the block.
    pub fn decode_versions(&self, chunk: &[u8], rows: Range<usize>) -> Result<Vec<u64>, Corrupt> {
        let Some(place) = self.versions else { return Ok(vec![self.version_min; rows.len()]) };
        let versions = codec::decode_longs(place.of(chunk)?, self.rows, rows)?;
        Ok(versions.into_iter().map(|version| version as u64).collect())
    }

    /// The cells of `rows` of one column from the bytes of chunk [`ColumnMeta::chunk`]: values of
    /// `column.data_type.arrow(self.precision)`, null where the cell is NULL or absent, and which cells are absent
    /// (None: none of them).
    ///
    /// Costs whole vectors of [`crate::codec::VECTOR_ROWS`].
    ///
    /// # Errors
    ///
    /// If the chunk is not this block's.
    ///
    /// # Panics
    ///
    /// If `rows` goes beyond the block.
    pub fn decode_column(
        &self,
        column: &ColumnMeta,
        chunk: &[u8],
        rows: Range<usize>,
    ) -> Result<(ArrayRef, Option<BooleanBuffer>), Corrupt> {
        codec::decode_column(column.place.of(chunk)?, column.data_type, self.precision, self.rows, rows)
    }
}

fn put_directory(out: &mut Vec<u8>, directory: &[SidRun]) {
    put_varint(out, directory.len() as u64);
    let sids: Vec<i64> = directory.iter().map(|run| i64::from(run.sid.0)).collect();
    let rows: Vec<i64> = directory.iter().map(|run| i64::from(run.end - run.start)).collect();
    sids.chunks(VECTOR_ROWS).for_each(|part| int::encode(part, out));
    rows.chunks(VECTOR_ROWS).for_each(|part| int::encode(part, out));
}

fn take_directory(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<SidRun>, Corrupt> {
    let series = reader.varint_up_to(rows)?;
    let (mut sids, mut lengths) = (vec![0; series], vec![0; series]);
    for part in sids.chunks_mut(VECTOR_ROWS).chain(lengths.chunks_mut(VECTOR_ROWS)) {
        int::decode(reader, part)?;
    }
    let mut directory: Vec<SidRun> = Vec::with_capacity(series);
    let mut start = 0;
    for (sid, length) in sids.into_iter().zip(lengths) {
        let (Ok(sid), Ok(length)) = (u32::try_from(sid), u32::try_from(length)) else {
            return Err(reader.damaged("a sid or its rows are out of range"));
        };
        let end = start + length.min(ROWS_MAX as u32);
        let ascends = directory.last().is_none_or(|last| last.sid < Sid(sid));
        if !ascends || length == 0 || end as usize > rows {
            return Err(reader.damaged("its series do not ascend"));
        }
        directory.push(SidRun { sid: Sid(sid), start, end });
        start = end;
    }
    if rows == 0 || start as usize != rows {
        return Err(reader.damaged("its series have another number of rows"));
    }
    Ok(directory)
}

fn put_place(out: &mut Vec<u8>, place: Place) {
    put_varint(out, u64::from(place.chunk));
    put_varint(out, u64::from(place.offset));
    put_varint(out, u64::from(place.length));
}

fn take_place(reader: &mut Reader<'_>, chunks: u16) -> Result<Place, Corrupt> {
    let chunk = reader.varint_up_to(usize::from(chunks.saturating_sub(1)))? as u16;
    let offset = reader.varint_up_to(u32::MAX as usize)? as u32;
    let length = reader.varint_up_to(u32::MAX as usize)? as u32;
    Ok(Place { chunk, offset, length })
}

fn put_type(out: &mut Vec<u8>, data_type: DataType) {
    let (tag, length) = match data_type {
        DataType::Timestamp => (0, None),
        DataType::Bool => (1, None),
        DataType::TinyInt => (2, None),
        DataType::SmallInt => (3, None),
        DataType::Int => (4, None),
        DataType::BigInt => (5, None),
        DataType::UTinyInt => (6, None),
        DataType::USmallInt => (7, None),
        DataType::UInt => (8, None),
        DataType::UBigInt => (9, None),
        DataType::Float => (10, None),
        DataType::Double => (11, None),
        DataType::Varchar(length) => (12, Some(length)),
        DataType::NChar(length) => (13, Some(length)),
        DataType::Varbinary(length) => (14, Some(length)),
        DataType::Geometry(length) => (15, Some(length)),
        DataType::Json => (16, None),
        DataType::Text => (17, None),
        DataType::Date => (18, None),
        DataType::Decimal(digits, scale) => {
            out.extend_from_slice(&[19, digits, scale as u8]);
            return;
        }
    };
    out.push(tag);
    if let Some(length) = length {
        put_varint(out, u64::from(length));
    }
}

fn take_type(reader: &mut Reader<'_>) -> Result<DataType, Corrupt> {
    let length = |reader: &mut Reader<'_>| Ok(reader.varint_up_to(u32::MAX as usize)? as u32);
    Ok(match reader.u8()? {
        0 => DataType::Timestamp,
        1 => DataType::Bool,
        2 => DataType::TinyInt,
        3 => DataType::SmallInt,
        4 => DataType::Int,
        5 => DataType::BigInt,
        6 => DataType::UTinyInt,
        7 => DataType::USmallInt,
        8 => DataType::UInt,
        9 => DataType::UBigInt,
        10 => DataType::Float,
        11 => DataType::Double,
        12 => DataType::Varchar(length(reader)?),
        13 => DataType::NChar(length(reader)?),
        14 => DataType::Varbinary(length(reader)?),
        15 => DataType::Geometry(length(reader)?),
        16 => DataType::Json,
        17 => DataType::Text,
        18 => DataType::Date,
        19 => DataType::Decimal(reader.u8()?, reader.u8()? as i8),
        found => return Err(Corrupt::Encoding { place: "type of a column", found }),
    })
}

fn put_statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let range = statistics.min.as_ref().zip(statistics.max.as_ref());
    out.push(
        flag(statistics.nan, HAS_NAN)
            | flag(range.is_some(), HAS_RANGE)
            | flag(statistics.sum.is_some(), HAS_SUM)
            | flag(statistics.first.is_some(), HAS_FIRST)
            | flag(statistics.last.is_some(), HAS_LAST),
    );
    for count in [statistics.count, statistics.nulls, statistics.absent] {
        put_varint(out, u64::from(count));
    }
    if let Some((min, max)) = range {
        put_value(out, min);
        put_value(out, max);
    }
    match statistics.sum {
        None => {}
        Some(Sum::Int(sum)) => match i64::try_from(sum) {
            Ok(sum) => put_value(out, &Value::Int(sum)),
            Err(_) => put_value(out, &Value::Decimal(sum)),
        },
        Some(Sum::Float(sum)) => {
            put_value(out, &Value::Float(sum.sum));
            out.extend_from_slice(&sum.compensation.to_le_bytes());
        }
    }
    for end in [&statistics.first, &statistics.last].into_iter().flatten() {
        put_value(out, end);
    }
}

fn take_statistics(reader: &mut Reader<'_>) -> Result<Statistics, Corrupt> {
    let flags = reader.u8()?;
    if flags >= 2 * HAS_LAST {
        return Err(Corrupt::Encoding { place: "statistics", found: flags });
    }
    let mut statistics = Statistics { nan: flags & HAS_NAN != 0, ..Statistics::default() };
    for count in [&mut statistics.count, &mut statistics.nulls, &mut statistics.absent] {
        *count = reader.varint_up_to(ROWS_MAX)? as u32;
    }
    if flags & HAS_RANGE != 0 {
        statistics.min = Some(take_value(reader)?);
        statistics.max = Some(take_value(reader)?);
    }
    if flags & HAS_SUM != 0 {
        statistics.sum = Some(match take_value(reader)? {
            Value::Int(sum) => Sum::Int(i128::from(sum)),
            Value::Decimal(sum) => Sum::Int(sum),
            Value::Float(sum) => {
                let compensation = f64::from_le_bytes(reader.array()?);
                Sum::Float(CompensatedSum { sum, compensation })
            }
            _ => return Err(reader.damaged("a sum is not a number")),
        });
    }
    if flags & HAS_FIRST != 0 {
        statistics.first = Some(take_value(reader)?);
    }
    if flags & HAS_LAST != 0 {
        statistics.last = Some(take_value(reader)?);
    }
    Ok(statistics)
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(value) => out.push(1 + u8::from(*value)),
        Value::Int(value) => {
            out.push(3);
            put_zigzag(out, *value);
        }
        Value::UInt(value) => {
            out.push(4);
            put_varint(out, *value);
        }
        Value::Float(value) => {
            out.push(5);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Decimal(value) => {
            out.push(6);
            out.extend_from_slice(&value.to_le_bytes());
        }
        Value::Text(value) => {
            out.push(7);
            put_varint(out, value.len() as u64);
            out.extend_from_slice(value.as_bytes());
        }
        Value::Bytes(value) => {
            out.push(8);
            put_varint(out, value.len() as u64);
            out.extend_from_slice(value);
        }
    }
}

fn take_value(reader: &mut Reader<'_>) -> Result<Value, Corrupt> {
    Ok(match reader.u8()? {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Int(reader.zigzag()?),
        4 => Value::UInt(reader.varint()?),
        5 => Value::Float(f64::from_le_bytes(reader.array()?)),
        6 => Value::Decimal(i128::from_le_bytes(reader.array()?)),
        7 => {
            let length = reader.varint_up_to(reader.rest().len())?;
            let text = std::str::from_utf8(reader.take(length)?);
            Value::Text(text.map_err(|_| reader.damaged("text is not UTF-8"))?.to_owned())
        }
        8 => {
            let length = reader.varint_up_to(reader.rest().len())?;
            Value::Bytes(reader.take(length)?.to_vec())
        }
        found => return Err(Corrupt::Encoding { place: "value", found }),
    })
}

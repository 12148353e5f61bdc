//! Blocks of every type come back, their statistics are exact, and damage is found.

use std::sync::Arc;

use arrow::array::{Float64Array, Int32Array, StringArray};
use arrow::buffer::NullBuffer;
use model::Value;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::Corrupt;
use crate::codec::tests::{TYPES, bits, cells, column};

/// The rows that a [`BlockInput`] borrows.
struct Rows {
    sids: Vec<u32>,
    keys: Vec<i64>,
    versions: Vec<u64>,
    columns: Vec<BlockColumn>,
}

impl Rows {
    fn input(&self) -> BlockInput<'_> {
        let (sids, keys, versions) = (&self.sids, &self.keys, &self.versions);
        BlockInput {
            suid: Suid(9),
            precision: Precision::Milli,
            sids,
            keys,
            versions,
            coding: Coding::default(),
            columns: self.columns.clone(),
        }
    }
}

/// `rows` rows of series with `per_series` rows each, a second apart.
fn rows(rows: usize, per_series: usize, same_version: bool, columns: Vec<BlockColumn>) -> Rows {
    Rows {
        sids: (0..rows).map(|row| 100 + 3 * (row / per_series) as u32).collect(),
        keys: (0..rows).map(|row| 1_700_000_000_000 + (row % per_series) as i64 * 1000).collect(),
        versions: (0..rows).map(|row| if same_version { 77 } else { u64::MAX - (row as u64 * 31) % 50 }).collect(),
        columns,
    }
}

fn of(id: u16, data_type: DataType, values: ArrayRef) -> BlockColumn {
    BlockColumn { id: ColumnId(id), data_type, values, absent: None, coding: Coding::default() }
}

fn random_columns(count: usize, kinds: &[(usize, u8, u8, u8)], seed: u64) -> Vec<BlockColumn> {
    let column = |(at, &(kind, shape, null, gone)): (usize, &(usize, u8, u8, u8))| {
        let seed = seed ^ at as u64;
        let nulls = (null > 0).then(|| NullBuffer::new(!&bits(count, null, seed ^ 1)));
        let values = column(TYPES[kind], shape, count, nulls, seed);
        let absent = (gone > 2).then(|| bits(count, gone, seed ^ 2));
        BlockColumn { id: ColumnId(at as u16 + 1), data_type: TYPES[kind], values, absent, coding: Coding::default() }
    };
    kinds.iter().enumerate().map(column).collect()
}

/// What statistics must say of `cells`, worked out the slow way for doubles and integers of 32 bits.
fn check_numbers(column: &BlockColumn, statistics: &Statistics, single: bool) {
    let cells = cells(&column.values, column.absent.as_ref());
    let absent = column.absent.as_ref().map_or(0, BooleanBuffer::count_set_bits);
    let valid: Vec<&Vec<u8>> = cells.iter().flatten().collect();
    assert_eq!(statistics.count as usize, valid.len());
    assert_eq!(statistics.absent as usize, absent);
    assert_eq!(statistics.nulls as usize, cells.len() - valid.len() - absent);
    assert_eq!(statistics.usable(), absent == 0);
    let value: fn(&[u8]) -> Value = match column.data_type {
        DataType::Int => |b| Value::Int(i64::from(i32::from_le_bytes(b.try_into().unwrap()))),
        DataType::Double => |b| Value::Float(f64::from_le_bytes(b.try_into().unwrap())),
        _ => return,
    };
    let order = |a: &Value, b: &Value| match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        _ => unreachable!(),
    };
    // NaN is not equal to itself, so values are compared as printed, which tells -0 from 0.
    let show = |value: Option<Value>| format!("{value:?}");
    let all: Vec<Value> = valid.iter().map(|bytes| value(bytes)).collect();
    let is_nan = |value: &Value| matches!(value, Value::Float(value) if value.is_nan());
    let numbers = || all.iter().filter(|value| !is_nan(value)).cloned();
    assert_eq!(show(statistics.min.clone()), show(numbers().min_by(order)));
    assert_eq!(show(statistics.max.clone()), show(numbers().max_by(order)));
    assert_eq!(statistics.nan, all.iter().any(is_nan));
    if let Some(Sum::Int(sum)) = statistics.sum {
        assert_eq!(sum, all.iter().map(|v| if let Value::Int(v) = v { i128::from(*v) } else { 0 }).sum::<i128>());
    }
    let end = |cell: &Option<Vec<u8>>| single.then(|| cell.as_ref().map_or(Value::Null, |bytes| value(bytes)));
    assert_eq!(show(statistics.first.clone()), show(end(&cells[0])));
    assert_eq!(show(statistics.last.clone()), show(end(&cells[cells.len() - 1])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Header, sids, keys, versions, columns and ranges of them are what was given.
    #[test]
    fn blocks_come_back(
        count in prop_oneof![1..20_usize, 1000..1100_usize, Just(4096)],
        per_series in prop_oneof![Just(1_usize), 2..40_usize, Just(9999)],
        same_version: bool, seed: u64,
        kinds in prop::collection::vec((0..TYPES.len(), 0..9_u8, 0..4_u8, 0..6_u8), 0..6),
        cut in any::<(u16, u16)>(),
    ) {
        let rows = rows(count, per_series, same_version, random_columns(count, &kinds, seed));
        let encoded = encode(&rows.input());
        let header = Header::decode(&encoded.header).unwrap();
        prop_assert_eq!((header.rows, header.suid), (count, Suid(9)));
        prop_assert_eq!(usize::from(header.chunks), encoded.chunks.len());
        prop_assert_eq!(header.key_min, *rows.keys.iter().min().unwrap());
        prop_assert_eq!(header.key_max, *rows.keys.iter().max().unwrap());
        prop_assert_eq!(header.version_min, *rows.versions.iter().min().unwrap());
        prop_assert_eq!(header.version_max, *rows.versions.iter().max().unwrap());
        prop_assert_eq!(header.is_single_series(), per_series >= count);
        let start = usize::from(cut.0) % (count + 1);
        let part = start..start + usize::from(cut.1) % (count - start + 1);
        for range in [0..count, part] {
            let keys = &encoded.chunks[usize::from(KEYS_CHUNK)];
            prop_assert_eq!(header.sids(range.clone()), &rows.sids[range.clone()]);
            prop_assert_eq!(header.decode_keys(keys, range.clone()).unwrap(), &rows.keys[range.clone()]);
            let versions = header.versions_chunk().map_or(&[][..], |chunk| &encoded.chunks[usize::from(chunk)]);
            prop_assert_eq!(header.decode_versions(versions, range.clone()).unwrap(), &rows.versions[range.clone()]);
            for (meta, column) in header.columns.iter().zip(&rows.columns) {
                prop_assert_eq!((meta.id, meta.data_type), (column.id, column.data_type));
                let chunk = &encoded.chunks[usize::from(meta.chunk())];
                let (values, _) = header.decode_column(meta, chunk, range.clone()).unwrap();
                let expected = cells(&column.values, column.absent.as_ref());
                prop_assert_eq!(cells(&values, None), &expected[range.clone()]);
            }
        }
        for (sid, run) in rows.sids.iter().zip(0..) {
            prop_assert!(header.rows_of(Sid(*sid)).contains(&run));
        }
        prop_assert!(header.rows_of(Sid(99)).is_empty());
        for (meta, column) in header.columns.iter().zip(&rows.columns) {
            check_numbers(column, &meta.statistics, header.is_single_series());
        }
        prop_assert!(inspect(&encoded.header, &encoded.chunks).is_ok());
    }

    /// A damaged header or chunk gives an error or other values.
    #[test]
    fn damage_never_panics(
        kinds in prop::collection::vec((0..TYPES.len(), 0..9_u8, 0..4_u8, 0..6_u8), 0..4), seed: u64,
        flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..3), cut: prop::sample::Index,
    ) {
        let rows = rows(60, 7, false, random_columns(60, &kinds, seed));
        let encoded = encode(&rows.input());
        prop_assert!(Header::decode(&encoded.header[..cut.index(encoded.header.len())]).is_err());
        let (mut header, mut chunk) = (encoded.header.clone(), encoded.chunks[0].clone());
        for (at, mask) in flips {
            let (in_header, in_chunk) = (at.index(header.len()), at.index(chunk.len()));
            header[in_header] ^= mask;
            chunk[in_chunk] ^= mask;
        }
        let _ = inspect(&encoded.header, &[chunk]);
        if let Ok(header) = Header::decode(&header) {
            let _ = header.decode_keys(&encoded.chunks[0], 0..header.rows);
            let _ = header.decode_versions(&encoded.chunks[0], 0..header.rows);
            prop_assert_eq!(header.sids(0..header.rows).len(), header.rows);
            for column in &header.columns {
                let _ = header.decode_column(column, &encoded.chunks[0], 0..header.rows);
            }
        }
        let _ = inspect(&header, &encoded.chunks);
    }
}

/// A meter: a tick every second with jitter, a drifting temperature of two decimals, a state that changes at times.
fn meter(count: usize) -> Rows {
    let random = &mut StdRng::seed_from_u64(1);
    let mut temperature = 2150_i64;
    let temperatures: Float64Array = (0..count)
        .map(|_| {
            temperature += random.random_range(-20..=20);
            Some(temperature as f64 / 100.0)
        })
        .collect();
    let states: Int32Array = (0..count).map(|row| Some((row / 50 % 4) as i32)).collect();
    let mut meter = rows(
        count,
        count,
        true,
        vec![of(1, DataType::Double, Arc::new(temperatures)), of(2, DataType::Int, Arc::new(states))],
    );
    meter.keys.iter_mut().for_each(|key| *key += random.random_range(0..20));
    meter
}

#[test]
fn a_meter_takes_less_than_two_bytes_a_row() {
    let encoded = encode(&meter(4096).input());
    let bytes = encoded.header.len() + encoded.chunks.iter().map(Vec::len).sum::<usize>();
    let per_row = bytes as f64 / 4096.0;
    assert!(per_row < 1.7, "{per_row} bytes a row of a timestamp, a double and an integer");
    assert!(encoded.header.len() < 120, "a header of {} bytes", encoded.header.len());
}

const METER: &str = r#"block of st9: 1500 rows, 1 series s100..=s100, precision ms
header 154B, chunks 1
keys 1700000000012..=1700001499018 in chunk 0: delta 780B, delta 369B
versions 77..=77
c1 DOUBLE in chunk 0: decimal 2 778B, decimal 2 367B
   values 1500 nulls 0 absent 0 min 16.2 max 23.47 first 21.69 last 22.92 sum 30085.6
c2 INT in chunk 0: runs 42B, runs 17B
   values 1495 nulls 0 absent 5 min 0 max 3 first NULL last 1 sum 2150
c3 VARCHAR(16) in chunk 0: dictionary 238B, dictionary 124B
   values 1000 nulls 500 absent 0 min "site 1" max "site 2" first NULL last "site 2"
"#;

#[test]
fn inspect_prints_a_block() {
    let mut rows = meter(1500);
    let names = StringArray::from_iter((0..1500).map(|row| (row % 3 > 0).then(|| format!("site {}", row % 3))));
    rows.columns.push(of(3, DataType::Varchar(16), Arc::new(names)));
    rows.columns[1].absent = Some((0..1500).map(|row| row < 5).collect());
    let encoded = encode(&rows.input());
    assert_eq!(inspect(&encoded.header, &encoded.chunks).unwrap(), METER);
}

#[test]
fn columns_share_chunks_of_16_to_32_kilobytes() {
    let noise = |seed| column(DataType::BigInt, 8, 4096, None, seed);
    let mut columns: Vec<BlockColumn> = (0..9).map(|id| of(id, DataType::BigInt, noise(u64::from(id)))).collect();
    columns.extend((10..60).map(|id| of(id, DataType::TinyInt, column(DataType::TinyInt, 8, 4096, None, id.into()))));
    let encoded = encode(&rows(4096, 4096, true, columns).input());
    let sizes: Vec<usize> = encoded.chunks.iter().map(Vec::len).collect();
    for (at, size) in sizes.iter().enumerate() {
        // Each column of noise takes 32 KB and more, and closes the chunk before it.
        let alone = *size > 32 << 10;
        assert!(alone || *size >= 16 << 10 || at == 0 || at + 1 == sizes.len(), "chunks of {sizes:?}");
        assert!(*size <= 34 << 10, "chunks of {sizes:?}");
    }
    assert_eq!(sizes.len(), 23);
}

#[test]
fn long_text_cuts_blocks() {
    let long = "x".repeat(1 << 20);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(); 40]));
    assert_eq!(rows_that_fit(std::slice::from_ref(&texts), 40, 0), 16);
    assert_eq!(rows_that_fit(std::slice::from_ref(&texts), 40, 30), 10);
    assert_eq!(rows_that_fit(&[], 5000, 0), ROWS_MAX);
    assert_eq!(rows_that_fit(&[], 5000, 5000), 0);
    let huge: ArrayRef = Arc::new(StringArray::from(vec![long.repeat(20)]));
    assert_eq!(rows_that_fit(&[huge], 1, 0), 1);
}

#[test]
fn a_newer_header_is_refused_by_name() {
    let mut encoded = encode(&meter(3).input());
    encoded.header[0] = 2;
    let error = Header::decode(&encoded.header).unwrap_err();
    assert_eq!(error, Corrupt::Format { place: "block header", found: 2, known: 1 });
}

#[test]
fn sums_keep_small_terms() {
    let mut sum = CompensatedSum::default();
    [1e100, 1.0, -1e100].into_iter().for_each(|value| sum.add(value));
    assert_eq!(sum.value(), 1.0);
    sum.add(f64::INFINITY);
    assert_eq!(sum.value(), f64::INFINITY);
    let mut other = CompensatedSum::default();
    other.merge(sum);
    assert_eq!(other.value(), f64::INFINITY);
}

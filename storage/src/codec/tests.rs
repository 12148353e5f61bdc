//! Round trips of every type over many shapes of values, damage, and how small typical vectors get.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BinaryArray, BooleanArray, StringArray, make_array};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use model::{DataType, Precision};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// One of each type.
pub(crate) const TYPES: [DataType; 21] = [
    DataType::Timestamp,
    DataType::Bool,
    DataType::TinyInt,
    DataType::SmallInt,
    DataType::Int,
    DataType::BigInt,
    DataType::UTinyInt,
    DataType::USmallInt,
    DataType::UInt,
    DataType::UBigInt,
    DataType::Float,
    DataType::Double,
    DataType::Varchar(64),
    DataType::NChar(64),
    DataType::Varbinary(64),
    DataType::Geometry(64),
    DataType::Json,
    DataType::Decimal(38, 4),
    DataType::Decimal(10, 2),
    DataType::Text,
    DataType::Date,
];

/// Shapes that [`integer`] knows.
const SHAPES: u8 = 9;

/// The value of one row in one of several shapes.
fn integer(shape: u8, row: usize, random: &mut StdRng) -> i128 {
    let steps = row as i128;
    match shape {
        0 => 42,
        1 => 1_700_000_000_000 + steps * 1000,
        2 => 1_700_000_000_000 + steps * 1000 + random.random_range(0..20),
        3 => random.random_range(-50..50),
        4 => {
            let spike = if random.random_range(0..100) == 0 { 1 << 40 } else { 0 };
            random.random_range(0..9) + spike - 2 * spike * random.random_range(0..2)
        }
        5 => [7, -1_000_000_007, 123_456_789_012, 0][random.random_range(0..4)],
        6 => (steps / 100) % 5,
        7 => [0, -1, 1, i128::MIN, i128::MAX, i128::from(i64::MIN), i128::from(i64::MAX)][random.random_range(0..7)],
        _ => random.random(),
    }
}

fn float(shape: u8, row: usize, random: &mut StdRng) -> f64 {
    const ODD: [u64; 8] = [
        0x7ff8_0000_0000_0000,
        0xfff8_dead_beef_0001,
        0x7ff0_0000_0000_0001,
        0x8000_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0xfff0_0000_0000_0000,
        0x0000_0000_0000_0001,
        0x7fef_ffff_ffff_ffff,
    ];
    match shape {
        0 => -0.0,
        1 => f64::from_bits(ODD[random.random_range(0..ODD.len())]),
        2 => f64::from_bits(random.random()),
        3 => random.random::<f64>() * 100.0,
        4 if row.is_multiple_of(50) => f64::from_bits(ODD[row / 50 % ODD.len()]),
        5 => f64::from(random.random::<f32>()),
        6 => f64::from((row / 64) as u32) / 8.0,
        _ => f64::from(random.random_range(-9999..9999)) / 100.0,
    }
}

fn text(shape: u8, row: usize, random: &mut StdRng) -> String {
    match shape {
        0 => String::new(),
        1 => "same".to_owned(),
        2 => format!("station {}", random.random_range(0..16)),
        3 => format!("row {row} of {}", random.random::<u64>()),
        4 if row.is_multiple_of(97) => "long ".repeat(400),
        5 => "ä€🦀".repeat(random.random_range(0..4)),
        6 => format!("{{\"at\": {row}, \"state\": \"idle\", \"note\": \"nothing to report\"}}"),
        _ => ["on", "off", ""][random.random_range(0..3)].to_owned(),
    }
}

fn fixed<T: arrow::datatypes::ArrowNativeType>(
    data_type: DataType,
    values: Vec<T>,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    let (len, arrow) = (values.len(), data_type.arrow(Precision::Milli));
    let buffer = Buffer::from_vec(values);
    make_array(ArrayData::builder(arrow).len(len).add_buffer(buffer).nulls(nulls).build().expect("a valid array"))
}

/// A column of `rows` cells.
pub(crate) fn column(data_type: DataType, shape: u8, rows: usize, nulls: Option<NullBuffer>, seed: u64) -> ArrayRef {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut ints = || (0..rows).map(|row| integer(shape % SHAPES, row, random)).collect::<Vec<i128>>();
    match data_type {
        DataType::TinyInt => fixed(data_type, ints().into_iter().map(|v| v as i8).collect(), nulls),
        DataType::UTinyInt => fixed(data_type, ints().into_iter().map(|v| v as u8).collect(), nulls),
        DataType::SmallInt => fixed(data_type, ints().into_iter().map(|v| v as i16).collect(), nulls),
        DataType::USmallInt => fixed(data_type, ints().into_iter().map(|v| v as u16).collect(), nulls),
        DataType::Int | DataType::Date => fixed(data_type, ints().into_iter().map(|v| v as i32).collect(), nulls),
        DataType::UInt => fixed(data_type, ints().into_iter().map(|v| v as u32).collect(), nulls),
        DataType::UBigInt => fixed(data_type, ints().into_iter().map(|v| v as u64).collect(), nulls),
        DataType::Timestamp | DataType::BigInt => {
            fixed(data_type, ints().into_iter().map(|v| v as i64).collect(), nulls)
        }
        DataType::Decimal(..) => fixed(data_type, ints(), nulls),
        DataType::Float => {
            let narrow = |row| match float(shape, row, random) {
                value if value.is_nan() => f32::from_bits(0xffc1_2345),
                value => value as f32,
            };
            fixed(data_type, (0..rows).map(narrow).collect(), nulls)
        }
        DataType::Double => fixed(data_type, (0..rows).map(|row| float(shape, row, random)).collect(), nulls),
        DataType::Bool => {
            let bit = |row| match shape {
                0 => true,
                1 => false,
                2 => row / 200 % 2 == 0,
                _ => random.random(),
            };
            Arc::new(BooleanArray::new((0..rows).map(bit).collect(), nulls))
        }
        DataType::Varbinary(_) | DataType::Geometry(_) => {
            let blob = |row| {
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                let bytes = [text(shape, row, random).as_bytes(), &[0xff, 0x00]].concat();
                valid.then_some(bytes)
            };
            Arc::new((0..rows).map(blob).collect::<BinaryArray>())
        }
        _ => {
            let word = |row| {
                let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                valid.then(|| text(shape, row, random))
            };
            Arc::new((0..rows).map(word).collect::<StringArray>())
        }
    }
}

/// Random bits: none, few, many, or all set.
pub(crate) fn bits(rows: usize, density: u8, seed: u64) -> BooleanBuffer {
    let random = &mut StdRng::seed_from_u64(seed);
    let percent = [0, 3, 60, 100][usize::from(density % 4)];
    (0..rows).map(|_| random.random_range(0..100) < percent).collect()
}

/// What each cell says, bit for bit; None where null or absent.
pub(crate) fn cells(values: &dyn Array, absent: Option<&BooleanBuffer>) -> Vec<Option<Vec<u8>>> {
    let data = values.to_data();
    let cell = |row: usize| match values.data_type() {
        arrow::datatypes::DataType::Utf8 => values.as_string::<i32>().value(row).as_bytes().to_vec(),
        arrow::datatypes::DataType::Binary => values.as_binary::<i32>().value(row).to_vec(),
        arrow::datatypes::DataType::Boolean => vec![u8::from(values.as_boolean().value(row))],
        fixed => {
            let width = fixed.primitive_width().expect("a fixed width");
            let start = (data.offset() + row) * width;
            data.buffers()[0].as_slice()[start..start + width].to_vec()
        }
    };
    let has = |row: usize| values.is_valid(row) && absent.is_none_or(|absent| !absent.value(row));
    (0..values.len()).map(|row| has(row).then(|| cell(row))).collect()
}

const ENCODES: [&str; 6] = ["", "disabled", "simple8b", "delta-i", "delta-d", "bit-packing"];
const COMPRESSES: [&str; 7] = ["", "disabled", "lz4", "zlib", "zstd", "xz", "tsz"];
const LEVELS: [&str; 5] = ["", "low", "medium", "high", "disabled"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Every type comes back bit for bit, whole and in ranges, also from a sliced array.
    #[test]
    fn columns_come_back(
        kind in 0..TYPES.len(), shape in 0..SHAPES,
        rows in prop_oneof![0..4_usize, 4..300_usize, Just(1024), Just(1040), Just(4096), 0..4097_usize],
        null in 0..4_u8, gone in 0..6_u8, skip in 0..9_usize, cut in any::<(u16, u16)>(), seed: u64,
    ) {
        let data_type = TYPES[kind];
        let nulls = (null > 0).then(|| NullBuffer::new(!&bits(rows + skip, null, seed ^ 1)));
        let absent = (gone > 2).then(|| bits(rows, gone, seed ^ 2));
        let values = column(data_type, shape, rows + skip, nulls, seed).slice(skip, rows);
        let mut bytes = Vec::new();
        encode_column(&values, data_type, absent.as_ref(), &mut bytes);
        let expected = cells(&values, absent.as_ref());
        let (decoded, gone) = decode_column(&bytes, data_type, Precision::Milli, rows, 0..rows).unwrap();
        prop_assert_eq!(decoded.data_type(), &data_type.arrow(Precision::Milli));
        prop_assert_eq!(&cells(&decoded, None), &expected);
        prop_assert_eq!(gone, absent.clone().filter(|absent| absent.count_set_bits() > 0));

        let start = usize::from(cut.0) % (rows + 1);
        let end = start + usize::from(cut.1) % (rows - start + 1);
        let (part, gone) = decode_column(&bytes, data_type, Precision::Milli, rows, start..end).unwrap();
        prop_assert_eq!(cells(&part, None), &expected[start..end]);
        let expected = absent.map(|absent| absent.slice(start, end - start));
        prop_assert_eq!(gone, expected.filter(|absent| absent.count_set_bits() > 0));
    }

    /// Every combination of COMP, ENCODE, COMPRESS and LEVEL comes back bit for bit, whole and in ranges.
    #[test]
    fn every_coding_comes_back(
        kind in 0..TYPES.len(), shape in 0..SHAPES, comp in 0..3_u8, last: bool,
        rows in prop_oneof![0..4_usize, 4..300_usize, Just(1024), Just(1040), Just(4096)],
        (encode, compress, level) in (0..ENCODES.len(), 0..COMPRESSES.len(), 0..LEVELS.len()),
        null in 0..4_u8, cut in any::<(u16, u16)>(), seed: u64,
    ) {
        let data_type = TYPES[kind];
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let (encode, compress, level) = (name(ENCODES[encode]), name(COMPRESSES[compress]), name(LEVELS[level]));
        let wanted = model::schema::Compression { encode, compress, level };
        let coding = Coding::of(Some(&wanted), data_type, comp, last);
        let nulls = (null > 0).then(|| NullBuffer::new(!&bits(rows, null, seed ^ 1)));
        let absent = (null > 1).then(|| bits(rows, null, seed ^ 2));
        let values = column(data_type, shape, rows, nulls, seed);
        let mut bytes = Vec::new();
        encode_column_as(&values, data_type, absent.as_ref(), coding, &mut bytes);
        let expected = cells(&values, absent.as_ref());
        let start = usize::from(cut.0) % (rows + 1);
        let end = start + usize::from(cut.1) % (rows - start + 1);
        for range in [0..rows, start..end] {
            let (decoded, gone) = decode_column(&bytes, data_type, Precision::Milli, rows, range.clone()).unwrap();
            prop_assert_eq!(cells(&decoded, None), &expected[range.clone()]);
            let absent = absent.as_ref().map(|absent| absent.slice(range.start, range.len()));
            prop_assert_eq!(gone, absent.filter(|absent| absent.count_set_bits() > 0));
        }
        describe_column(&bytes, data_type, rows).unwrap();

        let random = &mut StdRng::seed_from_u64(seed);
        for _ in 0..4 {
            let mut damaged = bytes.clone();
            let at = random.random_range(0..damaged.len());
            damaged[at] ^= 1 << random.random_range(0..8);
            let _ = decode_column(&damaged, data_type, Precision::Milli, rows, 0..rows);
        }
    }

    /// Any damage gives an error or other values.
    #[test]
    fn damage_never_panics(
        kind in 0..TYPES.len(), shape in 0..SHAPES, rows in prop_oneof![1..40_usize, 1000..1100_usize],
        null in 0..3_u8, seed: u64, flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        cut: prop::sample::Index,
    ) {
        let data_type = TYPES[kind];
        let nulls = (null > 0).then(|| NullBuffer::new(!&bits(rows, null, seed ^ 1)));
        let values = column(data_type, shape, rows, nulls, seed);
        let mut bytes = Vec::new();
        encode_column(&values, data_type, Some(&bits(rows, null, seed ^ 2)), &mut bytes);
        prop_assert!(decode_column(&bytes[..cut.index(bytes.len())], data_type, Precision::Milli, rows, 0..rows).is_err());
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        let _ = decode_column(&bytes, data_type, Precision::Milli, rows, 0..rows);
        let _ = describe_column(&bytes, data_type, rows);
    }

    /// Bytes that nobody wrote give an error or values.
    #[test]
    fn noise_never_panics(
        kind in 0..TYPES.len(), rows in 0..1030_usize, noise in prop::collection::vec(0..32_u8, 0..64),
    ) {
        let mut bytes = vec![1];
        bytes.extend(noise);
        let _ = decode_column(&bytes, TYPES[kind], Precision::Milli, rows, 0..rows);
    }

    /// Integers of every width, full and partial vectors.
    #[test]
    fn packed_integers_come_back(width in 0..=64_u32, count in prop_oneof![0..80_usize, Just(1024)], seed: u64) {
        let random = &mut StdRng::seed_from_u64(seed);
        let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
        let values: Vec<u64> = (0..count).map(|_| random.random::<u64>() & mask).collect();
        let mut bytes = Vec::new();
        packing::pack(&values, width, &mut bytes);
        prop_assert_eq!(bytes.len(), (count * width as usize).div_ceil(8));
        let mut reader = bytes::Reader::new(&bytes, "test");
        let mut unpacked = vec![1; count];
        packing::unpack(&mut reader, width, &mut unpacked).unwrap();
        prop_assert_eq!(values, unpacked.iter().map(|value: &i64| *value as u64).collect::<Vec<_>>());
        prop_assert!(reader.end().is_ok());
    }
}

/// Bytes of 4,096 integers, and what they were encoded as.
fn size(values: &[i64]) -> (usize, String) {
    let mut bytes = Vec::new();
    encode_longs(values, &mut bytes);
    assert_eq!(decode_longs(&bytes, values.len(), 0..values.len()).unwrap(), values);
    let described = describe_column(&bytes, DataType::BigInt, values.len()).unwrap();
    let encoding = described[0].split(' ').next().unwrap_or_default().to_owned();
    (bytes.len(), encoding)
}

#[test]
fn each_shape_finds_its_mode() {
    let random = &mut StdRng::seed_from_u64(7);
    let rows = 0..4096_i64;
    let regular: Vec<i64> = rows.clone().map(|row| 1_700_000_000_000 + row * 1000).collect();
    let jitter: Vec<i64> = regular.iter().map(|tick| tick + random.random_range(0..20)).collect();
    let gauge: Vec<i64> = rows.clone().map(|_| random.random_range(100..200)).collect();
    let spikes: Vec<i64> =
        rows.clone().map(|row| row % 7 + if row % 100 == 0 { (row % 200 - 100) << 30 } else { 0 }).collect();
    let sticky: Vec<i64> = rows.clone().map(|row| row / 150 % 4).collect();
    let sparse: Vec<i64> =
        rows.clone().map(|_| [7, -1_000_000_007, 123_456_789_012][random.random_range(0..3)]).collect();
    let speed: Vec<i64> = rows.map(|row| row * row).collect();
    let found: Vec<(usize, String)> =
        [regular, jitter, gauge, spikes, sticky, sparse, speed].iter().map(|v| size(v)).collect();
    let found: Vec<(usize, &str)> = found.iter().map(|(size, name)| (*size, name.as_str())).collect();
    let expected = [
        (53, "delta"),
        (3129, "delta"),
        (3617, "frame"),
        (1712, "frame±"),
        (83, "runs"),
        (1153, "dictionary"),
        (45, "delta2"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn newer_formats_and_encodings_are_refused_by_name() {
    let mut bytes = Vec::new();
    encode_longs(&[1, 2, 3], &mut bytes);
    bytes[0] = 9;
    let error = decode_longs(&bytes, 3, 0..3).unwrap_err();
    assert_eq!(error.to_string(), "column has format 9, this server reads up to 2");
    (bytes[0], bytes[3]) = (1, 0x0e);
    let error = decode_longs(&bytes, 3, 0..3).unwrap_err();
    assert_eq!(error.to_string(), "integer vector has encoding 14, which this server does not know");
}

/// pco and zstd read bytes that are not ours to check; each flipped bit is an error or other values.
#[test]
fn damage_inside_foreign_formats_never_panics() {
    let random = &mut StdRng::seed_from_u64(3);
    let mut sizes = Vec::new();
    for (data_type, shape, described) in [
        (DataType::Double, 3, "pco"),
        (DataType::Float, 3, "pco"),
        (DataType::Double, 5, "pco"),
        (DataType::Text, 6, "plain"),
    ] {
        let values = column(data_type, shape, 700, None, 11);
        let mut bytes = Vec::new();
        encode_column(&values, data_type, None, &mut bytes);
        let encoding = &describe_column(&bytes, data_type, 700).unwrap()[0];
        assert!(encoding.starts_with(described), "{data_type}: {encoding}");
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            // Most of what can go wrong is said in front.
            let most = if random.random() { 120 } else { damaged.len() };
            damaged[random.random_range(0..most)] ^= 1 << random.random_range(0..8);
            let _ = decode_column(&damaged, data_type, Precision::Milli, 700, 0..700);
        }
        sizes.push(bytes.len());
    }
    assert!(sizes[3] < 700 * 20, "JSON of 60 bytes a row takes {} bytes", sizes[3]);
}

/// A few bytes that claim gigabytes are refused before anything is allocated for them.
#[test]
fn small_bytes_do_not_become_large_text() {
    let value = vec![b'x'; VECTOR_BYTES_MAX / 512];
    let mut constant = Vec::new();
    text::encode(&[&value, &value], Coding::default(), &mut constant);
    let mut all = text::Values::with_capacity(1024);
    let error = text::decode(&mut bytes::Reader::new(&constant, "vector"), 1024, &mut all).unwrap_err();
    assert_eq!(error.to_string(), "vector is damaged: a vector of text is too large");

    let mut dictionary = Vec::new();
    let values: Vec<&[u8]> = (0..8).map(|row| if row % 2 < 1 { &value[..] } else { b"y" }).collect();
    text::encode(&values, Coding::default(), &mut dictionary);
    // The codes of 8 values become those of 1,024, all of them long.
    let mut codes = Vec::new();
    int::encode(&[0, 1, 0, 1, 0, 1, 0, 1], &mut codes);
    dictionary.truncate(dictionary.len() - codes.len());
    int::encode(&[0; 1024], &mut dictionary);
    let mut all = text::Values::with_capacity(1024);
    let error = text::decode(&mut bytes::Reader::new(&dictionary, "vector"), 1024, &mut all).unwrap_err();
    assert_eq!(error.to_string(), "vector is damaged: a vector of text is too large");

    let mut lengths = vec![2];
    int::encode(&[VECTOR_BYTES_MAX as i64; 1024], &mut lengths);
    let mut all = text::Values::with_capacity(1024);
    let error = text::decode(&mut bytes::Reader::new(&lengths, "vector"), 1024, &mut all).unwrap_err();
    assert_eq!(error.to_string(), "vector is damaged: a vector of text is too large");
}

/// How a column of 4,096 rows of a type and shape is encoded: how its first vector is, and bytes of all.
fn coded(data_type: DataType, shape: u8, coding: Coding) -> (String, usize) {
    let values = column(data_type, shape, 4096, None, 5);
    let mut bytes = Vec::new();
    encode_column_as(&values, data_type, None, coding, &mut bytes);
    let described = describe_column(&bytes, data_type, 4096).unwrap();
    (described[0].split(' ').next().unwrap_or_default().to_owned(), bytes.len())
}

#[test]
fn comp_is_respected() {
    let of = |data_type, shape, comp, last| coded(data_type, shape, Coding::of(None, data_type, comp, last));
    // As they are: the bytes of the values and a few for each vector, even where all values are alike.
    for (data_type, bytes) in
        [(DataType::Int, 4), (DataType::BigInt, 8), (DataType::UTinyInt, 1), (DataType::Double, 8)]
    {
        for shape in [0, 3] {
            let (_, size) = of(data_type, shape, 0, true);
            assert!((4096 * bytes..4096 * bytes + 80).contains(&size), "{data_type}: {size}");
        }
    }
    assert_eq!(of(DataType::Bool, 0, 0, true).0, "bitmap");
    assert!(of(DataType::Text, 0, 0, true).0.starts_with("plain"));
    // The light stage, the same for hot rows and for cold ones of COMP 1.
    let light = of(DataType::Int, 3, 1, false);
    assert_eq!(light.0, "frame");
    assert_eq!(of(DataType::Int, 3, 1, true), light);
    assert_eq!(of(DataType::Int, 3, 2, false), light);
    // Both stages: hardly ever larger, and smaller where there is something to find.
    for data_type in TYPES {
        for shape in 0..SHAPES {
            let (hot, cold) = (of(data_type, shape, 2, false), of(data_type, shape, 2, true));
            assert!(cold.1 <= hot.1 + hot.1 / 32 + 16, "{data_type} {shape}: {cold:?} after {hot:?}");
            let raw = of(data_type, shape, 0, false);
            assert!(hot.1 <= raw.1 + 160, "{data_type} {shape}: {hot:?}, as they are {raw:?}");
        }
    }
    let (hot, cold) = (of(DataType::BigInt, 4, 2, false), of(DataType::BigInt, 4, 2, true));
    assert!(cold.1 * 10 < hot.1 * 9, "{cold:?} after {hot:?}");
}

#[test]
fn columns_are_encoded_as_they_ask() {
    let of = |data_type, shape, encode: &str, compress: &str, level: &str| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let wanted = model::schema::Compression { encode: some(encode), compress: some(compress), level: some(level) };
        coded(data_type, shape, Coding::of(Some(&wanted), data_type, 2, false))
    };
    assert!(of(DataType::BigInt, 2, "simple8b", "", "").0.starts_with("frame"));
    assert!(of(DataType::BigInt, 3, "delta-i", "", "").0.starts_with("delta"));
    assert!(of(DataType::BigInt, 2, "disabled", "disabled", "").1 > 4096 * 8);
    let zstd = of(DataType::BigInt, 2, "disabled", "zstd", "high");
    assert!(zstd.0.ends_with("+zstd") && zstd.1 < 4096 * 4, "{zstd:?}");
    assert_eq!(of(DataType::Double, 3, "", "disabled", "").0, "raw");
    assert_eq!(of(DataType::Double, 3, "", "tsz", "").0, "pco");
    let text = |compress: &str, level: &str| of(DataType::Text, 6, "disabled", compress, level).1;
    assert!(text("zstd", "low") < text("disabled", ""), "{} {}", text("zstd", "low"), text("disabled", ""));
    assert!(text("xz", "high") < text("disabled", ""));
}

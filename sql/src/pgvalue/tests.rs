//! Every value of `golden.txt`, which PostgreSQL 15 wrote, is read from text and from binary, and printed as both.

use std::sync::Arc;

use bytes::BytesMut;
use datafusion::arrow::array::{
    Array, ArrayRef, Decimal128Array, DictionaryArray, Int32Array, ListArray, RecordBatch, StringArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{Field, Int32Type, Schema};
use datafusion::scalar::ScalarValue;
use model::{Result, SqlState};
use proptest::prelude::*;

use super::encode::{Target, column};
use super::*;
use crate::copy::{CopyFormat, ForceQuote};

fn one(array: &ArrayRef, pg_type: PgType, binary: bool, settings: &Arc<ValueSettings>) -> Result<Vec<u8>> {
    let column = column(array, &Target { pg_type, binary, settings: Arc::clone(settings) })?;
    let mut out = BytesMut::new();
    column.put(0, &mut out)?;
    Ok(out.to_vec())
}

fn text(array: ArrayRef, settings: &Arc<ValueSettings>) -> String {
    let pg_type = PgType::of_arrow(array.data_type());
    String::from_utf8(one(&array, pg_type, false, settings).unwrap()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()).collect()
}

fn named(name: &str) -> PgType {
    let of = |name: &str| PgType::SCALARS.iter().find(|of| of.name == name).copied().unwrap();
    match name.strip_prefix('_') {
        Some(element) => of(element).array_of().unwrap(),
        None => of(name),
    }
}

fn settings_of(line: &str) -> Arc<ValueSettings> {
    let parts: Vec<_> = line.split('|').collect();
    let (date_style, date_order) = parse_date_style(parts[1], (DateStyle::Iso, DateOrder::Mdy)).unwrap();
    Arc::new(ValueSettings {
        time_zone: TimeZone::parse(parts[0]).unwrap(),
        date_style,
        date_order,
        interval_style: IntervalStyle::parse(parts[2]).unwrap(),
        extra_float_digits: parts[3].parse().unwrap(),
        bytea_escape: parts[4] == "escape",
        oid_names: None,
    })
}

#[test]
fn values_look_as_in_postgresql() {
    let mut settings = Arc::new(ValueSettings::default());
    let mut wrong = Vec::new();
    for line in include_str!("golden.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(values) = line.strip_prefix("set|") {
            settings = settings_of(values);
            continue;
        }
        let mut parts = line.splitn(2, '|');
        let pg_type = named(parts.next().unwrap());
        let mut parts = parts.next().unwrap().rsplitn(3, '|').collect::<Vec<_>>();
        parts.reverse();
        let (input, expected, binary) = (parts[0], parts[1], parts[2]);
        let mut check = |what: &str, got: Result<String>, want: &str| {
            if got.as_deref().ok() != Some(want) {
                wrong.push(format!("{line}\n    {what}: {got:?}"));
            }
        };
        let scalar = decode(pg_type, false, input.as_bytes(), &settings);
        let array = scalar.map(|scalar| scalar.to_array().unwrap());
        let shown = |binary| {
            array.clone().and_then(|array| {
                let bytes = one(&array, pg_type, binary, &settings)?;
                Ok(if binary { hex(&bytes) } else { String::from_utf8(bytes).unwrap() })
            })
        };
        check("text", shown(false), expected);
        check("binary", shown(true), binary);
        let back = decode(pg_type, true, &unhex(binary), &settings).and_then(|scalar| {
            let array = scalar.to_array().unwrap();
            Ok(String::from_utf8(one(&array, pg_type, false, &settings)?).unwrap())
        });
        check("binary to text", back, expected);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn bad_parameters_are_refused_by_kind() {
    let settings = ValueSettings::default();
    let state = |pg_type, binary, bytes: &[u8]| decode(pg_type, binary, bytes, &settings).unwrap_err().state();
    for (pg_type, text, expected) in [
        (PgType::INT4, "abc", SqlState::InvalidTextRepresentation),
        (PgType::INT4, "1.5", SqlState::InvalidTextRepresentation),
        (PgType::INT2, "32768", SqlState::NumericValueOutOfRange),
        (PgType::FLOAT8, "1e400", SqlState::NumericValueOutOfRange),
        (PgType::FLOAT4, "1e-60", SqlState::NumericValueOutOfRange),
        (PgType::FLOAT8, "", SqlState::InvalidTextRepresentation),
        (PgType::BOOL, "maybe", SqlState::InvalidTextRepresentation),
        (PgType::TIMESTAMPTZ, "yesterday-ish", SqlState::InvalidDatetimeFormat),
        (PgType::TIMESTAMPTZ, "2024-13-01", SqlState::DatetimeFieldOverflow),
        (PgType::TIMESTAMPTZ, "2023-02-29", SqlState::DatetimeFieldOverflow),
        (PgType::TIMESTAMPTZ, "2024-01-01 25:00", SqlState::DatetimeFieldOverflow),
        (PgType::TIMESTAMPTZ, "2024-01-01 Nowhere/City", SqlState::InvalidParameterValue),
        (PgType::BYTEA, "\\x0", SqlState::InvalidParameterValue),
        (PgType::UUID, "123", SqlState::InvalidTextRepresentation),
        (PgType::JSON, "{", SqlState::InvalidTextRepresentation),
        (PgType::NUMERIC, "1..2", SqlState::InvalidTextRepresentation),
        (PgType::TEXT, "a\0b", SqlState::CharacterNotInRepertoire),
    ] {
        assert_eq!(state(pg_type, false, text.as_bytes()), expected, "{} {text:?}", pg_type.name);
    }
    assert_eq!(state(PgType::INT4, true, &[0, 0, 1]), SqlState::InvalidBinaryRepresentation);
    assert_eq!(state(PgType::TEXT, true, &[0xff]), SqlState::CharacterNotInRepertoire);
    assert_eq!(state(named("_int4"), true, &[0, 0, 0, 1]), SqlState::InvalidBinaryRepresentation);
    // A length that no message could hold must not be allocated.
    let huge = unhex("00000001000000000000001700ffffff00000001");
    assert_eq!(state(named("_int4"), true, &huge), SqlState::InvalidBinaryRepresentation);
}

#[test]
fn arrow_types_without_a_twin_in_postgresql() {
    let settings =
        Arc::new(ValueSettings { time_zone: TimeZone::parse("Asia/Kolkata").unwrap(), ..Default::default() });
    assert_eq!(text(Arc::new(UInt64Array::from(vec![u64::MAX])), &settings), "18446744073709551615");
    let binary = one(&(Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef), PgType::NUMERIC, true, &settings);
    assert_eq!(hex(&binary.unwrap()), "000500040000000007341a5802e103bb064f");
    let nanos = Arc::new(TimestampNanosecondArray::from(vec![1_500_000_000_123_456_789]).with_timezone("UTC"));
    assert_eq!(text(nanos.clone(), &settings), "2017-07-14 08:10:00.123456789+05:30");
    let micros = one(&(nanos as ArrayRef), PgType::TIMESTAMPTZ, true, &settings).unwrap();
    assert_eq!(i64::from_be_bytes(micros.try_into().unwrap()), 1_500_000_000_123_457 - 946_684_800_000_000);
    let far = Arc::new(TimestampMillisecondArray::from(vec![i64::MAX / 2]).with_timezone("UTC")) as ArrayRef;
    let error = one(&far, PgType::TIMESTAMPTZ, true, &settings).unwrap_err();
    assert_eq!(error.state(), SqlState::DatetimeFieldOverflow);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("tag"), None].into_iter().collect();
    assert_eq!(text(Arc::new(dictionary), &settings), "tag");
    let decimal = Decimal128Array::from(vec![-5]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(text(Arc::new(decimal), &settings), "-0.05");
    let negative_scale = Decimal128Array::from(vec![-5]).with_precision_and_scale(10, -2).unwrap();
    assert_eq!(text(Arc::new(negative_scale), &settings), "-500");
    let vector = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)])]);
    let vector = Arc::new(vector) as ArrayRef;
    assert_eq!(one(&vector, PgType::INT2VECTOR, false, &settings).unwrap(), b"1 2");
    let expected = "0000000100000000000000150000000200000000000000020001000000020002";
    assert_eq!(hex(&one(&vector, PgType::INT2VECTOR, true, &settings).unwrap()), expected);
    let words = Arc::new(StringArray::from(vec!["1 2"])) as ArrayRef;
    assert_eq!(hex(&one(&words, PgType::INT2VECTOR, true, &settings).unwrap()), expected);
    let class = Arc::new(Int32Array::from(vec![0])) as ArrayRef;
    assert_eq!(one(&class, PgType::REGCLASS, false, &settings).unwrap(), b"-");
}

fn batch() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
    let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a\tb\\\"c\",\n"), Some("")]));
    let schema = Schema::new(vec![
        Field::new("n", numbers.data_type().clone(), true),
        Field::new("w,x", words.data_type().clone(), true),
    ]);
    RecordBatch::try_new(Arc::new(schema), vec![numbers, words]).unwrap()
}

#[test]
fn data_rows() {
    let rows = RowEncoder::new(vec![(PgType::INT4, true), (PgType::TEXT, false)], Arc::default());
    let encoder = rows.batch(&batch()).unwrap();
    let mut out = BytesMut::new();
    encoder.data_row(0, &mut out).unwrap();
    encoder.data_row(1, &mut out).unwrap();
    assert_eq!(hex(&out), "0002000000040000000100000009610962 5c2263222c0a 0002ffffffff00000000".replace(' ', ""));
}

fn copied(format: CopyFormat) -> Vec<u8> {
    let columns = [("n".to_owned(), PgType::INT4), ("w,x".to_owned(), PgType::TEXT)];
    let mut encoder = CopyEncoder::new(&columns, format, Arc::default());
    let mut out = BytesMut::new();
    encoder.header(&mut out);
    let batch = encoder.batch(&batch()).unwrap();
    for row in 0..2 {
        encoder.row(&batch, row, &mut out).unwrap();
    }
    encoder.trailer(&mut out);
    out.to_vec()
}

#[test]
fn copy_data() {
    let data = copied(CopyFormat::Text { delimiter: b'\t', null: "\\N".into(), header: true });
    assert_eq!(String::from_utf8(data).unwrap(), "n\tw,x\n1\ta\\tb\\\\\"c\",\\n\n\\N\t\n");
    let csv = |force_quote| CopyFormat::Csv {
        delimiter: b',',
        null: String::new(),
        header: true,
        quote: b'"',
        escape: b'"',
        force_quote,
    };
    let expected = "n,\"w,x\"\n1,\"a\tb\\\"\"c\"\",\n\"\n,\"\"\n";
    assert_eq!(String::from_utf8(copied(csv(None))).unwrap(), expected);
    let expected = "n,\"w,x\"\n\"1\",\"a\tb\\\"\"c\"\",\n\"\n,\"\"\n";
    assert_eq!(String::from_utf8(copied(csv(Some(ForceQuote::All)))).unwrap(), expected);
    let data = hex(&copied(CopyFormat::Binary));
    assert_eq!(
        data,
        "5047434f50590aff0d0a0000000000000000000002000000040000000100000009610962 5c2263222c0a0002ffffffff00000000ffff"
            .replace(' ', "")
    );
}

proptest! {
    /// Whatever is printed reads back the same, in both formats.
    #[test]
    fn printed_values_read_back(float in any::<f64>(), single in any::<f32>(), ticks in -9_000_000_000_000_000_i64..9_000_000_000_000_000,
        digits in any::<i128>(), scale in 0i8..=38, words in proptest::collection::vec(proptest::option::of("[ -~é]{0,6}"), 0..5)) {
        let settings = Arc::new(ValueSettings { time_zone: TimeZone::parse("Europe/Berlin").unwrap(), ..Default::default() });
        let list = words.iter().map(|word| ScalarValue::Utf8(word.clone())).collect::<Vec<_>>();
        let utf8 = datafusion::arrow::datatypes::DataType::Utf8;
        let values = [
            (PgType::FLOAT8, ScalarValue::Float64(Some(float))),
            (PgType::FLOAT4, ScalarValue::Float32(Some(single))),
            (PgType::TIMESTAMPTZ, ScalarValue::TimestampMicrosecond(Some(ticks), Some("UTC".into()))),
            (PgType::NUMERIC, ScalarValue::Decimal128(Some(digits % 10i128.pow(38)), 38, scale)),
            (named("_text"), ScalarValue::List(ScalarValue::new_list_nullable(&list, &utf8))),
        ];
        for (pg_type, value) in values {
            let array = value.to_array().unwrap();
            for binary in [false, true] {
                let bytes = one(&array, pg_type, binary, &settings).unwrap();
                let back = decode(pg_type, binary, &bytes, &settings).unwrap().to_array().unwrap();
                prop_assert_eq!(one(&back, pg_type, true, &settings).unwrap(), one(&array, pg_type, true, &settings).unwrap());
            }
        }
    }

    /// No input makes a decoder panic.
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[-+:./ 0-9a-zA-Z{}\",]{0,24}") {
        let settings = ValueSettings::default();
        for pg_type in PgType::SCALARS.iter().copied().chain(PgType::SCALARS.iter().filter_map(|of| of.array_of())) {
            let _ = decode(pg_type, true, &bytes, &settings);
            let _ = decode(pg_type, false, &bytes, &settings);
            let _ = decode(pg_type, false, text.as_bytes(), &settings);
        }
    }
}

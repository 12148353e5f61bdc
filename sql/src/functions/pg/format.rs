//! PostgreSQL's patterns: `to_char`, `to_timestamp`, `to_date`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, IntervalMonthDayNanoArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano};
use chrono::{Datelike as _, NaiveDate, NaiveDateTime, Timelike as _};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;
use datafusion::scalar::ScalarValue;

use super::scalar::{Call, Scalar, external, text};
use super::time::{civil, moments, to_local, to_utc};
use super::whole::Whole;
use crate::catalogs::relations::field;
use crate::pgtype::PgType;
use crate::pgvalue::TimeZone;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Whole::udf("to_char", char_type, to_char),
        Whole::udf("to_timestamp", timestamp_type, to_timestamp),
        Scalar::new("to_date", "t?t", PgType::DATE, |call, args| {
            let given = text(&args[0])?;
            let Some(pattern) = args.get(1) else {
                let settings = super::text::settings(call)?;
                let value = crate::pgvalue::decode(PgType::DATE, false, given.as_bytes(), &settings);
                return match value.map_err(external)? {
                    ScalarValue::Date32(Some(days)) => Ok(days.into()),
                    other => exec_err!("a date is read as {other:?}"),
                };
            };
            let (at, _) = read(given, text(pattern)?)?;
            Ok(at.and_utc().timestamp().div_euclid(86_400).into())
        })
        .udf(),
    ]
}

fn char_type(fields: &[FieldRef]) -> Result<FieldRef> {
    if fields.len() != 2 {
        return plan_err!("to_char() takes a value and a pattern");
    }
    Ok(Arc::new(field("to_char", PgType::TEXT, true)))
}

fn timestamp_type(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("to_timestamp", PgType::TIMESTAMPTZ, true)))
}

/// Intervals read from text, as a cast does.
pub(super) fn parse_intervals(call: &Call<'_>, array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    let texts = cast(array, &DataType::Utf8)?;
    let settings = super::text::settings(call)?;
    let mut last: Option<(String, Option<IntervalMonthDayNano>)> = None;
    let one = |given: Option<&str>| {
        let Some(given) = given else { return Ok(None) };
        if let Some((known, value)) = last.as_ref().filter(|(known, _)| known == given) {
            let _ = known;
            return Ok(*value);
        }
        let value = crate::pgvalue::decode(PgType::INTERVAL, false, given.as_bytes(), &settings).map_err(external)?;
        let ScalarValue::IntervalMonthDayNano(value) = value else {
            return exec_err!("an interval is read as {value:?}");
        };
        last = Some((given.to_owned(), value));
        Ok(value)
    };
    texts.as_string::<i32>().iter().map(one).collect()
}

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq)]
struct Element {
    key: Key,
    /// `FM`: no padding.
    fill: bool,
    /// `TH` or `th` after it.
    ordinal: Option<bool>,
}

#[derive(Clone, Debug, PartialEq)]
enum Key {
    /// A key word, as it is in [`KEYS`].
    Word(&'static str),
    /// Anything else.
    Text(String),
}

/// Longer ones first where one begins with another.
#[rustfmt::skip]
const KEYS: &[&str] = &[
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D", "FF1", "FF2", "FF3",
    "FF4", "FF5", "FF6", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I", "J", "MI", "MM", "MONTH",
    "MON", "MS", "Month", "Mon", "OF", "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ", "US", "WW",
    "W", "Y,YYY", "YYYY", "YYY", "YY", "Y", "a.d.", "a.m.", "ad", "am", "b.c.", "bc", "cc", "day", "ddd", "dd", "dy",
    "d", "ff1", "ff2", "ff3", "ff4", "ff5", "ff6", "hh24", "hh12", "hh", "iddd", "id", "iw", "iyyy", "iyy", "iy", "i",
    "j", "mi", "mm", "month", "mon", "ms", "p.m.", "pm", "q", "rm", "sssss", "ssss", "ss", "tz", "us", "ww", "w",
    "y,yyy", "yyyy", "yyy", "yy", "y",
];

fn parse_pattern(pattern: &str) -> Vec<Element> {
    let mut elements: Vec<Element> = Vec::new();
    let mut rest = pattern;
    let mut fill = false;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("FM") || rest.starts_with("fm") {
            fill = true;
            rest = &rest[2..];
            continue;
        }
        if rest.starts_with("FX") || rest.starts_with("fx") {
            rest = &rest[2..];
            continue;
        }
        if let Some(key) = KEYS.iter().find(|key| rest.starts_with(**key)) {
            rest = &rest[key.len()..];
            let ordinal = match rest.get(..2) {
                Some("TH") => Some(true),
                Some("th") => Some(false),
                _ => None,
            };
            if ordinal.is_some() {
                rest = &rest[2..];
            }
            elements.push(Element { key: Key::Word(key), fill: std::mem::take(&mut fill), ordinal });
            continue;
        }
        let mut literal = String::new();
        if c == '"' {
            let mut chars = rest[1..].char_indices();
            let mut end = rest.len();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        end = at + 2;
                        break;
                    }
                    '\\' => literal.extend(chars.next().map(|(_, c)| c)),
                    c => literal.push(c),
                }
            }
            rest = &rest[end..];
        } else if c == '\\' && rest[1..].starts_with('"') {
            literal.push('"');
            rest = &rest[2..];
        } else {
            literal.push(c);
            rest = &rest[c.len_utf8()..];
        }
        elements.push(Element { key: Key::Text(literal), fill: false, ordinal: None });
    }
    elements
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// What `to_char` prints from.
struct Printed {
    at: NaiveDateTime,
    micros: i64,
    hours: i64,
    zone: Option<(TimeZone, i64)>,
}

/// A name in the letters that a key asks for: `MONTH`, `Month`, `month`.
fn cased(key: &str, name: &str) -> String {
    if key.chars().all(|c| !c.is_ascii_lowercase()) {
        name.to_uppercase()
    } else if key.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.to_lowercase()
    } else {
        name.to_owned()
    }
}

fn print(elements: &[Element], of: &Printed) -> String {
    let mut out = String::new();
    for element in elements {
        match &element.key {
            Key::Text(text) => out.push_str(text),
            Key::Word(key) => {
                let (value, width) = print_key(key, of);
                let number = if width == usize::MAX { None } else { value.parse::<i64>().ok() };
                match (number, width) {
                    (Some(n), width) if !element.fill => {
                        let sign = if n < 0 { "-" } else { "" };
                        out.push_str(&format!("{sign}{:0>width$}", n.unsigned_abs()));
                    }
                    (Some(n), _) => out.push_str(&n.to_string()),
                    _ if element.fill => out.push_str(value.trim_end()),
                    _ => out.push_str(&value),
                }
                if let (Some(upper), Some(n)) = (element.ordinal, number) {
                    let suffix = ordinal(n);
                    out.push_str(&if upper { suffix.to_uppercase() } else { suffix.to_owned() });
                }
            }
        }
    }
    out
}

fn ordinal(n: i64) -> &'static str {
    match (n.abs() % 10, n.abs() % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    }
}

/// The value of a key word, and the width that a number is filled to.
fn print_key(key: &str, of: &Printed) -> (String, usize) {
    let at = of.at;
    let padded = |name: &str| format!("{:<9}", cased(key, name));
    let n = |value: i64, width: usize| (value.to_string(), width);
    let month = MONTHS[at.month0() as usize];
    let day = DAYS[at.weekday().num_days_from_sunday() as usize];
    let era = |year: i32| i64::from(if year > 0 { year } else { 1 - year });
    let (year, iso) = (era(at.year()), i64::from(at.iso_week().year()));
    let morning = of.hours.rem_euclid(24) < 12;
    let dotted = key.contains('.');
    let word = |name: &str| {
        let name =
            if dotted { name.chars().fold(String::new(), |all, c| all + &c.to_string() + ".") } else { name.into() };
        (if key.starts_with(|c: char| c.is_ascii_lowercase()) { name.to_lowercase() } else { name }, usize::MAX)
    };
    match key.to_ascii_uppercase().as_str() {
        "HH24" => n(of.hours, 2),
        "HH" | "HH12" => n(if of.hours % 12 == 0 { 12 } else { of.hours % 12 }, 2),
        "MI" => n(at.minute().into(), 2),
        "SS" => n(at.second().into(), 2),
        "MS" => n(of.micros / 1000, 3),
        "US" => n(of.micros, 6),
        ff if ff.starts_with("FF") => {
            let digits = usize::from(ff.as_bytes()[2] - b'0');
            n(of.micros / 10i64.pow(6 - digits as u32), digits)
        }
        "SSSS" | "SSSSS" => n(at.num_seconds_from_midnight().into(), 1),
        "AM" | "PM" | "A.M." | "P.M." => word(if morning { "AM" } else { "PM" }),
        "BC" | "AD" | "B.C." | "A.D." => word(if at.year() > 0 { "AD" } else { "BC" }),
        "Y,YYY" => (format!("{},{:03}", year / 1000, year % 1000), usize::MAX),
        "YYYY" => n(year, 4),
        "YYY" => n(year % 1000, 3),
        "YY" => n(year % 100, 2),
        "Y" => n(year % 10, 1),
        "IYYY" => n(iso, 4),
        "IYY" => n(iso % 1000, 3),
        "IY" => n(iso % 100, 2),
        "I" => n(iso % 10, 1),
        "CC" => n((year + 99) / 100, 2),
        "MONTH" => (padded(month), usize::MAX),
        "MON" => (cased(key, &month[..3]), usize::MAX),
        "MM" => n(at.month().into(), 2),
        "RM" => (format!("{:<4}", cased(key, ROMAN[at.month0() as usize])), usize::MAX),
        "DAY" => (padded(day), usize::MAX),
        "DY" => (cased(key, &day[..3]), usize::MAX),
        "DDD" => n(at.ordinal().into(), 3),
        "IDDD" => n(i64::from(at.iso_week().week() * 7 + at.weekday().number_from_monday()) - 7, 3),
        "DD" => n(at.day().into(), 2),
        "D" => n(i64::from(at.weekday().num_days_from_sunday()) + 1, 1),
        "ID" => n(at.weekday().number_from_monday().into(), 1),
        "WW" => n(i64::from(at.ordinal0() / 7) + 1, 2),
        "W" => n(i64::from((at.day() - 1) / 7) + 1, 1),
        "IW" => n(at.iso_week().week().into(), 2),
        "Q" => n(i64::from(at.month0() / 3) + 1, 1),
        "J" => n(i64::from(at.num_days_from_ce()) + 1_721_425, 1),
        _ => (zone_key(key, of), usize::MAX),
    }
}

fn zone_key(key: &str, of: &Printed) -> String {
    let Some((zone, epoch_s)) = of.zone else {
        return if key == "OF" || key == "TZH" {
            "+00".into()
        } else if key == "TZM" {
            "00".into()
        } else {
            String::new()
        };
    };
    let offset = zone.offset_at(epoch_s);
    let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.abs());
    match key {
        "TZ" => zone.abbreviation_at(epoch_s),
        "tz" => zone.abbreviation_at(epoch_s).to_lowercase(),
        "TZH" => format!("{sign}{:02}", size / 3600),
        "TZM" => format!("{:02}", size % 3600 / 60),
        _ if size % 3600 == 0 => format!("{sign}{:02}", size / 3600),
        _ => format!("{sign}{:02}:{:02}", size / 3600, size % 3600 / 60),
    }
}

/// The elements of a pattern, kept for the next row, which most often has the same one.
fn elements<'a>(last: &'a mut Option<(String, Vec<Element>)>, pattern: &str) -> &'a [Element] {
    if last.as_ref().is_some_and(|(known, _)| known != pattern) {
        *last = None;
    }
    &last.get_or_insert_with(|| (pattern.to_owned(), parse_pattern(pattern))).1
}

fn to_char(call: &Call<'_>, args: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let patterns = cast(&args[1], &DataType::Utf8)?;
    let patterns = patterns.as_string::<i32>();
    let mut out = StringBuilder::new();
    if args[0].data_type().is_numeric() {
        let values = cast(&args[0], &DataType::Utf8)?;
        for row in 0..count {
            let both = values.is_valid(row) && patterns.is_valid(row);
            let value = || super::number::to_char(values.as_string::<i32>().value(row), patterns.value(row));
            out.append_option(if both { Some(value()?) } else { None });
        }
        return Ok(Arc::new(out.finish()));
    }
    let mut last = None;
    if let DataType::Interval(_) = args[0].data_type() {
        let unit = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
        let values = cast(&args[0], &unit)?;
        let values = values.as_primitive::<arrow::datatypes::IntervalMonthDayNanoType>();
        for row in 0..count {
            let both = values.is_valid(row) && patterns.is_valid(row);
            out.append_option(if both {
                Some(print_interval(elements(&mut last, patterns.value(row)), values.value(row))?)
            } else {
                None
            });
        }
        return Ok(Arc::new(out.finish()));
    }
    let moments = moments(call, &args[0])?;
    let zone = if moments.zoned { call.zone()? } else { TimeZone::UTC };
    let per = moments.per_second;
    for row in 0..count {
        if moments.ticks.is_null(row) || patterns.is_null(row) {
            out.append_null();
            continue;
        }
        let ticks = moments.ticks.value(row);
        let local = to_local(zone, ticks, per);
        let at = civil(local.div_euclid(per))?;
        let micros = (i128::from(local.rem_euclid(per)) * 1_000_000 / i128::from(per)) as i64;
        let zone = moments.zoned.then_some((zone, ticks.div_euclid(per)));
        out.append_value(print(
            elements(&mut last, patterns.value(row)),
            &Printed { at, micros, hours: at.hour().into(), zone },
        ));
    }
    Ok(Arc::new(out.finish()))
}

/// An interval as fields of a date that never was: years, months and days are counts.
fn print_interval(elements: &[Element], of: IntervalMonthDayNano) -> Result<String> {
    let seconds = of.nanoseconds.div_euclid(1_000_000_000);
    let mut out = String::new();
    for element in elements {
        let Key::Word(key) = &element.key else {
            out.push_str(&print(std::slice::from_ref(element), &epoch()));
            continue;
        };
        let micros = of.nanoseconds.rem_euclid(1_000_000_000) / 1000;
        let hours = seconds / 3600;
        let (value, width) = match key.to_ascii_uppercase().as_str() {
            "YYYY" => (i64::from(of.months / 12), 4),
            "MM" => (i64::from(of.months % 12), 2),
            "DD" => (i64::from(of.days), 2),
            "HH24" => (hours, 2),
            "HH" | "HH12" => (if hours % 12 == 0 { 12 } else { hours % 12 }, 2),
            "MI" => (seconds % 3600 / 60, 2),
            "SS" => (seconds % 60, 2),
            "MS" => (micros / 1000, 3),
            "US" => (micros, 6),
            _ => {
                return Err(external(model::error!(
                    FeatureNotSupported,
                    "to_char() of an interval does not take the pattern {key}"
                )));
            }
        };
        let width = if element.fill { 0 } else { width };
        out.push_str(&format!("{}{:0>width$}", if value < 0 { "-" } else { "" }, value.unsigned_abs()));
    }
    Ok(out)
}

fn epoch() -> Printed {
    Printed { at: NaiveDateTime::default(), micros: 0, hours: 0, zone: None }
}

fn to_timestamp(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let zone = call.zone()?;
    if args[0].data_type().is_numeric() {
        let seconds = cast(&args[0], &DataType::Float64)?;
        let micros = seconds.as_primitive::<arrow::datatypes::Float64Type>();
        let micros = micros.unary::<_, arrow::datatypes::Int64Type>(|seconds| (seconds * 1e6).round() as i64);
        return Ok(cast(&micros, of.data_type())?);
    }
    let Some(patterns) = args.get(1) else {
        let moments = moments(call, &args[0])?;
        let scale = 1_000_000 / moments.per_second.min(1_000_000);
        let micros = moments.ticks.unary::<_, arrow::datatypes::Int64Type>(|ticks| ticks * scale);
        return Ok(cast(&micros, of.data_type())?);
    };
    let (texts, patterns) = (cast(&args[0], &DataType::Utf8)?, cast(patterns, &DataType::Utf8)?);
    let one = |row: usize| -> Result<Option<i64>> {
        if texts.is_null(row) || patterns.is_null(row) {
            return Ok(None);
        }
        let (at, offset) = read(texts.as_string::<i32>().value(row), patterns.as_string::<i32>().value(row))?;
        let local = at.and_utc().timestamp_micros();
        Ok(Some(offset.map_or_else(|| to_utc(zone, local, 1_000_000), |east_s| local - east_s * 1_000_000)))
    };
    let micros: Result<arrow::array::Int64Array> = (0..count).map(one).collect();
    Ok(cast(&micros?, of.data_type())?)
}

/// The fields that a pattern finds in a text.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<u32>,
    day: Option<u32>,
    ordinal: Option<u32>,
    iso: (Option<i64>, Option<u32>, Option<u32>),
    hour: i64,
    half: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    bc: bool,
    offset_s: Option<i64>,
    julian: Option<i64>,
}

/// Reads a text by a pattern: wall clock, and seconds east of Greenwich if the text says.
fn read(given: &str, pattern: &str) -> Result<(NaiveDateTime, Option<i64>)> {
    let elements = parse_pattern(pattern);
    let mut fields = Fields::default();
    let mut rest = given.trim_start();
    for (at, element) in elements.iter().enumerate() {
        match &element.key {
            Key::Text(text) if text.trim().is_empty() => rest = rest.trim_start(),
            Key::Text(text) => {
                // PostgreSQL lets a separator stand for any other one.
                rest = match rest.strip_prefix(text.as_str()) {
                    Some(rest) => rest,
                    None if text.chars().all(|c| c.is_ascii_punctuation()) => {
                        rest.strip_prefix(|c: char| c.is_ascii_punctuation() || c.is_whitespace()).unwrap_or(rest)
                    }
                    None => rest.get(text.len()..).unwrap_or(""),
                };
            }
            Key::Word(key) => {
                let next_is_word = matches!(elements.get(at + 1), Some(Element { key: Key::Word(_), .. }));
                rest = read_key(key, rest.trim_start(), element.fill || !next_is_word, &mut fields)?;
                if element.ordinal.is_some() {
                    rest = rest.get(2..).unwrap_or("");
                }
            }
        }
    }
    Ok((assemble(&fields, given)?, fields.offset_s))
}

/// Digits at the start, at most `width` unless `open`.
fn digits(rest: &str, width: usize, open: bool) -> Result<(i64, &str, usize)> {
    let sign = usize::from(rest.starts_with(['-', '+']));
    let count = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
    let count = if open { count } else { count.min(width) };
    match rest[..sign + count].trim_start_matches('+').parse() {
        Ok(value) => Ok((value, &rest[sign + count..], count)),
        Err(_) => {
            let found: String = rest.chars().take(width).collect();
            Err(external(model::error!(InvalidDatetimeFormat, "invalid value \"{found}\": a number was expected")))
        }
    }
}

/// Reads a field that is a word or a zone; None if the key is a number's.
fn read_word<'a>(key: &str, rest: &'a str, fields: &mut Fields) -> Result<Option<&'a str>> {
    let upper = key.to_ascii_uppercase();
    let name = |names: &[&str], length: usize| -> Result<(usize, &'a str)> {
        let found = names.iter().position(|name| {
            let name = if length == 0 { name } else { &name[..length] };
            rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        });
        let bad = || {
            let found: String = rest.chars().take(9).collect();
            external(model::error!(InvalidDatetimeFormat, "invalid value \"{found}\" for \"{key}\""))
        };
        let at = found.ok_or_else(bad)?;
        Ok((at, &rest[if length == 0 { names[at].len() } else { length }..]))
    };
    let (at, rest) = match upper.as_str() {
        "MONTH" => name(&MONTHS, 0)?,
        "MON" => name(&MONTHS, 3)?,
        "DAY" => name(&DAYS, 0)?,
        "DY" => name(&DAYS, 3)?,
        "AM" | "PM" | "A.M." | "P.M." => name(&["A.M.", "P.M.", "AM", "PM"], 0)?,
        "BC" | "AD" | "B.C." | "A.D." => name(&["A.D.", "B.C.", "AD", "BC"], 0)?,
        "TZ" | "OF" => return zone_offset(rest, fields).map(Some),
        _ => return Ok(None),
    };
    match upper.as_str() {
        "MONTH" | "MON" => fields.month = Some(at as u32 + 1),
        "AM" | "PM" | "A.M." | "P.M." => fields.half = Some(at % 2 == 1),
        "BC" | "AD" | "B.C." | "A.D." => fields.bc = at % 2 == 1,
        _ => {}
    }
    Ok(Some(rest))
}

fn read_key<'a>(key: &str, rest: &'a str, open: bool, fields: &mut Fields) -> Result<&'a str> {
    if let Some(rest) = read_word(key, rest, fields)? {
        return Ok(rest);
    }
    let upper = key.to_ascii_uppercase();
    let small = |value: i64| u32::try_from(value).ok();
    let width = match upper.as_str() {
        "Y,YYY" => 5,
        "US" | "FF6" => 6,
        "FF5" | "SSSSS" => 5,
        "YYYY" | "IYYY" | "SSSS" | "FF4" => 4,
        "YYY" | "MS" | "FF3" | "DDD" | "IDDD" | "TZH" => 3,
        "Y" | "I" | "D" | "ID" | "Q" | "W" | "FF1" => 1,
        "J" => 7,
        _ => 2,
    };
    let (value, rest, count) = digits(rest, width, open)?;
    match upper.as_str() {
        "YYYY" | "Y,YYY" => fields.year = Some(value),
        "YYY" => {
            fields.year = Some(if count < 4 && value < 520 {
                value + 2000
            } else if count < 4 {
                value + 1000
            } else {
                value
            })
        }
        "YY" | "Y" => {
            fields.year = Some(if count > 2 {
                value
            } else if value < 70 {
                value + 2000
            } else {
                value + 1900
            })
        }
        "IYYY" => fields.iso.0 = Some(value),
        "IW" => fields.iso.1 = small(value),
        "ID" => fields.iso.2 = small(value),
        "MM" => fields.month = small(value),
        "DD" => fields.day = small(value),
        "DDD" => fields.ordinal = small(value),
        "HH24" | "HH" | "HH12" => fields.hour = value,
        "MI" => fields.minute = value,
        "SS" => fields.second = value,
        "SSSS" | "SSSSS" => (fields.hour, fields.minute, fields.second) = (value / 3600, value / 60 % 60, value % 60),
        "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
            fields.micros = value * 10i64.pow(6u32.saturating_sub(count as u32));
        }
        "TZH" => fields.offset_s = Some(value * 3600),
        "TZM" => fields.offset_s = fields.offset_s.map(|of| of + of.signum() * value * 60),
        "J" => fields.julian = Some(value),
        "Q" | "W" | "WW" | "D" | "CC" => {}
        _ => {
            return Err(external(model::error!(
                FeatureNotSupported,
                "the pattern \"{key}\" is not read by to_timestamp()"
            )));
        }
    }
    Ok(rest)
}

/// `Z`, `+01`, `-05:30`, or the name of a zone whose offset never changes.
fn zone_offset<'a>(rest: &'a str, fields: &mut Fields) -> Result<&'a str> {
    let end = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let offset = |text: &str| {
        let (sign, text) = match text.as_bytes().first()? {
            b'+' => (1, &text[1..]),
            b'-' => (-1, &text[1..]),
            _ => return None,
        };
        let (hours, minutes) = text.split_once(':').unwrap_or((text, "0"));
        Some(sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60))
    };
    let known = if name.eq_ignore_ascii_case("z") { Some(0) } else { offset(name) };
    let named = || TimeZone::parse(name).ok().map(|zone| i64::from(zone.offset_at(0)));
    match known.or_else(named) {
        Some(seconds) => fields.offset_s = Some(seconds),
        None => return Err(external(model::error!(InvalidDatetimeFormat, "invalid value \"{name}\" for \"TZ\""))),
    }
    Ok(rest)
}

fn assemble(fields: &Fields, given: &str) -> Result<NaiveDateTime> {
    let overflow = || external(model::error!(DatetimeFieldOverflow, "date/time field value out of range: \"{given}\""));
    let year = fields.year.unwrap_or(1);
    let year = if fields.bc || (fields.year.is_none()) { 1 - year.max(1) } else { year };
    let year = i32::try_from(if fields.year.is_none() { 0 } else { year }).map_err(|_| overflow())?;
    let date = match (fields.julian, fields.iso, fields.ordinal) {
        (Some(julian), ..) => i32::try_from(julian - 1_721_425).ok().and_then(NaiveDate::from_num_days_from_ce_opt),
        (_, (Some(year), Some(week), day), _) => {
            let monday =
                i32::try_from(year).ok().and_then(|year| NaiveDate::from_isoywd_opt(year, week, chrono::Weekday::Mon));
            monday.and_then(|monday| monday.checked_add_days(chrono::Days::new(u64::from(day.unwrap_or(1).max(1) - 1))))
        }
        (_, _, Some(ordinal)) if fields.month.is_none() => NaiveDate::from_yo_opt(year, ordinal),
        _ => NaiveDate::from_ymd_opt(year, fields.month.unwrap_or(1), fields.day.unwrap_or(1)),
    };
    let hour = match fields.half {
        Some(_) if !(1..=12).contains(&fields.hour) => {
            return Err(external(
                model::error!(InvalidDatetimeFormat, "hour \"{}\" is invalid for the 12-hour clock", fields.hour)
                    .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."),
            ));
        }
        Some(after) => fields.hour % 12 + if after { 12 } else { 0 },
        None => fields.hour,
    };
    let small = |n: i64| u32::try_from(n).ok();
    let time = || {
        let at = date?.and_hms_opt(small(hour % 24)?, small(fields.minute)?, small(fields.second)?)?;
        let at = if hour == 24 { at.checked_add_days(chrono::Days::new(1))? } else { at };
        at.checked_add_signed(chrono::Duration::microseconds(fields.micros))
    };
    if !(0..=24).contains(&hour) {
        return Err(overflow());
    }
    time().ok_or_else(overflow)
}

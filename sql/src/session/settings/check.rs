//! What a setting takes: values are checked and brought into the form that they are kept and shown in, as PostgreSQL 15.

use model::{Error, Result, error, fail};

use super::known::{MESSAGES, Setting};
use crate::pgvalue::{DateOrder, DateStyle, TimeZone, parse_date_style};

/// How a value is checked and brought into its usual form.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Any text.
    Text,
    /// on/off in any of PostgreSQL's spellings.
    Bool,
    /// A whole number in this range.
    Int(i64, i64),
    /// A time with an optional unit, kept in milliseconds.
    Millis,
    /// A size with an optional unit, kept in kB, of at least so many.
    Kilobytes(i64),
    /// One of these words, in the order in which PostgreSQL lists them.
    OneOf(&'static [&'static str]),
    /// A severity of messages.
    Messages,
    /// Names, quoted where they must be.
    Names,
    /// A time zone.
    Zone,
    /// `ISO, MDY` and its parts.
    DateStyle,
    /// Only UTF-8.
    Utf8,
    /// Nothing but on.
    AlwaysOn,
    /// Nobody may become another.
    Role,
    /// Cannot be set.
    ReadOnly,
}

/// A unit of a setting and how many of the kept unit it is.
type Unit = (&'static str, f64);

/// From the largest to the smallest.
const TIMES: &[Unit] =
    &[("d", 86_400_000.0), ("h", 3_600_000.0), ("min", 60_000.0), ("s", 1000.0), ("ms", 1.0), ("us", 0.001)];
const SIZES: &[Unit] =
    &[("TB", 1_073_741_824.0), ("GB", 1_048_576.0), ("MB", 1024.0), ("kB", 1.0), ("B", 1.0 / 1024.0)];
/// As HINTs list them.
const TIMES_HINT: &str = "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".";
const SIZES_HINT: &str = "Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".";

/// The error for a value that a setting does not take.
pub(super) fn bad_value(name: &str, value: &str) -> Error {
    error!(InvalidParameterValue, "invalid value for parameter \"{name}\": \"{value}\"")
}

/// `value` in the form that it is kept in. `old` is the value so far, of which a part may stay.
///
/// # Errors
///
/// `InvalidParameterValue`, or `CantChangeRuntimeParam` for a setting that is fixed.
pub(super) fn checked(setting: &Setting, value: &str, old: &str) -> Result<String> {
    let bad = || bad_value(setting.name, value);
    Ok(match setting.check {
        Check::Text | Check::Names => value.to_owned(),
        Check::Bool => boolean(setting.name, value)?.to_owned(),
        Check::AlwaysOn => match boolean(setting.name, value)? {
            "on" => "on".to_owned(),
            _ => fail!(FeatureNotSupported, "{} is always on", setting.name),
        },
        Check::Int(min, max) => whole(setting.name, value, (min, max), &[], "")?,
        Check::Millis => whole(setting.name, value, (0, i64::from(i32::MAX)), TIMES, TIMES_HINT)?,
        Check::Kilobytes(min) => whole(setting.name, value, (min, i64::from(i32::MAX)), SIZES, SIZES_HINT)?,
        Check::OneOf(words) => one_of(setting.name, words, value)?,
        // Spellings that PostgreSQL takes and does not list.
        Check::Messages if value.eq_ignore_ascii_case("debug") => "debug2".to_owned(),
        Check::Messages if value.eq_ignore_ascii_case("info") => "info".to_owned(),
        Check::Messages => one_of(setting.name, MESSAGES, value)?,
        Check::Zone => zone(value)?,
        Check::DateStyle => {
            let old = parse_date_style(old, (DateStyle::Iso, DateOrder::Mdy))?;
            let (style, order) = parse_date_style(value, old)?;
            format!("{}, {}", style.name(), order.name())
        }
        Check::Utf8 => utf8_name(value).ok_or_else(|| {
            bad().with_detail("The server speaks UTF-8 only.").with_hint("SET client_encoding = 'UTF8'")
        })?,
        Check::Role if value.eq_ignore_ascii_case("none") => "none".to_owned(),
        Check::Role => {
            return Err(error!(FeatureNotSupported, "SET ROLE is not supported").with_hint("Connect as that user."));
        }
        Check::ReadOnly => fail!(CantChangeRuntimeParam, "parameter \"{}\" cannot be changed", setting.name),
    })
}

/// Whether nobody can change it.
pub(super) fn is_fixed(setting: &Setting) -> bool {
    matches!(setting.check, Check::ReadOnly)
}

/// A kept value as SHOW prints it: the largest unit that leaves a whole number.
pub(super) fn shown(setting: &Setting, value: &str) -> String {
    let units = match setting.check {
        Check::Millis => TIMES,
        Check::Kilobytes(_) => SIZES,
        _ => return value.to_owned(),
    };
    let Ok(number) = value.parse::<f64>() else { return value.to_owned() };
    let whole = |unit: &&Unit| number % unit.1 == 0.0;
    match units.iter().find(whole) {
        Some((unit, factor)) if number != 0.0 => format!("{}{unit}", number / factor),
        _ => value.to_owned(),
    }
}

/// Whether a list may stand in SET, and how its members are joined into a value.
///
/// # Errors
///
/// `InvalidParameterValue` for several values of a setting that has one.
pub(super) fn joined(name: &str, setting: Option<&Setting>, values: &[String]) -> Result<String> {
    match (setting.map(|setting| setting.check), values) {
        (Some(Check::Names), names) => Ok(names.iter().map(|name| quoted_name(name)).collect::<Vec<_>>().join(", ")),
        (Some(Check::DateStyle), words) => Ok(words.join(", ")),
        (_, [value]) => Ok(value.clone()),
        _ => Err(error!(InvalidParameterValue, "SET {name} takes only one argument")),
    }
}

/// A name with quotes around it where it needs them.
fn quoted_name(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Any beginning of true, false, yes, no, on, off that is no beginning of another.
fn boolean(name: &str, value: &str) -> Result<&'static str> {
    let word = value.trim().to_ascii_lowercase();
    let begins = |full: &str, least: usize| word.len() >= least && full.starts_with(word.as_str());
    if word == "1" || begins("true", 1) || begins("yes", 1) || begins("on", 2) {
        return Ok("on");
    }
    if word == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2) {
        return Ok("off");
    }
    Err(error!(InvalidParameterValue, "parameter \"{name}\" requires a Boolean value"))
}

fn one_of(name: &str, words: &'static [&'static str], value: &str) -> Result<String> {
    let is = |word: &str| word.eq_ignore_ascii_case(value);
    match words.iter().find(|word| is(word)) {
        Some(word) => Ok((*word).to_owned()),
        None => Err(bad_value(name, value).with_hint(format!("Available values: {}.", words.join(", ")))),
    }
}

/// A number, rounded to a whole one, in the unit that it is kept in.
fn whole(name: &str, value: &str, range: (i64, i64), units: &[Unit], hint: &str) -> Result<String> {
    let bad = || bad_value(name, value);
    let (number, rest) = number(value.trim()).ok_or_else(bad)?;
    let factor = match rest.trim() {
        "" => 1.0,
        unit => {
            let known = units.iter().find(|(name, _)| *name == unit);
            let wrong = || if units.is_empty() { bad() } else { bad().with_hint(hint) };
            known.ok_or_else(wrong)?.1
        }
    };
    let rounded = (number * factor).round_ties_even();
    if rounded.abs() > f64::from(i32::MAX) || rounded.is_nan() {
        return Err(bad().with_hint("Value exceeds integer range."));
    }
    let (min, max) = range;
    let rounded = rounded as i64;
    if !(min..=max).contains(&rounded) {
        let unit = units.iter().find(|(_, factor)| (*factor - 1.0).abs() < f64::EPSILON).map_or("", |(unit, _)| unit);
        let shown = format!("{rounded} {unit}");
        fail!(
            InvalidParameterValue,
            "{} is outside the valid range for parameter \"{name}\" ({min} .. {max})",
            shown.trim_end()
        );
    }
    Ok(rounded.to_string())
}

/// The number at the start of a value, decimal or `0x…`, and what follows it.
fn number(value: &str) -> Option<(f64, &str)> {
    let unsigned = value.trim_start_matches(['+', '-']);
    if value.len() - unsigned.len() > 1 {
        return None;
    }
    let sign = if value.starts_with('-') { -1.0 } else { 1.0 };
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let end = hex.find(|next: char| !next.is_ascii_hexdigit()).unwrap_or(hex.len());
        return Some((sign * i64::from_str_radix(&hex[..end], 16).ok()? as f64, &hex[end..]));
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits(unsigned);
    if unsigned[end..].starts_with('.') {
        end += 1 + digits(&unsigned[end + 1..]);
    }
    if unsigned[end..].starts_with(['e', 'E']) {
        let exponent = &unsigned[end + 1..];
        let signs = usize::from(exponent.starts_with(['+', '-']));
        let count = digits(&exponent[signs..]);
        end += if count > 0 { 1 + signs + count } else { 0 };
    }
    Some((sign * unsigned[..end].parse::<f64>().ok()?, &unsigned[end..]))
}

/// A zone's own name; what is written as POSIX writes it stays as it is.
fn zone(value: &str) -> Result<String> {
    let zone = TimeZone::parse(value)?;
    let as_posix = matches!(zone, TimeZone::Fixed(_)) && TimeZone::parse(&zone.name()) == Ok(zone);
    let number = value.trim().parse::<f64>().is_ok() || value.trim().to_ascii_lowercase().starts_with("interval");
    Ok(if as_posix && !number { value.trim().to_owned() } else { zone.name() })
}

fn utf8_name(value: &str) -> Option<String> {
    let bare: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    ["utf8", "unicode"].contains(&bare.to_ascii_lowercase().as_str()).then(|| "UTF8".to_owned())
}

//! Dates, times and intervals as PostgreSQL reads them: ISO 8601, the numeric forms of every DateStyle, zones by offset
//! or name, and intervals in all four styles.

use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use model::{Error, Result, error};

use super::encode::full_name;
use super::settings::{DateOrder, ValueSettings};
use super::time::{DAY_S, Interval, civil, days_of};
use super::zone::TimeZone;
use crate::pgtype::PgType;

fn malformed(pg_type: PgType, text: &str) -> Error {
    error!(InvalidDatetimeFormat, "invalid input syntax for type {}: \"{text}\"", full_name(pg_type))
}

fn overflow(text: &str) -> Error {
    error!(DatetimeFieldOverflow, "date/time field value out of range: \"{text}\"")
}

/// Reads from the front of a text.
struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
    pg_type: PgType,
}

/// A date, a second of the day with its nanoseconds, and a zone, as far as they were given.
struct Fields {
    days: i64,
    seconds: i64,
    nanos: i64,
    zone: Option<TimeZone>,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str, pg_type: PgType) -> Self {
        Self { text, rest: text.trim(), pg_type }
    }

    fn malformed(&self) -> Error {
        malformed(self.pg_type, self.text)
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, any: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|first| any.contains(first))?;
        self.rest = &self.rest[first.len_utf8()..];
        Some(first)
    }

    fn digits(&mut self) -> &'a str {
        let end = self.rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits
    }

    /// A number of at most nine digits.
    fn number(&mut self) -> Result<i64> {
        let digits = self.digits();
        if digits.is_empty() {
            return Err(self.malformed());
        }
        digits.parse().ok().filter(|_| digits.len() <= 9).ok_or_else(|| overflow(self.text))
    }

    fn letters(&mut self) -> &'a str {
        let end = self.rest.bytes().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (letters, rest) = self.rest.split_at(end);
        self.rest = rest;
        letters
    }

    /// The date at the front: days since 1970-01-01, before any `BC`.
    fn date(&mut self, order: DateOrder) -> Result<(i64, u32, u32)> {
        let first = self.digits();
        if first.is_empty() {
            return Err(self.malformed());
        }
        let separator = match self.take(&['-', '/', '.']) {
            Some(separator) => separator,
            None if first.len() >= 8 => {
                let (year, rest) = first.split_at(first.len() - 4);
                let parse = |part: &str| part.parse::<i64>().map_err(|_| overflow(self.text));
                return Ok((parse(year)?, parse(&rest[..2])? as u32, parse(&rest[2..])? as u32));
            }
            None => return Err(self.malformed()),
        };
        let middle = if self.rest.starts_with(|next: char| next.is_ascii_alphabetic()) {
            let month = month_of(self.letters()).ok_or_else(|| self.malformed())?;
            return self.date_with_month_name(first, month, separator);
        } else {
            self.number()?
        };
        if self.take(&[separator]).is_none() {
            return Err(self.malformed());
        }
        let last_digits = self.digits();
        let last = last_digits.parse::<i64>().map_err(|_| self.malformed())?;
        let head = first.parse::<i64>().ok().filter(|_| first.len() <= 9).ok_or_else(|| overflow(self.text))?;
        let (year, year_digits, month, day) = if first.len() >= 3 || order == DateOrder::Ymd {
            (head, first.len(), middle, last)
        } else if order == DateOrder::Dmy {
            (last, last_digits.len(), middle, head)
        } else {
            (last, last_digits.len(), head, middle)
        };
        Ok((full_year(year, year_digits), month as u32, day as u32))
    }

    fn date_with_month_name(&mut self, first: &str, month: u32, separator: char) -> Result<(i64, u32, u32)> {
        if self.take(&[separator]).is_none() {
            return Err(self.malformed());
        }
        let last = self.digits();
        let parse = |part: &str| part.parse::<i64>().ok().filter(|_| part.len() <= 9).ok_or_else(|| self.malformed());
        if first.len() >= 3 {
            Ok((parse(first)?, month, parse(last)? as u32))
        } else {
            Ok((full_year(parse(last)?, last.len()), month, parse(first)? as u32))
        }
    }

    /// `HH:MM[:SS[.fraction]]`, `HHMM`, `HHMMSS`, with AM or PM.
    fn clock(&mut self) -> Result<(i64, i64)> {
        let first = self.digits();
        let (mut hours, minutes, seconds);
        let two = |part: &str| part.parse::<i64>().map_err(|_| malformed(PgType::TIME, part));
        if self.take(&[':']).is_some() {
            hours = two(first)?;
            minutes = self.number()?;
            seconds = if self.take(&[':']).is_some() { self.number()? } else { 0 };
        } else if first.len() == 6 || first.len() == 4 {
            hours = two(&first[..2])?;
            minutes = two(&first[2..4])?;
            seconds = if first.len() == 6 { two(&first[4..])? } else { 0 };
        } else {
            return Err(self.malformed());
        }
        let nanos = if self.take(&['.', ',']).is_some() { nanos_of(self.digits()) } else { 0 };
        let before = self.rest;
        self.space();
        let word = self.letters();
        if word.eq_ignore_ascii_case("pm") || word.eq_ignore_ascii_case("am") {
            if !(1..=12).contains(&hours) {
                return Err(overflow(self.text));
            }
            hours = hours % 12 + if word.eq_ignore_ascii_case("pm") { 12 } else { 0 };
        } else {
            self.rest = before;
        }
        let end_of_day = hours == 24 && minutes == 0 && seconds == 0 && nanos == 0;
        if (hours > 23 && !end_of_day) || minutes > 59 || seconds > 60 {
            return Err(overflow(self.text));
        }
        Ok((hours * 3600 + minutes * 60 + seconds, nanos))
    }

    /// `Z`, `+05:30`, `-0800`, `UTC`, `Europe/Berlin`.
    fn zone(&mut self) -> Result<TimeZone> {
        if let Some(sign) = self.take(&['+', '-']) {
            let digits = self.digits();
            let mut parts = match digits.len() {
                1 | 2 => vec![digits],
                3 | 4 => vec![&digits[..digits.len() - 2], &digits[digits.len() - 2..]],
                6 => vec![&digits[..2], &digits[2..4], &digits[4..]],
                _ => return Err(self.malformed()),
            };
            while parts.len() < 3 && self.take(&[':']).is_some() {
                parts.push(self.digits());
            }
            let mut seconds = 0;
            for (part, unit) in parts.iter().zip([3600, 60, 1]) {
                seconds += part.parse::<i32>().map_err(|_| self.malformed())? * unit;
            }
            if seconds > 16 * 3600 {
                return Err(error!(DatetimeFieldOverflow, "time zone displacement out of range: \"{}\"", self.text));
            }
            return Ok(TimeZone::Fixed(if sign == '-' { -seconds } else { seconds }));
        }
        let end = self.rest.find(|next: char| next.is_ascii_whitespace()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if name.eq_ignore_ascii_case("z") {
            return Ok(TimeZone::UTC);
        }
        TimeZone::named(name).ok_or_else(|| {
            if name.bytes().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'_')) && name.contains('/')
            {
                error!(InvalidParameterValue, "time zone \"{name}\" not recognized")
            } else {
                self.malformed()
            }
        })
    }

    /// A date, and the time and zone after it, if any.
    fn date_time(&mut self, settings: &ValueSettings) -> Result<Fields> {
        let (mut year, month, day) = self.date(settings.date_order)?;
        let (mut seconds, mut nanos, mut zone) = (0, 0, None);
        let before = self.rest;
        self.space();
        self.take(&['T', 't']);
        if self.rest.starts_with(|next: char| next.is_ascii_digit()) {
            (seconds, nanos) = self.clock()?;
        } else {
            self.rest = before;
        }
        loop {
            self.space();
            if self.rest.is_empty() {
                break;
            }
            let era = self.rest.get(..2).filter(|_| !self.rest[2..].starts_with(|next: char| next.is_alphanumeric()));
            if era.is_some_and(|era| era.eq_ignore_ascii_case("bc")) {
                if year < 1 {
                    return Err(overflow(self.text));
                }
                year = 1 - year;
                self.rest = &self.rest[2..];
            } else if era.is_some_and(|era| era.eq_ignore_ascii_case("ad")) {
                self.rest = &self.rest[2..];
            } else if zone.is_none() {
                zone = Some(self.zone()?);
            } else {
                return Err(self.malformed());
            }
        }
        let days = checked_days(year, month, day).ok_or_else(|| overflow(self.text))?;
        Ok(Fields { days, seconds, nanos, zone })
    }
}

/// Two digits mean 1970 to 2069.
fn full_year(year: i64, digits: usize) -> i64 {
    match (digits, year) {
        (1 | 2, 0..70) => year + 2000,
        (1 | 2, _) => year + 1900,
        _ => year,
    }
}

/// None if there is no such day.
fn checked_days(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_of(year, month, day);
    (civil(days) == (year, month, day)).then_some(days)
}

fn month_of(name: &str) -> Option<u32> {
    const NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let start = name.get(..3)?.to_ascii_lowercase();
    NAMES.iter().position(|month| *month == start).map(|at| at as u32 + 1)
}

/// Nanoseconds of the digits after a point, rounded.
fn nanos_of(digits: &str) -> i64 {
    let head = &digits[..digits.len().min(9)];
    let nanos = format!("{head:0<9}").parse().unwrap_or(0);
    nanos + i64::from(digits.as_bytes().get(9).is_some_and(|next| *next >= b'5'))
}

fn infinity(text: &str) -> Option<bool> {
    let word = text.trim();
    let (negative, word) = match word.strip_prefix(['-', '+']) {
        Some(rest) => (word.starts_with('-'), rest),
        None => (false, word),
    };
    word.eq_ignore_ascii_case("infinity").then_some(negative)
}

/// Days since 1970-01-01.
pub(super) fn date(text: &str, settings: &ValueSettings) -> Result<i32> {
    match infinity(text) {
        Some(true) => return Ok(i32::MIN),
        Some(false) => return Ok(i32::MAX),
        None => {}
    }
    if text.trim().eq_ignore_ascii_case("epoch") {
        return Ok(0);
    }
    let fields = Cursor::new(text, PgType::DATE).date_time(settings)?;
    i32::try_from(fields.days).map_err(|_| error!(DatetimeFieldOverflow, "date out of range: \"{text}\""))
}

/// Microseconds since midnight.
pub(super) fn time(text: &str) -> Result<i64> {
    let mut cursor = Cursor::new(text, PgType::TIME);
    let (seconds, nanos) = cursor.clock()?;
    cursor.space();
    if !cursor.rest.is_empty() {
        // A zone may follow; a time without zone does not keep it.
        cursor.zone()?;
        cursor.space();
        if !cursor.rest.is_empty() {
            return Err(cursor.malformed());
        }
    }
    Ok(seconds * 1_000_000 + (nanos + 500) / 1000)
}

/// A timestamp in microseconds, or in nanoseconds if it was given more than six digits of a second.
pub(super) fn timestamp(text: &str, settings: &ValueSettings, zoned: bool) -> Result<ScalarValue> {
    let zone_name: Option<Arc<str>> = zoned.then(|| Arc::from("UTC"));
    match infinity(text) {
        Some(true) => return Ok(ScalarValue::TimestampMicrosecond(Some(i64::MIN), zone_name)),
        Some(false) => return Ok(ScalarValue::TimestampMicrosecond(Some(i64::MAX), zone_name)),
        None => {}
    }
    if text.trim().eq_ignore_ascii_case("epoch") {
        return Ok(ScalarValue::TimestampMicrosecond(Some(0), zone_name));
    }
    let pg_type = if zoned { PgType::TIMESTAMPTZ } else { PgType::TIMESTAMP };
    let fields = Cursor::new(text, pg_type).date_time(settings)?;
    let out_of_range = || error!(DatetimeFieldOverflow, "timestamp out of range: \"{text}\"");
    let local = fields.days.checked_mul(DAY_S).and_then(|day| day.checked_add(fields.seconds));
    let local = local.ok_or_else(out_of_range)?;
    let seconds = if zoned { fields.zone.unwrap_or(settings.time_zone).epoch_of_local(local) } else { local };
    if fields.nanos % 1000 != 0 {
        let nanos = seconds.checked_mul(1_000_000_000).and_then(|nanos| nanos.checked_add(fields.nanos));
        if let Some(nanos) = nanos {
            return Ok(ScalarValue::TimestampNanosecond(Some(nanos), zone_name));
        }
    }
    let micros = seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add((fields.nanos + 500) / 1000));
    Ok(ScalarValue::TimestampMicrosecond(Some(micros.ok_or_else(out_of_range)?), zone_name))
}

/// An interval in any of PostgreSQL's styles.
pub(super) fn interval(text: &str) -> Result<Interval> {
    let bad = || malformed(PgType::INTERVAL, text);
    let word = text.trim();
    let mut sum = Sum::default();
    if let Some(iso) = word.strip_prefix(['P', 'p']) {
        sum.iso(iso).ok_or_else(bad)?;
    } else {
        sum.words(word.strip_prefix('@').unwrap_or(word)).ok_or_else(bad)?;
    }
    sum.finish().ok_or_else(|| error!(DatetimeFieldOverflow, "interval field value out of range: \"{text}\""))
}

/// The parts of an interval being read. Fractions go down: of months to days, of days to seconds.
#[derive(Default)]
struct Sum {
    months: f64,
    days: f64,
    nanos: i128,
}

impl Sum {
    /// Adds `number` (text, signed, maybe with a fraction) of `unit`.
    fn add(&mut self, number: &str, unit: &str) -> Option<()> {
        let value: f64 = number.parse().ok()?;
        match unit.to_ascii_lowercase().as_str() {
            "y" | "yr" | "yrs" | "year" | "years" => self.months += value * 12.0,
            "mon" | "mons" | "month" | "months" => self.months += value,
            "w" | "week" | "weeks" => self.days += value * 7.0,
            "d" | "day" | "days" => self.days += value,
            "h" | "hr" | "hrs" | "hour" | "hours" => self.exact(number, 3600)?,
            "m" | "min" | "mins" | "minute" | "minutes" => self.exact(number, 60)?,
            "s" | "sec" | "secs" | "second" | "seconds" | "" => self.exact(number, 1)?,
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => self.nanos += (value * 1e6).round() as i128,
            "us" | "usec" | "usecs" | "microsecond" | "microseconds" => self.nanos += (value * 1e3).round() as i128,
            "decade" | "decades" => self.months += value * 120.0,
            "c" | "cent" | "century" | "centuries" => self.months += value * 1200.0,
            _ => return None,
        }
        Some(())
    }

    /// Seconds and their fraction without a float between.
    fn exact(&mut self, number: &str, unit: i128) -> Option<()> {
        let negative = number.starts_with('-');
        let number = number.trim_start_matches(['-', '+']);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
        let nanos = (whole * 1_000_000_000 + i128::from(nanos_of(fraction))) * unit;
        self.nanos += if negative { -nanos } else { nanos };
        Some(())
    }

    /// `HH:MM[:SS[.f]]`.
    fn clock(&mut self, text: &str) -> Option<()> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut other = Self::default();
        let mut parts = text.split(':');
        for unit in [3600, 60, 1] {
            match parts.next() {
                Some(part) if part.starts_with(|first: char| first.is_ascii_digit()) => other.exact(part, unit)?,
                Some(_) => return None,
                None => break,
            }
        }
        self.nanos += if negative { -other.nanos } else { other.nanos };
        parts.next().is_none().then_some(())
    }

    /// What follows the `P` of ISO 8601.
    fn iso(&mut self, text: &str) -> Option<()> {
        let mut in_time = false;
        let mut number = String::new();
        for character in text.chars() {
            match character {
                'T' | 't' if number.is_empty() => in_time = true,
                '0'..='9' | '.' | '-' | '+' => number.push(character),
                unit => {
                    let unit = match (in_time, unit.to_ascii_uppercase()) {
                        (false, 'Y') => "year",
                        (false, 'M') => "month",
                        (false, 'W') => "week",
                        (false, 'D') => "day",
                        (true, 'H') => "hour",
                        (true, 'M') => "minute",
                        (true, 'S') => "second",
                        _ => return None,
                    };
                    self.add(&number, unit)?;
                    number.clear();
                }
            }
        }
        (number.is_empty() && !text.is_empty()).then_some(())
    }

    /// `1 year 2 mons -3 days 04:05:06 ago`, `1-2 3 4:05:06`, `1d2h`, a bare number of seconds.
    fn words(&mut self, text: &str) -> Option<()> {
        let words = split_units(text);
        let mut ago = false;
        let mut at = 0;
        while at < words.len() {
            let word = words[at];
            at += 1;
            if word.eq_ignore_ascii_case("ago") {
                ago = true;
            } else if word.contains(':') {
                self.clock(word)?;
            } else if let Some((years, months)) = word.get(1..).and_then(|rest| rest.split_once('-')) {
                let years = format!("{}{years}", &word[..1]);
                let sign = if word.starts_with('-') { "-" } else { "" };
                self.add(&years, "year")?;
                self.add(&format!("{sign}{months}"), "month")?;
            } else if words.get(at).is_some_and(|unit| unit.starts_with(|first: char| first.is_ascii_alphabetic()))
                && !words[at].eq_ignore_ascii_case("ago")
            {
                self.add(word, words[at])?;
                at += 1;
            } else if words.get(at).is_some_and(|next| next.contains(':')) {
                // SQL standard: days before the time of day.
                self.add(word, "day")?;
            } else {
                self.add(word, "second")?;
            }
        }
        if ago {
            (self.months, self.days, self.nanos) = (-self.months, -self.days, -self.nanos);
        }
        (!words.is_empty()).then_some(())
    }

    fn finish(self) -> Option<Interval> {
        let whole_months = self.months.trunc();
        let days = self.days + (self.months - whole_months) * 30.0;
        let whole_days = days.trunc();
        let rest = ((days - whole_days) * DAY_S as f64 * 1e6).round() as i128 * 1000;
        let in_i32 = |value: f64| (value.abs() < 2_147_483_648.0).then_some(value as i32);
        Some(Interval {
            months: in_i32(whole_months)?,
            days: in_i32(whole_days)?,
            nanos: i64::try_from(self.nanos + rest).ok()?,
        })
    }
}

/// Words at spaces and between a number and its unit.
fn split_units(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let mut start = 0;
        let bytes = word.as_bytes();
        for at in 1..bytes.len() {
            if bytes[at].is_ascii_alphabetic() != bytes[at - 1].is_ascii_alphabetic() {
                words.push(&word[start..at]);
                start = at;
            }
        }
        words.push(&word[start..]);
    }
    words
}

//! Text to ticks: ISO 8601 as PostgreSQL and TDengine write it, integers in the database's precision, and the words
//! that PostgreSQL takes for times.
//!
//! - Fractional digits beyond the precision are rounded to the nearest tick, halves up, as PostgreSQL does for
//!   `timestamptz(3)`.
//! - A time without zone is local in the session's TimeZone. In the gap of a spring it is read with the offset before
//!   the gap; in the doubled hour of an autumn it is the second one. So does PostgreSQL.
//! - Digits only are ticks, except that 8 or 14 of them are refused: they could as well be `YYYYMMDD[hhmmss]`.

use chrono::{DateTime, Offset, TimeDelta, TimeZone as _};
use model::{Precision, Result, error};

use super::Reading;
use crate::pgvalue::{TimeZone, ZoneOffset};

/// Seconds of one day.
const DAY: i64 = 86_400;

/// A date and a time of day, and the zone that was written.
struct Parts {
    /// Days since the epoch.
    days: i64,
    /// Seconds since midnight; may be 86,400.
    seconds: i64,
    /// Of that second.
    nanos: i64,
    zone: Zone,
}

enum Zone {
    /// None was written.
    Session,
    /// Seconds east of UTC.
    Fixed(i64),
    Named(TimeZone),
}

/// Reads a time as ticks.
///
/// # Errors
///
/// 22007 for text that is no time, 22008 for impossible fields and for what does not fit.
pub(crate) fn timestamp(text: &str, precision: Precision, reading: &Reading) -> Result<i64> {
    let trimmed = text.trim_ascii();
    let digits = trimmed.strip_prefix('-').unwrap_or(trimmed);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if matches!(digits.len(), 8 | 14) {
            return Err(malformed("timestamp with time zone", text).with_hint(
                "write 2024-01-31 or 2024-01-31 12:00:00; 8 or 14 digits could be a date or a number of ticks",
            ));
        }
        return trimmed.parse().map_err(|_| out_of_range(text));
    }
    let Some(parts) = parts(trimmed)? else {
        return word(trimmed, precision, reading).ok_or_else(|| malformed("timestamp with time zone", text))?;
    };
    let local = parts.days * DAY + parts.seconds;
    let offset = match parts.zone {
        Zone::Fixed(offset) => offset,
        Zone::Named(zone) => offset_of(zone, local),
        Zone::Session => offset_of(reading.timezone, local),
    };
    let tick = precision.nanos_per_tick();
    let seconds = i128::from(local - offset);
    let ticks = seconds * i128::from(precision.ticks_per_second()) + i128::from((parts.nanos + tick / 2) / tick);
    i64::try_from(ticks).map_err(|_| out_of_range(text))
}

/// Reads a date as days since the epoch; a time of day behind it is passed over, as PostgreSQL does.
///
/// # Errors
///
/// As [`timestamp`].
pub(crate) fn date(text: &str, reading: &Reading) -> Result<i32> {
    let trimmed = text.trim_ascii();
    let days = match parts(trimmed)? {
        Some(parts) => parts.days,
        None => {
            let ticks = word(trimmed, Precision::Milli, reading).ok_or_else(|| malformed("date", text))??;
            let seconds = ticks.div_euclid(1000);
            (seconds + utc_offset(reading.timezone, seconds)).div_euclid(DAY)
        }
    };
    i32::try_from(days).map_err(|_| out_of_range(text))
}

/// The statement's time in ticks.
pub(crate) fn now(precision: Precision, reading: &Reading) -> i64 {
    reading.now_nanos.div_euclid(precision.nanos_per_tick())
}

/// The statement's day in the session's TimeZone, in ticks.
pub(crate) fn today(precision: Precision, reading: &Reading) -> i64 {
    midnight(0, precision, reading)
}

fn midnight(days_from_today: i64, precision: Precision, reading: &Reading) -> i64 {
    let seconds = reading.now_nanos.div_euclid(1_000_000_000);
    let local = seconds + utc_offset(reading.timezone, seconds);
    let midnight = (local.div_euclid(DAY) + days_from_today) * DAY;
    (midnight - offset_of(reading.timezone, midnight)) * precision.ticks_per_second()
}

/// The words that stand for times.
fn word(text: &str, precision: Precision, reading: &Reading) -> Option<Result<i64>> {
    Some(match text.to_ascii_lowercase().as_str() {
        "now" => Ok(now(precision, reading)),
        "today" => Ok(midnight(0, precision, reading)),
        "tomorrow" => Ok(midnight(1, precision, reading)),
        "yesterday" => Ok(midnight(-1, precision, reading)),
        "epoch" => Ok(0),
        "infinity" | "-infinity" | "+infinity" => {
            Err(error!(DatetimeFieldOverflow, "timestamps cannot be infinite: \"{text}\""))
        }
        _ => return None,
    })
}

pub(super) fn malformed(type_name: &str, text: &str) -> model::Error {
    error!(InvalidDatetimeFormat, "invalid input syntax for type {type_name}: \"{}\"", super::shown(text))
}

fn out_of_range(text: &str) -> model::Error {
    error!(DatetimeFieldOverflow, "date/time field value out of range: \"{}\"", super::shown(text))
}

/// Seconds east of UTC at a local time, in seconds since the epoch as if it were UTC.
fn offset_of(zone: TimeZone, local: i64) -> i64 {
    if zone == TimeZone::UTC {
        return 0;
    }
    let Some(time) = DateTime::from_timestamp(local, 0).map(|time| time.naive_utc()) else { return 0 };
    let seconds = |offset: ZoneOffset| i64::from(offset.fix().local_minus_utc());
    match zone.offset_from_local_datetime(&time) {
        chrono::LocalResult::Single(offset) => seconds(offset),
        chrono::LocalResult::Ambiguous(_, later) => seconds(later),
        chrono::LocalResult::None => {
            // Gaps are at most a day long (Samoa, 2011).
            let before = (1..=25).find_map(|hours| {
                let earlier = time - TimeDelta::hours(hours);
                zone.offset_from_local_datetime(&earlier).latest()
            });
            before.map_or(0, seconds)
        }
    }
}

/// Seconds east of UTC at an instant.
fn utc_offset(zone: TimeZone, seconds: i64) -> i64 {
    match DateTime::from_timestamp(seconds, 0) {
        Some(time) => i64::from(zone.offset_from_utc_datetime(&time.naive_utc()).fix().local_minus_utc()),
        None => 0,
    }
}

/// Takes a time apart; None if the text does not start with a year.
fn parts(text: &str) -> Result<Option<Parts>> {
    let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
    let bad = || malformed("timestamp with time zone", text);
    let Some(year) = scan.number(4, 6) else { return Ok(None) };
    let Some(separator) = scan.any(b"-/") else { return Ok(None) };
    let month = scan.number(1, 2).ok_or_else(bad)?;
    scan.any(&[separator]).ok_or_else(bad)?;
    let day = scan.number(1, 2).ok_or_else(bad)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return Err(out_of_range(text));
    }
    let mut parts = Parts { days: days_from_civil(year, month, day), seconds: 0, nanos: 0, zone: Zone::Session };
    let glued = scan.any(b"Tt").is_some();
    scan.spaces();
    if glued || scan.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        time_of_day(&mut scan, &mut parts).ok_or_else(bad)?;
        let whole_day = parts.seconds == DAY && parts.nanos == 0;
        if parts.seconds < 0 || (parts.seconds >= DAY && !whole_day) {
            return Err(out_of_range(text));
        }
    }
    scan.spaces();
    parts.zone = zone(&mut scan, text)?;
    Ok(Some(parts))
}

/// `hh:mm[:ss[.fraction]]`; the seconds come out negative if a field is impossible.
fn time_of_day(scan: &mut Scan<'_>, parts: &mut Parts) -> Option<()> {
    let hour = scan.number(1, 2)?;
    scan.any(b":")?;
    let minute = scan.number(1, 2)?;
    let mut second = 0;
    if scan.any(b":").is_some() {
        second = scan.number(1, 2)?;
        if scan.any(b".,").is_some() {
            parts.nanos = scan.fraction()?;
        }
    }
    let possible = hour <= 24 && minute < 60 && second <= 60;
    parts.seconds = if possible { hour * 3600 + minute * 60 + second } else { -1 };
    Some(())
}

fn zone(scan: &mut Scan<'_>, text: &str) -> Result<Zone> {
    let bad = || malformed("timestamp with time zone", text);
    let zone = match scan.peek() {
        None => Zone::Session,
        Some(b'Z' | b'z') if scan.bytes.len() == scan.at + 1 => {
            scan.at += 1;
            Zone::Fixed(0)
        }
        Some(sign @ (b'+' | b'-')) => {
            scan.at += 1;
            let mut seconds = offset(scan).ok_or_else(bad)?;
            if seconds > 16 * 3600 {
                return Err(error!(DatetimeFieldOverflow, "time zone displacement out of range: \"{text}\""));
            }
            if sign == b'-' {
                seconds = -seconds;
            }
            Zone::Fixed(seconds)
        }
        Some(_) => {
            let name = text.get(scan.at..).unwrap_or_default();
            scan.at = scan.bytes.len();
            match TimeZone::named(name) {
                Some(zone) => Zone::Named(zone),
                None => return Err(error!(InvalidParameterValue, "time zone \"{name}\" not recognized")),
            }
        }
    };
    scan.spaces();
    if scan.peek().is_some() { Err(bad()) } else { Ok(zone) }
}

/// `hh`, `hhmm`, `hh:mm`, `hh:mm:ss` in seconds.
fn offset(scan: &mut Scan<'_>) -> Option<i64> {
    let start = scan.at;
    let number = scan.number(1, 4)?;
    if scan.at - start > 2 {
        return (number % 100 < 60).then_some(number / 100 * 3600 + number % 100 * 60);
    }
    let mut seconds = number * 3600;
    for unit in [60, 1] {
        if scan.any(b":").is_some() {
            seconds += scan.number(2, 2).filter(|part| *part < 60)? * unit;
        }
    }
    Some(seconds)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn any(&mut self, bytes: &[u8]) -> Option<u8> {
        let byte = self.peek().filter(|byte| bytes.contains(byte))?;
        self.at += 1;
        Some(byte)
    }

    /// A number of so many digits; more digits than `max` are no number.
    fn number(&mut self, min: usize, max: usize) -> Option<i64> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(max + 1).take_while(|byte| byte.is_ascii_digit()).count();
        if length < min || length > max {
            return None;
        }
        self.at += length;
        Some(rest[..length].iter().fold(0, |number, byte| number * 10 + i64::from(byte - b'0')))
    }

    /// The digits behind a point in nanoseconds; further ones round.
    fn fraction(&mut self) -> Option<i64> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        if length == 0 {
            return None;
        }
        let mut nanos = 0;
        for place in 0..9 {
            nanos = nanos * 10 + rest[..length].get(place).map_or(0, |byte| i64::from(byte - b'0'));
        }
        Some(nanos + i64::from(rest[..length].get(9).is_some_and(|byte| *byte >= b'5')))
    }
}

/// Days since the epoch of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years start in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, precision: Precision, zone: TimeZone) -> std::result::Result<i64, String> {
        let reading = Reading { timezone: zone, now_nanos: 1_700_000_000_123_456_789 };
        timestamp(text, precision, &reading).map_err(|error| format!("{} {error}", error.state().code()))
    }

    fn millis(text: &str) -> std::result::Result<i64, String> {
        read(text, Precision::Milli, TimeZone::UTC)
    }

    #[test]
    fn reads_every_spelling() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("2024-02-29 00:00:00.123", 1_709_164_800_123),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2024-02-29T08:00:00+08:00", 1_709_164_800_000),
            ("2024-02-29 08:00:00+0800", 1_709_164_800_000),
            ("2024-02-28 19:30:00-04:30", 1_709_164_800_000),
            ("2024-02-29 08:00+08", 1_709_164_800_000),
            ("2024-02-29 01:00:00 Europe/Berlin", 1_709_164_800_000),
            ("2024-02-29 00:00:00 UTC", 1_709_164_800_000),
            ("2024/2/29", 1_709_164_800_000),
            ("2024-02-28 24:00:00", 1_709_164_800_000),
            ("2024-02-28 23:59:60", 1_709_164_800_000),
            ("1969-12-31 23:59:59.999", -1),
            ("0001-01-01 00:00:00", -62_135_596_800_000),
            ("1700000000000", 1_700_000_000_000),
            ("-5", -5),
            ("now", 1_700_000_000_123),
            ("today", 1_699_920_000_000),
            ("epoch", 0),
            ("  2024-02-29  ", 1_709_164_800_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn rounds_what_the_precision_lacks() {
        assert_eq!(millis("1970-01-01 00:00:00.0004"), Ok(0));
        assert_eq!(millis("1970-01-01 00:00:00.0005"), Ok(1));
        assert_eq!(millis("1970-01-01 23:59:59.9999"), Ok(86_400_000));
        assert_eq!(read("1970-01-01 00:00:00.0000005", Precision::Micro, TimeZone::UTC), Ok(1));
        assert_eq!(read("1970-01-01 00:00:00.1234567894", Precision::Nano, TimeZone::UTC), Ok(123_456_789));
        assert_eq!(read("1970-01-01 00:00:00.1234567895", Precision::Nano, TimeZone::UTC), Ok(123_456_790));
    }

    #[test]
    fn follows_the_zone_through_gaps_and_doubled_hours() {
        let berlin =
            |text| read(text, Precision::Milli, TimeZone::Named(chrono_tz::Tz::Europe__Berlin)).expect("a time") / 1000;
        assert_eq!(berlin("2024-01-01 00:00:00"), 1_704_063_600);
        // 02:30 does not exist on 31 March 2024: PostgreSQL gives 03:30 summer time.
        assert_eq!(berlin("2024-03-31 02:30:00"), berlin("2024-03-31 03:30:00"));
        // 02:30 exists twice on 27 October 2024: PostgreSQL gives the second one.
        assert_eq!(berlin("2024-10-27 02:30:00"), berlin("2024-10-27 02:30:00+01"));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for (text, code) in [
            ("", "22007"),
            ("x", "22007"),
            ("2024", "ok"),
            ("20240101", "22007"),
            ("2024-13-01", "22008"),
            ("2023-02-29", "22008"),
            ("2024-01-01 25:00:00", "22008"),
            ("2024-01-01 24:00:01", "22008"),
            ("2024-01-01 00:60:00", "22008"),
            ("2024-01-01 00:00:00.", "22007"),
            ("2024-01-01 00:00:00 x", "22023"),
            ("2024-01-01 00:00:00+99", "22008"),
            ("2024-01", "22007"),
            ("infinity", "22008"),
            ("99999999999999999999", "22008"),
        ] {
            let code_of = |result: std::result::Result<i64, String>| match result {
                Ok(_) => "ok".to_owned(),
                Err(error) => error[..5].to_owned(),
            };
            assert_eq!(code_of(millis(text)), code, "{text}");
        }
        assert!(read("2300-01-01", Precision::Nano, TimeZone::UTC).is_err());
    }
}

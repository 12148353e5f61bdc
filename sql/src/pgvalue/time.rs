//! Dates, times and intervals as PostgreSQL prints them, in every DateStyle and IntervalStyle.
//!
//! The calendar is computed here, not by chrono, whose years end at 262142.

use bytes::{BufMut, BytesMut};

use super::settings::{DateOrder, DateStyle, IntervalStyle, ValueSettings};
use super::zone::TimeZone;

pub(super) const DAY_S: i64 = 86_400;
/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
pub(super) const PG_EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub(super) const PG_EPOCH_US: i64 = PG_EPOCH_DAYS as i64 * DAY_S * 1_000_000;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year (astronomical: 0 is 1 BC), month and day of a day since 1970-01-01.
pub(super) fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
pub(super) fn days_of(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A short text on the stack.
struct Small {
    bytes: [u8; 96],
    len: usize,
}

impl Small {
    fn new() -> Self {
        Self { bytes: [0; 96], len: 0 }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn text(&mut self, text: &str) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
    }

    fn two(&mut self, value: u32) {
        self.push(b'0' + (value / 10 % 10) as u8);
        self.push(b'0' + (value % 10) as u8);
    }

    /// At least four digits.
    fn year(&mut self, year: i64) {
        if (0..=9999).contains(&year) {
            self.two(year as u32 / 100);
            self.two(year as u32 % 100);
        } else {
            self.text(itoa::Buffer::new().format(year));
        }
    }

    /// `HH:MM:SS` and the fraction without trailing zeros.
    fn clock(&mut self, seconds: u32, nanos: u32) {
        self.two(seconds / 3600);
        self.push(b':');
        self.two(seconds / 60 % 60);
        self.push(b':');
        self.two(seconds % 60);
        self.fraction(nanos);
    }

    fn fraction(&mut self, nanos: u32) {
        if nanos == 0 {
            return;
        }
        self.push(b'.');
        let (mut rest, mut unit) = (nanos, 100_000_000);
        while rest > 0 {
            self.push(b'0' + (rest / unit) as u8);
            rest %= unit;
            unit /= 10;
        }
    }

    /// `+02`, `-03:30`, `+00:19:32`.
    fn offset(&mut self, east_s: i32) {
        self.push(if east_s < 0 { b'-' } else { b'+' });
        let seconds = east_s.unsigned_abs();
        self.two(seconds / 3600);
        if !seconds.is_multiple_of(3600) {
            self.push(b':');
            self.two(seconds / 60 % 60);
        }
        if !seconds.is_multiple_of(60) {
            self.push(b':');
            self.two(seconds % 60);
        }
    }

    fn flush(&self, out: &mut BytesMut) {
        out.put_slice(&self.bytes[..self.len]);
    }
}

/// The day's part of a date or timestamp in ISO, SQL and German style.
fn date_part(text: &mut Small, year: i64, month: u32, day: u32, settings: &ValueSettings, alone: bool) {
    let separator = match settings.date_style {
        DateStyle::Iso => b'-',
        DateStyle::Sql => b'/',
        DateStyle::German => b'.',
        DateStyle::Postgres => b'-',
    };
    let day_first = settings.date_style == DateStyle::German || settings.date_order == DateOrder::Dmy;
    if settings.date_style == DateStyle::Iso
        || (alone && settings.date_style == DateStyle::Postgres && settings.date_order == DateOrder::Ymd)
    {
        text.year(year);
        text.push(separator);
        text.two(month);
        text.push(separator);
        text.two(day);
    } else {
        text.two(if day_first { day } else { month });
        text.push(separator);
        text.two(if day_first { month } else { day });
        text.push(separator);
        text.year(year);
    }
}

/// Years before 1 are printed as BC.
fn era(year: i64) -> (i64, bool) {
    if year <= 0 { (1 - year, true) } else { (year, false) }
}

/// Appends a date: days since 1970-01-01. The extreme values are infinite.
pub(super) fn put_date(out: &mut BytesMut, days: i32, settings: &ValueSettings) {
    match days {
        i32::MAX => return out.put_slice(b"infinity"),
        i32::MIN => return out.put_slice(b"-infinity"),
        _ => {}
    }
    let (year, month, day) = civil(i64::from(days));
    let (year, before_christ) = era(year);
    let mut text = Small::new();
    date_part(&mut text, year, month, day, settings, true);
    if before_christ {
        text.text(" BC");
    }
    text.flush(out);
}

/// Appends a time of day: nanoseconds since midnight, 24:00:00 included.
pub(super) fn put_time(out: &mut BytesMut, nanos: i64) {
    let mut text = Small::new();
    text.clock((nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32);
    text.flush(out);
}

/// Appends a timestamp: seconds since 1970-01-01 UTC and nanoseconds; in `zone` with its offset, or without one.
pub(super) fn put_timestamp(
    out: &mut BytesMut,
    epoch_s: i64,
    nanos: u32,
    zone: Option<TimeZone>,
    settings: &ValueSettings,
) {
    let offset = zone.map_or(0, |zone| zone.offset_at(epoch_s));
    let local = epoch_s.saturating_add(i64::from(offset));
    let (days, seconds) = (local.div_euclid(DAY_S), local.rem_euclid(DAY_S) as u32);
    let (year, month, day) = civil(days);
    let (year, before_christ) = era(year);
    let mut text = Small::new();
    if settings.date_style == DateStyle::Postgres {
        text.text(WEEKDAYS[(days + 4).rem_euclid(7) as usize]);
        text.push(b' ');
        if settings.date_order == DateOrder::Dmy {
            text.two(day);
            text.push(b' ');
            text.text(MONTHS[month as usize - 1]);
        } else {
            text.text(MONTHS[month as usize - 1]);
            text.push(b' ');
            text.two(day);
        }
        text.push(b' ');
        text.clock(seconds, nanos);
        text.push(b' ');
        text.year(year);
    } else {
        date_part(&mut text, year, month, day, settings, false);
        text.push(b' ');
        text.clock(seconds, nanos);
    }
    match zone {
        Some(_) if settings.date_style == DateStyle::Iso => text.offset(offset),
        Some(zone) => {
            text.push(b' ');
            text.text(&zone.abbreviation_at(epoch_s));
        }
        None => {}
    }
    if before_christ {
        text.text(" BC");
    }
    text.flush(out);
}

/// An interval: months, days and nanoseconds, each with its own sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) months: i32,
    pub(super) days: i32,
    pub(super) nanos: i64,
}

/// The parts that are printed.
struct Parts {
    years: i32,
    months: i32,
    days: i32,
    hours: i64,
    minutes: i64,
    seconds: i64,
    nanos: i64,
}

impl Interval {
    fn parts(self) -> Parts {
        let seconds = self.nanos / 1_000_000_000;
        Parts {
            years: self.months / 12,
            months: self.months % 12,
            days: self.days,
            hours: seconds / 3600,
            minutes: seconds / 60 % 60,
            seconds: seconds % 60,
            nanos: self.nanos % 1_000_000_000,
        }
    }

    /// Appends the interval in the session's style.
    pub(super) fn put(self, out: &mut BytesMut, style: IntervalStyle) {
        let text = match style {
            IntervalStyle::Postgres => self.postgres(),
            IntervalStyle::PostgresVerbose => self.verbose(),
            IntervalStyle::SqlStandard => self.sql_standard(),
            IntervalStyle::Iso8601 => self.iso_8601(),
        };
        out.put_slice(text.as_bytes());
    }

    fn postgres(self) -> String {
        let parts = self.parts();
        let mut text = String::new();
        // A part after a negative one shows its plus sign.
        let mut before_negative = false;
        for (value, unit) in [(parts.years, "year"), (parts.months, "mon"), (parts.days, "day")] {
            if value != 0 {
                let space = if text.is_empty() { "" } else { " " };
                let plus = if before_negative && value > 0 { "+" } else { "" };
                let plural = if value == 1 { "" } else { "s" };
                text += &format!("{space}{plus}{value} {unit}{plural}");
                before_negative = value < 0;
            }
        }
        if self.nanos != 0 || text.is_empty() {
            let space = if text.is_empty() { "" } else { " " };
            let sign = if self.nanos < 0 {
                "-"
            } else if before_negative {
                "+"
            } else {
                ""
            };
            text +=
                &format!("{space}{sign}{:02}:{:02}:{:02}", parts.hours.abs(), parts.minutes.abs(), parts.seconds.abs());
            text += &fraction(parts.nanos);
        }
        text
    }

    fn verbose(self) -> String {
        let parts = self.parts();
        let mut text = String::from("@");
        let seconds_nonzero = parts.seconds != 0 || parts.nanos != 0;
        let values = [
            (i64::from(parts.years), "year"),
            (i64::from(parts.months), "mon"),
            (i64::from(parts.days), "day"),
            (parts.hours, "hour"),
            (parts.minutes, "min"),
        ];
        // The first part decides the sign of all: "ago".
        let first = values.iter().map(|(value, _)| *value).find(|value| *value != 0);
        let ago = first.unwrap_or(if seconds_nonzero { self.nanos } else { 0 }) < 0;
        for (value, unit) in values {
            let value = if ago { -value } else { value };
            if value != 0 {
                text += &format!(" {value} {unit}{}", if value == 1 { "" } else { "s" });
            }
        }
        if seconds_nonzero {
            let negative = (self.nanos < 0) != ago;
            let plural = if parts.seconds.abs() == 1 && parts.nanos == 0 { "" } else { "s" };
            let sign = if negative { "-" } else { "" };
            text += &format!(" {sign}{}{} sec{plural}", parts.seconds.abs(), fraction(parts.nanos));
        }
        if first.is_none() && !seconds_nonzero {
            text += " 0";
        }
        if ago {
            text += " ago";
        }
        text
    }

    fn sql_standard(self) -> String {
        let parts = self.parts();
        let (year_month, day_time) = (self.months != 0, self.days != 0 || self.nanos != 0);
        let negative = self.months < 0 || self.days < 0 || self.nanos < 0;
        let positive = self.months > 0 || self.days > 0 || self.nanos > 0;
        let clock = format!(
            "{}:{:02}:{:02}{}",
            parts.hours.abs(),
            parts.minutes.abs(),
            parts.seconds.abs(),
            fraction(parts.nanos)
        );
        let months = format!("{}-{}", parts.years.abs(), parts.months.abs());
        let sign = |negative: bool| if negative { '-' } else { '+' };
        if !negative && !positive {
            return "0".to_owned();
        }
        if (negative && positive) || (year_month && day_time) {
            let days = self.days.unsigned_abs();
            return format!(
                "{}{months} {}{days} {}{clock}",
                sign(self.months < 0),
                sign(self.days < 0),
                sign(self.nanos < 0)
            );
        }
        let minus = if negative { "-" } else { "" };
        if year_month {
            format!("{minus}{months}")
        } else if self.days != 0 {
            format!("{minus}{} {clock}", self.days.unsigned_abs())
        } else {
            format!("{minus}{clock}")
        }
    }

    fn iso_8601(self) -> String {
        let parts = self.parts();
        if self == Self::default() {
            return "PT0S".to_owned();
        }
        let mut text = String::from("P");
        for (value, unit) in [(parts.years, 'Y'), (parts.months, 'M'), (parts.days, 'D')] {
            if value != 0 {
                text += &format!("{value}{unit}");
            }
        }
        if self.nanos != 0 {
            text.push('T');
        }
        for (value, unit) in [(parts.hours, 'H'), (parts.minutes, 'M')] {
            if value != 0 {
                text += &format!("{value}{unit}");
            }
        }
        if parts.seconds != 0 || parts.nanos != 0 {
            let sign = if self.nanos < 0 { "-" } else { "" };
            text += &format!("{sign}{}{}S", parts.seconds.abs(), fraction(parts.nanos));
        }
        text
    }
}

/// `.789`, or nothing.
fn fraction(nanos: i64) -> String {
    if nanos == 0 {
        return String::new();
    }
    format!(".{:09}", nanos.unsigned_abs()).trim_end_matches('0').to_owned()
}

//! Time zones: those of the tz database and fixed offsets, as `SET TimeZone` takes them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDate, NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::Tz;
use datafusion::scalar::ScalarValue;
use model::{Error, Result, error};

use super::ValueSettings;
use crate::pgtype::PgType;

/// Offsets are less than a day, as Arrow's and chrono's are.
const OFFSET_SECONDS_MAX: i32 = 86_399;

/// A time zone of the tz database, or a fixed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeZone {
    /// By name.
    Named(Tz),
    /// Seconds east of Greenwich, less than a day.
    Fixed(i32),
}

impl TimeZone {
    /// UTC, printed as `UTC`.
    pub const UTC: Self = Self::Named(Tz::UTC);

    /// Reads a zone as `SET TimeZone` takes it: a name in any case, a number of hours east (`5.5`, `-3`), POSIX's
    /// `UTC+3`, `<+03>-03` and `-05:30` (west, as POSIX counts), or `INTERVAL '05:30'` (east).
    ///
    /// # Errors
    ///
    /// `InvalidParameterValue` for an unknown zone.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || error!(InvalidParameterValue, "invalid value for parameter \"TimeZone\": \"{text}\"");
        let far = || bad().with_detail("UTC timezone offset is out of range.");
        let word = text.trim();
        if let Some(interval) = interval_of(word) {
            return Self::of_interval(interval, bad);
        }
        if let Ok(hours) = word.parse::<f64>() {
            let seconds = (hours * 3600.0).round();
            let within = seconds.abs() <= f64::from(OFFSET_SECONDS_MAX);
            return if within { Ok(Self::Fixed(seconds as i32)) } else { Err(far()) };
        }
        Self::named(word).or_else(|| posix(word)).ok_or_else(|| {
            bad().with_hint("Use a name of the tz database such as Europe/Berlin, or a number of hours.")
        })
    }

    fn of_interval(text: &str, bad: impl Fn() -> Error) -> Result<Self> {
        let value = super::decode(PgType::INTERVAL, false, text.as_bytes(), &ValueSettings::default());
        let Ok(ScalarValue::IntervalMonthDayNano(Some(interval))) = value else { return Err(bad()) };
        if interval.months != 0 {
            return Err(bad().with_detail("Cannot specify months in time zone interval."));
        }
        if interval.days != 0 {
            return Err(bad().with_detail("Cannot specify days in time zone interval."));
        }
        match i32::try_from(interval.nanoseconds / 1_000_000_000) {
            Ok(seconds) if seconds.abs() <= OFFSET_SECONDS_MAX => Ok(Self::Fixed(seconds)),
            _ => Err(bad().with_detail("UTC timezone offset is out of range.")),
        }
    }

    /// A zone of the tz database by its name in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let any_case = || chrono_tz::TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(name)).copied();
        name.parse().ok().or_else(any_case).map(Self::Named)
    }

    /// As `SHOW TimeZone` prints it; [`TimeZone::parse`] reads it back.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Named(tz) => tz.name().to_owned(),
            Self::Fixed(east) => {
                let mut offset = String::new();
                write_hm(&mut offset, east);
                let mut west = String::new();
                write_hm(&mut west, -east);
                format!("<{offset}>{west}")
            }
        }
    }

    /// As Arrow and DataFusion name it: `Europe/Berlin`, `+05:30`. They know no seconds of an offset.
    #[must_use]
    pub fn arrow_name(self) -> String {
        match self {
            Self::Named(tz) => tz.name().to_owned(),
            Self::Fixed(east) => {
                let (sign, minutes) = (if east < 0 { '-' } else { '+' }, east.abs() / 60);
                format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }

    /// The zone of [`TimeZone::arrow_name`], which counts east.
    ///
    /// # Errors
    ///
    /// As [`TimeZone::parse`].
    pub fn of_arrow_name(name: &str) -> Result<Self> {
        let fixed = || {
            let (hours, minutes) = name.strip_prefix(['+', '-'])?.split_once(':')?;
            let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
            Some(Self::Fixed(if name.starts_with('-') { -seconds } else { seconds }))
        };
        fixed().map_or_else(|| Self::parse(name), Ok)
    }

    /// Seconds east of Greenwich at `epoch_s`, seconds since the Unix epoch in UTC.
    #[must_use]
    pub fn offset_at(self, epoch_s: i64) -> i32 {
        match self {
            Self::Named(Tz::UTC) => 0,
            Self::Fixed(east) => east,
            Self::Named(tz) => {
                let at = DateTime::from_timestamp(clamp(epoch_s), 0).unwrap_or_default();
                tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
            }
        }
    }

    /// The zone's abbreviation at `epoch_s`, such as `CET`; an offset such as `+03` if it has none.
    #[must_use]
    pub fn abbreviation_at(self, epoch_s: i64) -> String {
        match self {
            Self::Fixed(east) => {
                let mut text = String::new();
                write_hm(&mut text, east);
                text
            }
            Self::Named(tz) => {
                let at = DateTime::from_timestamp(clamp(epoch_s), 0).unwrap_or_default();
                tz.offset_from_utc_datetime(&at.naive_utc()).to_string()
            }
        }
    }

    /// Seconds since the Unix epoch of a local wall-clock second. A time that occurs twice is the earlier one in
    /// standard terms as PostgreSQL takes it (the later instant); one that is skipped is read with the offset before the gap.
    #[must_use]
    pub fn epoch_of_local(self, local_s: i64) -> i64 {
        // The offset a day before and a day after bound every transition between them.
        let before = i64::from(self.offset_at(local_s - 86_400));
        let after = i64::from(self.offset_at(local_s + 86_400));
        let fits = |offset: i64| i64::from(self.offset_at(local_s - offset)) == offset;
        match (fits(before), fits(after)) {
            (_, true) => local_s - after,
            _ => local_s - before,
        }
    }
}

impl FromStr for TimeZone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

/// A zone's offset at some time: it remembers its zone, so that chrono can count on with a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneOffset {
    zone: TimeZone,
    offset: FixedOffset,
}

impl Offset for ZoneOffset {
    fn fix(&self) -> FixedOffset {
        self.offset
    }
}

impl fmt::Display for ZoneOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.offset.fmt(f)
    }
}

impl TimeZone {
    fn offset(self, seconds_east: i32) -> ZoneOffset {
        let utc = FixedOffset::east_opt(0).expect("no offset is an offset");
        ZoneOffset { zone: self, offset: FixedOffset::east_opt(seconds_east).unwrap_or(utc) }
    }
}

impl chrono::TimeZone for TimeZone {
    type Offset = ZoneOffset;

    fn from_offset(offset: &ZoneOffset) -> Self {
        offset.zone
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> MappedLocalTime<ZoneOffset> {
        self.offset_from_local_datetime(&local.and_time(chrono::NaiveTime::MIN))
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> MappedLocalTime<ZoneOffset> {
        match self {
            Self::Fixed(east) => MappedLocalTime::Single(self.offset(*east)),
            Self::Named(tz) => {
                tz.offset_from_local_datetime(local).map(|offset| self.offset(offset.fix().local_minus_utc()))
            }
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> ZoneOffset {
        self.offset_from_utc_datetime(&utc.and_time(chrono::NaiveTime::MIN))
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> ZoneOffset {
        match self {
            Self::Fixed(east) => self.offset(*east),
            Self::Named(tz) => self.offset(tz.offset_from_utc_datetime(utc).fix().local_minus_utc()),
        }
    }
}

/// chrono's range is narrower than ours; offsets beyond it are those of its last year.
fn clamp(epoch_s: i64) -> i64 {
    epoch_s.clamp(-8_000_000_000_000, 8_000_000_000_000)
}

/// `+03`, `-05:30`.
fn write_hm(out: &mut String, seconds: i32) {
    use std::fmt::Write as _;
    let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, "{sign}{h:02}");
    if m != 0 || s != 0 {
        let _ = write!(out, ":{m:02}");
    }
    if s != 0 {
        let _ = write!(out, ":{s:02}");
    }
}

/// The text of `INTERVAL '…'`.
fn interval_of(text: &str) -> Option<&str> {
    let (word, rest) = text.split_at_checked(8)?;
    let rest = rest.trim();
    word.eq_ignore_ascii_case("interval").then(|| rest.strip_prefix('\'')?.strip_suffix('\'')).flatten()
}

/// `UTC+3`, `FOO3`, `<+03>-03`, `-05:30`: an abbreviation, which may be missing, and an offset west of Greenwich.
fn posix(text: &str) -> Option<TimeZone> {
    let rest = match text.strip_prefix('<') {
        Some(inner) => inner.split_once('>')?.1,
        None => {
            let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
            if !matches!(letters, 0 | 3..) {
                return None;
            }
            &text[letters..]
        }
    };
    let (west, digits) = match rest.as_bytes().first()? {
        b'+' => (1, &rest[1..]),
        b'-' => (-1, &rest[1..]),
        _ => (1, rest),
    };
    let mut parts = digits.split(':');
    let mut seconds = 0;
    for (unit, most) in [(3600, 23), (60, 59), (1, 59)] {
        match parts.next() {
            Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => {
                seconds += part.parse::<i32>().ok().filter(|part| *part <= most)? * unit;
            }
            Some(_) => return None,
            None => break,
        }
    }
    parts.next().is_none().then_some(TimeZone::Fixed(-west * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PostgreSQL 15 takes each for, in seconds east; None where it refuses.
    #[test]
    fn zones_are_read_as_postgresql_reads_them() {
        let cases = [
            ("3", Some(10_800)),
            ("+03", Some(10_800)),
            ("-3", Some(-10_800)),
            ("5.5", Some(19_800)),
            ("-05:30", Some(19_800)),
            ("+05:30", Some(-19_800)),
            ("05:30", Some(-19_800)),
            ("UTC+3", Some(-10_800)),
            ("FOO3", Some(-10_800)),
            ("IST-5:30", Some(19_800)),
            ("<+03>-03", Some(10_800)),
            ("INTERVAL '05:30'", Some(19_800)),
            ("interval '-3:30'", Some(-12_600)),
            ("europe/berlin", Some(3600)),
            ("EST5EDT", Some(-18_000)),
            ("INTERVAL '1 day'", None),
            ("INTERVAL '1 month'", None),
            ("200", None),
            ("FOO", None),
            ("PST", None),
            ("z", None),
            ("default", None),
            ("", None),
        ];
        for (text, offset) in cases {
            let read = TimeZone::parse(text).ok().map(|zone| zone.offset_at(0));
            assert_eq!(read, offset, "{text}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for text in ["Europe/Berlin", "5.5", "-3", "0", "UTC"] {
            let zone = TimeZone::parse(text).unwrap();
            assert_eq!(TimeZone::parse(&zone.name()), Ok(zone));
            assert_eq!(TimeZone::of_arrow_name(&zone.arrow_name()), Ok(zone));
        }
        assert_eq!(TimeZone::Fixed(19_800).name(), "<+05:30>-05:30");
        assert_eq!(TimeZone::Fixed(-19_800).arrow_name(), "-05:30");
    }

    #[test]
    fn a_moment_counts_on_in_its_zone() {
        let berlin = TimeZone::parse("Europe/Berlin").unwrap();
        let winter = berlin.with_ymd_and_hms(2024, 3, 30, 12, 0, 0).unwrap();
        let summer = winter + chrono::Duration::days(1);
        assert_eq!(summer.naive_local().to_string(), "2024-03-31 13:00:00");
    }
}

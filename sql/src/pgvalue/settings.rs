//! What a session has set that changes how values look: TimeZone, DateStyle, IntervalStyle and the like.

use std::sync::Arc;

use chrono::{DateTime, Offset, TimeZone as _};
use chrono_tz::Tz;
use model::{Result, fail};

use crate::pgtype::PgType;

/// How values of one session are printed and read.
#[derive(Clone)]
pub struct ValueSettings {
    /// `TimeZone`.
    pub time_zone: TimeZone,
    /// The first word of `DateStyle`.
    pub date_style: DateStyle,
    /// The second word of `DateStyle`.
    pub date_order: DateOrder,
    /// `IntervalStyle`.
    pub interval_style: IntervalStyle,
    /// `extra_float_digits`, -15 to 3. Above 0 floats print the fewest digits that read back the same.
    pub extra_float_digits: i32,
    /// `bytea_output = escape`; hex otherwise.
    pub bytea_escape: bool,
    /// Names behind oids, for `regclass` and its kin; without it they print as numbers.
    pub oid_names: Option<Arc<dyn OidNames>>,
}

impl Default for ValueSettings {
    fn default() -> Self {
        Self {
            time_zone: TimeZone::UTC,
            date_style: DateStyle::Iso,
            date_order: DateOrder::Mdy,
            interval_style: IntervalStyle::Postgres,
            extra_float_digits: 1,
            bytea_escape: false,
            oid_names: None,
        }
    }
}

/// Names of the objects that `regclass`, `regtype`, `regproc` and `regnamespace` values point to.
pub trait OidNames: Send + Sync {
    /// The name to print for `oid` of the reg-type `kind`; None prints the number.
    fn name(&self, kind: PgType, oid: u32) -> Option<String>;
}

/// First word of `DateStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateStyle {
    /// `2017-01-31 00:00:00+00`.
    Iso,
    /// `01/31/2017 00:00:00 UTC`.
    Sql,
    /// `Tue Jan 31 00:00:00 2017 UTC`.
    Postgres,
    /// `31.01.2017 00:00:00 UTC`.
    German,
}

/// Second word of `DateStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// Month, day, year.
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

impl DateStyle {
    /// As `SHOW DateStyle` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iso => "ISO",
            Self::Sql => "SQL",
            Self::Postgres => "Postgres",
            Self::German => "German",
        }
    }
}

impl DateOrder {
    /// As `SHOW DateStyle` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mdy => "MDY",
            Self::Dmy => "DMY",
            Self::Ymd => "YMD",
        }
    }
}

/// Reads a value of `DateStyle`, such as `ISO, MDY`, `iso` or `German`; what it does not name keeps its old value.
///
/// # Errors
///
/// `InvalidParameterValue` for an unknown or contradicting word.
pub fn parse_date_style(text: &str, old: (DateStyle, DateOrder)) -> Result<(DateStyle, DateOrder)> {
    let (mut style, mut order) = (None, None);
    for word in text.split(',').map(|word| word.trim().to_ascii_lowercase()).filter(|word| !word.is_empty()) {
        let (this_style, this_order) = match word.as_str() {
            "iso" => (Some(DateStyle::Iso), None),
            "sql" => (Some(DateStyle::Sql), None),
            "german" => (Some(DateStyle::German), None),
            word if word.starts_with("postgres") => (Some(DateStyle::Postgres), None),
            "ymd" => (None, Some(DateOrder::Ymd)),
            word if word == "dmy" || word.starts_with("euro") => (None, Some(DateOrder::Dmy)),
            word if word == "mdy" || word == "us" || word.starts_with("noneuro") => (None, Some(DateOrder::Mdy)),
            "default" => (Some(DateStyle::Iso), Some(DateOrder::Mdy)),
            _ => fail!(InvalidParameterValue, "invalid value for parameter \"DateStyle\": \"{text}\""),
        };
        let clash = |old: bool, new: bool| old && new;
        if clash(style.is_some() && style != this_style, this_style.is_some())
            || clash(order.is_some() && order != this_order, this_order.is_some())
        {
            fail!(InvalidParameterValue, "invalid value for parameter \"DateStyle\": \"{text}\"");
        }
        style = this_style.or(style);
        order = this_order.or(order);
    }
    if style == Some(DateStyle::German) && order.is_none() {
        order = Some(DateOrder::Dmy);
    }
    Ok((style.unwrap_or(old.0), order.unwrap_or(old.1)))
}

/// `IntervalStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`.
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`.
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`.
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`.
    Iso8601,
}

impl IntervalStyle {
    /// As `SHOW IntervalStyle` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::PostgresVerbose => "postgres_verbose",
            Self::SqlStandard => "sql_standard",
            Self::Iso8601 => "iso_8601",
        }
    }

    /// The style of this name.
    ///
    /// # Errors
    ///
    /// `InvalidParameterValue` if there is none.
    pub fn parse(text: &str) -> Result<Self> {
        let all = [Self::Postgres, Self::PostgresVerbose, Self::SqlStandard, Self::Iso8601];
        match all.into_iter().find(|style| style.name().eq_ignore_ascii_case(text.trim())) {
            Some(style) => Ok(style),
            None => {
                Err(model::error!(InvalidParameterValue, "invalid value for parameter \"IntervalStyle\": \"{text}\"")
                    .with_hint("Available values: postgres, postgres_verbose, sql_standard, iso_8601."))
            }
        }
    }
}

/// A time zone of the tz database, or a fixed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeZone {
    /// By name.
    Named(Tz),
    /// Seconds east of Greenwich.
    Fixed(i32),
}

impl TimeZone {
    /// UTC, printed as `UTC`.
    pub const UTC: Self = Self::Named(Tz::UTC);

    /// Reads a zone as `SET TimeZone` takes it: a name in any case, or a number of hours east (`5.5`, `-3`), or a
    /// POSIX-like `<+03>-03`, `UTC+3` (hours west, as POSIX counts).
    ///
    /// # Errors
    ///
    /// `InvalidParameterValue` for an unknown zone.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Ok(hours) = text.parse::<f64>()
            && hours.abs() <= 167.0
        {
            return Ok(Self::Fixed((hours * 3600.0).round() as i32));
        }
        if let Some(zone) = Self::named(text).or_else(|| posix(text)) {
            return Ok(zone);
        }
        Err(model::error!(InvalidParameterValue, "invalid value for parameter \"TimeZone\": \"{text}\"")
            .with_hint("Use a name of the tz database such as Europe/Berlin, or an offset in hours."))
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

/// `UTC+3`, `GMT-05:30`, `<+03>-03`: an abbreviation and hours west.
fn posix(text: &str) -> Option<TimeZone> {
    let rest = if let Some(inner) = text.strip_prefix('<') {
        inner.split_once('>')?.1
    } else {
        let at = text.find(['+', '-'])?;
        if at < 3 || !text[..at].bytes().all(|b| b.is_ascii_alphabetic()) {
            return None;
        }
        &text[at..]
    };
    let (west, digits) = match rest.as_bytes().first()? {
        b'+' => (1, &rest[1..]),
        b'-' => (-1, &rest[1..]),
        _ => (1, rest),
    };
    let mut parts = digits.split(':');
    let mut seconds = 0;
    for unit in [3600, 60, 1] {
        match parts.next() {
            Some(part) => seconds += part.parse::<u16>().ok().map(i32::from)? * unit,
            None => break,
        }
    }
    (parts.next().is_none() && seconds <= 167 * 3600).then_some(TimeZone::Fixed(-west * seconds))
}

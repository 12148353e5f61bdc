//! What a session has set that changes how values look: TimeZone, DateStyle, IntervalStyle and the like.

use std::sync::Arc;

use model::{Result, error};

use super::zone::TimeZone;
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
            word => {
                let detail = format!("Unrecognized key word: \"{word}\".");
                return Err(bad_date_style(text).with_detail(detail));
            }
        };
        let clash = |old: bool, new: bool| old && new;
        if clash(style.is_some() && style != this_style, this_style.is_some())
            || clash(order.is_some() && order != this_order, this_order.is_some())
        {
            return Err(bad_date_style(text).with_detail("Conflicting \"datestyle\" specifications."));
        }
        style = this_style.or(style);
        order = this_order.or(order);
    }
    if style == Some(DateStyle::German) && order.is_none() {
        order = Some(DateOrder::Dmy);
    }
    Ok((style.unwrap_or(old.0), order.unwrap_or(old.1)))
}

fn bad_date_style(text: &str) -> model::Error {
    error!(InvalidParameterValue, "invalid value for parameter \"DateStyle\": \"{text}\"")
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
            None => Err(error!(InvalidParameterValue, "invalid value for parameter \"IntervalStyle\": \"{text}\"")
                .with_hint("Available values: postgres, postgres_verbose, sql_standard, iso_8601.")),
        }
    }
}

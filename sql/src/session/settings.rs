//! The settings of a session: each name once, with its default, its check and whether clients are told of changes.
//!
//! Unknown names are refused as PostgreSQL does; names with a dot are custom and take any text.
//! Start reading at [`SETTINGS`].

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use model::{Result, error, fail};

use crate::plan::pushdown::Pushdown;

/// How a value is checked and brought into its usual form.
#[derive(Clone, Copy)]
enum Check {
    /// Any text.
    Text,
    /// on/off in any of PostgreSQL's spellings.
    Bool,
    /// A whole number in this range.
    Int(i64, i64),
    /// A time in milliseconds, with an optional unit.
    Millis,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A time zone.
    Zone,
    /// `ISO, MDY` and its parts.
    DateStyle,
    /// Only UTF-8.
    Utf8,
    /// Cannot be set.
    ReadOnly,
}

/// One setting.
pub struct Setting {
    /// As PostgreSQL spells it.
    pub name: &'static str,
    /// At the start of a session.
    pub default: &'static str,
    check: Check,
    /// Clients get ParameterStatus for it.
    pub reported: bool,
    /// For `SHOW ALL` and `pg_settings`.
    pub description: &'static str,
}

macro_rules! settings {
    ($($name:literal = $default:expr, $check:expr, $reported:literal, $description:literal;)+) => {
        /// Every setting that a session knows.
        pub const SETTINGS: &[Setting] = &[$(
            Setting { name: $name, default: $default, check: $check, reported: $reported, description: $description },
        )+];
    };
}

const ISOLATION: &[&str] = &["read uncommitted", "read committed", "repeatable read", "serializable"];
const MESSAGES: &[&str] = &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"];

pub use crate::catalogs::SERVER_VERSION;
/// The same as a number.
pub const SERVER_VERSION_NUM: &str = "150018";

settings! {
    "application_name" = "", Check::Text, true, "Name that the client gave itself.";
    "block_statistics" = "on", Check::Bool, false, "Whether what is known of whole blocks may stand for their rows; off to compare.";
    "bytea_output" = "hex", Check::OneOf(&["hex", "escape"]), false, "Output format of bytea.";
    "client_encoding" = "UTF8", Check::Utf8, true, "Encoding of the client; UTF8 only.";
    "client_min_messages" = "notice", Check::OneOf(MESSAGES), false, "Accepted, without effect.";
    "DateStyle" = "ISO, MDY", Check::DateStyle, true, "Format of dates; output is always ISO.";
    "default_transaction_isolation" = "read committed", Check::OneOf(ISOLATION), false, "Isolation of new transactions.";
    "default_transaction_read_only" = "off", Check::Bool, true, "Accepted, without effect.";
    "distributed" = "on", Check::Bool, false, "Accepted: there is one dnode.";
    "division" = "integer", Check::OneOf(&["integer", "double"]), false, "Division of integers: 7/2 is 3, or TDengine's 3.5.";
    "double_quotes" = "identifier", Check::OneOf(&["identifier", "string"]), false, "What \"x\" means; TDengine applications want string.";
    "enable_hashagg" = "on", Check::Bool, false, "Accepted, without effect.";
    "enable_hashjoin" = "on", Check::Bool, false, "Accepted, without effect.";
    "enable_indexscan" = "on", Check::Bool, false, "Accepted, without effect.";
    "enable_mergejoin" = "on", Check::Bool, false, "Accepted, without effect.";
    "enable_nestloop" = "on", Check::Bool, false, "Accepted, without effect.";
    "enable_seqscan" = "on", Check::Bool, false, "Accepted, without effect.";
    "enable_sort" = "on", Check::Bool, false, "Accepted, without effect.";
    "extra_float_digits" = "1", Check::Int(-15, 3), false, "Digits of floats; 1 and above print the shortest exact form.";
    "geqo" = "on", Check::Bool, false, "Accepted, without effect.";
    "idle_in_transaction_session_timeout" = "0", Check::Millis, false, "Accepted, without effect.";
    "idle_session_timeout" = "0", Check::Millis, false, "Accepted, without effect.";
    "in_hot_standby" = "off", Check::ReadOnly, true, "Always off.";
    "integer_datetimes" = "on", Check::ReadOnly, true, "Always on.";
    "IntervalStyle" = "postgres", Check::OneOf(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), true, "Format of intervals.";
    "is_superuser" = "on", Check::ReadOnly, true, "Whether the user may do everything.";
    "jit" = "off", Check::Bool, false, "Accepted, without effect.";
    "lc_collate" = "C", Check::ReadOnly, false, "Always C.";
    "lc_ctype" = "C", Check::ReadOnly, false, "Always C.";
    "lc_messages" = "C", Check::Text, false, "Accepted, without effect.";
    "lc_monetary" = "C", Check::Text, false, "Accepted, without effect.";
    "lc_numeric" = "C", Check::Text, false, "Accepted, without effect.";
    "lc_time" = "C", Check::Text, false, "Accepted, without effect.";
    "lock_timeout" = "0", Check::Millis, false, "Accepted: there are no locks to wait for.";
    "max_identifier_length" = "63", Check::ReadOnly, false, "As PostgreSQL's.";
    "max_index_keys" = "32", Check::ReadOnly, false, "As PostgreSQL's.";
    "push_aggregates" = "on", Check::Bool, false, "Whether vgroups reduce their rows before they send them; off to compare.";
    "row_security" = "on", Check::Bool, false, "Accepted, without effect.";
    "search_path" = "\"$user\", public", Check::Text, false, "Schemas of unqualified names; every database has public.";
    "server_encoding" = "UTF8", Check::ReadOnly, true, "Always UTF8.";
    "server_version" = SERVER_VERSION, Check::ReadOnly, true, "Version of PostgreSQL that clients should expect.";
    "server_version_num" = SERVER_VERSION_NUM, Check::ReadOnly, false, "The same as a number.";
    "session_authorization" = "root", Check::ReadOnly, true, "The user.";
    "standard_conforming_strings" = "on", Check::OneOf(&["on"]), true, "Backslashes are plain in '…'; always on.";
    "statement_timeout" = "0", Check::Millis, false, "Longest run of a statement; 0 is no limit.";
    "strict_reads" = "off", Check::Bool, false, "Accepted, without effect.";
    "synchronous_commit" = "on", Check::Text, false, "Accepted: the database's WAL policy decides.";
    "synchronize_seqscans" = "on", Check::Bool, false, "Accepted, without effect.";
    "TimeZone" = "UTC", Check::Zone, true, "Zone of timestamps without one, of output, and of days, months and years.";
    "transaction_isolation" = "read committed", Check::OneOf(ISOLATION), false, "Isolation of this transaction.";
    "transaction_read_only" = "off", Check::Bool, false, "Accepted, without effect.";
    "transaction_deferrable" = "off", Check::Bool, false, "Accepted, without effect.";
    "wal_level" = "replica", Check::ReadOnly, false, "PostgreSQL's; see SHOW DATABASES for ours.";
    "work_mem" = "4MB", Check::Text, false, "Accepted: one memory budget serves all.";
    "xmloption" = "content", Check::Text, false, "Accepted, without effect.";
    "escape_string_warning" = "on", Check::Bool, false, "Accepted, without effect.";
    "backslash_quote" = "safe_encoding", Check::Text, false, "Accepted, without effect.";
    "timezone_abbreviations" = "Default", Check::Text, false, "Accepted, without effect.";
    "data_directory_mode" = "0700", Check::ReadOnly, false, "As PostgreSQL's.";
    "max_connections" = "1000", Check::ReadOnly, false, "Most connections.";
    "default_tablespace" = "", Check::Text, false, "Accepted, without effect.";
    "default_table_access_method" = "heap", Check::Text, false, "Accepted, without effect.";
    "check_function_bodies" = "on", Check::Bool, false, "Accepted, without effect.";
    "session_replication_role" = "origin", Check::Text, false, "Accepted, without effect.";
    "plan_cache_mode" = "auto", Check::Text, false, "Accepted, without effect.";
}

/// The values of one session.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<String, String>,
    /// What RESET goes back to, where startup parameters differ from the defaults.
    startup: BTreeMap<String, String>,
    zone: Tz,
    /// Grows with every change, so that plans made under other settings are noticed.
    version: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { values: BTreeMap::new(), startup: BTreeMap::new(), zone: Tz::UTC, version: 0 }
    }
}

impl Settings {
    /// The value of a setting, if there is one of this name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let key = name.to_ascii_lowercase();
        if let Some(value) = self.values.get(&key).or_else(|| self.startup.get(&key)) {
            return Some(value);
        }
        find(&key).map(|setting| setting.default)
    }

    /// The value of a setting that is known to exist.
    fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Every setting with its value and description, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String, String)> {
        let known = SETTINGS.iter().map(|setting| {
            (setting.name.to_owned(), self.value(setting.name).to_owned(), setting.description.to_owned())
        });
        let mut all: Vec<_> = known.collect();
        let custom = self.values.iter().filter(|(name, _)| name.contains('.'));
        all.extend(custom.map(|(name, value)| (name.clone(), value.clone(), String::new())));
        all.sort_by_key(|(name, ..)| name.to_ascii_lowercase());
        all
    }

    /// The session's time zone.
    #[must_use]
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Grows with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether `"x"` is a string.
    #[must_use]
    pub fn double_quotes_are_strings(&self) -> bool {
        self.value("double_quotes") == "string"
    }

    /// Whether integers divide as TDengine does.
    #[must_use]
    pub fn double_division(&self) -> bool {
        self.value("division") == "double"
    }

    /// What of a query vgroups may do.
    #[must_use]
    pub fn pushdown(&self) -> Pushdown {
        Pushdown {
            aggregates: self.value("push_aggregates") == "on",
            statistics: self.value("block_statistics") == "on",
        }
    }

    /// Longest run of a statement, if bounded.
    #[must_use]
    pub fn statement_timeout(&self) -> Option<Duration> {
        let millis: u64 = self.value("statement_timeout").parse().unwrap_or(0);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Sets `name`, and gives its usual spelling and value if clients must be told.
    ///
    /// # Errors
    ///
    /// `UndefinedObject` for an unknown name, `InvalidParameterValue` for a bad value, `CantChangeRuntimeParam` for one
    /// that is fixed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<Option<(String, String)>> {
        let (key, value) = checked(name, value)?;
        if key == "timezone" {
            self.zone = parse_zone(&value).ok_or_else(|| bad_value("TimeZone", &value))?;
        }
        self.values.insert(key.clone(), value.clone());
        self.version += 1;
        Ok(reported(&key).map(|name| (name.to_owned(), value)))
    }

    /// Sets a startup parameter: RESET comes back to it.
    ///
    /// # Errors
    ///
    /// As [`Settings::set`].
    pub fn set_at_startup(&mut self, name: &str, value: &str) -> Result<()> {
        self.set(name, value)?;
        let key = name.to_ascii_lowercase();
        if let Some(value) = self.values.remove(&key) {
            self.startup.insert(key, value);
        }
        Ok(())
    }

    /// Puts `name` back to what it was at the start of the session.
    ///
    /// # Errors
    ///
    /// `UndefinedObject` for an unknown name.
    pub fn reset(&mut self, name: &str) -> Result<Option<(String, String)>> {
        let key = name.to_ascii_lowercase();
        if find(&key).is_none() && !self.values.contains_key(&key) {
            return Err(unknown(name));
        }
        self.values.remove(&key);
        self.version += 1;
        if key == "timezone" {
            self.zone = parse_zone(self.value("timezone")).unwrap_or(Tz::UTC);
        }
        Ok(reported(&key).map(|name| (name.to_owned(), self.value(name).to_owned())))
    }

    /// Puts everything back, and gives what clients must be told.
    pub fn reset_all(&mut self) -> Vec<(String, String)> {
        let names: Vec<String> = self.values.keys().cloned().collect();
        names.iter().filter_map(|name| self.reset(name).ok().flatten()).collect()
    }

    /// What clients are told at the start.
    #[must_use]
    pub fn reported(&self) -> Vec<(String, String)> {
        let reported = SETTINGS.iter().filter(|setting| setting.reported);
        reported.map(|setting| (setting.name.to_owned(), self.value(setting.name).to_owned())).collect()
    }
}

fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(key))
}

fn reported(key: &str) -> Option<&'static str> {
    find(key).filter(|setting| setting.reported).map(|setting| setting.name)
}

fn unknown(name: &str) -> model::Error {
    error!(UndefinedObject, "unrecognized configuration parameter \"{name}\"")
        .with_hint("SHOW ALL lists the settings; a name with a dot, such as my.setting, may hold anything")
}

fn bad_value(name: &str, value: &str) -> model::Error {
    error!(InvalidParameterValue, "invalid value for parameter \"{name}\": \"{value}\"")
}

fn checked(name: &str, value: &str) -> Result<(String, String)> {
    let key = name.to_ascii_lowercase();
    let Some(setting) = find(&key) else {
        if key.contains('.') {
            return Ok((key, value.to_owned()));
        }
        return Err(unknown(name));
    };
    let bad = || bad_value(setting.name, value);
    let value = match setting.check {
        Check::Text => value.to_owned(),
        Check::Bool => on_off(value).ok_or_else(bad)?.to_owned(),
        Check::Int(min, max) => {
            let number: i64 = value.trim().parse().map_err(|_| bad())?;
            if !(min..=max).contains(&number) {
                fail!(
                    InvalidParameterValue,
                    "{number} is outside the valid range for parameter \"{}\" ({min} .. {max})",
                    setting.name
                );
            }
            number.to_string()
        }
        Check::Millis => millis(value).ok_or_else(bad)?.to_string(),
        Check::OneOf(words) => {
            let word = words.iter().find(|word| word.eq_ignore_ascii_case(value.trim()));
            (*word.ok_or_else(|| bad().with_hint(format!("Available values: {}.", words.join(", "))))?).to_owned()
        }
        Check::Zone => parse_zone(value).map(|zone| zone_name(value, zone)).ok_or_else(bad)?,
        Check::DateStyle => date_style(value).ok_or_else(bad)?,
        Check::Utf8 => utf8_name(value).ok_or_else(|| {
            bad().with_detail("The server speaks UTF-8 only.").with_hint("SET client_encoding = 'UTF8'")
        })?,
        Check::ReadOnly => fail!(CantChangeRuntimeParam, "parameter \"{}\" cannot be changed", setting.name),
    };
    Ok((key, value))
}

fn on_off(value: &str) -> Option<&'static str> {
    match value.trim().to_ascii_lowercase().as_str() {
        "on" | "true" | "t" | "yes" | "y" | "1" => Some("on"),
        "off" | "false" | "f" | "no" | "n" | "0" => Some("off"),
        _ => None,
    }
}

/// Milliseconds of `5000`, `5s`, `2 min`.
fn millis(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..digits].parse().ok()?;
    let factor = match value[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor).filter(|millis| i32::try_from(*millis).is_ok())
}

/// A zone by its IANA name in any case, `UTC`, `Z`, or an offset of whole hours such as `+8` or `-05:00`.
///
/// As in PostgreSQL's `SET TIME ZONE`, a bare number is hours east of Greenwich.
#[must_use]
pub fn parse_zone(value: &str) -> Option<Tz> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("utc") || value.eq_ignore_ascii_case("z") || value.eq_ignore_ascii_case("default") {
        return Some(Tz::UTC);
    }
    let by_name = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(value));
    if let Some(zone) = by_name {
        return Some(*zone);
    }
    // As POSIX counts, UTC+3 is three hours west.
    if let Some(west) = value.strip_prefix("UTC").or_else(|| value.strip_prefix("GMT")) {
        return format!("Etc/GMT{west}").parse().ok();
    }
    let hours = value.strip_suffix(":00").unwrap_or(value);
    let hours: i32 = hours.parse().ok()?;
    // The names of Etc zones have POSIX signs: Etc/GMT-8 is eight hours east.
    match hours {
        0 => Some(Tz::UTC),
        1..=14 => format!("Etc/GMT-{hours}").parse().ok(),
        -12..=-1 => format!("Etc/GMT+{}", -hours).parse().ok(),
        _ => None,
    }
}

fn zone_name(value: &str, zone: Tz) -> String {
    if value.trim().eq_ignore_ascii_case("utc") { "UTC".to_owned() } else { zone.name().to_owned() }
}

/// Only ISO output; the order of ambiguous input is kept.
fn date_style(value: &str) -> Option<String> {
    let mut order = "MDY";
    for part in value.split(',') {
        match part.trim().to_ascii_uppercase().as_str() {
            "ISO" | "DEFAULT" => {}
            "MDY" | "US" | "NONEURO" | "NONEUROPEAN" => order = "MDY",
            "DMY" | "EURO" | "EUROPEAN" => order = "DMY",
            "YMD" => order = "YMD",
            _ => return None,
        }
    }
    Some(format!("ISO, {order}"))
}

fn utf8_name(value: &str) -> Option<String> {
    let bare: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    ["utf8", "unicode"].contains(&bare.to_ascii_lowercase().as_str()).then(|| "UTF8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_normalised() {
        let mut settings = Settings::default();
        assert_eq!(settings.set("timezone", "europe/berlin"), Ok(Some(("TimeZone".into(), "Europe/Berlin".into()))));
        assert_eq!(settings.zone(), Tz::Europe__Berlin);
        assert_eq!(settings.set("STATEMENT_TIMEOUT", "2s"), Ok(None));
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(2)));
        assert_eq!(settings.set("nosuch", "1").unwrap_err().state().code(), "42704");
        assert_eq!(settings.set("server_version", "9").unwrap_err().state().code(), "55P02");
        assert_eq!(settings.set("extra_float_digits", "4").unwrap_err().state().code(), "22023");
        assert_eq!(settings.set("client_encoding", "'utf-8'"), Ok(Some(("client_encoding".into(), "UTF8".into()))));
        assert_eq!(settings.set("client_encoding", "LATIN1").unwrap_err().state().code(), "22023");
    }

    #[test]
    fn reset_comes_back_to_the_startup_value() {
        let mut settings = Settings::default();
        settings.set_at_startup("TimeZone", "Asia/Tokyo").unwrap();
        settings.set("TimeZone", "+8").unwrap();
        assert_eq!(settings.zone().name(), "Etc/GMT-8");
        settings.reset("timezone").unwrap();
        assert_eq!(settings.zone(), Tz::Asia__Tokyo);
    }
}

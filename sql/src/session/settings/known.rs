//! Every setting that a session knows: name, default, check, whether clients are told of changes.

use super::check::Check;

/// One setting.
pub struct Setting {
    /// As PostgreSQL spells it.
    pub name: &'static str,
    /// At the start of a session, in the unit that it is kept in.
    pub default: &'static str,
    pub(super) check: Check,
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

const ISOLATION: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];
/// From the most talkative to the least.
pub(super) const MESSAGES: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"];
const COMMIT: &[&str] = &["local", "remote_write", "remote_apply", "on", "off"];

pub use crate::catalogs::SERVER_VERSION;
/// The same as a number.
pub const SERVER_VERSION_NUM: &str = "150018";

settings! {
    "application_name" = "", Check::Text, true, "Name that the client gave itself.";
    "block_statistics" = "on", Check::Bool, false, "Whether what is known of whole blocks may stand for their rows; off to compare.";
    "bytea_output" = "hex", Check::OneOf(&["escape", "hex"]), false, "Output format of bytea.";
    "client_encoding" = "UTF8", Check::Utf8, true, "Encoding of the client; UTF8 only.";
    "client_min_messages" = "notice", Check::Messages, false, "Least severe messages that are sent.";
    "DateStyle" = "ISO, MDY", Check::DateStyle, true, "Format of dates, and the order of day, month and year in those that are read.";
    "default_transaction_deferrable" = "off", Check::Bool, false, "Accepted, without effect.";
    "default_transaction_isolation" = "read committed", Check::OneOf(ISOLATION), false, "Isolation of new transactions; every statement reads what was committed before it.";
    "default_transaction_read_only" = "off", Check::Bool, true, "Whether new transactions refuse to write.";
    "distributed" = "on", Check::Bool, false, "Accepted: queries run on the dnode that was asked.";
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
    "idle_in_transaction_session_timeout" = "0", Check::Millis, false, "Longest idling inside a transaction; the session ends after it. 0 is no limit.";
    "idle_session_timeout" = "0", Check::Millis, false, "Longest idling outside a transaction; the session ends after it. 0 is no limit.";
    "in_hot_standby" = "off", Check::ReadOnly, true, "Always off.";
    "integer_datetimes" = "on", Check::ReadOnly, true, "Always on.";
    "IntervalStyle" = "postgres", Check::OneOf(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), true, "Format of intervals.";
    "is_superuser" = "on", Check::ReadOnly, true, "Whether the user may do everything.";
    "jit" = "off", Check::Bool, false, "Accepted, without effect.";
    "last_cache" = "on", Check::Bool, false, "Whether newest values that a database with CACHEMODEL keeps in memory may answer; off to compare.";
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
    "push_conditions" = "on", Check::Bool, false, "Whether vgroups decide conditions on numbers by themselves; off to compare.";
    "role" = "none", Check::Role, false, "The user's own role is the only one.";
    "row_security" = "on", Check::Bool, false, "Accepted, without effect.";
    "search_path" = "\"$user\", public", Check::Names, false, "Schemas of unqualified names; every database has public.";
    "server_encoding" = "UTF8", Check::ReadOnly, true, "Always UTF8.";
    "server_version" = SERVER_VERSION, Check::ReadOnly, true, "Version of PostgreSQL that clients should expect.";
    "server_version_num" = SERVER_VERSION_NUM, Check::ReadOnly, false, "The same as a number.";
    "session_authorization" = "root", Check::ReadOnly, true, "The user.";
    "standard_conforming_strings" = "on", Check::AlwaysOn, true, "Backslashes are plain in '…'; always on.";
    "statement_timeout" = "0", Check::Millis, false, "Longest run of a statement; 0 is no limit.";
    "strict_reads" = "off", Check::Bool, false, "Accepted, without effect.";
    "synchronous_commit" = "on", Check::OneOf(COMMIT), false, "Accepted: the database's WAL policy decides.";
    "synchronize_seqscans" = "on", Check::Bool, false, "Accepted, without effect.";
    "TimeZone" = "UTC", Check::Zone, true, "Zone of timestamps without one, of output, and of days, months and years.";
    "transaction_isolation" = "read committed", Check::OneOf(ISOLATION), false, "Isolation of this transaction; every statement reads what was committed before it.";
    "transaction_read_only" = "off", Check::Bool, false, "Whether this transaction refuses to write.";
    "transaction_deferrable" = "off", Check::Bool, false, "Accepted, without effect.";
    "wal_level" = "replica", Check::ReadOnly, false, "PostgreSQL's; see SHOW DATABASES for ours.";
    "work_mem" = "4096", Check::Kilobytes(64), false, "Accepted: one memory budget serves all.";
    "xmloption" = "content", Check::OneOf(&["content", "document"]), false, "Accepted, without effect.";
    "escape_string_warning" = "on", Check::Bool, false, "Accepted, without effect.";
    "backslash_quote" = "safe_encoding", Check::OneOf(&["safe_encoding", "on", "off"]), false, "Accepted, without effect.";
    "timezone_abbreviations" = "Default", Check::Text, false, "Accepted, without effect.";
    "data_directory_mode" = "0700", Check::ReadOnly, false, "As PostgreSQL's.";
    "max_connections" = "1000", Check::ReadOnly, false, "Most connections.";
    "default_tablespace" = "", Check::Text, false, "Accepted, without effect.";
    "default_table_access_method" = "heap", Check::Text, false, "Accepted, without effect.";
    "check_function_bodies" = "on", Check::Bool, false, "Accepted, without effect.";
    "session_replication_role" = "origin", Check::OneOf(&["origin", "replica", "local"]), false, "Accepted, without effect.";
    "plan_cache" = "on", Check::Bool, false, "Whether plans are used for more than one statement; off to compare.";
    "plan_cache_mode" = "auto", Check::OneOf(&["auto", "force_generic_plan", "force_custom_plan"]), false, "Accepted, without effect.";
}

/// The setting of this name in any case.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name))
}

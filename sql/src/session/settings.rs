//! The settings of a session: what each is now, and what it will be when the transaction ends or is rolled back.
//!
//! Unknown names are refused as PostgreSQL does; names with a dot are custom and take any text.
//! Start reading at [`Settings::set`]; [`known`] lists the settings, [`check`] reads their values.

mod check;
mod known;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::{Result, error, fail};
use parking_lot::Mutex;

pub use known::{SERVER_VERSION, SERVER_VERSION_NUM, SETTINGS, Setting};

use crate::pgvalue::{IntervalStyle, TimeZone, ValueSettings, parse_date_style};
use crate::plan::pushdown::Pushdown;
use known::find;

/// The characteristics of a transaction: set for one transaction, begun with the value of `default_…`.
const CHARACTERISTICS: [(&str, &str); 3] = [
    ("transaction_isolation", "default_transaction_isolation"),
    ("transaction_read_only", "default_transaction_read_only"),
    ("transaction_deferrable", "default_transaction_deferrable"),
];

/// The values of one session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What SET made of them, until the session ends.
    session: BTreeMap<String, String>,
    /// What SET LOCAL made of them, and the transaction's own characteristics: until it ends.
    local: BTreeMap<String, String>,
    /// What RESET goes back to, where startup parameters differ from the defaults.
    startup: BTreeMap<String, String>,
    zone: TimeZone,
    stage: Stage,
}

/// How far a transaction has come: some of its characteristics cannot be changed later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stage {
    /// A statement that reads or writes has run.
    queried: bool,
    /// Behind a savepoint.
    nested: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session: BTreeMap::new(),
            local: BTreeMap::new(),
            startup: BTreeMap::new(),
            zone: TimeZone::UTC,
            stage: Stage::default(),
        }
    }
}

impl Settings {
    /// The value of a setting in the unit that it is kept in, if there is one of this name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let key = name.to_ascii_lowercase();
        let layers = [&self.local, &self.session, &self.startup];
        if let Some(value) = layers.into_iter().find_map(|layer| layer.get(&key)) {
            return Some(value);
        }
        match CHARACTERISTICS.iter().find(|(own, _)| *own == key) {
            Some((_, default)) => self.get(default),
            None => find(&key).map(|setting| setting.default),
        }
    }

    /// The value of a setting as SHOW prints it.
    #[must_use]
    pub fn shown(&self, name: &str) -> Option<String> {
        let value = self.get(name)?;
        Some(find(name).map_or_else(|| value.to_owned(), |setting| check::shown(setting, value)))
    }

    /// The value of a setting that is known to exist.
    fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Every setting with its value as SHOW prints it and its description, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, String, String)> {
        let known = SETTINGS.iter().map(|setting| {
            (setting.name.to_owned(), check::shown(setting, self.value(setting.name)), setting.description.to_owned())
        });
        let mut all: Vec<_> = known.collect();
        let custom = self.session.keys().chain(self.local.keys()).filter(|name| name.contains('.'));
        all.extend(custom.map(|name| (name.clone(), self.value(name).to_owned(), String::new())));
        all.sort_by_key(|(name, ..)| name.to_ascii_lowercase());
        all.dedup_by(|next, one| next.0 == one.0);
        all
    }

    /// The session's time zone.
    #[must_use]
    pub fn zone(&self) -> TimeZone {
        self.zone
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

    /// Whether plans are used for more than one statement.
    #[must_use]
    pub fn keeps_plans(&self) -> bool {
        self.value("plan_cache") == "on"
    }

    /// What of a query vgroups may do.
    #[must_use]
    pub fn pushdown(&self) -> Pushdown {
        Pushdown {
            aggregates: self.value("push_aggregates") == "on",
            statistics: self.value("block_statistics") == "on",
            conditions: self.value("push_conditions") == "on",
            last_cache: self.value("last_cache") == "on",
        }
    }

    /// Whether the transaction refuses to write.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.value("transaction_read_only") == "on"
    }

    /// Longest run of a statement, if bounded.
    #[must_use]
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.timeout("statement_timeout")
    }

    /// Longest idling of a client, in a transaction block or outside of one, if bounded.
    #[must_use]
    pub fn idle_timeout(&self, in_block: bool) -> Option<Duration> {
        self.timeout(if in_block { "idle_in_transaction_session_timeout" } else { "idle_session_timeout" })
    }

    fn timeout(&self, name: &str) -> Option<Duration> {
        let millis: u64 = self.value(name).parse().unwrap_or(0);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// Whether `client_min_messages` lets messages of this severity pass.
    #[must_use]
    pub fn passes(&self, severity: &str) -> bool {
        let rank = |word: &str| known::MESSAGES.iter().position(|level| level.eq_ignore_ascii_case(word));
        // INFO is between log and notice, and always sent by itself.
        let least = rank(self.value("client_min_messages")).unwrap_or(5);
        rank(severity).is_none_or(|rank| rank >= least)
    }

    /// How values are printed and read.
    #[must_use]
    pub fn values(&self) -> ValueSettings {
        let mut of = ValueSettings { time_zone: self.zone, ..ValueSettings::default() };
        if let Ok((style, order)) = parse_date_style(self.value("DateStyle"), (of.date_style, of.date_order)) {
            (of.date_style, of.date_order) = (style, order);
        }
        of.interval_style = IntervalStyle::parse(self.value("IntervalStyle")).unwrap_or(of.interval_style);
        of.extra_float_digits = self.value("extra_float_digits").parse().unwrap_or(1);
        of.bytea_escape = self.value("bytea_output") == "escape";
        of
    }

    /// Sets `name` for the session, or for the transaction only.
    ///
    /// # Errors
    ///
    /// `UndefinedObject` for an unknown name, `InvalidParameterValue` for a bad value, `CantChangeRuntimeParam` for one
    /// that is fixed, `ActiveSqlTransaction` for a characteristic that the transaction has used already.
    pub fn set(&mut self, name: &str, value: &str, local: bool) -> Result<()> {
        let key = name.to_ascii_lowercase();
        let value = match find(&key) {
            Some(setting) => check::checked(setting, value, self.value(&key))?,
            None => {
                check_custom(name)?;
                value.to_owned()
            }
        };
        self.check_stage(&key, &value)?;
        if let Some((own, _)) = CHARACTERISTICS.iter().find(|(_, default)| *default == key) {
            // The transaction that runs keeps what it began with.
            let now = self.value(own).to_owned();
            self.local.entry((*own).to_owned()).or_insert(now);
        }
        if local || CHARACTERISTICS.iter().any(|(own, _)| *own == key) {
            self.local.insert(key, value);
        } else {
            self.local.remove(&key);
            self.session.insert(key, value);
        }
        self.settle();
        Ok(())
    }

    /// Sets what SET gave: one value, or several of a setting that is a list; None for its default.
    ///
    /// # Errors
    ///
    /// As [`Settings::set`].
    pub fn set_list(&mut self, name: &str, values: Option<&[String]>, local: bool) -> Result<()> {
        match values {
            Some(values) => self.set(name, &check::joined(name, find(name), values)?, local),
            None if local => {
                let mut fresh = self.clone();
                fresh.reset(name)?;
                let value = fresh.value(name).to_owned();
                self.set(name, &value, true)
            }
            None => self.reset(name),
        }
    }

    /// Sets a startup parameter: RESET comes back to it.
    ///
    /// # Errors
    ///
    /// As [`Settings::set`].
    pub fn set_at_startup(&mut self, name: &str, value: &str) -> Result<()> {
        self.set(name, value, false)?;
        let key = name.to_ascii_lowercase();
        if let Some(value) = self.session.remove(&key) {
            self.startup.insert(key, value);
        }
        self.local.clear();
        Ok(())
    }

    /// Says who the session is.
    pub fn set_user(&mut self, user: &str) {
        self.startup.insert("session_authorization".to_owned(), user.to_owned());
    }

    /// Puts `name` back to what it was at the start of the session.
    ///
    /// # Errors
    ///
    /// `UndefinedObject` for an unknown name, `CantChangeRuntimeParam` for one that is fixed.
    pub fn reset(&mut self, name: &str) -> Result<()> {
        let key = name.to_ascii_lowercase();
        match find(&key) {
            Some(setting) if check::is_fixed(setting) => {
                fail!(CantChangeRuntimeParam, "parameter \"{}\" cannot be changed", setting.name)
            }
            Some(_) => drop((self.local.remove(&key), self.session.remove(&key))),
            None => {
                check_custom(name)?;
                self.local.remove(&key);
                self.session.insert(key, String::new());
            }
        }
        self.settle();
        Ok(())
    }

    /// Puts everything back but the characteristics of the transaction that runs.
    pub fn reset_all(&mut self) {
        self.session.retain(|name, value| {
            value.clear();
            name.contains('.')
        });
        self.local.retain(|name, _| CHARACTERISTICS.iter().any(|(own, _)| own == name));
        self.settle();
    }

    /// What clients are told of.
    #[must_use]
    pub fn reported(&self) -> Vec<(String, String)> {
        let reported = SETTINGS.iter().filter(|setting| setting.reported);
        reported.map(|setting| (setting.name.to_owned(), self.value(setting.name).to_owned())).collect()
    }

    /// A characteristic that a transaction has used cannot be changed any more.
    fn check_stage(&self, key: &str, value: &str) -> Result<()> {
        let Stage { queried, nested } = self.stage;
        if self.value(key) == value {
            return Ok(());
        }
        match key {
            "transaction_isolation" if queried => {
                fail!(ActiveSqlTransaction, "SET TRANSACTION ISOLATION LEVEL must be called before any query")
            }
            "transaction_isolation" if nested => {
                fail!(ActiveSqlTransaction, "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction")
            }
            "transaction_deferrable" if queried => {
                fail!(ActiveSqlTransaction, "SET TRANSACTION [NOT] DEFERRABLE must be called before any query")
            }
            "transaction_deferrable" if nested => {
                fail!(ActiveSqlTransaction, "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction")
            }
            "transaction_read_only" if value == "off" && nested => {
                fail!(ActiveSqlTransaction, "cannot set transaction read-write mode inside a read-only transaction")
            }
            "transaction_read_only" if value == "off" && queried => {
                fail!(ActiveSqlTransaction, "transaction read-write mode must be set before any query")
            }
            _ => Ok(()),
        }
    }

    /// What is derived from the values.
    fn settle(&mut self) {
        self.zone = TimeZone::parse(self.value("TimeZone")).unwrap_or(TimeZone::UTC);
    }

    /// The transaction is over, or none has begun.
    fn end_transaction(&mut self) {
        self.local.clear();
        self.stage = Stage::default();
        self.settle();
    }
}

/// A custom name is two or more identifiers with dots between them.
fn check_custom(name: &str) -> Result<()> {
    if !name.contains('.') {
        return Err(unknown(name));
    }
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let simple =
        |part: &str| part.starts_with(first) && part.chars().all(|c| first(c) || c.is_ascii_digit() || c == '$');
    if name.split('.').all(simple) {
        return Ok(());
    }
    Err(error!(InvalidName, "invalid configuration parameter name \"{name}\"")
        .with_detail("Custom parameter names must be two or more simple identifiers separated by dots."))
}

/// The error for a name that no setting has.
pub(crate) fn unknown(name: &str) -> model::Error {
    error!(UndefinedObject, "unrecognized configuration parameter \"{name}\"")
        .with_hint("SHOW ALL lists the settings; a name with a dot, such as my.setting, may hold anything.")
}

/// The settings of a session, which its own queries read and change too (`current_setting`, `set_config`).
#[derive(Clone, Default)]
pub struct LiveSettings(Arc<Mutex<Arc<Settings>>>);

impl LiveSettings {
    /// As they are now.
    #[must_use]
    pub fn now(&self) -> Arc<Settings> {
        self.0.lock().clone()
    }

    /// Changes them; after an error they are as before.
    ///
    /// # Errors
    ///
    /// What `change` gives.
    pub fn change<T>(&self, change: impl FnOnce(&mut Settings) -> Result<T>) -> Result<T> {
        let mut now = self.0.lock();
        let mut next = Settings::clone(&now);
        let done = change(&mut next)?;
        *now = Arc::new(next);
        Ok(done)
    }

    /// A copy that stays as it is.
    pub(crate) fn detached(&self) -> Self {
        Self(Arc::new(Mutex::new(self.now())))
    }

    /// Puts back what [`LiveSettings::now`] gave before.
    pub(super) fn restore(&self, before: Arc<Settings>) {
        *self.0.lock() = before;
    }

    /// The end of a transaction takes SET LOCAL back.
    pub(super) fn end_transaction(&self) {
        let mut now = self.0.lock();
        if !now.local.is_empty() || now.stage != Stage::default() {
            Arc::make_mut(&mut now).end_transaction();
        }
    }

    /// A statement that reads or writes has run in the transaction.
    pub(super) fn queried(&self) {
        let mut now = self.0.lock();
        if !now.stage.queried {
            Arc::make_mut(&mut now).stage.queried = true;
        }
    }

    /// Whether the transaction is behind a savepoint. What was said of writing behind it ends with it.
    pub(super) fn nested(&self, nested: bool, read_only: Option<bool>) {
        let mut now = self.0.lock();
        let now = Arc::make_mut(&mut now);
        now.stage.nested = nested;
        if let Some(read_only) = read_only {
            let value = if read_only { "on" } else { "off" };
            now.local.insert("transaction_read_only".to_owned(), value.to_owned());
        }
    }
}

impl fmt::Debug for LiveSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}

#[cfg(test)]
mod tests;

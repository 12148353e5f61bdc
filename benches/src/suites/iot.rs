//! The thirteen queries of the IoT suite in TDengine's SQL and in PostgreSQL's, where the tags are a table to be joined.
//!
//! Two are not word for word the suite's: its breakdown-frequency counts rows where it means those with status 0, and
//! daily-activity divides integers; both are asked for as they are meant.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Extent, chosen, during, stretch};
use crate::data::{Dialect, HOUR_MS};
use crate::shapes::FLEETS;

/// A query of the suite.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    SingleLastLocation,
    LastLocation,
    LowFuel,
    HighLoad,
    Stationary,
    /// More ten-minute stretches on the road than so many hours with so many minutes of rest in each have.
    LongSessions(i64, i64),
    AverageVersusProjected,
    DailyDuration,
    DailySession,
    AverageLoad,
    DailyActivity,
    Breakdowns,
}

/// All thirteen, named as the suite names them.
pub(super) const QUERIES: [(&str, Query); 13] = [
    ("single-last-loc", Query::SingleLastLocation),
    ("last-loc", Query::LastLocation),
    ("low-fuel", Query::LowFuel),
    ("high-load", Query::HighLoad),
    ("stationary-trucks", Query::Stationary),
    ("long-driving-sessions", Query::LongSessions(4, 5)),
    ("long-daily-sessions", Query::LongSessions(24, 35)),
    ("avg-vs-projected-fuel-consumption", Query::AverageVersusProjected),
    ("avg-daily-driving-duration", Query::DailyDuration),
    ("avg-daily-driving-session", Query::DailySession),
    ("avg-load", Query::AverageLoad),
    ("daily-activity", Query::DailyActivity),
    ("breakdown-frequency", Query::Breakdowns),
];

/// Start of the ten minutes of a row, PostgreSQL's.
const TEN: &str = "date_bin('10 minutes', r.ts, '2016-01-01 00:00:00+00')";

impl Query {
    /// One instance; none in a dialect but ours and PostgreSQL's.
    pub(super) fn sql(self, random: &mut StdRng, extent: Extent, dialect: Dialect) -> Option<String> {
        let fleet = FLEETS[random.random_range(0..FLEETS.len())];
        let truck = chosen(random, extent.series, 1)[0];
        let wanted = match self {
            Self::Stationary => HOUR_MS / 6,
            Self::LongSessions(hours, _) => hours * HOUR_MS,
            _ => extent.hours * HOUR_MS,
        };
        let (from, to) = stretch(random, wanted, extent.hours);
        let least = match self {
            Self::LongSessions(_, rest) => (to - from) / HOUR_MS * (60 - rest) / 10,
            _ => 0,
        };
        let when = during((from, to), dialect);
        match dialect {
            Dialect::Ours => Some(self.ours(fleet, truck, &when, least)),
            Dialect::Postgres => Some(self.postgres(fleet, truck, &when, least)),
            _ => None,
        }
    }

    fn ours(self, fleet: &str, truck: usize, when: &str, least: i64) -> String {
        match self {
            Self::SingleLastLocation => format!(
                "SELECT name, driver, last_row(longitude), last_row(latitude) FROM readings \
                 WHERE name = 'truck_{truck}' GROUP BY name, driver"
            ),
            Self::LastLocation => format!(
                "SELECT name, driver, last_row(longitude), last_row(latitude) FROM readings \
                 WHERE fleet = '{fleet}' GROUP BY name, driver"
            ),
            Self::LowFuel => format!(
                "SELECT name, driver, fuel FROM (SELECT name, driver, last_row(fuel_state) AS fuel FROM diagnostics \
                 WHERE fleet = '{fleet}' GROUP BY name, driver) d WHERE fuel < 0.1"
            ),
            Self::HighLoad => format!(
                "SELECT name, driver, load FROM (SELECT name, driver, load_capacity, last_row(current_load) AS load \
                 FROM diagnostics WHERE fleet = '{fleet}' GROUP BY name, driver, load_capacity) d \
                 WHERE load / load_capacity > 0.9"
            ),
            Self::Stationary => format!(
                "SELECT name, driver FROM readings WHERE {when} AND fleet = '{fleet}' \
                 GROUP BY name, driver HAVING avg(velocity) < 1"
            ),
            Self::LongSessions(..) => format!(
                "SELECT name, driver FROM (SELECT _wstart AS w, name, driver, avg(velocity) AS v FROM readings \
                 WHERE {when} AND fleet = '{fleet}' PARTITION BY name, driver INTERVAL(10m)) r WHERE v > 1 \
                 GROUP BY name, driver HAVING count(*) > {least}"
            ),
            Self::AverageVersusProjected => "SELECT fleet, avg(fuel_consumption), avg(nominal_fuel_consumption) \
                 FROM readings WHERE velocity > 1 GROUP BY fleet"
                .to_owned(),
            Self::DailyDuration => "SELECT fleet, name, driver, avg(hours) FROM (SELECT _wstart AS day, fleet, name, \
                 driver, count(*) / 6 AS hours FROM (SELECT _wstart AS ts, fleet, name, driver, avg(velocity) AS v \
                 FROM readings PARTITION BY fleet, name, driver INTERVAL(10m)) r WHERE v > 1 \
                 PARTITION BY fleet, name, driver INTERVAL(1d)) d GROUP BY fleet, name, driver"
                .to_owned(),
            Self::DailySession => session(
                "SELECT name, _wstart AS w, avg(velocity) > 5 AS driving FROM readings PARTITION BY name INTERVAL(10m)",
            ),
            Self::AverageLoad => "SELECT fleet, model, load_capacity, avg(load / load_capacity) FROM (SELECT name, \
                 fleet, model, load_capacity, avg(current_load) AS load FROM diagnostics \
                 GROUP BY name, fleet, model, load_capacity) d GROUP BY fleet, model, load_capacity"
                .to_owned(),
            Self::DailyActivity => activity(
                "SELECT _wstart AS w, name, fleet, model, count(*) AS n, avg(status) AS s FROM diagnostics \
                 PARTITION BY name, fleet, model INTERVAL(10m)",
            ),
            Self::Breakdowns => breakdowns(
                "SELECT _wstart AS w, name, model, sum(CASE WHEN status = 0 THEN 1 ELSE 0 END) * 2 >= count(*) AS down \
                 FROM diagnostics PARTITION BY name, model INTERVAL(10m)",
            ),
        }
    }

    fn postgres(self, fleet: &str, truck: usize, when: &str, least: i64) -> String {
        let newest = |columns: &str, table: &str, condition: &str| {
            format!(
                "SELECT t.name, t.driver, {columns} FROM tags t JOIN LATERAL (SELECT * FROM {table} r \
                 WHERE r.name = t.name ORDER BY r.ts DESC LIMIT 1) r ON true WHERE {condition}"
            )
        };
        let joined = "FROM readings r JOIN tags t ON t.name = r.name";
        match self {
            Self::SingleLastLocation => {
                newest("r.longitude, r.latitude", "readings", &format!("t.name = 'truck_{truck}'"))
            }
            Self::LastLocation => newest("r.longitude, r.latitude", "readings", &format!("t.fleet = '{fleet}'")),
            Self::LowFuel => {
                newest("r.fuel_state", "diagnostics", &format!("t.fleet = '{fleet}' AND r.fuel_state < 0.1"))
            }
            Self::HighLoad => newest(
                "r.current_load",
                "diagnostics",
                &format!("t.fleet = '{fleet}' AND r.current_load / t.load_capacity > 0.9"),
            ),
            Self::Stationary => format!(
                "SELECT t.name, t.driver {joined} WHERE {when} AND t.fleet = '{fleet}' \
                 GROUP BY t.name, t.driver HAVING avg(r.velocity) < 1"
            ),
            Self::LongSessions(..) => format!(
                "SELECT t.name, t.driver FROM (SELECT {TEN} AS w, r.name FROM readings r WHERE {when} GROUP BY 1, 2 \
                 HAVING avg(velocity) > 1) x JOIN tags t ON t.name = x.name WHERE t.fleet = '{fleet}' \
                 GROUP BY t.name, t.driver HAVING count(*) > {least}"
            ),
            Self::AverageVersusProjected => format!(
                "SELECT t.fleet, avg(r.fuel_consumption), avg(t.nominal_fuel_consumption) {joined} \
                 WHERE r.velocity > 1 GROUP BY t.fleet"
            ),
            Self::DailyDuration => format!(
                "SELECT t.fleet, t.name, t.driver, avg(hours) FROM (SELECT date_trunc('day', w) AS day, name, \
                 count(*) / 6 AS hours FROM (SELECT {TEN} AS w, r.name FROM readings r GROUP BY 1, 2 \
                 HAVING avg(velocity) > 1) x GROUP BY 1, 2) d JOIN tags t ON t.name = d.name \
                 GROUP BY t.fleet, t.name, t.driver"
            ),
            Self::DailySession => session(&format!(
                "SELECT r.name, {TEN} AS w, avg(velocity) > 5 AS driving FROM readings r GROUP BY 1, 2"
            )),
            Self::AverageLoad => "SELECT t.fleet, t.model, t.load_capacity, avg(load / t.load_capacity) FROM \
                 (SELECT name, avg(current_load) AS load FROM diagnostics GROUP BY name) d \
                 JOIN tags t ON t.name = d.name GROUP BY t.fleet, t.model, t.load_capacity"
                .to_owned(),
            Self::DailyActivity => activity(&format!(
                "SELECT {TEN} AS w, t.name, t.fleet, t.model, count(*) AS n, avg(r.status) AS s FROM diagnostics r \
                 JOIN tags t ON t.name = r.name GROUP BY 1, 2, 3, 4"
            )),
            Self::Breakdowns => breakdowns(&format!(
                "SELECT {TEN} AS w, t.name, t.model, sum(CASE WHEN r.status = 0 THEN 1 ELSE 0 END) * 2 >= count(*) \
                 AS down FROM diagnostics r JOIN tags t ON t.name = r.name GROUP BY 1, 2, 3"
            )),
        }
    }
}

/// Seconds that a truck drives without a stop, on average for each day, from (name, w, driving) of each ten minutes.
fn session(status: &str) -> String {
    format!(
        "WITH status AS ({status}), changes AS (SELECT name, w, driving, \
         lead(w) OVER (PARTITION BY name ORDER BY w) AS stop FROM (SELECT name, w, driving, \
         lag(driving) OVER (PARTITION BY name ORDER BY w) AS before FROM status) x WHERE driving <> before) \
         SELECT name, date_trunc('day', w), avg(extract(epoch FROM stop) - extract(epoch FROM w)) FROM changes \
         WHERE driving GROUP BY name, date_trunc('day', w) ORDER BY 1, 2"
    )
}

/// Part of each day that the trucks of a fleet and model were in service, from (w, fleet, model, n, s).
fn activity(tens: &str) -> String {
    format!(
        "SELECT fleet, model, date_trunc('day', w), sum(n) / 144.0 FROM ({tens}) x WHERE s < 1 \
         GROUP BY fleet, model, date_trunc('day', w) ORDER BY 3, 1, 2"
    )
}

/// How often trucks of a model broke down, from (w, name, model, down) of each ten minutes.
fn breakdowns(tens: &str) -> String {
    format!(
        "SELECT model, count(*) FROM (SELECT model, down, lead(down) OVER (PARTITION BY name ORDER BY w) AS later \
         FROM ({tens}) x) y WHERE NOT down AND later GROUP BY model"
    )
}

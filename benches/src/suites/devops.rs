//! The fifteen queries of the devops suite, all of which ask for cpu.

use rand::Rng;
use rand::rngs::StdRng;

use super::{Extent, chosen, during, stretch, time};
use crate::data::{Dialect, HOUR_MS, START_MS};
use crate::shapes::GAUGES;

/// A query of the suite.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    /// Gauges, hosts, hours: the greatest value of each minute.
    SingleGroupBy(usize, usize, i64),
    /// Hosts: the greatest value of all gauges in each of eight hours.
    MaxAll(usize),
    /// Gauges: the average of each host and hour.
    DoubleGroupBy(usize),
    /// Rows with much load in twelve hours, of one host or of all.
    HighCpu(bool),
    LastPoint,
    /// The greatest value of each of the last five minutes before a time.
    OrderByLimit,
}

/// All fifteen, named as the suite names them.
pub(super) const QUERIES: [(&str, Query); 15] = [
    ("single-groupby-1-1-1", Query::SingleGroupBy(1, 1, 1)),
    ("single-groupby-1-1-12", Query::SingleGroupBy(1, 1, 12)),
    ("single-groupby-1-8-1", Query::SingleGroupBy(1, 8, 1)),
    ("single-groupby-5-1-1", Query::SingleGroupBy(5, 1, 1)),
    ("single-groupby-5-1-12", Query::SingleGroupBy(5, 1, 12)),
    ("single-groupby-5-8-1", Query::SingleGroupBy(5, 8, 1)),
    ("cpu-max-all-1", Query::MaxAll(1)),
    ("cpu-max-all-8", Query::MaxAll(8)),
    ("double-groupby-1", Query::DoubleGroupBy(1)),
    ("double-groupby-5", Query::DoubleGroupBy(5)),
    ("double-groupby-all", Query::DoubleGroupBy(10)),
    ("high-cpu-1", Query::HighCpu(false)),
    ("high-cpu-all", Query::HighCpu(true)),
    ("lastpoint", Query::LastPoint),
    ("groupby-orderby-limit", Query::OrderByLimit),
];

/// What a host is called in a query.
const fn host(dialect: Dialect) -> &'static str {
    if matches!(dialect, Dialect::Ours) { "tbname" } else { "hostname" }
}

/// The start of the minute or hour of a row, and the clause that groups by it. InfluxQL gives the start unasked.
fn windows(unit: &str, dialect: Dialect) -> (String, String) {
    let by = "GROUP BY 1".to_owned();
    let initial = &unit[..1];
    match dialect {
        Dialect::Ours => ("_wstart, ".to_owned(), format!("INTERVAL(1{initial})")),
        Dialect::Postgres | Dialect::DuckDb => (format!("date_trunc('{unit}', ts), "), by),
        Dialect::ClickHouse => (format!("toStartOf{}{}(ts), ", initial.to_uppercase(), &unit[1..]), by),
        Dialect::Influx => (String::new(), format!("GROUP BY time(1{initial})")),
    }
}

/// `function(gauge), …`
fn each(function: &str, gauges: usize) -> String {
    GAUGES[..gauges].iter().map(|gauge| format!("{function}({gauge})")).collect::<Vec<_>>().join(", ")
}

/// One of these hosts.
fn hosts(random: &mut StdRng, extent: Extent, many: usize, dialect: Dialect) -> String {
    let names = chosen(random, extent.series, many).into_iter().map(|host| format!("'host_{host}'"));
    if dialect == Dialect::Influx {
        let any: Vec<String> = names.map(|name| format!("hostname = {name}")).collect();
        return format!("({})", any.join(" OR "));
    }
    format!("{} IN ({})", host(dialect), names.collect::<Vec<_>>().join(", "))
}

impl Query {
    /// One instance: hosts and times are drawn from `random`, the same for each dialect with the same state.
    pub(super) fn sql(self, random: &mut StdRng, extent: Extent, dialect: Dialect) -> String {
        let influx = dialect == Dialect::Influx;
        let order = if influx { "fill(none)" } else { "ORDER BY 1" };
        match self {
            Self::SingleGroupBy(gauges, many, wanted) => {
                let (window, by) = windows("minute", dialect);
                let when = during(stretch(random, wanted * HOUR_MS, extent.hours), dialect);
                let which = hosts(random, extent, many, dialect);
                format!("SELECT {window}{} FROM cpu WHERE {which} AND {when} {by} {order}", each("max", gauges))
            }
            Self::MaxAll(many) => {
                let (window, by) = windows("hour", dialect);
                let when = during(stretch(random, 8 * HOUR_MS, extent.hours), dialect);
                let which = hosts(random, extent, many, dialect);
                format!("SELECT {window}{} FROM cpu WHERE {which} AND {when} {by} {order}", each("max", 10))
            }
            Self::DoubleGroupBy(gauges) => {
                let (window, by) = windows("hour", dialect);
                let when = during(stretch(random, 12 * HOUR_MS, extent.hours), dialect);
                let (averages, name) = (each("avg", gauges), host(dialect));
                match dialect {
                    Dialect::Influx => {
                        let means = each("mean", gauges);
                        format!("SELECT {means} FROM cpu WHERE {when} {by}, hostname fill(none)")
                    }
                    Dialect::Ours => format!(
                        "SELECT {window}{name}, {averages} FROM cpu WHERE {when} PARTITION BY tbname {by} ORDER BY 1, 2"
                    ),
                    _ => format!("SELECT {window}{name}, {averages} FROM cpu WHERE {when} {by}, 2 ORDER BY 1, 2"),
                }
            }
            Self::HighCpu(all) => {
                let when = during(stretch(random, 12 * HOUR_MS, extent.hours), dialect);
                let which = if all { String::new() } else { format!("{} AND ", hosts(random, extent, 1, dialect)) };
                let (name, columns) = (host(dialect), GAUGES.join(", "));
                let time = if influx { "" } else { "ts, " };
                format!("SELECT {name}, {time}{columns} FROM cpu WHERE {which}usage_user > 90 AND {when}")
            }
            Self::LastPoint => last_point(dialect),
            Self::OrderByLimit => {
                let end = random.random_range(START_MS + HOUR_MS / 2..START_MS + extent.hours * HOUR_MS) / 1000 * 1000;
                let (window, by) = windows("minute", dialect);
                let end = time(end, dialect);
                if influx {
                    return format!(
                        "SELECT max(usage_user) FROM cpu WHERE time < '{end}' {by} fill(none) ORDER BY time DESC LIMIT 5"
                    );
                }
                format!("SELECT {window}max(usage_user) FROM cpu WHERE ts < '{end}' {by} ORDER BY 1 DESC LIMIT 5")
            }
        }
    }
}

/// The newest row of each host, in the way that suits each engine best.
fn last_point(dialect: Dialect) -> String {
    let newest = |function: &str| GAUGES.map(|gauge| format!("{function}({gauge}, ts)")).join(", ");
    let gauges = GAUGES.join(", ");
    match dialect {
        Dialect::Ours => "SELECT tbname, last_row(*) FROM cpu GROUP BY tbname".to_owned(),
        Dialect::Postgres => {
            format!("SELECT DISTINCT ON (hostname) hostname, ts, {gauges} FROM cpu ORDER BY hostname, ts DESC")
        }
        Dialect::DuckDb => format!("SELECT hostname, max(ts), {} FROM cpu GROUP BY hostname", newest("arg_max")),
        Dialect::ClickHouse => format!("SELECT hostname, max(ts), {} FROM cpu GROUP BY hostname", newest("argMax")),
        Dialect::Influx => format!("SELECT {gauges} FROM cpu GROUP BY hostname ORDER BY time DESC LIMIT 1"),
    }
}

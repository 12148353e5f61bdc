//! The cpu-only shape of the Time Series Benchmark Suite: hosts that report ten gauges every ten seconds, and its fifteen
//! queries in TDengine's SQL and in PostgreSQL's.
//!
//! Distribution, order and cardinality are the suite's (clamped random walks, all hosts at one time, then the next time, no
//! disorder); the numbers themselves are our own generator's.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// 2016-01-01 in milliseconds since the Unix epoch.
pub(crate) const START_MS: i64 = 1_451_606_400_000;
/// Milliseconds between two rows of a host.
const STEP_MS: i64 = 10_000;
/// Microseconds from PostgreSQL's epoch, 2000-01-01, to the Unix epoch.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// Rows in one INSERT.
const INSERT_ROWS: usize = 1_000;
/// Bytes of COPY data in one message.
const PIECE_BYTES: usize = 64 << 10;

/// The gauges.
pub(crate) const GAUGES: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

const TAGS: [&str; 10] = [
    "hostname",
    "region",
    "datacenter",
    "rack",
    "os",
    "arch",
    "team",
    "service",
    "service_version",
    "service_environment",
];

const REGIONS: [(&str, &str); 9] = [
    ("us-east-1", "abce"),
    ("us-west-1", "ab"),
    ("us-west-2", "abc"),
    ("eu-west-1", "abc"),
    ("eu-central-1", "ab"),
    ("ap-southeast-1", "ab"),
    ("ap-southeast-2", "ab"),
    ("ap-northeast-1", "ac"),
    ("sa-east-1", "abc"),
];

/// How rows travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    CopyBinary,
    CopyCsv,
    Insert,
}

impl Form {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CopyBinary => "COPY binary",
            Self::CopyCsv => "COPY csv",
            Self::Insert => "INSERT of 1,000 rows",
        }
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Ours,
    Postgres,
    DuckDb,
    ClickHouse,
}

impl Dialect {
    /// What a host is called in a query.
    const fn host(self) -> &'static str {
        if matches!(self, Self::Ours) { "tbname" } else { "hostname" }
    }

    /// The start of the minute or hour of a row, and the clause that groups by it.
    fn windows(self, unit: &str) -> (String, String) {
        let by = "GROUP BY 1".to_owned();
        match self {
            Self::Ours => ("_wstart".to_owned(), format!("INTERVAL(1{})", &unit[..1])),
            Self::Postgres | Self::DuckDb => (format!("date_trunc('{unit}', ts)"), by),
            Self::ClickHouse => (format!("toStartOf{}{}(ts)", unit[..1].to_uppercase(), &unit[1..]), by),
        }
    }

    /// A time as a literal. Peers without zones are told UTC.
    fn time(self, ms: i64) -> String {
        let text = time_text(ms);
        match self {
            Self::Ours | Self::Postgres => text,
            Self::DuckDb | Self::ClickHouse => text.trim_end_matches("+00").to_owned(),
        }
    }
}

/// Hosts with their tags, and where their gauges stand.
pub(crate) struct Hosts {
    tags: Vec<[String; 10]>,
    gauges: Vec<[f64; 10]>,
    random: StdRng,
    /// The time of the next rows.
    next_ms: i64,
}

/// Some rows: for each time all hosts.
pub(crate) struct Rows {
    hosts: usize,
    start_ms: i64,
    values: Vec<[u8; 10]>,
}

impl Hosts {
    pub(crate) fn new(hosts: usize) -> Self {
        let mut random = StdRng::seed_from_u64(123);
        let mut tags = Vec::with_capacity(hosts);
        let mut gauges = Vec::with_capacity(hosts);
        for host in 0..hosts {
            gauges.push(std::array::from_fn(|_| random.random::<f64>() * 100.0));
            let (region, zones) = REGIONS[random.random_range(0..REGIONS.len())];
            let zone = zones.as_bytes()[random.random_range(0..zones.len())] as char;
            let mut one_of = |choices: &[&str]| choices[random.random_range(0..choices.len())].to_owned();
            let os = one_of(&["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"]);
            let arch = one_of(&["x64", "x86"]);
            let team = one_of(&["SF", "NYC", "LON", "CHI"]);
            let environment = one_of(&["production", "staging", "test"]);
            let mut number = |below: u32| random.random_range(0..below).to_string();
            let (rack, service, version) = (number(100), number(20), number(2));
            let datacenter = format!("{region}{zone}");
            let host = format!("host_{host}");
            tags.push([host, region.into(), datacenter, rack, os, arch, team, service, version, environment]);
        }
        Self { tags, gauges, random, next_ms: START_MS }
    }

    /// The rows of the next `ticks` times.
    pub(crate) fn next(&mut self, ticks: usize) -> Rows {
        let mut values = Vec::with_capacity(ticks * self.gauges.len());
        for _ in 0..ticks {
            for gauges in &mut self.gauges {
                for gauge in gauges.iter_mut() {
                    *gauge = (*gauge + normal(&mut self.random)).clamp(0.0, 100.0);
                }
                values.push(gauges.map(|gauge| gauge as u8));
            }
        }
        let start_ms = self.next_ms;
        self.next_ms += ticks as i64 * STEP_MS;
        Rows { hosts: self.gauges.len(), start_ms, values }
    }

    /// Statements that make the table, and ours the child tables too.
    pub(crate) fn schema(&self, table: &str, dialect: Dialect) -> Vec<String> {
        let columns = GAUGES.map(|gauge| format!("{gauge} BIGINT")).join(", ");
        if dialect == Dialect::Postgres {
            return vec![
                format!("CREATE TABLE {table} (ts timestamptz, hostname text, {columns})"),
                format!("CREATE INDEX ON {table} (hostname, ts DESC)"),
                format!("CREATE INDEX ON {table} (ts DESC)"),
            ];
        }
        let tags = TAGS.map(|tag| format!("{tag} VARCHAR(30)")).join(", ");
        let mut statements = vec![format!("CREATE STABLE {table} (ts TIMESTAMP, {columns}) TAGS ({tags})")];
        for some in self.tags.chunks(500) {
            let mut create = String::from("CREATE TABLE");
            for tags in some {
                let values = tags.iter().map(|tag| format!("'{tag}'")).collect::<Vec<_>>().join(", ");
                let _ = write!(create, " {} USING {table} TAGS ({values})", child(table, &tags[0]));
            }
            statements.push(create);
        }
        statements
    }
}

/// Name of a host's table.
fn child(table: &str, host: &str) -> String {
    if table == "cpu" { host.to_owned() } else { format!("{table}_{host}") }
}

/// Of the standard normal distribution (Box and Muller).
fn normal(random: &mut StdRng) -> f64 {
    let (a, b): (f64, f64) = (random.random::<f64>().max(f64::MIN_POSITIVE), random.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// (host, time in ms, gauges) in the order of sending.
    fn each(&self) -> impl Iterator<Item = (usize, i64, &[u8; 10])> {
        let of = move |(n, values)| (n % self.hosts, self.start_ms + (n / self.hosts) as i64 * STEP_MS, values);
        self.values.iter().enumerate().map(of)
    }

    /// The COPY statement.
    pub(crate) fn copy(form: Form, table: &str, dialect: Dialect) -> String {
        let format = if form == Form::CopyBinary { "binary" } else { "csv" };
        let name = if dialect == Dialect::Ours { "tbname" } else { "hostname" };
        format!("COPY {table} ({name}, ts, {}) FROM STDIN (FORMAT {format})", GAUGES.join(", "))
    }

    /// What is sent, cut into messages.
    pub(crate) fn pieces(&self, form: Form, table: &str, dialect: Dialect) -> Vec<Bytes> {
        match form {
            Form::CopyBinary => self.binary(table, dialect),
            Form::CopyCsv => self.csv(table, dialect),
            Form::Insert => self.inserts(table, dialect),
        }
    }

    fn name(&self, table: &str, dialect: Dialect, host: usize) -> String {
        let host = format!("host_{host}");
        if dialect == Dialect::Ours { child(table, &host) } else { host }
    }

    fn binary(&self, table: &str, dialect: Dialect) -> Vec<Bytes> {
        let names: Vec<String> = (0..self.hosts).map(|host| self.name(table, dialect, host)).collect();
        let mut out = BytesMut::with_capacity(self.len() * 160);
        out.put_slice(b"PGCOPY\n\xff\r\n\0");
        out.put_i32(0);
        out.put_i32(0);
        for (host, ms, gauges) in self.each() {
            out.put_i16(12);
            out.put_i32(names[host].len() as i32);
            out.put_slice(names[host].as_bytes());
            out.put_i32(8);
            out.put_i64(ms * 1_000 - POSTGRES_EPOCH_US);
            for gauge in gauges {
                out.put_i32(8);
                out.put_i64(i64::from(*gauge));
            }
        }
        out.put_i16(-1);
        cut(&out.freeze())
    }

    /// `hostname,ts,gauges…` as peers read it from a file, appended.
    pub(crate) fn export(&self, out: &mut impl std::io::Write) -> std::io::Result<()> {
        for (host, ms, gauges) in self.each() {
            write!(out, "host_{host},{}", Dialect::DuckDb.time(ms))?;
            for gauge in gauges {
                write!(out, ",{gauge}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn csv(&self, table: &str, dialect: Dialect) -> Vec<Bytes> {
        let names: Vec<String> = (0..self.hosts).map(|host| self.name(table, dialect, host)).collect();
        let mut out = String::with_capacity(self.len() * 70);
        for (host, ms, gauges) in self.each() {
            let _ = write!(out, "{},{}", names[host], time_text(ms));
            for gauge in gauges {
                let _ = write!(out, ",{gauge}");
            }
            out.push('\n');
        }
        cut(&Bytes::from(out))
    }

    fn inserts(&self, table: &str, dialect: Dialect) -> Vec<Bytes> {
        let names: Vec<String> = (0..self.hosts).map(|host| self.name(table, dialect, host)).collect();
        let name = if dialect == Dialect::Ours { "tbname" } else { "hostname" };
        let rows: Vec<_> = self.each().collect();
        let statement = |rows: &[(usize, i64, &[u8; 10])]| {
            let mut out = format!("INSERT INTO {table} ({name}, ts, {}) VALUES ", GAUGES.join(", "));
            for (n, (host, ms, gauges)) in rows.iter().enumerate() {
                let comma = if n > 0 { "," } else { "" };
                let _ = write!(out, "{comma}('{}','{}'", names[*host], time_text(*ms));
                for gauge in *gauges {
                    let _ = write!(out, ",{gauge}");
                }
                out.push(')');
            }
            Bytes::from(out)
        };
        rows.chunks(INSERT_ROWS).map(statement).collect()
    }
}

fn cut(data: &Bytes) -> Vec<Bytes> {
    (0..data.len()).step_by(PIECE_BYTES).map(|at| data.slice(at..data.len().min(at + PIECE_BYTES))).collect()
}

/// `2016-01-01 00:00:00+00`; all rows lie in January.
fn time_text(ms: i64) -> String {
    let seconds = (ms - START_MS) / 1_000;
    let (day, hour, minute, second) = (seconds / 86_400 + 1, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("2016-01-{day:02} {hour:02}:{minute:02}:{second:02}+00")
}

/// A query of the suite.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Query {
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
pub(crate) const QUERIES: [(&str, Query); 15] = [
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

impl Query {
    /// One instance: hosts and times are drawn from `random`, the same for each dialect with the same state.
    pub(crate) fn sql(self, random: &mut StdRng, hosts: usize, hours: i64, dialect: Dialect) -> String {
        let list = |function: &str, gauges: usize| {
            GAUGES[..gauges].iter().map(|gauge| format!("{function}({gauge})")).collect::<Vec<_>>().join(", ")
        };
        let name = dialect.host();
        match self {
            Self::SingleGroupBy(gauges, of, wanted) => {
                let (window, by) = dialect.windows("minute");
                let when = span(random, wanted, hours, dialect);
                let which = chosen(random, hosts, of, name);
                format!("SELECT {window}, {} FROM cpu WHERE {which} AND {when} {by} ORDER BY 1", list("max", gauges))
            }
            Self::MaxAll(of) => {
                let (window, by) = dialect.windows("hour");
                let when = span(random, 8, hours, dialect);
                let which = chosen(random, hosts, of, name);
                format!("SELECT {window}, {} FROM cpu WHERE {which} AND {when} {by} ORDER BY 1", list("max", 10))
            }
            Self::DoubleGroupBy(gauges) => {
                let (window, by) = dialect.windows("hour");
                let when = span(random, 12, hours, dialect);
                let by = match dialect {
                    Dialect::Ours => format!("PARTITION BY tbname {by}"),
                    _ => format!("{by}, 2"),
                };
                format!("SELECT {window}, {name}, {} FROM cpu WHERE {when} {by} ORDER BY 1, 2", list("avg", gauges))
            }
            Self::HighCpu(all) => {
                let when = span(random, 12, hours, dialect);
                let which = if all { String::new() } else { format!("{} AND ", chosen(random, hosts, 1, name)) };
                let columns = GAUGES.join(", ");
                format!("SELECT {name}, ts, {columns} FROM cpu WHERE {which}usage_user > 90 AND {when}")
            }
            Self::LastPoint => last_point(dialect),
            Self::OrderByLimit => {
                let hour = 3_600_000;
                let end = random.random_range(START_MS + hour / 2..START_MS + hours * hour) / 1000 * 1000;
                let (window, by) = dialect.windows("minute");
                let end = dialect.time(end);
                format!("SELECT {window}, max(usage_user) FROM cpu WHERE ts < '{end}' {by} ORDER BY 1 DESC LIMIT 5")
            }
        }
    }
}

/// A stretch of `wanted` hours somewhere in the data.
fn span(random: &mut StdRng, wanted: i64, hours: i64, dialect: Dialect) -> String {
    let hour = 3_600_000;
    let length = wanted.min(hours) * hour;
    let latest = START_MS + hours * hour - length;
    let from = if latest > START_MS { random.random_range(START_MS..latest) / 1000 * 1000 } else { START_MS };
    format!("ts >= '{}' AND ts < '{}'", dialect.time(from), dialect.time(from + length))
}

/// The newest row of each host, in the way that suits each engine best.
fn last_point(dialect: Dialect) -> String {
    let newest = |function: &str| GAUGES.map(|gauge| format!("{function}({gauge}, ts)")).join(", ");
    match dialect {
        Dialect::Ours => "SELECT tbname, last_row(*) FROM cpu GROUP BY tbname".to_owned(),
        Dialect::Postgres => "SELECT DISTINCT ON (hostname) * FROM cpu ORDER BY hostname, ts DESC".to_owned(),
        Dialect::DuckDb => format!("SELECT hostname, max(ts), {} FROM cpu GROUP BY hostname", newest("arg_max")),
        Dialect::ClickHouse => format!("SELECT hostname, max(ts), {} FROM cpu GROUP BY hostname", newest("argMax")),
    }
}

fn chosen(random: &mut StdRng, hosts: usize, of: usize, name: &str) -> String {
    let mut picked: Vec<usize> = Vec::new();
    while picked.len() < of.min(hosts) {
        let host = random.random_range(0..hosts);
        if !picked.contains(&host) {
            picked.push(host);
        }
    }
    let names: Vec<String> = picked.iter().map(|host| format!("'host_{host}'")).collect();
    format!("{name} IN ({})", names.join(", "))
}

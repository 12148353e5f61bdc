//! Tables of time series and their rows, whatever their shape, and the forms in which rows travel: COPY binary and csv,
//! INSERT, batches of a prepared INSERT, line protocol.
//!
//! A [`Source`] makes [`Rows`]; [`Table`] says their columns. Start reading at [`Table::batches`].

mod encode;

use rand::Rng;
use rand::rngs::StdRng;

pub(crate) use encode::{Batch, Form, line_protocol, time_text, write_csv};

/// 2016-01-01 in milliseconds since the Unix epoch.
pub(crate) const START_MS: i64 = 1_451_606_400_000;
/// Milliseconds between two rows of a series.
pub(crate) const STEP_MS: i64 = 10_000;
/// Milliseconds of an hour.
pub(crate) const HOUR_MS: i64 = 3_600_000;
/// Most rows that are made, and then sent, at once.
pub(crate) const STEP_ROWS: usize = 240_000;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Ours,
    Postgres,
    DuckDb,
    ClickHouse,
    Influx,
}

/// Types of columns and tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bigint,
    Int,
    Double,
    Float,
    Text,
}

impl Kind {
    const fn sql(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Bigint, _) => "BIGINT",
            (Self::Int, _) => "INT",
            (Self::Double, Dialect::Postgres) => "DOUBLE PRECISION",
            (Self::Double, _) => "DOUBLE",
            (Self::Float, Dialect::Postgres) => "REAL",
            (Self::Float, _) => "FLOAT",
            (Self::Text, _) => "VARCHAR(30)",
        }
    }
}

/// A name and its type.
pub(crate) type Column = (&'static str, Kind);

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Number(f64),
}

/// One time series: a child table of ours, a value of the key column elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
}

/// A super table of ours, and what it is elsewhere.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// What the names of child tables begin with.
    pub(crate) prefix: &'static str,
    /// Peers' column with the name of the series.
    pub(crate) key: &'static str,
    pub(crate) columns: Vec<Column>,
    pub(crate) tags: Vec<Column>,
    pub(crate) series: Vec<Series>,
    /// Whether peers have the tags, in a table `tags`.
    pub(crate) tags_apart: bool,
}

/// Rows of one table, in the order of sending.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// Which of the source's tables.
    pub(crate) table: usize,
    width: usize,
    series: Vec<u32>,
    times: Vec<i64>,
    cells: Vec<Cell>,
}

/// What makes rows, the same ones whenever it is made anew.
pub(crate) trait Source {
    fn tables(&self) -> &[Table];

    /// The rows of the next `ticks` times, for each table that has some.
    fn next(&mut self, ticks: usize) -> Vec<Rows>;

    /// Rows that were held back to come late, after the last `next`.
    fn rest(&mut self) -> Vec<Rows> {
        Vec::new()
    }
}

/// Times to make at once, so that a step has at most so many rows and an hour is a number of steps.
pub(crate) fn step_ticks(source: &dyn Source, most: usize) -> usize {
    let rows: usize = source.tables().iter().map(|table| table.series.len()).sum();
    (1..=360).rev().find(|ticks| 360 % ticks == 0 && ticks * rows <= most).unwrap_or(1)
}

impl Rows {
    pub(crate) fn new(table: usize, width: usize) -> Self {
        Self { table, width, series: Vec::new(), times: Vec::new(), cells: Vec::new() }
    }

    pub(crate) fn push(&mut self, series: usize, ms: i64, cells: &[Cell]) {
        debug_assert_eq!(cells.len(), self.width, "a row has all columns");
        self.series.push(series as u32);
        self.times.push(ms);
        self.cells.extend_from_slice(cells);
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// (series, time in ms, values).
    pub(crate) fn row(&self, at: usize) -> (usize, i64, &[Cell]) {
        (self.series[at] as usize, self.times[at], &self.cells[at * self.width..(at + 1) * self.width])
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (usize, i64, &[Cell])> {
        (0..self.len()).map(|at| self.row(at))
    }

    /// These rows, in this order.
    pub(crate) fn pick(&self, wanted: &[usize]) -> Self {
        let mut picked = Self::new(self.table, self.width);
        for at in wanted {
            let (series, ms, cells) = self.row(*at);
            picked.push(series, ms, cells);
        }
        picked
    }

    /// The same rows with the first columns only.
    pub(crate) fn narrowed(&self, width: usize) -> Self {
        let mut narrow = Self::new(self.table, width);
        for (series, ms, cells) in self.each() {
            narrow.push(series, ms, &cells[..width]);
        }
        narrow
    }

    /// A part for each client; the rows of a series stay with one.
    pub(crate) fn shares(self, clients: usize) -> Vec<Self> {
        if clients == 1 {
            return vec![self];
        }
        let mut shares: Vec<Self> = (0..clients).map(|_| Self::new(self.table, self.width)).collect();
        for (series, ms, cells) in self.each() {
            shares[series % clients].push(series, ms, cells);
        }
        shares
    }
}

impl Table {
    /// Peers' name of a series, or the child table's.
    pub(crate) fn series_name(&self, series: usize, dialect: Dialect) -> String {
        let name = &self.series[series].name;
        if dialect == Dialect::Ours { format!("{}{name}", self.prefix) } else { name.clone() }
    }

    /// The column that names the series.
    pub(crate) const fn key(&self, dialect: Dialect) -> &'static str {
        if matches!(dialect, Dialect::Ours) { "tbname" } else { self.key }
    }

    /// `key, ts, columns…`
    pub(crate) fn list(&self, dialect: Dialect) -> String {
        let columns = self.columns.iter().map(|(name, _)| *name);
        [self.key(dialect), "ts"].into_iter().chain(columns).collect::<Vec<_>>().join(", ")
    }

    fn definitions(columns: &[Column], dialect: Dialect) -> String {
        let all = columns.iter().map(|(name, kind)| format!("{name} {}", kind.sql(dialect)));
        all.collect::<Vec<_>>().join(", ")
    }

    /// Statements that make the table; ours, those that make the children are apart ([`Table::children`]).
    pub(crate) fn schema(&self, dialect: Dialect) -> Vec<String> {
        let (name, columns) = (self.name, Self::definitions(&self.columns, dialect));
        if dialect == Dialect::Ours {
            let tags = Self::definitions(&self.tags, dialect);
            return vec![format!("CREATE STABLE {name} (ts TIMESTAMP, {columns}) TAGS ({tags})")];
        }
        let (key, time) = (self.key, if dialect == Dialect::Postgres { "timestamptz" } else { "TIMESTAMP" });
        let mut statements = vec![format!("CREATE TABLE {name} (ts {time}, {key} text, {columns})")];
        if dialect == Dialect::Postgres {
            statements.push(format!("CREATE INDEX ON {name} ({key}, ts DESC)"));
            statements.push(format!("CREATE INDEX ON {name} (ts DESC)"));
        }
        if self.tags_apart {
            let tags = Self::definitions(&self.tags, dialect).replacen(',', " PRIMARY KEY,", 1);
            statements.push(format!("CREATE TABLE tags ({tags})"));
            let all = (0..self.series.len()).map(|series| format!("({})", self.tag_values(series)));
            statements.push(format!("INSERT INTO tags VALUES {}", all.collect::<Vec<_>>().join(", ")));
        }
        statements
    }

    /// Statements that make our child tables, many in each.
    pub(crate) fn children(&self) -> impl Iterator<Item = String> {
        (0..self.series.len()).step_by(500).map(|first| {
            let mut create = String::from("CREATE TABLE");
            for series in first..self.series.len().min(first + 500) {
                let child = self.series_name(series, Dialect::Ours);
                create.push_str(&format!(" {child} USING {} TAGS ({})", self.name, self.tag_values(series)));
            }
            create
        })
    }

    fn tag_values(&self, series: usize) -> String {
        let values = self.series[series].tags.iter().zip(&self.tags);
        let quoted = values.map(|(value, (_, kind))| match kind {
            Kind::Text => format!("'{value}'"),
            _ => value.clone(),
        });
        quoted.collect::<Vec<_>>().join(", ")
    }
}

/// Of the standard normal distribution (Box and Muller).
pub(crate) fn normal(random: &mut StdRng) -> f64 {
    let (a, b): (f64, f64) = (random.random::<f64>().max(f64::MIN_POSITIVE), random.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

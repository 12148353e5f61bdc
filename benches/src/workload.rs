//! The data: seeded, so that every run and every server gets the same rows.
//!
//! A series is a sensor: three readings that walk in steps of a hundredth, and a state. Rows come in time order, one
//! second apart, the series in turn.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// First timestamp: 2025-01-01, in milliseconds since the Unix epoch.
const START_MS: i64 = 1_735_689_600_000;
/// Microseconds from PostgreSQL's epoch, 2000-01-01, to the Unix epoch.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// Rows in one INSERT.
const INSERT_ROWS: usize = 1_000;
/// Bytes of COPY data in one message.
const PIECE_BYTES: usize = 64 << 10;

/// How rows travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    CopyBinary,
    CopyCsv,
    Insert,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CopyBinary => "COPY binary",
            Self::CopyCsv => "COPY csv",
            Self::Insert => "INSERT of 1,000 rows",
        }
    }

    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::CopyBinary => "sensors_binary",
            Self::CopyCsv => "sensors_csv",
            Self::Insert => "sensors_insert",
        }
    }

    pub(crate) fn copy(self, ours: bool) -> String {
        let format = if self == Self::CopyBinary { "binary" } else { "csv" };
        let name = if ours { "tbname" } else { "name" };
        format!("COPY {} ({name}, ts, a, b, c, state) FROM STDIN (FORMAT {format})", self.table())
    }
}

/// Statements that make a table for a workload.
pub(crate) fn schema(table: &str, ours: bool) -> Vec<String> {
    if ours {
        return vec![format!(
            "CREATE STABLE {table} (ts TIMESTAMP, a DOUBLE, b DOUBLE, c DOUBLE, state INT) TAGS (grp INT)"
        )];
    }
    vec![
        format!("CREATE TABLE {table} (name text, ts timestamptz, a float8, b float8, c float8, state int)"),
        format!("CREATE INDEX ON {table} (name, ts DESC)"),
        format!("CREATE INDEX ON {table} (ts DESC)"),
    ]
}

/// Queries over the table that COPY binary has filled.
pub(crate) const QUERIES: [(&str, &str); 5] = [
    ("count", "SELECT count(*) FROM sensors_binary"),
    ("average of one column", "SELECT avg(a) FROM sensors_binary"),
    ("filter on a value", "SELECT count(*), max(b) FROM sensors_binary WHERE a > 60"),
    ("minute averages per series", "SELECT {start}tbname, avg(a) FROM sensors_binary {window}"),
    (
        "one series, ten minutes",
        "SELECT ts, a, b FROM sensors_binary WHERE tbname = 's7' AND ts >= '2025-01-01 00:00:00+00' AND ts < '2025-01-01 00:10:00+00'",
    ),
];

/// The same question in PostgreSQL's SQL.
pub(crate) fn for_postgres(sql: &str) -> String {
    sql.replace("{start}", "date_trunc('minute', ts), ").replace("{window}", "GROUP BY 1, 2").replace("tbname", "name")
}

struct Row {
    series: usize,
    ts_ms: i64,
    readings: [f64; 3],
    state: i32,
}

/// Rows, in the order in which they are sent.
pub(crate) struct Workload {
    rows: Vec<Row>,
}

impl Workload {
    pub(crate) fn new(rows: usize, series: usize) -> Self {
        let mut random = StdRng::seed_from_u64(7);
        let mut walks = vec![[5_000_i64; 3]; series];
        let row = |n: usize| {
            let of = n % series;
            for reading in &mut walks[of] {
                *reading = (*reading + random.random_range(-50..=50)).clamp(0, 10_000);
            }
            let readings = walks[of].map(|hundredths| hundredths as f64 / 100.0);
            Row {
                series: of,
                ts_ms: START_MS + (n / series) as i64 * 1_000,
                readings,
                state: (n / series / 60 % 4) as i32,
            }
        };
        Self { rows: (0..rows).map(row).collect() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// What is sent, cut into messages.
    pub(crate) fn pieces(&self, form: Form, ours: bool) -> Vec<Bytes> {
        match form {
            Form::CopyBinary => self.binary(),
            Form::CopyCsv => self.csv(),
            Form::Insert => self.inserts(ours),
        }
    }

    fn binary(&self) -> Vec<Bytes> {
        let mut out = BytesMut::new();
        out.put_slice(b"PGCOPY\n\xff\r\n\0");
        out.put_i32(0);
        out.put_i32(0);
        for row in &self.rows {
            let name = format!("s{}", row.series);
            out.put_i16(6);
            out.put_i32(name.len() as i32);
            out.put_slice(name.as_bytes());
            out.put_i32(8);
            out.put_i64(row.ts_ms * 1_000 - POSTGRES_EPOCH_US);
            for reading in row.readings {
                out.put_i32(8);
                out.put_f64(reading);
            }
            out.put_i32(4);
            out.put_i32(row.state);
        }
        out.put_i16(-1);
        cut(&out.freeze())
    }

    fn csv(&self) -> Vec<Bytes> {
        let mut out = String::new();
        for row in &self.rows {
            let [a, b, c] = row.readings;
            let _ = writeln!(out, "s{},{},{a},{b},{c},{}", row.series, time_text(row.ts_ms), row.state);
        }
        cut(&Bytes::from(out))
    }

    fn inserts(&self, ours: bool) -> Vec<Bytes> {
        let (table, name) = (Form::Insert.table(), if ours { "tbname" } else { "name" });
        let statement = |rows: &[Row]| {
            let mut out = format!("INSERT INTO {table} ({name}, ts, a, b, c, state) VALUES ");
            for (i, row) in rows.iter().enumerate() {
                let [a, b, c] = row.readings;
                let comma = if i > 0 { "," } else { "" };
                let _ = write!(out, "{comma}('s{}','{}',{a},{b},{c},{})", row.series, time_text(row.ts_ms), row.state);
            }
            Bytes::from(out)
        };
        self.rows.chunks(INSERT_ROWS).map(statement).collect()
    }
}

fn cut(data: &Bytes) -> Vec<Bytes> {
    (0..data.len()).step_by(PIECE_BYTES).map(|at| data.slice(at..data.len().min(at + PIECE_BYTES))).collect()
}

/// `2025-01-01 00:00:00+00`; all of the workload lies in January.
fn time_text(ms: i64) -> String {
    let seconds = (ms - START_MS) / 1_000;
    let (day, hour, minute, second) = (seconds / 86_400 + 1, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("2025-01-{day:02} {hour:02}:{minute:02}:{second:02}+00")
}

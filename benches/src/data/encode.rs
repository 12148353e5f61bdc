//! Rows as bytes of COPY, text of INSERT, messages of the extended protocol, and line protocol.

use std::fmt::Write;

use ::tests::raw;
use bytes::{BufMut, Bytes, BytesMut};

use super::{Cell, Dialect, Kind, Rows, START_MS, Table};

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// Bytes of COPY data in one message.
const PIECE_BYTES: usize = 64 << 10;

/// How rows travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    CopyBinary,
    CopyCsv,
    Insert,
    /// Bind and Execute of a prepared INSERT of one row, many before each Sync.
    Prepared,
}

impl Form {
    pub(crate) const ALL: [Self; 4] = [Self::Insert, Self::Prepared, Self::CopyCsv, Self::CopyBinary];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CopyBinary => "COPY binary",
            Self::CopyCsv => "COPY csv",
            Self::Insert => "INSERT of many rows",
            Self::Prepared => "prepared INSERT, batched",
        }
    }

    /// Rows of one statement, or between two Syncs, where nothing else is asked for.
    pub(crate) const fn batch_rows(self) -> usize {
        match self {
            Self::CopyBinary | Self::CopyCsv => 10_000,
            Self::Insert | Self::Prepared => 1_000,
        }
    }
}

/// What is sent before an answer is waited for.
pub(crate) struct Batch {
    pub(crate) rows: usize,
    /// Data of COPY cut into messages, the text of an INSERT, or messages of the extended protocol.
    pub(crate) pieces: Vec<Bytes>,
}

impl Table {
    /// The COPY or INSERT that batches of this form belong to; an INSERT of text has none.
    pub(crate) fn statement(&self, form: Form, dialect: Dialect) -> String {
        let (name, list) = (self.name, self.list(dialect));
        match form {
            Form::CopyBinary => format!("COPY {name} ({list}) FROM STDIN (FORMAT binary)"),
            Form::CopyCsv => format!("COPY {name} ({list}) FROM STDIN (FORMAT csv)"),
            Form::Insert => String::new(),
            Form::Prepared => {
                let marks = (1..=self.columns.len() + 2).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
                format!("INSERT INTO {name} ({list}) VALUES ({marks})")
            }
        }
    }

    /// Rows cut into batches of at most `size`.
    pub(crate) fn batches(&self, rows: &Rows, form: Form, dialect: Dialect, size: usize) -> Vec<Batch> {
        let names: Vec<String> = (0..self.series.len()).map(|series| self.series_name(series, dialect)).collect();
        let firsts = (0..rows.len()).step_by(size);
        let of = |first: usize| {
            let range = first..rows.len().min(first + size);
            let some =
                range.clone().map(|at| rows.row(at)).map(|(series, ms, cells)| (names[series].as_str(), ms, cells));
            let pieces = match form {
                Form::CopyBinary => cut(&self.binary(some)),
                Form::CopyCsv => cut(&csv(some)),
                Form::Insert => vec![Bytes::from(self.insert(some, dialect))],
                Form::Prepared => vec![prepared(some)],
            };
            Batch { rows: range.len(), pieces }
        };
        firsts.map(of).collect()
    }

    fn binary<'a>(&self, rows: impl Iterator<Item = (&'a str, i64, &'a [Cell])>) -> Bytes {
        let mut out = BytesMut::with_capacity(1 << 20);
        out.put_slice(b"PGCOPY\n\xff\r\n\0");
        out.put_i32(0);
        out.put_i32(0);
        for (name, ms, cells) in rows {
            out.put_i16(cells.len() as i16 + 2);
            out.put_i32(name.len() as i32);
            out.put_slice(name.as_bytes());
            out.put_i32(8);
            out.put_i64(ms * 1_000 - POSTGRES_EPOCH_US);
            for (cell, (_, kind)) in cells.iter().zip(&self.columns) {
                put_binary(&mut out, *cell, *kind);
            }
        }
        out.put_i16(-1);
        out.freeze()
    }

    /// One INSERT of some rows.
    pub(crate) fn insert<'a>(
        &self,
        rows: impl Iterator<Item = (&'a str, i64, &'a [Cell])>,
        dialect: Dialect,
    ) -> String {
        let mut out = format!("INSERT INTO {} ({}) VALUES ", self.name, self.list(dialect));
        for (n, (name, ms, cells)) in rows.enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let _ = write!(out, "{comma}('{name}','{}'", time_text(ms));
            for cell in cells {
                let _ = match cell {
                    Cell::Null => write!(out, ",NULL"),
                    Cell::Integer(value) => write!(out, ",{value}"),
                    Cell::Number(value) => write!(out, ",{value}"),
                };
            }
            out.push(')');
        }
        out
    }
}

fn put_binary(out: &mut BytesMut, cell: Cell, kind: Kind) {
    let (integer, number) = match cell {
        Cell::Null => {
            out.put_i32(-1);
            return;
        }
        Cell::Integer(value) => (value, value as f64),
        Cell::Number(value) => (value as i64, value),
    };
    out.put_i32(if matches!(kind, Kind::Bigint | Kind::Double) { 8 } else { 4 });
    match kind {
        Kind::Bigint | Kind::Text => out.put_i64(integer),
        Kind::Int => out.put_i32(integer as i32),
        Kind::Double => out.put_f64(number),
        Kind::Float => out.put_f32(number as f32),
    }
}

/// `name,ts,values…` as COPY and other engines read it.
fn csv<'a>(rows: impl Iterator<Item = (&'a str, i64, &'a [Cell])>) -> Bytes {
    let mut out = String::with_capacity(1 << 20);
    for (name, ms, cells) in rows {
        let _ = write!(out, "{name},{}", time_text(ms));
        for cell in cells {
            let _ = match cell {
                Cell::Null => write!(out, ","),
                Cell::Integer(value) => write!(out, ",{value}"),
                Cell::Number(value) => write!(out, ",{value}"),
            };
        }
        out.push('\n');
    }
    Bytes::from(out)
}

/// Bind and Execute for each row, then Sync. The statement, without a name, is parsed before.
fn prepared<'a>(rows: impl Iterator<Item = (&'a str, i64, &'a [Cell])>) -> Bytes {
    let mut out = Vec::with_capacity(1 << 18);
    let execute = raw::execute("", 0);
    for (name, ms, cells) in rows {
        bind(&mut out, name, ms, cells);
        out.extend_from_slice(&execute);
    }
    out.extend(raw::sync());
    Bytes::from(out)
}

/// Bind of the statement without a name, all parameters in text.
fn bind(out: &mut Vec<u8>, name: &str, ms: i64, cells: &[Cell]) {
    let mut body = vec![0, 0, 0, 0];
    body.extend((cells.len() as u16 + 2).to_be_bytes());
    let mut put = |text: Option<&str>| {
        body.extend(text.map_or(-1, |text| text.len() as i32).to_be_bytes());
        body.extend(text.unwrap_or_default().as_bytes());
    };
    put(Some(name));
    put(Some(&time_text(ms)));
    for cell in cells {
        match cell {
            Cell::Null => put(None),
            Cell::Integer(value) => put(Some(&value.to_string())),
            Cell::Number(value) => put(Some(&value.to_string())),
        }
    }
    body.extend([0, 0]);
    out.extend(raw::message(b'B', &body));
}

/// Lines of InfluxDB's protocol, times in milliseconds, integers marked as such. A row without values has no line.
pub(crate) fn line_protocol(table: &Table, rows: &Rows) -> Bytes {
    let heads: Vec<String> = (0..table.series.len()).map(|series| head(table, series)).collect();
    let mut out = String::with_capacity(rows.len() * 350);
    for (series, ms, cells) in rows.each() {
        let values = cells.iter().zip(&table.columns).filter(|(cell, _)| **cell != Cell::Null);
        let mut sign = ' ';
        let start = out.len();
        out.push_str(&heads[series]);
        for (cell, (name, _)) in values {
            let _ = match cell {
                Cell::Integer(value) => write!(out, "{sign}{name}={value}i"),
                Cell::Number(value) => write!(out, "{sign}{name}={value}"),
                Cell::Null => Ok(()),
            };
            sign = ',';
        }
        if sign == ' ' {
            out.truncate(start);
        } else {
            let _ = writeln!(out, " {ms}");
        }
    }
    Bytes::from(out)
}

/// `measurement,tag=value,…`; the key is a tag, once.
fn head(table: &Table, series: usize) -> String {
    let series = &table.series[series];
    let mut head = format!("{},{}={}", table.name, table.key, series.name);
    for ((tag, _), value) in table.tags.iter().zip(&series.tags).filter(|((tag, _), _)| *tag != table.key) {
        let _ = write!(head, ",{tag}={value}");
    }
    head
}

fn cut(data: &Bytes) -> Vec<Bytes> {
    (0..data.len()).step_by(PIECE_BYTES).map(|at| data.slice(at..data.len().min(at + PIECE_BYTES))).collect()
}

/// `2016-01-01 00:00:00+00`, with milliseconds where there are some; all rows lie in January.
pub(crate) fn time_text(ms: i64) -> String {
    let (seconds, fraction) = ((ms - START_MS).div_euclid(1_000), (ms - START_MS).rem_euclid(1_000));
    let (day, hour, minute, second) = (seconds / 86_400 + 1, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:03}") };
    format!("2016-01-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}+00")
}

/// Rows as csv with the peers' names of the series, appended to a file.
pub(crate) fn write_csv(table: &Table, rows: &Rows, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let named = rows.each().map(|(series, ms, cells)| (table.series[series].name.as_str(), ms, cells));
    out.write_all(&csv(named))
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;
    use crate::shapes::{Meters, Trucks};

    #[test]
    fn times_are_text_as_postgresql_reads_it() {
        assert_eq!(time_text(START_MS), "2016-01-01 00:00:00+00");
        assert_eq!(time_text(START_MS + 86_400_000 + 3_661_005), "2016-01-02 01:01:01.005+00");
    }

    #[test]
    fn a_row_has_the_same_values_in_every_form() {
        let mut meters = Meters::new(2);
        let rows = meters.next(1).remove(0);
        let table = &meters.tables()[0];
        let (_, _, cells) = rows.row(1);
        let [Cell::Number(current), Cell::Integer(voltage), Cell::Number(phase)] = *cells else { panic!("{cells:?}") };
        let only = |form| table.batches(&rows.pick(&[1]), form, Dialect::Ours, 10).remove(0).pieces.remove(0);
        assert_eq!(only(Form::CopyCsv), format!("d1,2016-01-01 00:00:00+00,{current},{voltage},{phase}\n"));
        let insert = format!(
            "INSERT INTO meters (tbname, ts, current, voltage, phase) VALUES \
             ('d1','2016-01-01 00:00:00+00',{current},{voltage},{phase})"
        );
        assert_eq!(only(Form::Insert), insert);
        let binary = only(Form::CopyBinary);
        let row = [&[0, 5, 0, 0, 0, 2][..], b"d1", &[0, 0, 0, 8]].concat();
        assert_eq!(binary[19..19 + row.len()], row);
        assert!(binary.ends_with(&[&(phase as f32).to_be_bytes()[..], &[0xff, 0xff]].concat()));
        assert_eq!(&only(Form::Prepared)[..1], b"B");
        let location = &table.series[1].tags;
        let line = format!(
            "meters,name=d1,groupid={},location={} current={current},voltage={voltage}i,phase={phase} {START_MS}\n",
            location[0], location[1]
        );
        assert_eq!(line_protocol(table, &rows.pick(&[1])), line);
    }

    #[test]
    fn what_is_null_is_left_out_of_lines_and_empty_in_csv() {
        let trucks = Trucks::new(1);
        let table = &trucks.tables()[1];
        let mut rows = Rows::new(1, 3);
        rows.push(0, START_MS, &[Cell::Null, Cell::Number(12.0), Cell::Null]);
        rows.push(0, START_MS, &[Cell::Null, Cell::Null, Cell::Null]);
        let lines = String::from_utf8(line_protocol(table, &rows).to_vec()).expect("lines are text");
        assert_eq!(lines.lines().count(), 1);
        assert!(lines.ends_with(&format!(" current_load=12 {START_MS}\n")), "{lines}");
        let csv = table.batches(&rows, Form::CopyCsv, Dialect::Postgres, 1).remove(0).pieces.remove(0);
        assert_eq!(csv, "truck_0,2016-01-01 00:00:00+00,,12,\n");
    }
}

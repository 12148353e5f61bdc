//! COPY in every format, in pieces of any size.

use model::Precision;
use proptest::prelude::*;

use super::{CopyFormat, CopyIn};
use crate::insert::Batch;
use crate::insert::tests::{Tables, describe, print, reading};
use crate::plan::{Memory, PlannerSettings};
use crate::staging::Staged;
use crate::statement::ColumnName;

fn text(header: bool) -> CopyFormat {
    CopyFormat::Text { delimiter: b'\t', null: "\\N".to_owned(), header }
}

fn csv(header: bool) -> CopyFormat {
    CopyFormat::Csv { delimiter: b',', null: String::new(), header, quote: b'"', escape: b'"', force_quote: None }
}

fn names(columns: &str) -> Vec<ColumnName> {
    columns.split(' ').map(|name| ColumnName { name: name.to_owned(), position: 0 }).collect()
}

/// What a COPY of `data` in these pieces gives: rows or the error.
fn copy(table: &str, columns: Option<&str>, format: CopyFormat, pieces: &[&[u8]]) -> String {
    let tables = Tables::new(Precision::Milli);
    let columns = columns.map(names);
    let run = async {
        let staged = Staged::new(&memory(256 << 20), "COPY");
        let mut copy = CopyIn::new(table, tables.get(table), columns.as_deref(), format, reading(), staged)?;
        for piece in pieces {
            copy.feed(piece).await?;
        }
        copy.finish().await
    };
    match futures::executor::block_on(run) {
        Ok(whole) => format!("{}{}", print(whole.held()), whole.rows()),
        Err(error) => describe(&error),
    }
}

fn memory(staging_bytes: usize) -> Memory {
    let settings = PlannerSettings { staging_bytes, ..PlannerSettings::default() };
    Memory::new(&settings).expect("the settings are fine")
}

fn whole(table: &str, columns: Option<&str>, format: CopyFormat, data: &str) -> String {
    copy(table, columns, format, &[data.as_bytes()])
}

#[test]
fn text_takes_escapes_and_nulls() {
    let data = "1000\t1\ta\\tb\t1.5\t\\N\n2000\t\\N\t\\\\N\tNaN\t2024-01-01 00:00:00\r\n3000\t3\t\\x41\\101\t0\t\\N\n\\.\nrest";
    assert_eq!(
        whole("d1", None, text(false), data),
        "st1 of db1:\n  d1 1000 c1=1 c2=a\tb c3=1.5 c4=NULL\n  d1 2000 c1=NULL c2=\\N c3=NaN c4=2024-01-01T00:00:00Z\n  \
         d1 3000 c1=3 c2=AA c3=0.0 c4=NULL\n3"
    );
    assert_eq!(whole("d1", Some("ts b"), text(true), "ts\tb\n5\ta\\\nb"), "st1 of db1:\n  d1 5 c2=a\nb\n1");
}

#[test]
fn csv_takes_quotes_and_line_feeds() {
    let data = "ts,b,a\n1,\"x,\ny\",2\r\n2,\"\",\n3,,\"4\"\n";
    assert_eq!(
        whole("d1", Some("ts b a"), csv(true), data),
        "st1 of db1:\n  d1 1 c1=2 c2=x,\ny\n  d1 2 c1=NULL c2=\n  d1 3 c1=4 c2=NULL\n3"
    );
    assert_eq!(
        whole("d1", Some("ts b"), csv(false), "1,\"a\"\"b\"\n2,x\"y\"z"),
        "st1 of db1:\n  d1 1 c2=a\"b\n  d1 2 c2=xyz\n2"
    );
}

#[test]
fn a_super_table_creates_children_from_its_tags() {
    assert_eq!(
        whole("st", Some("tbname loc ts a"), csv(false), "n1,here,1,1\nd1,,2,2\nn1,there,3,3\n"),
        "st1 of db1:\n  create n1 [(c5, Text(\"here\"))]\n  create d1 []\n  n1 1 c1=1\n  d1 2 c1=2\n  n1 3 c1=3\n3"
    );
    assert!(whole("st", Some("ts a"), csv(false), "").starts_with("Error: 42809"));
    assert_eq!(
        CopyIn::new(
            "st",
            Tables::new(Precision::Milli).get("st"),
            None,
            csv(false),
            reading(),
            Staged::new(&memory(1 << 20), "COPY")
        )
        .map_or(0, |c| c.columns()),
        8
    );
}

#[test]
fn a_plain_table_fills_constant_defaults() {
    assert_eq!(
        whole("p", Some("id"), csv(false), "1\n"),
        "st4 of db1:\n  p new c1=1 c2=none c3=2023-11-14T22:13:20.123Z\n1"
    );
}

#[test]
fn a_bad_line_says_where() {
    for (format, data, expected) in [
        (
            text(false),
            "1\t1\n2\tx\n",
            "Error: 22P02 invalid input syntax for type integer: \"x\"\n  context: COPY d1, line 2, column a: \"x\"\n",
        ),
        (
            csv(true),
            "ts,a\n1,\"1\n\"\n2,99999999999\n",
            "Error: 22003 value \"99999999999\" is out of range for type integer\n  \
             context: COPY d1, line 4, column a: \"99999999999\"\n",
        ),
        (text(false), "1\n", "Error: 22P04 missing data for column \"a\"\n  context: COPY d1, line 1: \"1\"\n"),
        (
            text(false),
            "1\t2\t3\n",
            "Error: 22P04 extra data after last expected column\n  context: COPY d1, line 1: \"1\t2\t3\"\n",
        ),
        (
            csv(false),
            "1,2\n1,\"2",
            "Error: 22P04 unterminated CSV quoted field\n  context: COPY d1, line 2: \"1,\"2\"\n",
        ),
        (
            text(false),
            "\\N\t1\n",
            "Error: 23502 null value in column \"ts\" of relation \"st\" violates not-null constraint\n  \
             context: COPY d1, line 1, column ts: null input\n",
        ),
    ] {
        assert_eq!(whole("d1", Some("ts a"), format, data), expected);
    }
    let broken = copy("d1", Some("ts b"), text(false), &[b"1\t\xff\n"]);
    assert!(broken.starts_with("Error: 22021"), "{broken}");
    let long = whole("d1", Some("ts b"), text(false), "1\tsixsix\n");
    assert!(long.starts_with("Error: 22001") && long.contains("column b"), "{long}");
    let old = whole("d1", Some("ts"), text(false), "1969-01-01\n");
    assert!(old.contains("KEEP") && old.contains("line 1, column ts"), "{old}");
}

/// Rows of (timestamp, int) in binary; None is NULL.
fn binary(rows: &[(i64, Option<i32>)]) -> Vec<u8> {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (ts, a) in rows {
        data.extend(2_i16.to_be_bytes());
        data.extend(8_i32.to_be_bytes());
        data.extend(ts.to_be_bytes());
        match a {
            Some(a) => {
                data.extend(4_i32.to_be_bytes());
                data.extend(a.to_be_bytes());
            }
            None => data.extend((-1_i32).to_be_bytes()),
        }
    }
    data.extend((-1_i16).to_be_bytes());
    data
}

#[test]
fn binary_is_read_and_its_damage_refused() {
    let data = binary(&[(0, Some(5)), (1_500, None)]);
    let run = |data: &[u8]| copy("d1", Some("ts a"), CopyFormat::Binary, &[data]);
    assert_eq!(run(&data), "st1 of db1:\n  d1 946684800000 c1=5\n  d1 946684800002 c1=NULL\n2");
    assert!(run(b"nonsense").starts_with("Error: 22P04"));
    assert!(run(&data[..data.len() - 3]).starts_with("Error: 22P04"));
    assert!(run(&data[..10]).starts_with("Error: 22P04"));
    let mut more = data.clone();
    more.push(0);
    assert!(run(&more).starts_with("Error: 22P04"));
    let mut wrong = data;
    wrong[20] = 3;
    assert!(run(&wrong).contains("row field count is 3, expected 2"));
}

/// Fields without anything that CSV or the text format would have to hide.
const FIELDS: &[&str] = &[
    "1",
    "-5",
    "007",
    "-0",
    "2147483648",
    "99999999999999999999",
    "999999999999999999",
    "1.5",
    "-1e3",
    "1e400",
    "5.",
    "x",
    "3e",
    "12x",
    " 7 ",
    "nan",
    "-",
    "true",
    "d1",
    "new",
    "a.b",
    "2024-01-01 00:00:00",
    "1700000000000",
    "toolong",
    "é",
];

proptest! {
    /// Lines of plain numbers are read in a way of their own: quoted, and as text format, they say the same.
    #[test]
    fn plain_lines_and_quoted_ones_agree(
        columns in prop::sample::select(&["tbname ts a c", "ts c a tbname", "a ts tbname c"][..]),
        lines in prop::collection::vec(prop::collection::vec(prop::sample::select(FIELDS), 4), 1..4),
        end in prop::sample::select(&["\n", "\r\n"][..]),
    ) {
        let join = |separator: &str, quote: &str, end: &str| -> String {
            let line = |fields: &Vec<&str>| fields.iter().map(|field| format!("{quote}{field}{quote}")).collect::<Vec<_>>();
            lines.iter().map(|fields| line(fields).join(separator) + end).collect()
        };
        let quoted = whole("st", Some(columns), csv(false), &join(",", "\"", "\n"));
        prop_assert_eq!(&whole("st", Some(columns), csv(false), &join(",", "", end)), &quoted);
        prop_assert_eq!(&whole("st", Some(columns), text(false), &join("\t", "", end)), &quoted);
    }

    /// However the data is cut, rows and errors are the same.
    #[test]
    fn pieces_do_not_matter(which in 0..4_usize, cuts in prop::collection::vec(0..200_usize, 0..8)) {
        let (format, data) = match which {
            0 => (text(false), b"1\t2\n3\t\\N\r\n4\t5\\\n6\n".to_vec()),
            1 => (csv(true), b"ts,\"a\n\"\n1,\"2\"\n\"3\",\n4,\"5\n\"\n5,6".to_vec()),
            2 => (text(false), b"1\t2\n3\tx\\\ty\n".to_vec()),
            _ => (CopyFormat::Binary, binary(&[(0, Some(5)), (1_500, None), (7, Some(-1))])),
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).collect();
        cuts.sort_unstable();
        cuts.insert(0, 0);
        cuts.push(data.len());
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect();
        let once = copy("d1", Some("ts a"), format.clone(), &[&data]);
        prop_assert_eq!(copy("d1", Some("ts a"), format, &pieces), once);
    }
}

/// What of some batches does not depend on how they are cut: their rows.
fn rows_of(batches: &[Batch]) -> Vec<String> {
    let text = print(batches);
    text.lines().filter(|line| line.starts_with("  ") && !line.starts_with("  create")).map(str::to_owned).collect()
}

/// Lines for many children, some with NULLs, some with long texts.
fn many_lines(count: usize) -> String {
    let line = |n: usize| match n % 7 {
        0 => format!("n{},here,{n},,\"a,{}\"\n", n % 90, n % 9),
        1 => format!("d1,,{n},{n},\n"),
        _ => format!("m{},there,{n},{},x{}\n", n % 1300, n * 3, n % 1000),
    };
    (0..count).map(line).collect()
}

#[tokio::test]
async fn rows_that_do_not_fit_come_back_from_a_file_in_their_order() {
    let data = many_lines(60_000);
    let tables = Tables::new(Precision::Milli);
    let start = |memory: &Memory| {
        let staged = Staged::new(memory, "COPY");
        let columns = names("tbname loc ts a b");
        CopyIn::new("st", tables.get("st"), Some(&columns), csv(false), reading(), staged).expect("a COPY")
    };
    let (large, small) = (memory(256 << 20), memory(400 << 10));
    let mut copy = start(&large);
    copy.feed(data.as_bytes()).await.expect("good lines");
    let held = copy.finish().await.expect("good lines");
    assert!(held.is_held() && held.rows() == 60_000);
    let expected = rows_of(held.held());
    assert_eq!(expected.len(), 60_000);
    let mut copy = start(&small);
    for piece in data.as_bytes().chunks(7_000) {
        copy.feed(piece).await.expect("good lines");
        let used = small.used();
        assert!(used.staging <= 400 << 10, "{used:?}");
    }
    let whole = copy.finish().await.expect("good lines");
    assert!(!whole.is_held() && whole.held().is_empty() && whole.rows() == 60_000);
    assert!(small.used().spilled > 1 << 20 && small.used().files == 1, "{:?}", small.used());
    // As often as one likes, in groups of a bounded size, each with no more tables than it has rows of.
    for _ in 0..2 {
        let (mut reader, mut found, mut groups) = (whole.read(), Vec::new(), 0);
        while let Some(batches) = reader.next().await.expect("readable") {
            for batch in &batches {
                assert!(batch.rows.ordinals.iter().all(|ordinal| (*ordinal as usize) < batch.rows.tables.len()));
                assert!(batch.rows.tables.iter().all(|table| table.create.is_some()));
            }
            found.extend(rows_of(&batches));
            groups += 1;
        }
        assert!(groups > 5, "{groups}");
        assert_eq!(found, expected);
    }
    drop(whole);
    assert_eq!((small.used().files, small.used().spilled, small.used().staging), (0, 0, 0));
    // A bad line at the end: its number, and nothing is left.
    let mut copy = start(&small);
    let bad = format!("{data}n1,here,soon,1,x\n");
    let error = copy.feed(bad.as_bytes()).await.expect_err("a bad line");
    assert!(describe(&error).contains("COPY st, line 60001, column ts"), "{}", describe(&error));
    assert_eq!(small.used().files, 1);
    drop(copy);
    assert_eq!((small.used().files, small.used().staging), (0, 0));
}

//! Runs the scripts under `storage/testscripts/vnode/`. Below each `---` is recorded, not typed:
//! `UPDATE_GOLDENFILES=1 cargo test -p storage vnode` records anew.
//!
//! ```text
//! create NAME... [st=7] [tag=N] [if_not_exists=yes]        drop NAME... [st=7]        drop_relation [st=7]
//! write NAME@KEY... [a=N] [b=TEXT] [c=N] [st=7] [by=sid]   a cell: `null`, or left out: stays as it is
//! insert N [a=N] [b=TEXT] [c=N] [st=8]                     N new rows of the plain table `p`
//! delete NAME|all A..B [st=7]        delete_keys NAME@KEY... [st=7]        settag NAME N
//! begin | commit            the operations in between make one entry
//! retry N                   entry N again, at a new position
//! flush | merge | compact | expire FLOOR | reopen | snapshot
//! scan [st=7] [order=any|series|up|down] [range=A..B] [series=NAME,...] [limit=N] [min_a=N]
//! last | newest [st=7]      newest row; newest value of each column
//! tags | stats [st=7] | lookup NAME... | runs | state | inspect [runs] [bucket=N] [run=N]
//! ```

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use goldenscript::{ArgumentConsumer, Command, Context};
use model::command::{Applied, Chunk, Entry, Operation, Target};
use model::scan::{ColumnFilter, LastValuesRequest, Order, ScanRequest, Series, StatisticsRequest, TagsRequest};
use model::schema::{Relation, RelationKind};
use model::types::Value;
use model::write::{Keys, Tables};
use model::{ColumnId, Precision, Suid, TimeRange};

use crate::vnode::StorageEnv;
use crate::vnode::inspect::{inspect_store, inspect_store_runs};
use crate::vnode::tests::{Bench, Cell, chunk, columns, creation, relation, request};

type Answer = Result<String, Box<dyn Error>>;

/// Relations from this one on are plain.
const PLAIN: u32 = 8;

struct Runner {
    bench: Bench,
    /// Operations since `begin`.
    held: Option<Vec<Operation>>,
}

impl Default for Runner {
    fn default() -> Self {
        let bench = Bench::new(StorageEnv::in_memory(), std::path::Path::new("/memory/vnode"));
        Self { bench, held: None }
    }
}

fn relation_of(args: &mut ArgumentConsumer<'_>, default: u32) -> Result<Arc<Relation>, Box<dyn Error>> {
    let suid = args.take_key("st").map_or(Ok(default), str::parse)?;
    Ok(relation(suid, if suid >= PLAIN { RelationKind::Plain } else { RelationKind::Super }))
}

fn range(text: &str) -> Result<TimeRange, Box<dyn Error>> {
    let (min, max) = text.split_once("..").ok_or("a range is A..B, `min` and `max` are its ends")?;
    Ok(TimeRange { min: min.parse().unwrap_or(i64::MIN), max: max.parse().unwrap_or(i64::MAX) })
}

fn row(text: &str) -> Result<(String, i64), Box<dyn Error>> {
    let (name, key) = text.split_once('@').ok_or("a row is NAME@KEY")?;
    Ok((name.to_owned(), key.parse()?))
}

fn cells(args: &mut ArgumentConsumer<'_>) -> Result<[Cell; 3], Box<dyn Error>> {
    let mut cells = [Cell::Absent, Cell::Absent, Cell::Absent];
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        cells[at] = match (at, args.take_key(name)) {
            (_, None) => Cell::Absent,
            (_, Some("null")) => Cell::Null,
            (0, Some(text)) => Cell::Int(text.parse()?),
            (1, Some(text)) => Cell::Text(text.to_owned()),
            (_, Some(text)) => Cell::Float(text.parse()?),
        };
    }
    Ok(cells)
}

fn positions<'a>(args: &mut ArgumentConsumer<'a>) -> Vec<&'a str> {
    std::iter::from_fn(|| args.next_pos()).collect()
}

fn table(lines: Vec<Vec<String>>) -> String {
    lines.into_iter().map(|line| line.join(" ") + "\n").collect()
}

impl Runner {
    fn operation(&mut self, command: &Command) -> Result<Option<Operation>, Box<dyn Error>> {
        let mut args = command.consume_args();
        let default = if command.name == "insert" { PLAIN } else { 7 };
        let relation = relation_of(&mut args, default)?;
        let suid = relation.suid;
        let operation = match command.name.as_str() {
            "create" => {
                let tag = args.take_key("tag").map_or(Ok(0), str::parse)?;
                let if_not_exists = args.take_key("if_not_exists").is_some();
                let tables = positions(&mut args).into_iter().map(|name| creation(name, tag)).collect();
                Operation::CreateTables { suid, tables, if_not_exists }
            }
            "drop" => {
                Operation::DropTables { suid, names: positions(&mut args).into_iter().map(str::to_owned).collect() }
            }
            "drop_relation" => Operation::DropRelation { suid },
            "write" => self.write(suid, &mut args)?,
            "insert" => {
                let rows: usize = args.next_pos().ok_or("how many rows?")?.parse()?;
                let cells = vec![cells(&mut args)?; rows];
                Operation::Write(Chunk {
                    suid,
                    version: 1,
                    targets: vec![Target::Create(creation("p", 0))],
                    ordinals: Vec::new(),
                    keys: Keys::Assigned(rows),
                    columns: columns(&cells),
                })
            }
            "delete" => {
                let name = args.next_pos().ok_or("of which table?")?;
                let tables = if name == "all" { Tables::All } else { Tables::Named(vec![name.to_owned()]) };
                let range = range(args.next_pos().ok_or("which range?")?)?;
                let resolved = self.bench.vnode().resolve_range(suid, &tables, range)?;
                Operation::DeleteRange { suid, sids: resolved.sids, range, counted: resolved.counted }
            }
            "delete_keys" => {
                let rows: Vec<(String, i64)> = positions(&mut args).into_iter().map(row).collect::<Result<_, _>>()?;
                let (names, keys): (Vec<String>, Vec<i64>) = rows.into_iter().unzip();
                let ordinals: Vec<u32> = (0..names.len() as u32).collect();
                let resolved = self.bench.vnode().resolve_keys(suid, &names, &ordinals, &keys)?;
                Operation::DeleteKeys { suid, sids: resolved.sids, keys: resolved.keys, counted: resolved.counted }
            }
            "settag" => {
                let name = args.next_pos().ok_or("of which table?")?.to_owned();
                let value = args.next_pos().ok_or("which value?")?;
                let value = if value == "null" { Value::Null } else { Value::Int(value.parse()?) };
                Operation::SetTags { suid, name, values: vec![(ColumnId(9), value)] }
            }
            _ => return Ok(None),
        };
        args.reject_next()?;
        Ok(Some(operation))
    }

    fn write(&self, suid: Suid, args: &mut ArgumentConsumer<'_>) -> Result<Operation, Box<dyn Error>> {
        let by_sid = args.take_key("by").is_some();
        let cells = cells(args)?;
        let rows: Vec<(String, i64)> = positions(args).into_iter().map(row).collect::<Result<_, _>>()?;
        let mut names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let mut targets = Vec::new();
        for name in &names {
            targets.push(match self.bench.vnode().lookup(&[(*name).to_owned()]).remove(0) {
                Some(info) if by_sid => Target::Existing { uid: info.uid, sid: info.sid },
                _ => Target::Create(creation(name, 0)),
            });
        }
        let ordinal = |(name, _): &(String, i64)| names.binary_search(&name.as_str()).map(|at| at as u32);
        let ordinals = rows.iter().map(ordinal).collect::<Result<Vec<u32>, usize>>().map_err(|_| "no such name")?;
        let keys = rows.iter().map(|(_, key)| *key).collect();
        Ok(chunk(suid.0, targets, ordinals, keys, &vec![cells; rows.len()]))
    }

    fn apply(&mut self, entry: Entry) -> String {
        match self.bench.apply_entry(entry) {
            Applied::Done(effect) => {
                let counts = [
                    ("written", effect.written),
                    ("deleted", effect.deleted),
                    ("created", effect.created),
                    ("dropped", effect.dropped),
                ];
                let counts = counts.iter().filter(|(_, count)| *count > 0);
                let counts: Vec<String> = counts.map(|(what, count)| format!("{what} {count}")).collect();
                let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
                format!("{}: {counts}\n", self.bench.log.len())
            }
            Applied::Rejected(rejection) => format!("{}: rejected {rejection:?}\n", self.bench.log.len()),
        }
    }

    fn read(&self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let relation = relation_of(args, 7)?;
        let suid = relation.suid;
        let precision = Precision::Milli;
        let request = match name {
            "tags" => {
                let tags = relation.tags.iter().map(|tag| tag.id).collect();
                ScanRequest::Tags(TagsRequest { relation, precision, tags, series: Series::All, bare: false })
            }
            "stats" => ScanRequest::Statistics(StatisticsRequest { relation }),
            _ => {
                let order = match args.take_key("order") {
                    Some("any") => Order::Any,
                    Some("up") => Order::TimeAscending,
                    Some("down") => Order::TimeDescending,
                    _ => Order::SeriesTime,
                };
                let mut rows = request(&relation, order);
                rows.range = args.take_key("range").map_or(Ok(TimeRange::ALL), range)?;
                rows.limit = args.take_key("limit").map(str::parse).transpose()?;
                if let Some(names) = args.take_key("series") {
                    rows.series = Series::Named(names.split(',').map(str::to_owned).collect());
                }
                if let Some(min) = args.take_key("min_a") {
                    let min = Some(Value::Int(min.parse()?));
                    rows.filters = vec![ColumnFilter { column: ColumnId(1), min, max: None }];
                }
                match name {
                    "scan" => ScanRequest::Rows(rows),
                    _ => ScanRequest::LastValues(LastValuesRequest { rows, per_column: name == "newest" }),
                }
            }
        };
        let mut lines = self.bench.scan(request);
        if name == "stats" {
            // Bytes depend on the codec, which has tests of its own.
            lines.iter_mut().for_each(|line| line.truncate(2));
        }
        args.reject_next().map_err(|error| format!("{suid}: {error}"))?;
        Ok(table(lines))
    }

    /// What `marigraph inspect` prints: of the vnode, or of its runs.
    fn inspect(&self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let store = &self.bench.vnode().store;
        let runs = args.next_pos().is_some();
        let (bucket, run) = (args.take_key("bucket"), args.take_key("run"));
        let (bucket, run) = (bucket.map(str::parse).transpose()?, run.map(str::parse).transpose()?);
        let mut out = Vec::new();
        let damaged = match runs {
            true => inspect_store_runs(store, bucket, run, &mut out)?,
            false => inspect_store(store, &mut out)?,
        };
        let out = String::from_utf8(out)?;
        Ok(if damaged { format!("{out}something is damaged\n") } else { out })
    }

    fn runs(&self) -> Answer {
        let inner = self.bench.vnode().inner.read();
        let mut out = String::new();
        for (bucket, runs) in &inner.runs {
            for run in runs {
                let header = &run.header;
                let bucket = if *bucket == i32::MIN { "plain".to_owned() } else { bucket.to_string() };
                write!(
                    out,
                    "bucket {bucket} run {} level {} rows {} keys {}..{} blocks",
                    run.number, header.level, header.rows, header.key_range.min, header.key_range.max
                )?;
                for (suid, ..) in &header.relations {
                    for block in run.blocks(*suid)? {
                        let absent: u32 = block.header.columns.iter().map(|column| column.statistics.absent).sum();
                        write!(out, " {suid}/s{}..s{}:{}", block.sids().0, block.sids().1, block.header.rows)?;
                        if absent > 0 {
                            write!(out, " (absent {absent})")?;
                        }
                    }
                }
                if !header.replaces.is_empty() {
                    write!(out, " replaces {:?}", header.replaces)?;
                }
                out.push('\n');
            }
        }
        if !inner.retired.is_empty() {
            writeln!(out, "retired {}", inner.retired.len())?;
        }
        for (suid, tombstones) in inner.state.all_tombstones() {
            writeln!(out, "{suid} tombstones {}", tombstones.len())?;
        }
        Ok(out)
    }

    fn state(&self) -> String {
        let vnode = self.bench.vnode();
        let index = |position: Option<crate::wal::Position>| position.map_or(0, |position| position.index);
        format!(
            "applied {} durable {} tables {} memtable rows {}\n",
            index(vnode.applied()),
            index(vnode.durable()),
            vnode.tables(),
            vnode.memtable_rows()
        )
    }

    fn command(&mut self, command: &Command) -> Answer {
        let mut args = command.consume_args();
        let vnode = Arc::clone(self.bench.vnode());
        match command.name.as_str() {
            "begin" => self.held = Some(Vec::new()),
            "commit" => {
                let operations = self.held.take().ok_or("nothing was begun")?;
                let entry = self.bench.entry(operations);
                return Ok(self.apply(entry));
            }
            "retry" => {
                let number: usize = args.next_pos().ok_or("which entry?")?.parse()?;
                let entry = self.bench.log[number - 1].1.clone();
                return Ok(self.apply(entry));
            }
            "flush" => drop(vnode.flush()?),
            "merge" => return Ok(format!("merges {}\n", vnode.merge()?)),
            "compact" => vnode.compact()?,
            "expire" => {
                let floor = args.next_pos().ok_or("below which tick?")?.parse()?;
                return Ok(format!("buckets {}\n", vnode.drop_expired(floor)?));
            }
            "reopen" | "snapshot" => {
                drop(vnode);
                if command.name == "reopen" { self.bench.reopen() } else { self.bench.move_to_snapshot() }
            }
            "scan" | "last" | "newest" | "tags" | "stats" => return self.read(&command.name, &mut args),
            "lookup" => {
                let names: Vec<String> = positions(&mut args).into_iter().map(str::to_owned).collect();
                let found = vnode.lookup(&names).into_iter().zip(&names).map(|(info, name)| match info {
                    Some(info) => format!("{name}: {} {} tags {:?}\n", info.suid, info.sid, info.tags),
                    None => format!("{name}: none\n"),
                });
                return Ok(found.collect());
            }
            "runs" => return self.runs(),
            "inspect" => return self.inspect(&mut args),
            "state" => return Ok(self.state()),
            other => return Err(format!("no command {other}").into()),
        }
        Ok(String::new())
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer {
        match self.operation(command)? {
            None => self.command(command),
            Some(operation) => {
                if let Some(held) = &mut self.held {
                    held.push(operation);
                    return Ok(String::new());
                }
                let entry = self.bench.entry(vec![operation]);
                Ok(self.apply(entry))
            }
        }
    }
}

#[test]
fn scripts() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts/vnode");
    let mut paths: Vec<_> =
        std::fs::read_dir(directory).expect("scripts").map(|entry| entry.expect("a script").path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        println!("{}", path.display());
        goldenscript::run(&mut Runner::default(), &path).expect("as recorded");
    }
}

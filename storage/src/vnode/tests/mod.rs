//! Tests of the vnode as a whole: random histories against a model (`random.rs`), told ones
//! (`script.rs`), many threads at once (`busy.rs`), deaths (`crash.rs`), and what merges cost (`merging.rs`).

mod aggregates;
mod budget;
mod busy;
#[cfg(feature = "failpoints")]
mod crash;
mod merging;
mod random;
mod script;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType, UInt32Type};
use model::command::{Applied, Chunk, ChunkColumn, Creation, Entry, Operation, Stamp, Target};
use model::scan::{Order, Output, RowsRequest, ScanRequest, Series};
use model::schema::{Column, Relation, RelationKind};
use model::types::Value;
use model::write::Keys;
use model::{ColumnId, DataType, DatabaseId, Precision, Suid, TimeRange, VgroupId};

use crate::vnode::{StorageEnv, Vnode, VnodeOptions};
use crate::wal::Position;

/// A cell as a test writes it.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Absent,
    Null,
    Int(i32),
    Float(f64),
    Text(String),
}

/// `a INT`, `b VARCHAR(20)`, `c DOUBLE` and the tag `g INT`; of a plain table without the tag.
fn relation(suid: u32, kind: RelationKind) -> Arc<Relation> {
    let mut columns = vec![
        Column::new(ColumnId(1), "a", DataType::Int),
        Column::new(ColumnId(2), "b", DataType::Varchar(20)),
        Column::new(ColumnId(3), "c", DataType::Double),
    ];
    if kind != RelationKind::Plain {
        columns.insert(0, Column::new(ColumnId::KEY, "ts", DataType::Timestamp));
    }
    let tags = match kind {
        RelationKind::Super => vec![Column::new(ColumnId(9), "g", DataType::Int)],
        _ => Vec::new(),
    };
    Arc::new(Relation {
        suid: Suid(suid),
        name: format!("st{suid}"),
        kind,
        version: 1,
        columns,
        tags,
        next_column: ColumnId(10),
        primary_key: Vec::new(),
        comment: None,
        created_ms: 0,
        altered_ms: 0,
    })
}

fn options() -> VnodeOptions {
    VnodeOptions {
        duration_ticks: 100,
        merge_trigger: 3,
        maxrows: 128,
        ..VnodeOptions::new(VgroupId(2), DatabaseId(1), Precision::Milli)
    }
}

fn creation(name: &str, tag: i64) -> Creation {
    let uid = u64::from(model::hash::table_hash(name));
    Creation { name: name.to_owned(), uid, tags: vec![(ColumnId(9), Value::Int(tag))] }
}

/// Columns `a`, `b`, `c` of rows; one that is absent everywhere is left out.
fn columns(rows: &[[Cell; 3]]) -> Vec<ChunkColumn> {
    let types = [DataType::Int, DataType::Varchar(20), DataType::Double];
    let column = |at: usize| {
        let cells: Vec<&Cell> = rows.iter().map(|row| &row[at]).collect();
        let absent: BooleanBuffer = cells.iter().map(|cell| **cell == Cell::Absent).collect();
        let count = absent.count_set_bits();
        let values: ArrayRef = match at {
            0 => Arc::new(
                cells.iter().map(|cell| if let Cell::Int(x) = cell { Some(*x) } else { None }).collect::<Int32Array>(),
            ),
            1 => Arc::new(
                cells.iter().map(|cell| if let Cell::Text(x) = cell { Some(x) } else { None }).collect::<StringArray>(),
            ),
            _ => Arc::new(
                cells
                    .iter()
                    .map(|cell| if let Cell::Float(x) = cell { Some(*x) } else { None })
                    .collect::<Float64Array>(),
            ),
        };
        let absent = (count > 0).then_some(absent);
        (count < rows.len()).then(|| ChunkColumn { id: ColumnId(at as u16 + 1), data_type: types[at], values, absent })
    };
    (0..3).filter_map(column).collect()
}

fn chunk(suid: u32, targets: Vec<Target>, ordinals: Vec<u32>, keys: Vec<i64>, rows: &[[Cell; 3]]) -> Operation {
    Operation::Write(Chunk {
        suid: Suid(suid),
        version: 1,
        targets,
        ordinals,
        keys: Keys::Given(keys),
        columns: columns(rows),
    })
}

/// A vnode and the log that made it.
struct Bench {
    env: Arc<StorageEnv>,
    dir: std::path::PathBuf,
    vnode: Option<Arc<Vnode>>,
    log: Vec<(Position, Entry)>,
    copies: usize,
}

impl Bench {
    fn new(env: Arc<StorageEnv>, dir: &Path) -> Self {
        let vnode = Vnode::open(dir, options(), Arc::clone(&env)).expect("open");
        Self { env, dir: dir.to_path_buf(), vnode: Some(vnode), log: Vec::new(), copies: 0 }
    }

    fn vnode(&self) -> &Arc<Vnode> {
        self.vnode.as_ref().expect("open")
    }

    fn entry(&self, operations: Vec<Operation>) -> Entry {
        let number = self.log.len() as u64 + 1;
        let stamp = Stamp { hlc: (1000 + number) << 16, origin: 0, writer: 7, seq: number };
        Entry { stamp, database: DatabaseId(1), epoch: 0, operations }
    }

    fn apply(&mut self, operations: Vec<Operation>) -> Applied {
        let entry = self.entry(operations);
        self.apply_entry(entry)
    }

    /// Applies an entry by way of its bytes, as the log gives it.
    fn apply_entry(&mut self, entry: Entry) -> Applied {
        let entry = crate::entry::decode(crate::entry::encode(&entry)).expect("an entry");
        let position = Position { term: 1, node: 1, index: self.log.len() as u64 + 1 };
        let applied = self.vnode().apply(position, &entry).expect("apply");
        self.log.push((position, entry));
        applied
    }

    /// Closes and opens the vnode and applies again what it has not on disk.
    fn reopen(&mut self) {
        self.vnode = None;
        let vnode = Vnode::open(&self.dir, options(), Arc::clone(&self.env)).expect("open");
        let from = vnode.applied().map_or(0, |position| position.index);
        assert_eq!(vnode.applied(), vnode.durable());
        for (position, entry) in &self.log[from as usize..] {
            vnode.apply(*position, entry).expect("apply");
        }
        self.vnode = Some(vnode);
    }

    /// Goes on with a snapshot of the vnode, installed in a directory of its own.
    fn move_to_snapshot(&mut self) {
        self.copies += 1;
        let parent = self.dir.parent().expect("a parent").to_path_buf();
        let copy = parent.join(format!("received-{}", self.copies));
        let snapshot = self.vnode().checkpoint(&copy).expect("checkpoint");
        assert_eq!(snapshot.position, self.vnode().durable());
        self.vnode = None;
        self.dir = parent.join(format!("vnode-{}", self.copies));
        Vnode::install(&copy, &self.dir, &self.env).expect("install");
        self.reopen();
    }

    fn scan(&self, request: ScanRequest) -> Vec<Vec<String>> {
        self.batches(request).iter().flat_map(lines).collect()
    }

    fn batches(&self, request: ScanRequest) -> Vec<RecordBatch> {
        self.vnode().scan(request).expect("scan").map(|batch| batch.expect("batch")).collect()
    }
}

/// `tbname, ts, a, b, c, g` of everything.
fn request(relation: &Arc<Relation>, order: Order) -> RowsRequest {
    let mut output = vec![Output::TableName];
    output.push(Output::Column(ColumnId::KEY));
    output.extend((1..=3).map(|id| Output::Column(ColumnId(id))));
    output.extend(relation.tags.iter().map(|tag| Output::Tag(tag.id)));
    RowsRequest {
        relation: Arc::clone(relation),
        precision: Precision::Milli,
        output,
        series: Series::All,
        range: TimeRange::ALL,
        filters: Vec::new(),
        conditions: Vec::new(),
        order,
        limit: None,
        overlay: Vec::new(),
        cachemodel: model::options::CacheModel::None,
    }
}

/// A batch as text.
fn lines(batch: &RecordBatch) -> Vec<Vec<String>> {
    (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| text(column, row)).collect()).collect()
}

fn text(array: &ArrayRef, row: usize) -> String {
    use arrow::datatypes::DataType as Arrow;
    if array.is_null(row) {
        return "-".to_owned();
    }
    match array.data_type() {
        Arrow::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        Arrow::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        Arrow::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        Arrow::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        Arrow::Timestamp(..) => array.as_primitive::<TimestampMillisecondType>().value(row).to_string(),
        Arrow::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        Arrow::Boolean => array.as_any().downcast_ref::<BooleanArray>().expect("boolean").value(row).to_string(),
        other => panic!("no text for {other}"),
    }
}

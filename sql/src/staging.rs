//! Rows of a statement that has not come to its end: in memory while they are few, in a temporary file beyond that.
//!
//! COPY FROM, INSERT … SELECT, CREATE TABLE AS and UPDATE gather their rows in a [`Staged`], which keeps to its share of
//! the memory. At the end it is a [`Whole`], from which rows are read again, in the order in which they came, in groups of
//! a bounded size. Temporary files go with it, on every way out; what a killed process leaves is removed at the start of
//! the next one.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use datafusion::arrow::datatypes::{DataType as Arrow, Field, Int64Type, Schema, SchemaRef, UInt32Type};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SpillFile, SpillWriter};
use model::write::{Keys, RowBatch, TableRef, WriteColumn};
use model::{ColumnId, DataType, DatabaseId, Error, Result, Suid, error};

use crate::insert::Batch;
use crate::plan::Memory;
use crate::plan::error::from_datafusion;

/// Most bytes that one statement holds in memory; a quarter of what all may hold, where that is less.
const HELD_BYTES_MAX: usize = 32 << 20;
/// Most bytes of rows that are read again, and written, at once; an eighth of what all may hold, where that is less.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Bytes of rows that are worth a visit to the file, at most and at least.
const CHUNK_BYTES: (usize, usize) = (64 << 10, 8 << 20);

/// Rows that gather.
pub(crate) struct Staged {
    memory: Memory,
    /// The statement, for errors.
    what: &'static str,
    /// For what is held here, and the names of tables in files.
    reserved: MemoryReservation,
    /// For what the caller holds and has not handed over yet.
    ahead: MemoryReservation,
    held: Vec<Batch>,
    spills: Vec<Spill>,
    rows: u64,
}

/// All rows of a statement, to be read any number of times.
pub(crate) struct Whole {
    held: Vec<Batch>,
    files: Vec<Arc<Source>>,
    rows: u64,
    group_bytes: usize,
    /// Given back when the rows go.
    _reserved: MemoryReservation,
}

/// What batches that share a file have in common.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    database: DatabaseId,
    suid: Suid,
    version: u32,
    keyed: bool,
    columns: Vec<ShapeColumn>,
}

#[derive(Clone, Debug, PartialEq)]
struct ShapeColumn {
    id: ColumnId,
    data_type: DataType,
    arrow: Arrow,
    /// Whether some rows do not name it.
    partial: bool,
}

/// A file that takes batches.
struct Spill {
    shape: Shape,
    schema: SchemaRef,
    /// Tables of all batches, and their places.
    tables: Vec<TableRef>,
    places: HashMap<String, u32>,
    file: Arc<dyn SpillFile>,
    writer: StreamWriter<Box<dyn SpillWriter>>,
}

/// A file that is complete.
struct Source {
    shape: Shape,
    tables: Vec<TableRef>,
    file: Arc<dyn SpillFile>,
}

impl Staged {
    /// Nothing yet, of the statement `what`.
    pub(crate) fn new(memory: &Memory, what: &'static str) -> Self {
        Self {
            what,
            reserved: memory.stage(what),
            ahead: memory.stage(what),
            memory: memory.clone(),
            held: Vec::new(),
            spills: Vec::new(),
            rows: 0,
        }
    }

    /// Whether a caller that holds so many bytes of rows has to hand them over.
    pub(crate) fn is_enough(&self, bytes: usize) -> bool {
        let (least, most) = CHUNK_BYTES;
        let chunk = (self.memory.staging_max() / 16).clamp(least, most);
        bytes >= chunk || (self.ahead.try_resize(bytes).is_err() && bytes >= least)
    }

    /// Takes rows.
    ///
    /// # Errors
    ///
    /// What the disk says; 53400 if temporary files would take too much of it; 53200 if the names of tables alone are too
    /// much for the memory.
    pub(crate) async fn push(&mut self, batch: Batch) -> Result<()> {
        self.rows += batch.rows.rows() as u64;
        self.ahead.free();
        let bytes = batch.rows.bytes();
        let most = HELD_BYTES_MAX.min(self.memory.staging_max() / 4);
        let fits = self.spills.is_empty() && self.reserved.size() + bytes <= most;
        if fits && self.reserved.try_grow(bytes).is_ok() {
            self.held.push(batch);
            return Ok(());
        }
        let first = self.spills.is_empty();
        let mut out = std::mem::take(&mut self.held);
        out.push(batch);
        let (memory, what, mut spills) = (self.memory.clone(), self.what, std::mem::take(&mut self.spills));
        let written = tokio::task::spawn_blocking(move || {
            let mut grown = 0;
            for batch in out {
                grown += append(&memory, what, &mut spills, batch)?;
            }
            Ok::<_, Error>((spills, grown))
        });
        let (spills, grown) = written.await.map_err(Error::internal)??;
        self.spills = spills;
        if first {
            self.reserved.free();
        }
        self.reserved.try_grow(grown).map_err(|fault| {
            let error = error!(OutOfMemory, "{} names more tables than there is memory for", self.what);
            error.with_detail(fault.strip_backtrace()).with_hint("Write to fewer tables at once")
        })
    }

    /// All rows, after the last batch.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) async fn finish(self) -> Result<Whole> {
        let (what, spills) = (self.what, self.spills);
        let files = if spills.is_empty() {
            Vec::new()
        } else {
            let close = move || spills.into_iter().map(|spill| spill.close(what)).collect::<Result<_>>();
            tokio::task::spawn_blocking(close).await.map_err(Error::internal)??
        };
        let group_bytes = GROUP_BYTES_MAX.min(self.memory.staging_max() / 8);
        Ok(Whole { held: self.held, files, rows: self.rows, group_bytes, _reserved: self.reserved })
    }
}

/// Writes a batch to the last file if it has its shape, else to a new one. Gives the bytes that the names of new tables
/// take.
fn append(memory: &Memory, what: &'static str, spills: &mut Vec<Spill>, batch: Batch) -> Result<usize> {
    let shape = Shape::of(&batch);
    if spills.last().is_none_or(|spill| spill.shape != shape) {
        spills.push(Spill::create(memory, what, shape)?);
    }
    let Some(spill) = spills.last_mut() else { return Err(Error::internal("a file that was just made is gone")) };
    spill.append(what, batch.rows)
}

impl Shape {
    fn of(batch: &Batch) -> Self {
        let rows = &batch.rows;
        let column = |column: &WriteColumn| ShapeColumn {
            id: column.id,
            data_type: column.data_type,
            arrow: column.values.data_type().clone(),
            partial: column.absent.is_some(),
        };
        Self {
            database: batch.database,
            suid: rows.suid,
            version: rows.version,
            keyed: matches!(rows.keys, Keys::Given(_)),
            columns: rows.columns.iter().map(column).collect(),
        }
    }

    /// The file's columns: the table of each row, its key, then each column with a mark of the rows that do not name it.
    fn schema(&self) -> SchemaRef {
        let mut fields = vec![Field::new("table", Arrow::UInt32, false)];
        if self.keyed {
            fields.push(Field::new("key", Arrow::Int64, false));
        }
        for (at, column) in self.columns.iter().enumerate() {
            fields.push(Field::new(format!("c{at}"), column.arrow.clone(), true));
            if column.partial {
                fields.push(Field::new(format!("a{at}"), Arrow::Boolean, false));
            }
        }
        Arc::new(Schema::new(fields))
    }
}

impl Spill {
    fn create(memory: &Memory, what: &'static str, shape: Shape) -> Result<Self> {
        let file = memory.runtime().disk_manager.create_tmp_file(what).map_err(from_datafusion)?;
        let schema = shape.schema();
        let writer = file.open_writer().map_err(from_datafusion)?;
        let writer = StreamWriter::try_new(writer, &schema).map_err(failed(what))?;
        Ok(Self { shape, schema, tables: Vec::new(), places: HashMap::new(), file, writer })
    }

    /// Gives the bytes that the names of new tables take.
    fn append(&mut self, what: &'static str, rows: RowBatch) -> Result<usize> {
        let count = rows.rows();
        let mut grown = 0;
        let mut places = Vec::with_capacity(rows.tables.len());
        for table in rows.tables {
            let place = match self.places.get(&table.name) {
                Some(place) => *place,
                None => {
                    grown += 160 + 2 * table.name.len() + table.create.as_ref().map_or(0, |tags| 48 * tags.len());
                    let place = u32::try_from(self.tables.len()).map_err(Error::internal)?;
                    self.places.insert(table.name.clone(), place);
                    self.tables.push(table);
                    place
                }
            };
            places.push(place);
        }
        let place = |ordinal: &u32| places.get(*ordinal as usize).copied();
        let of_rows: Option<Vec<u32>> = match rows.ordinals.as_slice() {
            [] => places.first().map(|place| vec![*place; count]),
            ordinals => ordinals.iter().map(place).collect(),
        };
        let of_rows = of_rows.ok_or_else(|| Error::internal("a row of a table that its batch does not name"))?;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(of_rows))];
        if let Keys::Given(keys) = rows.keys {
            columns.push(Arc::new(Int64Array::from(keys)));
        }
        for column in rows.columns {
            columns.push(column.values);
            columns.extend(column.absent.map(|bits| Arc::new(BooleanArray::new(bits, None)) as ArrayRef));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(Error::internal)?;
        self.writer.write(&batch).map_err(failed(what))?;
        Ok(grown)
    }

    fn close(mut self, what: &'static str) -> Result<Arc<Source>> {
        self.writer.finish().map_err(failed(what))?;
        Ok(Arc::new(Source { shape: self.shape, tables: self.tables, file: self.file }))
    }
}

/// What became of a temporary file.
fn failed(what: &'static str) -> impl Fn(datafusion::arrow::error::ArrowError) -> Error {
    move |fault| {
        let error = from_datafusion(fault.into());
        let context = format!("temporary file of {what}");
        error.with_context(context)
    }
}

impl Whole {
    /// How many rows.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The relations that they are of, some of them more than once.
    pub(crate) fn relations(&self) -> impl Iterator<Item = Suid> {
        let held = self.held.iter().map(|batch| batch.rows.suid);
        held.chain(self.files.iter().map(|source| source.shape.suid))
    }

    /// Whether all of them are in memory.
    pub(crate) fn is_held(&self) -> bool {
        self.files.is_empty()
    }

    /// All rows, if they are in memory; see [`Self::is_held`].
    pub(crate) fn held(&self) -> &[Batch] {
        &self.held
    }

    /// The same, to keep.
    pub(crate) fn take_held(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.held)
    }

    /// Reads the rows in files from the beginning.
    pub(crate) fn read(&self) -> Reader {
        Reader { files: self.files.iter().cloned().collect(), open: None, group_bytes: self.group_bytes }
    }
}

/// Gives rows in groups.
pub(crate) struct Reader {
    files: VecDeque<Arc<Source>>,
    open: Option<Open>,
    group_bytes: usize,
}

struct Open {
    source: Arc<Source>,
    batches: StreamReader<BufReader<File>>,
}

impl Reader {
    /// The next rows, in their order; None at the end.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Batch>>> {
        let (mut files, mut open) = (std::mem::take(&mut self.files), self.open.take());
        let most = self.group_bytes;
        let read = tokio::task::spawn_blocking(move || {
            let (mut group, mut bytes) = (Vec::new(), 0);
            while bytes < most {
                let current = match &mut open {
                    Some(current) => current,
                    None => match files.pop_front() {
                        Some(source) => open.insert(source.open()?),
                        None => break,
                    },
                };
                match current.next()? {
                    Some(batch) => {
                        bytes += batch.rows.bytes();
                        group.push(batch);
                    }
                    None => open = None,
                }
            }
            Ok::<_, Error>((files, open, group))
        });
        let (files, open, group) = read.await.map_err(Error::internal)??;
        (self.files, self.open) = (files, open);
        Ok((!group.is_empty()).then_some(group))
    }
}

impl Source {
    fn open(self: Arc<Self>) -> Result<Open> {
        let path = self.file.path().ok_or_else(|| Error::internal("a temporary file without a path"))?;
        let file = File::open(path).map_err(|fault| from_datafusion(fault.into()))?;
        let batches = StreamReader::try_new_buffered(file, None).map_err(failed("rows that are read again"))?;
        Ok(Open { source: self, batches })
    }
}

impl Open {
    fn next(&mut self) -> Result<Option<Batch>> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let batch = batch.map_err(failed("rows that are read again"))?;
        let shape = &self.source.shape;
        let mut columns = batch.columns().iter();
        let mut next = || columns.next().ok_or_else(|| Error::internal("a temporary file lacks a column"));
        let (tables, ordinals) = self.source.tables_of(next()?.as_primitive::<UInt32Type>().values())?;
        let keys = match shape.keyed {
            true => Keys::Given(next()?.as_primitive::<Int64Type>().values().to_vec()),
            false => Keys::Assigned(batch.num_rows()),
        };
        let mut written = Vec::with_capacity(shape.columns.len());
        for column in &shape.columns {
            let values = Arc::clone(next()?);
            let absent = if column.partial { Some(next()?.as_boolean().values().clone()) } else { None };
            written.push(WriteColumn { id: column.id, data_type: column.data_type, values, absent });
        }
        let (suid, version) = (shape.suid, shape.version);
        let rows = RowBatch { suid, version, tables, ordinals, keys, columns: written };
        Ok(Some(Batch { database: shape.database, rows }))
    }
}

impl Source {
    /// The tables of some rows, and each row's place among them.
    fn tables_of(&self, of_rows: &[u32]) -> Result<(Vec<TableRef>, Vec<u32>)> {
        let mut places: HashMap<u32, u32> = HashMap::new();
        let (mut tables, mut ordinals) = (Vec::new(), Vec::with_capacity(of_rows.len()));
        let mut last = None;
        for table in of_rows {
            if let Some((same, place)) = last
                && same == *table
            {
                ordinals.push(place);
                continue;
            }
            let place = match places.get(table) {
                Some(place) => *place,
                None => {
                    let named = self.tables.get(*table as usize);
                    let named = named.ok_or_else(|| Error::internal("a temporary file names an unknown table"))?;
                    let place = tables.len() as u32;
                    places.insert(*table, place);
                    tables.push(named.clone());
                    place
                }
            };
            last = Some((*table, place));
            ordinals.push(place);
        }
        if tables.len() == 1 {
            ordinals.clear();
        }
        Ok((tables, ordinals))
    }
}

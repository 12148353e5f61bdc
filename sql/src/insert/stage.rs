//! Where rows gather, in columns, until their statement ends. INSERT from text, INSERT from the AST and COPY all end
//! here, so that they agree on what is right and what is refused.
//!
//! A [`Target`] says what the values of a row are; [`Stage::begin_row`], [`Stage::put`] for each value and
//! [`Stage::end_row`] take the row in. A refused row makes the whole stage useless: the statement fails.

use std::hash::BuildHasher;
use std::sync::Arc;

use model::quick::QuickState;
use model::schema::{Column, Relation, RelationKind, Table};
use model::write::{Keys, RowBatch, TableRef, WriteColumn};
use model::{ColumnId, DataType, DatabaseId, Precision, Result, TimeRange, Value, error};

use super::{Batch, Resolved};
use crate::literal::{ColumnBuilder, Literal, Reading};
use crate::statement::{ColumnName, TableName};

/// Longest name of a table in bytes, as TDengine's.
const TABLE_NAME_BYTES_MAX: usize = 192;

/// What one value of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The key of a time series.
    Key,
    /// A column, by its place in the relation.
    Column(usize),
    /// A tag, by its place in the relation.
    Tag(usize),
    /// The name of the child table.
    TableName,
}

/// Where the rows of one part of a statement go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Which of the stage's relations.
    relation: usize,
    /// Which of its tables; None if each row names its own.
    table: Option<u32>,
    /// What each value of a row is.
    pub(crate) slots: Vec<Slot>,
    /// A column that must not be null and is not among the slots.
    missing: Option<String>,
    /// Whether a column list was given.
    pub(crate) listed: bool,
}

/// All rows of one statement.
pub(crate) struct Stage {
    relations: Vec<Rows>,
    pub(crate) reading: Reading,
}

/// The rows of one relation.
struct Rows {
    database: DatabaseId,
    relation: Arc<Relation>,
    precision: Precision,
    keep: TimeRange,
    tables: Vec<TableRef>,
    by_name: Names,
    ordinals: Vec<u32>,
    keys: Vec<i64>,
    rows: usize,
    columns: Vec<Option<ColumnBuilder>>,
    /// The key, the tags and the table of the row that is being read.
    key: ColumnBuilder,
    tags: Vec<ColumnBuilder>,
    name: RowName,
    /// The time that was read last, and its text: rows of one moment come together.
    last_time: (String, i64),
    /// The table of the row before: tables mostly come in the same order again.
    last_table: u32,
    /// Some target names its table: it keeps its place.
    fixed: bool,
    /// Bytes of the names of tables, about.
    table_bytes: usize,
}

/// What a row says of its table.
#[derive(Clone, Copy)]
enum RowName {
    Missing,
    /// One that has rows already.
    Known(u32),
    /// One that this row is the first of.
    New(u32),
}

/// Tables by name: places in [`Rows::tables`], which has the names themselves. A map would want each name a second time.
#[derive(Default)]
struct Names {
    /// Ordinal + 1, or 0; as many as a power of two, at least half of them 0.
    slots: Vec<u32>,
    /// The hash of each table.
    hashes: Vec<u32>,
    state: QuickState,
}

impl Names {
    fn hash(&self, name: &str) -> u32 {
        (self.state.hash_one(name) >> 32) as u32
    }

    /// The first table with this hash for which `is` says so.
    fn find(&self, hash: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let ordinal = self.slots[at].checked_sub(1)?;
            if self.hashes[ordinal as usize] == hash && is(ordinal) {
                return Some(ordinal);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds the next table.
    fn push(&mut self, hash: u32) {
        self.hashes.push(hash);
        if self.hashes.len() * 2 > self.slots.len() {
            self.slots = vec![0; (self.hashes.len() * 4).next_power_of_two()];
            (0..self.hashes.len()).for_each(|ordinal| self.place(ordinal));
        } else {
            self.place(self.hashes.len() - 1);
        }
    }

    fn place(&mut self, ordinal: usize) {
        let mask = self.slots.len() - 1;
        let mut at = self.hashes[ordinal] as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = ordinal as u32 + 1;
    }
}

impl Rows {
    fn new(resolved: &Resolved, relation: &Arc<Relation>) -> Self {
        let precision = resolved.precision;
        Self {
            database: resolved.database,
            relation: relation.clone(),
            precision,
            keep: resolved.keep,
            tables: Vec::new(),
            by_name: Names::default(),
            ordinals: Vec::new(),
            keys: Vec::new(),
            rows: 0,
            columns: relation.columns.iter().map(|_| None).collect(),
            key: ColumnBuilder::new(DataType::Timestamp, precision),
            tags: relation.tags.iter().map(|tag| ColumnBuilder::new(tag.data_type, precision)).collect(),
            name: RowName::Missing,
            last_time: (String::new(), 0),
            last_table: 0,
            fixed: false,
            table_bytes: 0,
        }
    }

    /// The table of this name, and whether it is new.
    fn named(&mut self, name: &str) -> (u32, bool) {
        let next = if self.last_table as usize + 1 < self.tables.len() { self.last_table + 1 } else { 0 };
        let is = |ordinal: u32| self.tables.get(ordinal as usize).is_some_and(|table| table.name == name);
        if let Some(ordinal) = [next, self.last_table].into_iter().find(|ordinal| is(*ordinal)) {
            return (ordinal, false);
        }
        let hash = self.by_name.hash(name);
        if let Some(ordinal) = self.by_name.find(hash, is) {
            return (ordinal, false);
        }
        self.by_name.push(hash);
        self.table_bytes += 96 + name.len();
        self.tables.push(TableRef { name: name.to_owned(), create: None });
        (self.tables.len() as u32 - 1, true)
    }

    /// The tick of a key.
    fn tick(&mut self, literal: Literal<'_>, reading: &Reading) -> Result<Option<i64>> {
        match literal {
            Literal::Text(text) if !text.is_empty() && text == self.last_time.0 => return Ok(Some(self.last_time.1)),
            Literal::Binary(bytes) => return crate::literal::binary_timestamp(bytes, self.precision).map(Some),
            _ => {}
        }
        self.key.clear();
        self.key.append(literal, reading)?;
        let tick = self.key.integer(0);
        if let (Literal::Text(text), Some(tick)) = (literal, tick) {
            text.clone_into(&mut self.last_time.0);
            self.last_time.1 = tick;
        }
        Ok(tick)
    }

    /// The builder of a column that is given a value in the row being read.
    fn builder(&mut self, index: usize) -> &mut ColumnBuilder {
        let row = self.rows;
        let (data_type, precision) = (self.relation.columns[index].data_type, self.precision);
        let builder = self.columns[index].get_or_insert_with(|| ColumnBuilder::new(data_type, precision));
        builder.absent_to(row);
        builder
    }

    /// The tags of the row being read that are not null; None if it has none at all.
    fn row_tags(&self) -> Option<Vec<(ColumnId, Value)>> {
        if self.tags.iter().all(ColumnBuilder::is_empty) {
            return None;
        }
        let given = self.relation.tags.iter().zip(&self.tags).filter(|(_, builder)| !builder.is_empty());
        let values = given.map(|(tag, builder)| (tag.id, builder.value(0)));
        Some(values.filter(|(_, value)| *value != Value::Null).collect())
    }
}

impl Stage {
    pub(crate) fn new(reading: Reading) -> Self {
        Self { relations: Vec::new(), reading }
    }

    /// Rows of `resolved` itself, or of the child `create` names in the super table `resolved`.
    ///
    /// # Errors
    ///
    /// 42703, 42701 for the column list, 42601 for a super table without `tbname`; with positions.
    pub(crate) fn target(
        &mut self,
        table: &TableName,
        resolved: &Resolved,
        child: Option<(&str, Vec<(ColumnId, Value)>)>,
        columns: Option<&[ColumnName]>,
    ) -> Result<Target> {
        let (relation, name) = match (&resolved.table, &child) {
            (Table::Relation(relation), Some((name, _))) => (relation, Some((*name).to_owned())),
            (Table::Relation(relation), None) if relation.kind == RelationKind::Super => (relation, None),
            (Table::Relation(relation), None) => (relation, Some(relation.name.clone())),
            (Table::Child(child), _) => (&child.parent, Some(child.name.clone())),
        };
        let slots = slots(relation, columns, name.is_none(), table)?;
        let at = self.relations.iter().position(|rows| rows.relation.suid == relation.suid).unwrap_or_else(|| {
            self.relations.push(Rows::new(resolved, relation));
            self.relations.len() - 1
        });
        let rows = &mut self.relations[at];
        rows.fixed |= name.is_some();
        let ordinal = name.map(|name| {
            let ordinal = rows.named(&name).0;
            let table = &mut rows.tables[ordinal as usize];
            if table.create.is_none() {
                table.create = child.map(|(_, tags)| tags);
            }
            ordinal
        });
        let given = |index: usize, column: &Column| {
            slots.contains(&Slot::Column(index)) || (column.id == ColumnId::KEY && slots.contains(&Slot::Key))
        };
        let required = |(index, column): (usize, &Column)| {
            let key = relation.is_time_series() && column.id == ColumnId::KEY;
            (key || (!column.nullable && column.default.is_none())) && !given(index, column)
        };
        let missing = relation.columns.iter().enumerate().find(|pair| required(*pair));
        let missing = missing.map(|(_, column)| column.name.clone());
        Ok(Target { relation: at, table: ordinal, slots, missing, listed: columns.is_some() })
    }

    /// The relation of a target.
    pub(crate) fn relation(&self, target: &Target) -> &Arc<Relation> {
        &self.relations[target.relation].relation
    }

    /// The tick length of a target.
    pub(crate) fn precision(&self, target: &Target) -> Precision {
        self.relations[target.relation].precision
    }

    /// The column or tag of a slot; None for the table's name.
    pub(crate) fn column(&self, target: &Target, slot: Slot) -> Option<&Column> {
        let relation = self.relation(target);
        match slot {
            Slot::Key => relation.columns.first(),
            Slot::Column(index) => relation.columns.get(index),
            Slot::Tag(index) => relation.tags.get(index),
            Slot::TableName => None,
        }
    }

    /// The type of a slot; None for the table's name.
    pub(crate) fn data_type(&self, target: &Target, slot: Slot) -> Option<DataType> {
        self.column(target, slot).map(|column| column.data_type)
    }

    /// Starts a row.
    pub(crate) fn begin_row(&mut self, target: &Target) {
        let rows = &mut self.relations[target.relation];
        rows.name = RowName::Missing;
        if target.table.is_none() {
            rows.tags.iter_mut().for_each(ColumnBuilder::clear);
        }
    }

    /// Takes a number that stands at the start of `text` and needs no second look, for a column of numbers or a key in
    /// ticks. One of `ends` must follow it. Gives its length; None if nothing was taken.
    pub(crate) fn put_number(&mut self, target: &Target, slot: Slot, text: &[u8], ends: [u8; 2]) -> Option<usize> {
        let rows = &mut self.relations[target.relation];
        match slot {
            Slot::Column(index) => rows.builder(index).push_number(text, ends),
            Slot::Key => {
                let (tick, length) = crate::literal::leading_integer(text)?;
                let ended = text.get(length).is_some_and(|byte| ends.contains(byte));
                if !ended || check_key(tick, rows.precision, rows.keep).is_err() {
                    return None;
                }
                rows.keys.push(tick);
                Some(length)
            }
            Slot::Tag(_) | Slot::TableName => None,
        }
    }

    /// Takes a key at the start of `text` if it is the string literal that the key of the row before was. Gives its
    /// length with its quotes.
    pub(crate) fn put_same_time(&mut self, target: &Target, text: &[u8]) -> Option<usize> {
        let rows = &mut self.relations[target.relation];
        let (last, tick) = &rows.last_time;
        let behind = text.strip_prefix(b"'")?.strip_prefix(last.as_bytes())?;
        if last.is_empty() || !matches!(behind, [b'\'', b',' | b')', ..]) {
            return None;
        }
        rows.keys.push(*tick);
        Some(last.len() + 2)
    }

    /// Takes one value of the row.
    ///
    /// # Errors
    ///
    /// As [`ColumnBuilder::append`]; 23502 for NULL where there must be none; 22008 for a key outside KEEP.
    pub(crate) fn put(&mut self, target: &Target, slot: Slot, literal: Literal<'_>) -> Result<()> {
        let rows = &mut self.relations[target.relation];
        let null = matches!(literal, Literal::Null | Literal::Value(Value::Null));
        let absent = matches!(literal, Literal::Absent);
        match slot {
            Slot::Key => {
                if null || absent {
                    return Err(null_value(&rows.relation.columns[0].name, &rows.relation.name));
                }
                let Some(tick) = rows.tick(literal, &self.reading)? else {
                    return Err(null_value(&rows.relation.columns[0].name, &rows.relation.name));
                };
                check_key(tick, rows.precision, rows.keep)?;
                rows.keys.push(tick);
            }
            Slot::Column(index) => {
                let column = &rows.relation.columns[index];
                if (null || absent) && !column.nullable {
                    return Err(null_value(&column.name, &rows.relation.name));
                }
                rows.builder(index).append(literal, &self.reading)?;
            }
            Slot::Tag(index) => rows.tags[index].append(literal, &self.reading)?,
            Slot::TableName => {
                rows.name = match rows.named(table_name(literal)?) {
                    (ordinal, true) => RowName::New(ordinal),
                    (ordinal, false) => RowName::Known(ordinal),
                };
            }
        }
        Ok(())
    }

    /// Ends a row.
    ///
    /// # Errors
    ///
    /// 23502 if a column that must not be null was not among the values.
    pub(crate) fn end_row(&mut self, target: &Target) -> Result<()> {
        let rows = &mut self.relations[target.relation];
        if let Some(column) = &target.missing {
            return Err(null_value(column, &rows.relation.name));
        }
        let ordinal = match (target.table, rows.name) {
            (Some(ordinal), _) | (None, RowName::Known(ordinal)) => ordinal,
            (None, RowName::New(ordinal)) => {
                rows.tables[ordinal as usize].create = rows.row_tags();
                ordinal
            }
            (None, RowName::Missing) => return Err(null_value("tbname", &rows.relation.name)),
        };
        rows.last_table = ordinal;
        rows.ordinals.push(ordinal);
        rows.rows += 1;
        Ok(())
    }

    /// Bytes held, about.
    pub(crate) fn bytes(&self) -> usize {
        let of = |rows: &Rows| {
            let columns: usize = rows.columns.iter().flatten().map(ColumnBuilder::bytes).sum();
            columns + rows.rows * 12 + rows.table_bytes
        };
        self.relations.iter().map(of).sum()
    }

    /// The batches, one for each relation that got rows.
    pub(crate) fn finish(mut self) -> Vec<Batch> {
        self.take()
    }

    /// The rows so far, as [`Self::finish`] gives them; more may follow. Not in the middle of a row.
    pub(crate) fn take(&mut self) -> Vec<Batch> {
        self.relations.iter_mut().filter(|rows| rows.rows > 0).map(Rows::take).collect()
    }
}

impl Rows {
    fn take(&mut self) -> Batch {
        let count = std::mem::take(&mut self.rows);
        let builders = self.columns.iter_mut().map(Option::take);
        let columns = self.relation.columns.iter().zip(builders).filter_map(|(column, builder)| {
            let mut builder = builder?;
            builder.absent_to(count);
            let data_type = builder.data_type();
            let (values, absent) = builder.finish();
            Some(WriteColumn { id: column.id, data_type, values, absent })
        });
        let columns = columns.collect();
        let keys = std::mem::take(&mut self.keys);
        let keys = if self.relation.is_time_series() { Keys::Given(keys) } else { Keys::Assigned(count) };
        let tables = if self.fixed {
            self.tables.clone()
        } else {
            self.by_name = Names::default();
            (self.last_table, self.table_bytes) = (0, 0);
            std::mem::take(&mut self.tables)
        };
        let ordinals = std::mem::take(&mut self.ordinals);
        let ordinals = if tables.len() > 1 { ordinals } else { Vec::new() };
        let (suid, version) = (self.relation.suid, self.relation.version);
        Batch { database: self.database, rows: RowBatch { suid, version, tables, ordinals, keys, columns } }
    }
}

/// What the values of a row are.
fn slots(relation: &Relation, columns: Option<&[ColumnName]>, by_name: bool, table: &TableName) -> Result<Vec<Slot>> {
    let column = |index: usize| if relation.is_time_series() && index == 0 { Slot::Key } else { Slot::Column(index) };
    let Some(columns) = columns else {
        if by_name {
            return Err(needs_name(relation, table));
        }
        return Ok((0..relation.columns.len()).map(column).collect());
    };
    let mut slots = Vec::with_capacity(columns.len());
    for name in columns {
        let found = relation.columns.iter().position(|column| column.name == name.name).map(column);
        let tag = || relation.tags.iter().position(|tag| tag.name == name.name).map(Slot::Tag);
        let slot = match found {
            Some(slot) => slot,
            None if by_name && name.name == "tbname" => Slot::TableName,
            None => match tag() {
                Some(slot) if by_name => slot,
                Some(_) => {
                    return Err(error!(WrongObjectType, "\"{}\" is a tag of \"{}\"", name.name, relation.name)
                        .with_hint("give tags with USING … TAGS (…) when the table is created; change them with ALTER TABLE … SET TAG")
                        .at(name.position));
                }
                None => {
                    return Err(error!(
                        UndefinedColumn,
                        "column \"{}\" of relation \"{}\" does not exist", name.name, table.name
                    )
                    .at(name.position));
                }
            },
        };
        if slots.contains(&slot) {
            return Err(error!(DuplicateColumn, "column \"{}\" specified more than once", name.name).at(name.position));
        }
        slots.push(slot);
    }
    if by_name && !slots.contains(&Slot::TableName) {
        return Err(needs_name(relation, table));
    }
    Ok(slots)
}

fn needs_name(relation: &Relation, table: &TableName) -> model::Error {
    let name = &relation.name;
    error!(WrongObjectType, "\"{name}\" is a super table: each row needs the name of its child table")
        .with_hint(format!("name the column tbname, as in INSERT INTO {name} (tbname, ts, …), or insert into a child"))
        .at(table.position)
}

pub(crate) fn null_value(column: &str, relation: &str) -> model::Error {
    error!(
        NotNullViolation,
        "null value in column \"{column}\" of relation \"{relation}\" violates not-null constraint"
    )
}

fn table_name(literal: Literal<'_>) -> Result<&str> {
    let name = match literal {
        Literal::Text(name) => name,
        Literal::Value(Value::Text(name)) => name,
        Literal::Binary(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\""))?,
        Literal::Null | Literal::Absent => return Err(null_value("tbname", "tbname")),
        _ => return Err(error!(DatatypeMismatch, "tbname takes a string")),
    };
    if name.is_empty() || name.len() > TABLE_NAME_BYTES_MAX || name.bytes().any(|byte| matches!(byte, b'.' | 0)) {
        return Err(error!(InvalidName, "\"{name}\" cannot be the name of a table")
            .with_hint(format!("a name has 1 to {TABLE_NAME_BYTES_MAX} bytes and no dot")));
    }
    Ok(name)
}

/// Refuses a key that the database would not keep.
fn check_key(tick: i64, precision: Precision, keep: TimeRange) -> Result<()> {
    if tick > precision.max_ticks() {
        return Err(error!(DatetimeFieldOverflow, "timestamp {} is beyond the maximum", shown(tick, precision))
            .with_hint(format!("this database counts in {}: check the unit of the number", precision.name())));
    }
    if !keep.contains(tick) {
        return Err(error!(
            DatetimeFieldOverflow,
            "timestamp {} is outside KEEP of the database",
            shown(tick, precision)
        )
        .with_hint("raise it with ALTER DATABASE … KEEP, for example KEEP 36500 for a hundred years"));
    }
    Ok(())
}

/// A tick as a time in UTC, or as a number if it is too far off.
fn shown(tick: i64, precision: Precision) -> String {
    let per_second = precision.ticks_per_second();
    let nanos = tick.rem_euclid(per_second) * precision.nanos_per_tick();
    match chrono::DateTime::from_timestamp(tick.div_euclid(per_second), nanos as u32) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.f+00").to_string(),
        None => tick.to_string(),
    }
}

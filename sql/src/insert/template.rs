//! INSERT … VALUES of parameters and literals that is prepared once and executed many times.
//!
//! A [`Template`] is the statement taken apart. An execution puts its values straight into the columns of an [`Open`]
//! stage, without the AST; executions of one transaction share that stage, so that a pipeline of a thousand single rows
//! becomes one write. Errors and their positions are those of [`super::from_ast`].

use std::sync::Arc;

use model::schema::{Column, Table};
use model::{Catalog, Result, error};
use sqlparser::ast::{Expr, UnaryOperator, Value as Sql};

use super::stage::{Slot, Stage, Target};
use super::{Batch, Cell, Resolved};
use crate::literal::{Literal, Reading};
use crate::statement::{ColumnName, Insert, InsertSource, TableName};

/// Bytes of a stage at which it is handed on.
const OPEN_BYTES_MAX: usize = 16 << 20;
/// Rows between two looks at the bytes.
const LOOK_ROWS: usize = 1024;

/// One INSERT into one table.
#[derive(Debug, PartialEq)]
pub(crate) struct Template {
    pub(crate) table: TableName,
    columns: Option<Vec<ColumnName>>,
    rows: Vec<Row>,
    /// Values of each row.
    width: usize,
}

#[derive(Debug, PartialEq)]
struct Row {
    position: u32,
    items: Vec<Item>,
}

#[derive(Debug, PartialEq)]
struct Item {
    position: u32,
    what: What,
}

#[derive(Debug, PartialEq)]
enum What {
    /// Its index: 0 is `$1`.
    Parameter(usize),
    Null,
    Bool(bool),
    Number(String),
    Text(String),
}

/// What a parameter is to a column.
pub(crate) enum Given<'a> {
    /// It is taken as it came.
    Literal(Literal<'a>),
    /// It came as another type.
    Cell(Cell),
}

impl Template {
    /// The template of an INSERT; None if some value has to be evaluated, or it has clauses that only the general way
    /// knows.
    pub(crate) fn of(insert: &Insert) -> Option<Self> {
        let [target] = insert.targets.as_slice() else { return None };
        let InsertSource::Values(values) = &target.source else { return None };
        if insert.returning || insert.on_conflict.is_some() || target.using.is_some() {
            return None;
        }
        let width = values.first()?.values.len();
        let mut rows = Vec::with_capacity(values.len());
        for row in values {
            let items = row.values.iter().zip(&row.positions);
            let items = items.map(|(expr, position)| Some(Item { position: *position, what: What::of(expr)? }));
            let items = items.collect::<Option<Vec<Item>>>().filter(|items| items.len() == width)?;
            rows.push(Row { position: row.position, items });
        }
        Some(Self { table: target.table.clone(), columns: target.columns.clone(), rows, width })
    }

    /// Rows that one execution writes.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }
}

impl What {
    fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Value(value) => Some(match &value.value {
                Sql::Null => Self::Null,
                Sql::Boolean(value) => Self::Bool(*value),
                Sql::Number(digits, _) => Self::Number(digits.clone()),
                Sql::SingleQuotedString(text) | Sql::DoubleQuotedString(text) => Self::Text(text.clone()),
                Sql::Placeholder(name) => {
                    Self::Parameter(name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)?)
                }
                _ => return None,
            }),
            Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => match Self::of(expr)? {
                Self::Number(digits) if !digits.starts_with(['-', '+']) => {
                    Some(Self::Number(format!("{}{digits}", if *op == UnaryOperator::Minus { '-' } else { '+' })))
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// Rows of templates that are not written yet.
pub(crate) struct Open {
    stage: Stage,
    /// The catalog that the tables were looked up in: another one may have changed them.
    catalog: Arc<Catalog>,
    targets: Vec<(Arc<Template>, Target)>,
    rows: usize,
    looked: usize,
}

impl Open {
    pub(crate) fn new(catalog: Arc<Catalog>, reading: Reading) -> Self {
        Self { stage: Stage::new(reading), catalog, targets: Vec::new(), rows: 0, looked: 0 }
    }

    /// Whether rows may be added under this catalog.
    pub(crate) fn is_of(&self, catalog: &Arc<Catalog>) -> bool {
        Arc::ptr_eq(&self.catalog, catalog)
    }

    /// The place of a template whose table is known.
    pub(crate) fn find(&self, template: &Arc<Template>) -> Option<usize> {
        self.targets.iter().position(|(known, _)| Arc::ptr_eq(known, template) || known == template)
    }

    /// Adds a template's table, and gives the template's place. None: it is for the general way.
    pub(crate) fn add(&mut self, template: &Arc<Template>, table: &Resolved) -> Option<usize> {
        let relation = match &table.table {
            Table::Relation(relation) => relation,
            Table::Child(child) => &child.parent,
        };
        if !relation.is_time_series() {
            return None;
        }
        let target = self.stage.target(&template.table, table, None, template.columns.as_deref()).ok()?;
        let tags = target.slots.iter().any(|slot| matches!(slot, Slot::Tag(_)));
        if tags || target.slots.len() != template.width {
            return None;
        }
        self.targets.push((Arc::clone(template), target));
        Some(self.targets.len() - 1)
    }

    /// Takes the rows of one execution. After an error the stage is of no use: the transaction has failed.
    ///
    /// # Errors
    ///
    /// As [`super::from_ast`], and what `given` refuses.
    pub(crate) fn put<'a>(
        &mut self,
        at: usize,
        given: &mut dyn FnMut(usize, &Column) -> Result<Given<'a>>,
    ) -> Result<()> {
        let Self { stage, targets, rows, .. } = self;
        let (template, target) = &targets[at];
        for row in &template.rows {
            stage.begin_row(target);
            for (slot, item) in target.slots.iter().zip(&row.items) {
                put_item(stage, target, *slot, &item.what, given).map_err(|error| placed(error, item.position))?;
            }
            stage.end_row(target).map_err(|error| placed(error, row.position))?;
            *rows += 1;
        }
        Ok(())
    }

    /// Whether it has grown so much that it should be handed on.
    pub(crate) fn is_large(&mut self) -> bool {
        if self.rows - self.looked < LOOK_ROWS {
            return false;
        }
        self.looked = self.rows;
        self.stage.bytes() > OPEN_BYTES_MAX
    }

    /// The rows.
    pub(crate) fn finish(self) -> Vec<Batch> {
        self.stage.finish()
    }
}

fn put_item<'a>(
    stage: &mut Stage,
    target: &Target,
    slot: Slot,
    what: &What,
    given: &mut dyn FnMut(usize, &Column) -> Result<Given<'a>>,
) -> Result<()> {
    let literal = match what {
        What::Parameter(at) => {
            let given = match stage.column(target, slot) {
                Some(column) => given(*at, column)?,
                None => given(*at, &super::tbname())?,
            };
            match given {
                Given::Literal(literal) => literal,
                Given::Cell(cell) => return super::general::cell(&cell, |literal| stage.put(target, slot, literal)),
            }
        }
        What::Null => Literal::Null,
        What::Bool(value) => Literal::Bool(*value),
        What::Number(digits) => Literal::Number(digits),
        What::Text(text) => Literal::Text(text),
    };
    stage.put(target, slot, literal)
}

fn placed(error: model::Error, position: u32) -> model::Error {
    if error.fields().position.is_some() { error } else { error.at(position) }
}

/// A parameter in text format as a literal.
///
/// # Errors
///
/// 22021 if it is no UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<Given<'_>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Given::Literal(Literal::Text(text))),
        Err(_) => Err(error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"")),
    }
}

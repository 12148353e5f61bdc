//! INSERT: the fast way from text, the general way from the AST, and from a query.
//!
//! VALUES end in [`Session::write_rows`], queries in [`Session::write_whole`]. Nothing is written before every row was read
//! and checked.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use model::quick::QuickMap;
use model::{DataType, Precision, Result, Value, error, fail};
use sqlparser::ast::{self, Expr};

use super::resolve::{self, Object};
use super::{Parameter, Session};
use crate::insert::template::{self, Given, Open, Template};
use crate::insert::{self, Batch, Cell, Resolved, Resolver, Straight};
use crate::literal::Literal;
use crate::pgtype::PgType;
use crate::pgvalue;
use crate::statement::{Insert, InsertSource, Statement, TableName};

/// The tables that an INSERT names, as the session resolved them: by name, then by what stands in front of it.
#[derive(Default)]
pub(super) struct Tables(QuickMap<String, Vec<(Vec<String>, Resolved)>>);

impl Tables {
    fn put(&mut self, name: &TableName, resolved: Resolved) {
        let same = match self.0.get_mut(&name.name) {
            Some(same) => same,
            None => self.0.entry(name.name.clone()).or_default(),
        };
        match same.iter_mut().find(|(qualifier, _)| *qualifier == name.qualifier) {
            Some((_, known)) => *known = resolved,
            None => same.push((name.qualifier.clone(), resolved)),
        }
    }
}

impl Resolver for Tables {
    fn resolve(&self, name: &TableName) -> Option<&Resolved> {
        let same = self.0.get(&name.name)?;
        same.iter().find(|(qualifier, _)| *qualifier == name.qualifier).map(|(_, resolved)| resolved)
    }
}

/// Parameters of an INSERT: what Bind brought, and what Parse said of their types.
pub(super) struct Bound<'a> {
    pub(super) values: &'a [Parameter],
    pub(super) types: &'a [PgType],
}

impl Session {
    /// INSERT of a message that nobody has looked through: see [`crate::parser::parse_to_run`]. What one pass does not
    /// take is parsed as any other message, to say what is wrong with it or to run it the other way.
    pub(super) async fn insert_unread(&mut self, text: &str) -> Result<String> {
        if let Some(batches) = self.insert_straight(crate::parser::without_end(text)).await {
            return self.write_rows(batches).await;
        }
        let parsed = self.parse_one(text)?;
        let offset = parsed.offset;
        let prepared = Box::pin(self.prepare(parsed, &[])).await?;
        if !prepared.parameters.is_empty() {
            return Err(model::Error::internal("an INSERT without a dollar has parameters"));
        }
        let inserted = match &prepared.parsed.statement {
            Statement::InsertValues => self.insert_read(&prepared.parsed.text).await,
            Statement::Insert(insert) => {
                self.insert(Insert::clone(insert), &Bound { values: &[], types: &prepared.parameters }).await
            }
            other => Err(model::Error::internal(format!("an INSERT was parsed as {other:?}"))),
        };
        inserted.map_err(|error| super::execute::shift(error, offset))
    }

    /// INSERT … VALUES that the fast path may take.
    pub(super) async fn insert_text(&mut self, text: &str) -> Result<String> {
        match self.insert_straight(text).await {
            Some(batches) => self.write_rows(batches).await,
            None => self.insert_read(text).await,
        }
    }

    /// The rows of an INSERT … VALUES, read in one pass; None for anything that is wrong or unusual.
    async fn insert_straight(&self, text: &str) -> Option<Vec<Batch>> {
        let mut straight = Straight::begin(text, &self.reading())?;
        let mut tables = self.insert_tables(&straight.tables()).await.ok()?;
        if straight.rows(&tables)? {
            tables = self.insert_tables(&straight.all_tables()?).await.ok()?;
            while straight.rows(&tables)? {}
        }
        let batches = straight.finish();
        (!batches.iter().any(|batch| self.has_defaults(batch))).then_some(batches)
    }

    /// INSERT … VALUES that the fast path may take, with its errors.
    async fn insert_read(&mut self, text: &str) -> Result<String> {
        if let Some(names) = insert::scan_tables(text) {
            let tables = self.insert_tables(&names).await?;
            let reading = self.reading();
            if let Some(batches) = insert::read(text, &tables, &reading)?
                && !batches.iter().any(|batch| self.has_defaults(batch))
            {
                return self.write_rows(batches).await;
            }
        }
        let general = crate::parser::parse_insert(text, &self.parser_options())?;
        self.text = Arc::from(text);
        self.insert(general, &Bound { values: &[], types: &[] }).await
    }

    /// INSERT of parameters and literals. In a transaction its rows wait with those of other executions for
    /// [`Session::settle`]. None: it is for the general way.
    pub(super) async fn insert_template(
        &mut self,
        template: &Arc<Template>,
        bound: &Bound<'_>,
    ) -> Result<Option<String>> {
        let catalog = self.engine.plane.catalog();
        if !self.open.as_ref().is_some_and(|open| open.is_of(&catalog)) {
            self.settle().await?;
        }
        let known = self.open.as_ref().and_then(|open| open.find(template));
        let table = match known {
            Some(_) => None,
            None => self.insert_tables(std::slice::from_ref(&template.table)).await.ok(),
        };
        let reading = self.reading();
        // It comes back once its rows are in: what fails leaves nothing behind.
        let mut open = self.open.take().unwrap_or_else(|| Open::new(catalog, reading));
        let resolved = table.as_ref().and_then(|tables| tables.resolve(&template.table));
        let Some(at) = known.or_else(|| open.add(template, resolved?)) else {
            self.open = Some(open);
            return Ok(None);
        };
        let mut settings = None;
        open.put(at, &mut |n, column| {
            bound.given(n, column, || settings.get_or_insert_with(|| Arc::new(self.value_settings())).clone())
        })?;
        if self.transaction.holds() {
            let large = open.is_large();
            self.open = Some(open);
            if large {
                self.settle().await?;
            }
        } else {
            self.write_batches(open.finish()).await?;
        }
        Ok(Some(format!("INSERT 0 {}", template.rows())))
    }

    /// Hands the rows of [`Session::insert_template`] on to the transaction: before anything else of it happens.
    ///
    /// # Errors
    ///
    /// As [`Session::write`].
    pub(super) async fn settle(&mut self) -> Result<()> {
        match self.open.take() {
            Some(open) => self.write_batches(open.finish()).await,
            None => Ok(()),
        }
    }

    /// INSERT that the general parser read.
    pub(super) async fn insert(&mut self, mut insert: Insert, bound: &Bound<'_>) -> Result<String> {
        refuse_clauses(&insert)?;
        let names: Vec<TableName> = names_of(&insert);
        let tables = self.insert_tables(&names).await?;
        self.fill_defaults(&mut insert, &tables)?;
        self.number_serials(&mut insert, &tables).await?;
        if let [target] = insert.targets.as_slice()
            && let InsertSource::Query(query) = &target.source
        {
            let values = self.parameter_values(bound)?;
            let whole = self.stage_query(target, &tables, query, values, bound.types).await?;
            let rows = whole.rows();
            self.write_whole(whole, false).await?;
            return Ok(format!("INSERT 0 {rows}"));
        }
        let evaluated = self.evaluate_cells(&insert, bound).await?;
        let settings = Arc::new(self.value_settings());
        let mut evaluate = |expr: &Expr, column: &model::schema::Column| match placeholder(expr) {
            Some(n) => bound.cell(n, column, &settings),
            None => match evaluated.get(&(std::ptr::from_ref(expr) as usize)) {
                Some(value) => cell_of(value, column, &settings),
                None => Err(error!(FeatureNotSupported, "\"{expr}\" cannot be inserted here")),
            },
        };
        let reading = self.reading();
        let batches = insert::from_ast(&insert, &tables, &reading, &mut evaluate)?;
        self.write_rows(batches).await
    }

    /// Resolves the tables that an INSERT names. One that is nothing is left out: it may be created by USING.
    pub(super) async fn insert_tables(&self, names: &[TableName]) -> Result<Tables> {
        let found = resolve::tables(self.plane(), &self.database, names).await?;
        let mut tables = Tables::default();
        for (name, found) in names.iter().zip(found) {
            let Some(found) = found else { continue };
            let Object::Table(table) = found.object else {
                return Err(error!(WrongObjectType, "cannot insert into view \"{}\"", name.name).at(name.position));
            };
            let resolved = self.resolved(&found.database, table);
            tables.put(name, resolved);
        }
        Ok(tables)
    }

    /// A table with what its database asks of rows.
    pub(super) fn resolved(&self, database: &model::catalog::Database, table: model::schema::Table) -> Resolved {
        let options = &database.options;
        let floor = options.keep_floor(self.now_us() / 1000);
        let keep = model::TimeRange { min: floor, max: options.precision.max_ticks() };
        Resolved { database: database.id, precision: options.precision, keep, table }
    }

    /// Writes rows, or holds them, and gives the command tag.
    pub(super) async fn write_rows(&mut self, batches: Vec<Batch>) -> Result<String> {
        let rows: usize = batches.iter().map(|batch| batch.rows.rows()).sum();
        self.write_batches(batches).await?;
        Ok(format!("INSERT 0 {rows}"))
    }

    pub(super) async fn write_batches(&mut self, batches: Vec<Batch>) -> Result<()> {
        self.check_batches(&batches).await?;
        self.write_checked(batches).await
    }

    /// Evaluates the cells that are neither literals nor parameters, by the address of their expression.
    async fn evaluate_cells(&self, insert: &Insert, bound: &Bound<'_>) -> Result<HashMap<usize, ScalarValue>> {
        let mut cells: Vec<&Expr> = Vec::new();
        for target in &insert.targets {
            if let InsertSource::Values(rows) = &target.source {
                cells.extend(rows.iter().flat_map(|row| &row.values).filter(|expr| !is_literal(expr)));
            }
            if let Some(using) = &target.using {
                cells.extend(using.values.iter().filter(|expr| !is_literal(expr)));
            }
        }
        let mut values = HashMap::with_capacity(cells.len());
        // DataFusion plans many columns slowly: a few hundred at a time.
        for some in cells.chunks(256) {
            let mut select = self.internal_select("SELECT 1")?;
            let mut items = Vec::with_capacity(some.len());
            for expr in some {
                let expr = self.with_parameters(Some((*expr).clone()), bound)?;
                items.extend(expr.map(ast::SelectItem::UnnamedExpr));
            }
            select.projection = items;
            let batches = self.run_internal(select, Vec::new()).await?;
            let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
                return Err(model::Error::internal("a SELECT without FROM gave no row"));
            };
            for (expr, array) in some.iter().zip(batch.columns()) {
                let value = ScalarValue::try_from_array(array, 0).map_err(model::Error::internal)?;
                values.insert(std::ptr::from_ref(*expr) as usize, value);
            }
        }
        Ok(values)
    }

    /// The values of parameters as queries take them.
    pub(super) fn parameter_values(&self, bound: &Bound<'_>) -> Result<Vec<ScalarValue>> {
        let settings = self.value_settings();
        let values = bound.values.iter().zip(bound.types).map(|(parameter, pg_type)| match &parameter.value {
            Some(bytes) => pgvalue::decode(*pg_type, parameter.binary, bytes, &settings),
            None => ScalarValue::try_from(&pg_type.arrow()).map_err(model::Error::internal),
        });
        values.collect()
    }
}

impl<'a> Bound<'a> {
    /// The parameter at this place for this column, not copied if it came as the column wants it.
    fn given(
        &self,
        at: usize,
        column: &model::schema::Column,
        settings: impl FnOnce() -> Arc<pgvalue::ValueSettings>,
    ) -> Result<Given<'a>> {
        let parameter = self.values.get(at);
        match parameter.and_then(|parameter| Some((parameter.binary, parameter.value.as_ref()?))) {
            Some((false, bytes)) => template::text(bytes),
            Some((true, bytes)) if self.types.get(at) == Some(&column_type(column.data_type)) => {
                Ok(Given::Literal(Literal::Binary(bytes)))
            }
            None if parameter.is_some() => Ok(Given::Literal(Literal::Null)),
            _ => self.cell(at + 1, column, &settings()).map(Given::Cell),
        }
    }
}

impl Bound<'_> {
    /// Parameter `$n` for this column.
    fn cell(&self, n: usize, column: &model::schema::Column, settings: &Arc<pgvalue::ValueSettings>) -> Result<Cell> {
        let Some(parameter) = n.checked_sub(1).and_then(|n| self.values.get(n)) else {
            fail!(UndefinedParameter, "there is no parameter ${n}");
        };
        let Some(bytes) = &parameter.value else { return Ok(Cell::Null) };
        if !parameter.binary {
            return Ok(Cell::Text(bytes.to_vec()));
        }
        let given = self.types.get(n - 1).copied().unwrap_or(PgType::TEXT);
        if given == column_type(column.data_type) {
            return Ok(Cell::Binary(bytes.to_vec()));
        }
        // The client said another type than the column's: read it as that, and let the column read the text.
        let value = pgvalue::decode(given, true, bytes, settings)?;
        cell_of(&value, column, settings)
    }
}

/// The type that clients see of a column.
pub(super) fn column_type(data_type: DataType) -> PgType {
    match data_type {
        DataType::Varchar(_) | DataType::NChar(_) => PgType::VARCHAR,
        DataType::Json => PgType::JSON,
        other => PgType::of_arrow(&other.arrow(Precision::Micro)),
    }
}

/// A value of a plan as a cell of a column.
fn cell_of(
    value: &ScalarValue,
    column: &model::schema::Column,
    settings: &Arc<pgvalue::ValueSettings>,
) -> Result<Cell> {
    if value.is_null() {
        return Ok(Cell::Null);
    }
    Ok(match value {
        ScalarValue::Boolean(Some(yes)) => Cell::Value(Value::Bool(*yes)),
        ScalarValue::Int8(Some(n)) => Cell::Value(Value::Int(i64::from(*n))),
        ScalarValue::Int16(Some(n)) => Cell::Value(Value::Int(i64::from(*n))),
        ScalarValue::Int32(Some(n)) => Cell::Value(Value::Int(i64::from(*n))),
        ScalarValue::Int64(Some(n)) => Cell::Value(Value::Int(*n)),
        ScalarValue::UInt64(Some(n)) => Cell::Value(Value::UInt(*n)),
        ScalarValue::Float64(Some(x)) => Cell::Value(Value::Float(*x)),
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            Cell::Text(text.clone().into_bytes())
        }
        ScalarValue::Binary(Some(bytes)) | ScalarValue::BinaryView(Some(bytes)) => {
            Cell::Value(Value::Bytes(bytes.clone()))
        }
        other => match pgvalue::scalar_text(other, settings)? {
            Some(text) => Cell::Text(text.into_bytes()),
            None => fail!(
                DatatypeMismatch,
                "column \"{}\" is of type {} but expression is of type {}",
                column.name,
                column.data_type,
                other.data_type()
            ),
        },
    })
}

/// A literal that [`insert::from_ast`] reads without help.
fn is_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::UnaryOp { op: ast::UnaryOperator::Minus | ast::UnaryOperator::Plus, expr } => is_literal(expr),
        Expr::Identifier(name) => ["now", "today", "default"].contains(&name.value.to_ascii_lowercase().as_str()),
        _ => false,
    }
}

/// The number of a parameter `$n`.
fn placeholder(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let ast::Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse().ok()
}

fn names_of(insert: &Insert) -> Vec<TableName> {
    let targets = insert.targets.iter();
    targets
        .flat_map(|target| [Some(&target.table), target.using.as_ref().map(|using| &using.stable)])
        .flatten()
        .cloned()
        .collect()
}

fn refuse_clauses(insert: &Insert) -> Result<()> {
    if insert.returning {
        fail!(FeatureNotSupported, "INSERT … RETURNING is not supported");
    }
    if insert.on_conflict.is_some() {
        return Err(error!(FeatureNotSupported, "INSERT … ON CONFLICT is not supported")
            .with_hint("In a time series a second row at the same time updates the first without it."));
    }
    for target in &insert.targets {
        if let InsertSource::File(_) = target.source {
            return Err(error!(FeatureNotSupported, "INSERT … FILE reads a file of the server, which is not allowed")
                .with_hint("Use COPY … FROM STDIN, in psql \\copy.")
                .at(target.table.position));
        }
    }
    Ok(())
}

//! How a statement runs: [`Session::prepare`] says what it takes and gives, [`Session::execute`] does it.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use model::catalog::CatalogChange;
use model::{Result, error, fail};
use sqlparser::ast;

use super::insert::{Bound, column_type};
use super::reuse::PlanCell;
use super::{Outcome, OutputColumn, Parameter, Prepared, Rows, Session};
use crate::copy::CopyIn;
use crate::insert::template::Template;
use crate::pgtype::PgType;
use crate::plan::{ExplainOptions, Planned};
use crate::statement::{Copy, Insert, InsertSource, Other, Parsed, Statement};

/// Vnodes that a dnode may carry until it has joined and says so itself.
const SUPPORT_VNODES: u32 = 1024;

impl Session {
    /// Says what a statement takes and gives. `types` are the oids that the client said of its parameters, 0 for none.
    ///
    /// # Errors
    ///
    /// What is wrong with the statement as far as its names and types go.
    pub async fn prepare(&mut self, parsed: Parsed, types: &[u32]) -> Result<Prepared> {
        self.refuse_in_failed(&parsed.statement)?;
        self.begin_statement(&parsed);
        let parsed = match &parsed.statement {
            Statement::Repeated(repeated) => match self.matching(repeated) {
                Some(matched) => {
                    let columns = Some(matched.known.template.columns());
                    let plan = PlanCell::matched(matched);
                    return Ok(Prepared { parsed, parameters: Vec::new(), columns, insert: None, plan });
                }
                None => {
                    let parsed = self.parse_one(&parsed.text)?;
                    self.text = Arc::from(parsed.text.as_str());
                    parsed
                }
            },
            _ => parsed,
        };
        if let Statement::Query(query) = &parsed.statement {
            let given: Vec<Option<PgType>> = types.iter().map(|oid| PgType::from_oid(*oid)).collect();
            let planned = self.plan(query, &given).await.map_err(|error| shift(error, parsed.offset))?;
            let (parameters, columns) = (planned.parameters.clone(), Some(Arc::clone(&planned.columns)));
            let plan = PlanCell::of(planned);
            return Ok(Prepared { parsed, parameters, columns, insert: None, plan });
        }
        let (parameters, columns) =
            self.described(&parsed, types).await.map_err(|error| shift(error, parsed.offset))?;
        let insert = match &parsed.statement {
            Statement::Insert(insert) => Template::of(insert).map(Arc::new),
            _ => None,
        };
        Ok(Prepared { parsed, parameters, columns, insert, plan: PlanCell::default() })
    }

    /// Prepares a statement without parameters and runs it: a query is planned once for both.
    ///
    /// # Errors
    ///
    /// As [`Session::prepare`] and [`Session::execute`].
    pub async fn run_once(&mut self, parsed: Parsed) -> Result<Outcome> {
        // What is read of a transaction is decided when a query is planned.
        self.settle().await?;
        let prepared = self.prepare(parsed, &[]).await;
        let repeating = self.repeating.take();
        let prepared = prepared?;
        prepared.plan.repeats(repeating);
        self.run_within(&prepared, Vec::new(), true).await
    }

    async fn described(
        &mut self,
        parsed: &Parsed,
        types: &[u32],
    ) -> Result<(Vec<PgType>, Option<Arc<[OutputColumn]>>)> {
        let given: Vec<Option<PgType>> = types.iter().map(|oid| PgType::from_oid(*oid)).collect();
        match &parsed.statement {
            Statement::Explain { statement, .. } => {
                let parameters = match statement.as_ref() {
                    Statement::Query(query) => self.plan(query, &given).await?.parameters,
                    _ => stated(&given),
                };
                Ok((parameters, Some(text_columns("QUERY PLAN"))))
            }
            Statement::Declare { query, .. } => Ok((self.plan(query, &given).await?.parameters, None)),
            Statement::Insert(insert) => Ok((self.insert_parameters(insert, &given).await?, None)),
            Statement::Fetch { cursor, only_move: false, .. } => {
                Ok((Vec::new(), self.cursor(cursor).map(|(columns, _)| columns)))
            }
            Statement::ShowSetting(name) => Ok((Vec::new(), Some(self.setting_columns(name)))),
            Statement::Show(_) | Statement::Describe(_) => {
                Ok((Vec::new(), Some(self.show_columns(&parsed.statement).await?)))
            }
            Statement::Execute { name, .. } => {
                let kept = self.kept_as(name)?;
                let inner = self.parse_one(&kept.text)?;
                let inner = Box::pin(self.prepare(inner, &kept.types)).await?;
                Ok((Vec::new(), inner.columns))
            }
            Statement::Delete { table, condition } => {
                Ok((self.condition_parameters(table, condition.as_ref(), &[], &given).await?, None))
            }
            Statement::Update { table, assignments, condition } => {
                Ok((self.condition_parameters(table, condition.as_ref(), assignments, &given).await?, None))
            }
            _ => Ok((stated(&given), None)),
        }
    }

    /// Runs a statement with these parameters.
    ///
    /// # Errors
    ///
    /// What is wrong with the statement; the session goes on. The caller tells [`Session::fail`] once the client knows.
    pub async fn execute(&mut self, prepared: &Prepared, parameters: Vec<Parameter>) -> Result<Outcome> {
        self.refuse_in_failed(&prepared.parsed.statement)?;
        self.begin_statement(&prepared.parsed);
        self.run_within(prepared, parameters, false).await
    }

    /// Runs a statement until its time is up; `described` if it was by the same statement.
    async fn run_within(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<Parameter>,
        described: bool,
    ) -> Result<Outcome> {
        if parameters.len() != prepared.parameters.len() {
            fail!(
                ProtocolViolation,
                "bind message supplies {} parameters, but prepared statement requires {}",
                parameters.len(),
                prepared.parameters.len()
            );
        }
        self.enter(&prepared.parsed.statement)?;
        let timeout = self.settings.now().statement_timeout();
        let running = self.run(prepared, parameters, described);
        let outcome = match timeout {
            Some(timeout) => match tokio::time::timeout(timeout, running).await {
                Ok(outcome) => outcome,
                Err(_) => Err(error!(QueryCanceled, "canceling statement due to statement timeout")),
            },
            None => running.await,
        };
        outcome.map_err(|error| shift(error, prepared.parsed.offset))
    }

    async fn run(&mut self, prepared: &Prepared, parameters: Vec<Parameter>, described: bool) -> Result<Outcome> {
        let bound = Bound { values: &parameters, types: &prepared.parameters };
        if let Some(template) = &prepared.insert
            && let Some(tag) = self.insert_template(template, &bound).await?
        {
            return Ok(Outcome::Command(tag));
        }
        self.settle().await?;
        match &prepared.parsed.statement {
            Statement::Query(query) => {
                let values = self.parameter_values(&bound)?;
                let rows = match described {
                    true => self.run_described(prepared, query, values).await?,
                    false => self.run_again(prepared, query, values).await?,
                };
                return Ok(Outcome::Rows(rows));
            }
            Statement::Repeated(_) => return self.run_repeated(prepared).await.map(Outcome::Rows),
            _ => {}
        }
        let statement = prepared.parsed.statement.clone();
        let text = &prepared.parsed.text;
        let command = match statement {
            Statement::Empty => return Ok(Outcome::Empty),
            Statement::Explain { analyze, verbose, json, statement } => {
                let options = ExplainOptions { analyze, verbose, json };
                return self.explain(*statement, options, &bound).await.map(Outcome::Rows);
            }
            Statement::InsertValues => self.insert_text(text).await?,
            Statement::InsertUnread => self.insert_unread(text).await?,
            Statement::Insert(insert) => self.insert(*insert, &bound).await?,
            Statement::Delete { table, condition } => {
                let condition = self.with_parameters(condition, &bound)?;
                self.delete(&table, condition).await?
            }
            Statement::Update { table, assignments, condition } => {
                let condition = self.with_parameters(condition, &bound)?;
                let mut with_values = Vec::with_capacity(assignments.len());
                for (name, expr) in assignments {
                    if let Some(expr) = self.with_parameters(Some(expr), &bound)? {
                        with_values.push((name, expr));
                    }
                }
                self.update(&table, with_values, condition).await?
            }
            Statement::Copy(copy) => return self.copy(*copy).await,
            Statement::Show(_) | Statement::Describe(_) => {
                return self.show(&prepared.parsed.statement).await.map(Outcome::Rows);
            }
            Statement::ShowSetting(name) => return self.show_setting(&name).map(Outcome::Rows),
            Statement::Declare { name, hold, scroll, query, binary } => {
                self.declare(super::cursor::Declare { name, hold, scroll, binary }, &query, &bound).await?
            }
            Statement::Fetch { cursor, count, only_move } => return self.fetch(&cursor, count, only_move).await,
            Statement::Execute { name, arguments } => return self.execute_kept(&name, arguments).await,
            other => self.run_command(other).await?,
        };
        Ok(Outcome::Command(command))
    }

    /// Statements that give a command tag and take no parameters.
    async fn run_command(&mut self, statement: Statement) -> Result<String> {
        match statement {
            Statement::Begin { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::SetTransaction { .. }
            | Statement::Savepoint(_)
            | Statement::Release(_)
            | Statement::RollbackTo(_) => self.transact(statement).await,
            Statement::Close(name) => self.close(name.as_deref()),
            Statement::Prepare { name, types, text } => self.prepare_sql(name, &types, text),
            Statement::Deallocate(name) => self.deallocate(name.as_deref()),
            Statement::Set { name, values, local } => self.set(&name, values.as_deref(), local),
            Statement::Reset(name) => self.reset(&name),
            Statement::Discard(what) => self.discard(&what),
            Statement::Accepted(tag) | Statement::Other(Other::Accept(tag)) => Ok(tag.to_owned()),
            Statement::Other(Other::Refuse(reason)) => fail!(FeatureNotSupported, "{reason}"),
            other => {
                if self.transaction.is_block() {
                    self.notice(
                        "00000",
                        "DDL inside a transaction takes effect at once and is not undone by ROLLBACK".to_owned(),
                    );
                }
                self.define(other).await
            }
        }
    }

    async fn define(&mut self, statement: Statement) -> Result<String> {
        self.check_privilege(&statement)?;
        match statement {
            Statement::CreateDatabase { name, options, if_not_exists } => {
                self.create_database(&name, &options, if_not_exists).await
            }
            Statement::AlterDatabase { name, options } => self.alter_database(&name, &options).await,
            Statement::DropDatabase { name, if_exists } => self.drop_database(&name, if_exists).await,
            Statement::Use(name) => self.use_database(&name).await,
            Statement::CreateTable(create) => self.create_table(*create).await,
            Statement::CreateChildren(children) => self.create_children(children).await,
            Statement::CreateTableAs { table, query, if_not_exists } => {
                self.create_table_as(table, &query, if_not_exists).await
            }
            Statement::AlterTable { table, changes, stable, if_exists } => {
                self.alter_table(&table, changes, stable, if_exists).await
            }
            Statement::DropTable { tables, if_exists, stable } => self.drop_tables(&tables, if_exists, stable).await,
            Statement::Truncate(tables) => {
                for table in &tables {
                    self.delete(table, None).await?;
                }
                Ok("TRUNCATE TABLE".to_owned())
            }
            Statement::CreateView { view, query, or_replace } => {
                let parsed = self.parse_one(&query)?;
                let Statement::Query(select) = parsed.statement else {
                    fail!(SyntaxError, "a view is a SELECT");
                };
                self.plan(&select, &[]).await?;
                self.create_view(&view, query, or_replace).await
            }
            Statement::CreateDnode { endpoint } => {
                let support_vnodes = SUPPORT_VNODES;
                self.engine.plane.define(CatalogChange::CreateDnode { endpoint, support_vnodes }).await?;
                Ok("CREATE DNODE".to_owned())
            }
            Statement::CreateMnode { dnode } => {
                self.engine.plane.define(CatalogChange::CreateMnode { dnode: model::DnodeId(dnode) }).await?;
                Ok("CREATE MNODE".to_owned())
            }
            Statement::DropView { view, if_exists } => self.drop_view(&view, if_exists).await,
            Statement::CreateUser { name, options, if_not_exists } => {
                self.create_user(&name, &options, if_not_exists).await
            }
            Statement::AlterUser { name, options } => self.alter_user(&name, &options).await,
            Statement::DropUser { name, if_exists } => self.drop_user(&name, if_exists).await,
            Statement::Flush(name) => self.operate(&name, model::plane::Command::Flush, "FLUSH DATABASE").await,
            Statement::Compact { name, start, end } => self.compact(&name, start.as_ref(), end.as_ref()).await,
            Statement::KillCompact(id) => self.kill_compact(id).await,
            Statement::Trim(name) => self.operate(&name, model::plane::Command::Trim, "TRIM DATABASE").await,
            other => fail!(InternalError, "no way to run {other:?}"),
        }
    }

    async fn operate(
        &self,
        database: &str,
        command: fn(model::DatabaseId) -> model::plane::Command,
        tag: &str,
    ) -> Result<String> {
        let database = super::resolve::database(self.plane(), database).await?;
        self.engine.plane.admin(command(database.id)).await?;
        Ok(tag.to_owned())
    }

    async fn use_database(&mut self, name: &str) -> Result<String> {
        self.database = super::resolve::database(self.plane(), name).await?.name.clone();
        Ok("USE".to_owned())
    }

    pub(super) async fn plan(&self, query: &ast::Query, types: &[Option<PgType>]) -> Result<Planned> {
        self.engine.planner.plan_query(query, self.plan_context(), types).await
    }

    pub(super) async fn run_query(&self, query: &ast::Query, values: Vec<ScalarValue>) -> Result<Rows> {
        self.run_query_as(query, values, &[]).await
    }

    /// Runs a query whose parameters have these types.
    pub(super) async fn run_query_as(
        &self,
        query: &ast::Query,
        values: Vec<ScalarValue>,
        types: &[PgType],
    ) -> Result<Rows> {
        let types: Vec<Option<PgType>> = types.iter().copied().map(Some).collect();
        let planned = self.plan(query, &types).await?;
        let (schema, stream) = self.engine.planner.execute(&planned, values).await?;
        Ok(Rows { columns: planned.columns, schema, stream, tag: "SELECT", binary: false })
    }

    async fn explain(&mut self, statement: Statement, options: ExplainOptions, bound: &Bound<'_>) -> Result<Rows> {
        let Statement::Query(query) = statement else {
            return Err(error!(FeatureNotSupported, "only queries can be explained"));
        };
        let types: Vec<Option<PgType>> = bound.types.iter().copied().map(Some).collect();
        let values = self.parameter_values(bound)?;
        let planned = self.plan(&query, &types).await?;
        let (schema, stream) = self.engine.planner.explain(&planned, values, options).await?;
        Ok(Rows { columns: text_columns("QUERY PLAN"), schema, stream, tag: "EXPLAIN", binary: false })
    }

    async fn copy(&mut self, copy: Copy) -> Result<Outcome> {
        let Copy { table, columns, query, from, format } = copy;
        if !from {
            let query = match (query, &table) {
                (Some(query), _) => query,
                (None, Some(table)) => self.table_query(table, columns.as_deref()).await?,
                (None, None) => fail!(SyntaxError, "COPY needs a table or a query"),
            };
            let rows = self.run_query(&query, Vec::new()).await?;
            return Ok(Outcome::CopyOut(rows, format));
        }
        let Some(table) = table else { fail!(SyntaxError, "COPY FROM needs a table") };
        let found = super::resolve::table(self.plane(), &self.database, &table).await?;
        let super::resolve::Object::Table(what) = found.object else {
            return Err(error!(WrongObjectType, "cannot copy to view \"{}\"", table.name).at(table.position));
        };
        let resolved = self.resolved(&found.database, what);
        let staged = self.stage("COPY");
        let copy = CopyIn::new(&table.name, &resolved, columns.as_deref(), format, self.reading(), staged)?;
        Ok(Outcome::CopyIn(Box::new(copy)))
    }

    /// Ends a COPY FROM: writes its rows, see [`super::staged`], and gives the command tag.
    ///
    /// # Errors
    ///
    /// A bad last line, or what the write gives.
    pub async fn finish_copy(&mut self, copy: CopyIn) -> Result<String> {
        let whole = copy.finish().await?;
        let rows = whole.rows();
        self.write_whole(whole, false).await?;
        Ok(format!("COPY {rows}"))
    }

    async fn execute_kept(&mut self, name: &str, arguments: Vec<ast::Expr>) -> Result<Outcome> {
        let kept = self.kept_as(name)?;
        let inner = self.parse_one(&kept.text)?;
        let prepared = Box::pin(self.prepare(inner, &kept.types)).await?;
        if arguments.len() != prepared.parameters.len() {
            return Err(error!(SyntaxError, "wrong number of parameters for prepared statement \"{name}\"")
                .with_detail(format!(
                    "Expected {} parameters but got {}.",
                    prepared.parameters.len(),
                    arguments.len()
                )));
        }
        self.enter(&prepared.parsed.statement)?;
        let parameters = self.evaluate_arguments(arguments).await?;
        Box::pin(self.run(&prepared, parameters, true)).await
    }

    fn kept_as(&self, name: &str) -> Result<super::Kept> {
        self.kept(name).cloned().ok_or_else(|| super::cursor::undefined_statement(name))
    }

    /// The values of expressions without columns, as parameters in text.
    async fn evaluate_arguments(&self, arguments: Vec<ast::Expr>) -> Result<Vec<Parameter>> {
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let mut select = self.internal_select("SELECT 1")?;
        select.projection = arguments.into_iter().map(ast::SelectItem::UnnamedExpr).collect();
        let batches = self.run_internal(select, Vec::new()).await?;
        let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(Vec::new()) };
        let settings = Arc::new(self.value_settings());
        let values = batch.columns().iter().map(|array| {
            let value = ScalarValue::try_from_array(array, 0).map_err(model::Error::internal)?;
            let text = crate::pgvalue::scalar_text(&value, &settings)?;
            Ok(Parameter { value: text.map(bytes::Bytes::from), binary: false })
        });
        values.collect()
    }

    pub(super) fn parse_one(&self, text: &str) -> Result<Parsed> {
        let mut parsed = self.parse(text)?;
        match (parsed.pop(), parsed.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => fail!(SyntaxError, "cannot insert multiple commands into a prepared statement"),
        }
    }

    /// The types of an INSERT's parameters: what the client said, else the columns' that they go to.
    async fn insert_parameters(&self, insert: &Insert, given: &[Option<PgType>]) -> Result<Vec<PgType>> {
        let mut types: Vec<Option<PgType>> = given.to_vec();
        for target in &insert.targets {
            let stable = target.using.as_ref().map(|using| &using.stable);
            let found = super::resolve::table(self.plane(), &self.database, stable.unwrap_or(&target.table)).await?;
            let relation = found.relation()?.clone();
            if let InsertSource::Query(query) = &target.source {
                let place = |at: usize| match &target.columns {
                    Some(names) => relation.column(&names.get(at)?.name).or_else(|| relation.tag(&names[at].name)),
                    None => relation.columns.get(at),
                };
                note_selected(&query.body, &|at| place(at).map(|column| column_type(column.data_type)), &mut types);
                return Ok(self.plan(query, &types).await?.parameters);
            }
            if let Some(using) = &target.using {
                for (i, expr) in using.values.iter().enumerate() {
                    let tag = match &using.tags {
                        Some(names) => names.get(i).and_then(|name| relation.tag(&name.name)),
                        None => relation.tags.get(i),
                    };
                    note_types(expr, tag.map(|tag| column_type(tag.data_type)), &mut types);
                }
            }
            let InsertSource::Values(rows) = &target.source else { continue };
            for row in rows {
                for (i, expr) in row.values.iter().enumerate() {
                    let column = match &target.columns {
                        Some(names) => names
                            .get(i)
                            .and_then(|name| relation.column(&name.name).or_else(|| relation.tag(&name.name))),
                        None => relation.columns.get(i),
                    };
                    note_types(expr, column.map(|column| column_type(column.data_type)), &mut types);
                }
            }
        }
        Ok(types.into_iter().map(|known| known.unwrap_or(PgType::TEXT)).collect())
    }
}

/// Notes the types of the parameters in `expr`: the one of its place if it is a parameter itself, text deeper down.
pub(super) fn note_types(expr: &ast::Expr, place: Option<PgType>, types: &mut Vec<Option<PgType>>) {
    let mut note = |name: &str, pg_type: PgType| {
        let Some(n) = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0) else { return };
        if types.len() < n {
            types.resize(n, None);
        }
        types[n - 1].get_or_insert(pg_type);
    };
    if let ast::Expr::Value(value) = expr
        && let ast::Value::Placeholder(name) = &value.value
    {
        note(name, place.unwrap_or(PgType::TEXT));
        return;
    }
    let _ = ast::visit_expressions(expr, |inner| {
        if let ast::Expr::Value(value) = inner
            && let ast::Value::Placeholder(name) = &value.value
        {
            note(name, place.unwrap_or(PgType::TEXT));
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
}

/// Notes the types of the parameters that a query gives as they are: those of the columns that they go to.
fn note_selected(body: &ast::SetExpr, place: &dyn Fn(usize) -> Option<PgType>, types: &mut Vec<Option<PgType>>) {
    let mut note = |at: usize, expr: &ast::Expr| {
        if matches!(expr, ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_))) {
            note_types(expr, place(at), types);
        }
    };
    match body {
        ast::SetExpr::Select(select) => {
            for (at, item) in select.projection.iter().enumerate() {
                match item {
                    ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => note(at, expr),
                    _ => return,
                }
            }
        }
        ast::SetExpr::Values(values) => {
            values.rows.iter().for_each(|row| row.iter().enumerate().for_each(|(at, expr)| note(at, expr)));
        }
        ast::SetExpr::Query(query) => note_selected(&query.body, place, types),
        ast::SetExpr::SetOperation { left, right, .. } => {
            note_selected(left, place, types);
            note_selected(right, place, types);
        }
        _ => {}
    }
}

fn stated(given: &[Option<PgType>]) -> Vec<PgType> {
    given.iter().map(|known| known.unwrap_or(PgType::TEXT)).collect()
}

/// Adds a statement's own place in the message to an error's position.
pub(super) fn shift(error: model::Error, offset: u32) -> model::Error {
    match error.fields().position {
        Some(position) if offset > 0 => error.clone().at(position + offset),
        _ => error,
    }
}

/// One text column of this name.
pub(super) fn text_columns(name: &str) -> Arc<[OutputColumn]> {
    Arc::from([OutputColumn { name: name.to_owned(), pg_type: PgType::TEXT, typmod: -1, table_oid: 0, attnum: 0 }])
}

/// Rows of text.
pub(super) fn text_rows(names: &[&str], rows: Vec<Vec<Option<String>>>, tag: &'static str) -> Result<Rows> {
    let schema =
        Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>()));
    let arrays = (0..names.len()).map(|i| {
        let values: Vec<Option<&str>> = rows.iter().map(|row| row[i].as_deref()).collect();
        Arc::new(datafusion::arrow::array::StringArray::from(values)) as datafusion::arrow::array::ArrayRef
    });
    let batch = datafusion::arrow::array::RecordBatch::try_new(schema.clone(), arrays.collect())
        .map_err(model::Error::internal)?;
    let columns = names.iter().flat_map(|name| text_columns(name).to_vec()).collect();
    Ok(Rows { columns, schema, stream: Box::pin(futures::stream::iter([Ok(batch)])), tag, binary: false })
}

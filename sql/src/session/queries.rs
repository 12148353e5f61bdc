//! Queries that the session itself makes: what DELETE, UPDATE, COPY TO and CREATE TABLE AS read.

use datafusion::common::ScalarValue;
use model::schema::{Column, RelationKind, Table};
use model::{ColumnId, DataType, Result, error, fail};
use sqlparser::ast::{self, Expr};

use super::Session;
use super::insert::Bound;
use super::resolve::Object;
use crate::pgtype::PgType;
use crate::statement::{ColumnName, CreateTable, InsertSource, InsertTarget, Statement, TableName};

impl Session {
    /// A SELECT of our own, to be changed before it is run.
    pub(super) fn internal_select(&self, text: &str) -> Result<ast::Select> {
        let Statement::Query(query) = crate::parser::parse(text, &Default::default())?.remove(0).statement else {
            fail!(InternalError, "not a query: {text}");
        };
        match *query.body {
            ast::SetExpr::Select(select) => Ok(*select),
            _ => fail!(InternalError, "not a SELECT: {text}"),
        }
    }

    /// A table's name as it stands in a query.
    pub(super) fn quoted_name(&self, table: &TableName) -> String {
        let parts = table.qualifier.iter().chain([&table.name]);
        parts.map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
    }

    /// `SELECT columns FROM table`, for COPY TO.
    /// All columns of a super table begin with tbname, as COPY FROM takes them.
    pub(super) async fn table_query(
        &self,
        table: &TableName,
        columns: Option<&[ColumnName]>,
    ) -> Result<Box<ast::Query>> {
        let found = super::resolve::table(self.plane(), &self.database, table).await;
        let list = match columns {
            None => match found.as_ref().map(|found| &found.object) {
                Ok(Object::Table(Table::Relation(of))) if of.kind == RelationKind::Super => "tbname, *".to_owned(),
                _ => "*".to_owned(),
            },
            Some(columns) => {
                let quoted = columns.iter().map(|column| format!("\"{}\"", column.name.replace('"', "\"\"")));
                quoted.collect::<Vec<_>>().join(", ")
            }
        };
        let select = self.internal_select(&format!("SELECT {list} FROM {}", self.quoted_name(table)))?;
        Ok(Box::new(query_of(select)))
    }

    /// The types of the parameters of a condition on `table`, and of new values of its columns.
    pub(super) async fn condition_parameters(
        &self,
        table: &TableName,
        condition: Option<&Expr>,
        assignments: &[(String, Expr)],
        given: &[Option<PgType>],
    ) -> Result<Vec<PgType>> {
        let mut given = given.to_vec();
        if !assignments.is_empty() {
            let found = super::resolve::table(self.plane(), &self.database, table).await?;
            let relation = found.relation()?;
            for (name, expr) in assignments {
                let column = relation.column(name).or_else(|| relation.tag(name));
                if let Expr::Value(value) = expr
                    && let ast::Value::Placeholder(_) = &value.value
                {
                    super::execute::note_types(
                        expr,
                        column.map(|of| super::insert::column_type(of.data_type)),
                        &mut given,
                    );
                }
            }
        }
        let mut select = self.internal_select(&format!("SELECT 1 FROM {}", self.quoted_name(table)))?;
        select.selection = condition.cloned();
        // A value that is more than a parameter says by what stands in it, as a SELECT of it would.
        let expr = assignments.iter().map(|(_, expr)| ast::SelectItem::UnnamedExpr(expr.clone()));
        let default = |item: &ast::SelectItem| item.to_string().eq_ignore_ascii_case("default");
        select.projection.extend(expr.filter(|item| !default(item)));
        Ok(self.plan(&query_of(select), &given).await?.parameters)
    }

    /// An expression with its parameters replaced by typed literals.
    pub(super) fn with_parameters(&self, expr: Option<Expr>, bound: &Bound<'_>) -> Result<Option<Expr>> {
        let Some(mut expr) = expr else { return Ok(None) };
        if bound.values.is_empty() {
            return Ok(Some(expr));
        }
        let values = self.parameter_values(bound)?;
        let settings = std::sync::Arc::new(self.value_settings());
        let mut failure = None;
        let _ = ast::visit_expressions_mut(&mut expr, |inner| {
            let Expr::Value(value) = &*inner else { return std::ops::ControlFlow::Continue(()) };
            let ast::Value::Placeholder(name) = &value.value else { return std::ops::ControlFlow::Continue(()) };
            let n = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
            match literal_of(n, &values, bound.types, &settings) {
                Ok(literal) => *inner = literal,
                Err(error) => {
                    failure = Some(error);
                    return std::ops::ControlFlow::Break(());
                }
            }
            std::ops::ControlFlow::Continue(())
        });
        failure.map_or(Ok(Some(expr)), Err)
    }

    /// CREATE TABLE … AS: a table of the query's columns, then its rows.
    pub(super) async fn create_table_as(
        &mut self,
        table: TableName,
        query: &ast::Query,
        if_not_exists: bool,
    ) -> Result<String> {
        let planned = self.plan(query, &[]).await?;
        let fields = planned.plan.schema().fields().iter().zip(planned.columns.iter());
        let columns: Vec<Column> = fields
            .map(|(field, column)| {
                Ok(Column::new(ColumnId::KEY, &column.name, column_of(column.pg_type, field.data_type())?))
            })
            .collect::<Result<_>>()?;
        let exists = super::resolve::tables(self.plane(), &self.database, std::slice::from_ref(&table)).await?;
        if if_not_exists && exists[0].is_some() {
            self.notice("42P07", format!("relation \"{}\" already exists, skipping", table.name));
            return Ok("CREATE TABLE AS".to_owned());
        }
        let create = CreateTable {
            table: table.clone(),
            columns,
            tags: None,
            primary_key: Vec::new(),
            serial: false,
            kind: None,
            temporary: false,
            comment: None,
            if_not_exists,
            stable: false,
            ignored: Vec::new(),
        };
        self.create_table(create).await?;
        let target = InsertTarget {
            table: table.clone(),
            using: None,
            columns: None,
            source: InsertSource::Query(Box::new(query.clone())),
        };
        let tables = self.insert_tables(std::slice::from_ref(&table)).await?;
        let whole = self.stage_query(&target, &tables, query, Vec::new(), &[]).await?;
        let count = whole.rows();
        self.write_whole(whole, false).await?;
        Ok(format!("SELECT {count}"))
    }
}

/// A parameter as a literal: `CAST('…' AS type)`.
fn literal_of(
    n: usize,
    values: &[ScalarValue],
    types: &[PgType],
    settings: &std::sync::Arc<crate::pgvalue::ValueSettings>,
) -> Result<Expr> {
    let (Some(value), Some(pg_type)) =
        (n.checked_sub(1).and_then(|n| values.get(n)), n.checked_sub(1).and_then(|n| types.get(n)))
    else {
        fail!(UndefinedParameter, "there is no parameter ${n}");
    };
    let Some(text) = crate::pgvalue::scalar_text(value, settings)? else {
        return Ok(Expr::Value(ast::Value::Null.with_empty_span()));
    };
    let literal = Expr::Value(ast::Value::SingleQuotedString(text.clone()).with_empty_span());
    if matches!(*pg_type, PgType::TEXT | PgType::VARCHAR | PgType::UNKNOWN) {
        return Ok(literal);
    }
    if matches!(*pg_type, PgType::INT2 | PgType::INT4 | PgType::INT8 | PgType::FLOAT8)
        && !text.starts_with(['N', 'I', '-'])
    {
        return Ok(Expr::Value(ast::Value::Number(text, false).with_empty_span()));
    }
    let name = ast::ObjectName::from(vec![ast::Ident::new(pg_type.name)]);
    let data_type = match *pg_type {
        PgType::TIMESTAMPTZ => ast::DataType::Timestamp(None, ast::TimezoneInfo::WithTimeZone),
        PgType::TIMESTAMP => ast::DataType::Timestamp(None, ast::TimezoneInfo::None),
        PgType::INT2 => ast::DataType::SmallInt(None),
        PgType::INT4 => ast::DataType::Int(None),
        PgType::INT8 => ast::DataType::BigInt(None),
        PgType::FLOAT4 => ast::DataType::Real,
        PgType::FLOAT8 => ast::DataType::DoublePrecision,
        PgType::BOOL => ast::DataType::Boolean,
        PgType::DATE => ast::DataType::Date,
        PgType::BYTEA => ast::DataType::Bytea,
        PgType::NUMERIC => ast::DataType::Numeric(ast::ExactNumberInfo::None),
        _ => ast::DataType::Custom(name, Vec::new()),
    };
    Ok(Expr::Cast { kind: ast::CastKind::Cast, expr: Box::new(literal), data_type, array: false, format: None })
}

/// The type of a column that holds values of a query's column.
fn column_of(pg_type: PgType, arrow: &datafusion::arrow::datatypes::DataType) -> Result<DataType> {
    Ok(match pg_type {
        PgType::BOOL => DataType::Bool,
        PgType::INT2 => DataType::SmallInt,
        PgType::INT4 => DataType::Int,
        PgType::INT8 | PgType::OID => DataType::BigInt,
        PgType::FLOAT4 => DataType::Float,
        PgType::FLOAT8 => DataType::Double,
        PgType::TIMESTAMPTZ | PgType::TIMESTAMP => DataType::Timestamp,
        PgType::DATE => DataType::Date,
        PgType::BYTEA => DataType::Varbinary(16_382),
        PgType::JSON | PgType::JSONB => DataType::Json,
        PgType::NUMERIC => match arrow {
            datafusion::arrow::datatypes::DataType::Decimal128(precision, scale) => {
                DataType::Decimal(*precision, *scale)
            }
            _ => DataType::Decimal(20, 0),
        },
        PgType::TEXT | PgType::VARCHAR | PgType::NAME | PgType::BPCHAR | PgType::UNKNOWN => DataType::Text,
        other => {
            return Err(error!(FeatureNotSupported, "a column cannot have the type {}", other.name)
                .with_hint("Cast the expression to another type."));
        }
    })
}

/// A query of nothing but this SELECT.
pub(super) fn query_of(select: ast::Select) -> ast::Query {
    ast::Query {
        with: None,
        body: Box::new(ast::SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

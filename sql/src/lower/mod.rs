//! TDengine's SELECT as plain SQL: a rewriting of the AST that DataFusion's planner then reads.
//!
//! Start reading at [`lower`]. Every SELECT at every depth is taken the same way ([`select`]): its tables get unique
//! names, `*` becomes columns, pseudo-columns and TDengine's functions become what they mean, and every output gets the
//! name that PostgreSQL gives it. Equal names are kept apart by a mark after `\u{1}` that the wire does not show.
//!
//! Pure: depends on the query, the resolved names and the [`PlanContext`].

pub(crate) mod build;
mod edges;
mod group;
mod json;
mod naming;
mod range;
mod rows;
mod scope;
mod select;
pub(crate) mod sets;
mod walk;
mod window;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::datasource::TableProvider;
use model::{DataPlane, Result, error, fail};
use sqlparser::ast::{Cte, Ident, Query, Select, SetExpr, SetOperator, SetQuantifier, TableAlias};

use crate::catalogs::CatalogContext;
use crate::plan::PlanContext;
use crate::plan::fill::FillSpec;
use crate::plan::names::{Names, folded};
use crate::plan::table::RelationTable;

pub(crate) use build::empty_select;
use scope::Item;

/// The mark between a name and what keeps it apart from its twins.
pub const MARK: char = '\u{1}';

/// What lowering gives.
pub struct Lowered {
    /// Plain SQL.
    pub query: Query,
    /// Its tables by their unique names.
    pub tables: HashMap<String, Arc<dyn TableProvider>>,
    /// What is to be filled: the derived tables of these names.
    pub fills: HashMap<String, FillSpec>,
}

/// Makes plain SQL of `query`.
///
/// # Errors
///
/// 42P01 for a table that does not exist, 0A000 for a clause that is not supported, and what each clause refuses.
pub fn lower(query: &Query, names: &Names, context: &PlanContext, catalogs: &Arc<CatalogContext>) -> Result<Lowered> {
    let mut query = query.clone();
    let plane = &catalogs.plane;
    prepare(&mut query)?;
    let mut lowering = Lowering {
        names,
        context,
        catalogs,
        plane,
        tables: HashMap::new(),
        ours: HashMap::new(),
        fills: HashMap::new(),
        counter: 0,
        views: 0,
    };
    let env = Env { database: context.database.clone(), ctes: Vec::new() };
    lowering.query(&mut query, &env)?;
    let mut tables = lowering.tables;
    for (name, table) in lowering.ours {
        tables.insert(name, Arc::new(table));
    }
    Ok(Lowered { query, tables, fills: lowering.fills })
}

/// Names every output as PostgreSQL does, and then says in DataFusion's words what it would not understand.
fn prepare(query: &mut Query) -> Result<()> {
    naming::name_all(query);
    walk::spell_units(query)?;
    crate::compat::rewrite(query)
}

/// One output column of a query.
#[derive(Clone, Debug, PartialEq)]
struct Out {
    /// Its name in the plan.
    name: String,
    /// Whether it is the time of its row: windows and FIRST over a subquery go by it.
    key: bool,
    /// Whether it is a time at all: windows go by it if it is the only one.
    time: bool,
}

/// What surrounds a query.
#[derive(Clone, Debug)]
struct Env {
    /// The current database there.
    database: String,
    /// CTEs in sight, the innermost last.
    ctes: Vec<(String, Vec<Out>)>,
}

/// One lowering.
struct Lowering<'a> {
    names: &'a Names,
    context: &'a PlanContext,
    catalogs: &'a Arc<CatalogContext>,
    plane: &'a Arc<dyn DataPlane>,
    tables: HashMap<String, Arc<dyn TableProvider>>,
    /// Tables that are ours: how they are read may still change.
    ours: HashMap<String, RelationTable>,
    fills: HashMap<String, FillSpec>,
    /// For unique names.
    counter: usize,
    /// Depth of views inside views.
    views: usize,
}

const VIEW_DEPTH_MAX: usize = 32;

impl Lowering<'_> {
    fn unique(&mut self, stem: &str) -> String {
        self.counter += 1;
        format!("{stem}#{}", self.counter)
    }

    /// Makes a table in the plan give one row per child, without reading rows.
    fn tags_scan(&mut self, table: &str) {
        if let Some(own) = self.ours.remove(table) {
            self.ours.insert(table.to_owned(), own.with_tags_only());
        }
    }

    /// Lowers a query in place and says what it gives.
    fn query(&mut self, query: &mut Query, outer: &Env) -> Result<Vec<Out>> {
        let mut env = outer.clone();
        if let Some(with) = &mut query.with {
            for (at, cte) in with.cte_tables.iter().enumerate() {
                let name = folded(&cte.alias.name);
                if with.cte_tables[..at].iter().any(|before| folded(&before.alias.name) == name) {
                    let error = error!(DuplicateAlias, "WITH query name \"{name}\" specified more than once");
                    return Err(walk::placed(error, &sqlparser::ast::Expr::Identifier(cte.alias.name.clone())));
                }
            }
            for cte in &mut with.cte_tables {
                let outs = self.cte(cte, with.recursive, &env)?;
                env.ctes.push((folded(&cte.alias.name), outs));
            }
        }
        sets::check_limit(&mut query.limit_clause)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            return self.select(select, &mut query.order_by, &mut query.limit_clause, &env);
        }
        let set = matches!(query.body.as_ref(), SetExpr::SetOperation { .. });
        let outs = self.body(&mut query.body, &env)?;
        if set {
            sets::check_order(&query.order_by, &outs)?;
        }
        Ok(outs)
    }

    fn body(&mut self, body: &mut SetExpr, env: &Env) -> Result<Vec<Out>> {
        match body {
            SetExpr::Select(select) => self.select(select, &mut None, &mut None, env),
            SetExpr::Query(query) => self.query(query, env),
            SetExpr::SetOperation { op, set_quantifier, left, right } => {
                let outs = self.body(left, env)?;
                let others = self.body(right, env)?;
                sets::check_width(*op, &outs, &others, right)?;
                let all = *set_quantifier == SetQuantifier::All;
                if matches!(op, SetOperator::Intersect | SetOperator::Except) {
                    let op = *op;
                    let [left, right] = [left, right].map(|side| std::mem::replace(side.as_mut(), nothing()));
                    *body = sets::as_groups(op, all, left, right, &outs);
                }
                Ok(outs)
            }
            SetExpr::Values(values) => {
                let width = values.rows.first().map_or(0, |row| row.content.len());
                for row in &mut values.rows {
                    for expr in &mut row.content {
                        self.walk(expr, &scope::Scope::default(), env)?;
                    }
                }
                Ok((1..=width).map(|n| Out { name: format!("column{n}"), key: false, time: false }).collect())
            }
            SetExpr::Table(table) => {
                let parts = [&table.schema_name, &table.table_name].into_iter().flatten();
                let name: Vec<Ident> = parts.map(|part| Ident::new(part.clone())).collect();
                let mut select = build::select_star(name);
                let outs = self.select(&mut select, &mut None, &mut None, env)?;
                *body = SetExpr::Select(Box::new(select));
                Ok(outs)
            }
            other => Err(error!(FeatureNotSupported, "a data-modifying statement inside a query is not supported")
                .with_detail(format!("{other}").chars().take(80).collect::<String>())),
        }
    }

    fn cte(&mut self, cte: &mut Cte, recursive: bool, env: &Env) -> Result<Vec<Out>> {
        let mut inner = env.clone();
        if recursive && is_recursive(&cte.query) {
            // What the recursion sees is the shape of the first arm.
            let mut first = cte.query.clone();
            if let SetExpr::SetOperation { left, .. } = first.body.as_ref() {
                first.body = left.clone();
            }
            let outs = self.query(&mut first, env)?;
            inner.ctes.push((folded(&cte.alias.name), renamed(outs, &cte.alias)?));
        }
        let outs = self.query(&mut cte.query, &inner)?;
        let outs = renamed(outs, &cte.alias)?;
        Ok(outs)
    }

    /// Lowers the query of a view as if it stood in the view's own database.
    fn view(&mut self, database: &str, query: &Query) -> Result<(Query, Vec<Out>)> {
        if self.views == VIEW_DEPTH_MAX {
            fail!(StatementTooComplex, "views inside views go deeper than {VIEW_DEPTH_MAX} levels");
        }
        self.views += 1;
        let mut query = query.clone();
        prepare(&mut query)?;
        let outs = self.query(&mut query, &Env { database: database.to_owned(), ctes: Vec::new() });
        self.views -= 1;
        Ok((query, outs?))
    }
}

/// What stands in for a body that was taken out of the tree.
fn nothing() -> SetExpr {
    SetExpr::Select(Box::new(build::empty_select()))
}

fn is_recursive(query: &Query) -> bool {
    matches!(query.body.as_ref(), SetExpr::SetOperation { op: SetOperator::Union, .. })
}

/// The outputs under the names that an alias gives them.
fn renamed(mut outs: Vec<Out>, alias: &TableAlias) -> Result<Vec<Out>> {
    if alias.columns.len() > outs.len() {
        let (has, given) = (outs.len(), alias.columns.len());
        fail!(
            InvalidColumnReference,
            "table \"{}\" has {has} columns available but {given} columns specified",
            alias.name.value
        );
    }
    for (out, column) in outs.iter_mut().zip(&alias.columns) {
        out.name = folded(&column.name);
    }
    Ok(outs)
}

/// The outputs as a table in FROM.
fn item_of(qualifier: String, outs: &[Out]) -> Item {
    let columns = outs.iter().map(|out| scope::Column {
        name: out.name.clone(),
        class: if out.key { scope::Class::Key } else { scope::Class::Data },
        time: out.time,
        starred: true,
    });
    Item { qualifier, database: None, columns: columns.collect(), relation: None, oid: None }
}

/// Whether a SELECT has GROUP BY.
fn has_group_by(select: &Select) -> bool {
    match &select.group_by {
        sqlparser::ast::GroupByExpr::All(_) => true,
        sqlparser::ast::GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
    }
}

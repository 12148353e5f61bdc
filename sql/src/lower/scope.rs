//! FROM: what each table is, which columns it brings, and which of them `*` means.

use std::sync::Arc;

use model::schema::{Relation, RelationKind};
use model::{Result, error, fail};
use sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins,
};

use super::{Env, Lowering, build, item_of, renamed};
use crate::catalogs::relations;
use crate::parser::markers::position_of;
use crate::plan::error::shown;
use crate::plan::names::{Resolved, folded, parts_of};
use crate::plan::table::{RelationTable, TableOrigin};

/// Words that are no names of tables unless they are quoted: the stock grammar takes them for such.
const NEVER_NAMES: [&str; 8] = ["from", "where", "select", "group", "order", "having", "limit", "union"];

/// What a column is to TDengine's clauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The time of its row.
    Key,
    /// Any other column.
    Data,
    /// A tag: the same for all rows of a table.
    Tag,
    /// `tbname`, `_rowid`: never part of `*`.
    Hidden,
}

/// One column of a table in FROM.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) class: Class,
    /// A time, of the row or any other.
    pub(super) time: bool,
    /// Part of `*`.
    pub(super) starred: bool,
}

/// One table in FROM.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Its name in the query.
    pub(super) qualifier: String,
    /// Its database, where the table's own name may be written with it.
    pub(super) database: Option<String>,
    pub(super) columns: Vec<Column>,
    /// The relation, if it is one of ours; a child is its super table.
    pub(super) relation: Option<Source>,
    /// What `tableoid` is, of tables.
    pub(super) oid: Option<u32>,
}

/// Which of our tables an [`Item`] is.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) kind: RelationKind,
    /// Its unique name in the plan.
    pub(super) table: String,
    /// One child of a super table.
    pub(super) child: bool,
}

impl Item {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn times(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.time)
    }

    fn key(&self) -> Option<&Column> {
        self.columns.iter().find(|column| column.class == Class::Key)
    }
}

/// A column that USING or NATURAL made of one of each side.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    pub(super) name: String,
    /// What it is: the side that has every row, or either.
    pub(super) value: Expr,
    /// The tables whose columns it stands for.
    members: Vec<String>,
}

/// All tables of a FROM.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    pub(super) items: Vec<Item>,
    /// Columns that USING or NATURAL made one.
    pub(super) merged: Vec<Merged>,
}

/// How many columns a name can mean, and what it stands for if that is a merged one.
enum Meaning<'s> {
    Nothing,
    Column,
    Merged(&'s Merged),
    Several,
}

impl Scope {
    /// The time of a row: the key of the first table that has one.
    pub(super) fn key(&self) -> Option<Expr> {
        let item = self.items.iter().find(|item| item.key().is_some())?;
        Some(self.reference(item, &item.key()?.name))
    }

    /// The only time that there is, where no table says which is the time of its rows.
    pub(super) fn time(&self) -> Option<Expr> {
        let of = |item| -> Vec<_> { Item::times(item).map(|column| (item, column)).collect() };
        let times: Vec<_> = self.items.iter().flat_map(of).collect();
        match times.as_slice() {
            [(item, column)] => Some(self.reference(item, &column.name)),
            _ => None,
        }
    }

    /// A reference to a column of `item` that is not ambiguous.
    pub(super) fn reference(&self, item: &Item, name: &str) -> Expr {
        if self.items.len() == 1 { build::column(name) } else { build::qualified(&item.qualifier, name) }
    }

    /// The table and column that an expression names, if it is a plain column of this FROM.
    pub(super) fn resolve(&self, expr: &Expr) -> Option<(&Item, &Column)> {
        match expr {
            Expr::Nested(inner) => self.resolve(inner),
            Expr::Identifier(ident) => {
                let name = folded(ident);
                self.items.iter().find_map(|item| Some((item, item.column(&name)?)))
            }
            Expr::CompoundIdentifier(parts) => {
                let [.., table, column] = parts.as_slice() else { return None };
                let item = self.item(&folded(table))?;
                Some((item, item.column(&folded(column))?))
            }
            _ => None,
        }
    }

    /// What a bare name means among the tables from `from` on; merged columns count once.
    fn meaning(&self, name: &str, from: usize) -> Meaning<'_> {
        let merged: Vec<&Merged> = self.merged.iter().filter(|of| of.name == name).collect();
        let apart = |item: &&Item| !merged.iter().any(|of| of.members.contains(&item.qualifier));
        let own = |item: &Item| item.columns.iter().filter(|column| shown(&column.name) == name).count();
        let others: usize = self.items[from..].iter().filter(apart).map(own).sum();
        match (merged.as_slice(), others) {
            ([], 0) => Meaning::Nothing,
            ([], 1) => Meaning::Column,
            ([one], 0) => Meaning::Merged(one),
            _ => Meaning::Several,
        }
    }

    /// The merged column that a bare name means.
    ///
    /// # Errors
    ///
    /// 42702 if it can mean several columns.
    pub(super) fn merged_column(&self, name: &str, at: &Expr) -> Result<Option<Expr>> {
        match self.meaning(name, 0) {
            Meaning::Merged(merged) => Ok(Some(merged.value.clone())),
            Meaning::Several => Err(super::walk::placed(ambiguous(name), at)),
            Meaning::Nothing | Meaning::Column => Ok(None),
        }
    }

    /// 42702 for a column that its table has twice.
    pub(super) fn check_qualified(&self, table: &str, name: &str, at: &Expr) -> Result<()> {
        let twins = |item: &Item| item.columns.iter().filter(|column| shown(&column.name) == name).count();
        match self.item(table) {
            Some(item) if twins(item) > 1 => Err(super::walk::placed(ambiguous(name), at)),
            _ => Ok(()),
        }
    }

    /// Makes one column of those that both sides of a join call `name`; the right side is the tables from `before` on.
    fn merge(&mut self, name: &str, before: usize, join: &JoinOperator) -> Result<()> {
        let left = Self { items: self.items[..before].to_vec(), merged: self.merged.clone() };
        let missing = |side: &str| {
            error!(UndefinedColumn, "column \"{name}\" specified in USING clause does not exist in {side} table")
        };
        let twice = |side: &str| {
            error!(AmbiguousColumn, "common column name \"{name}\" appears more than once in {side} table")
        };
        let has = |item: &&Item| item.column(name).is_some();
        let (left_value, mut members) = match left.meaning(name, 0) {
            Meaning::Nothing => return Err(missing("left")),
            Meaning::Several => return Err(twice("left")),
            Meaning::Merged(merged) => (merged.value.clone(), merged.members.clone()),
            Meaning::Column => match left.items.iter().find(has) {
                Some(item) => (build::qualified(&item.qualifier, name), vec![item.qualifier.clone()]),
                None => return Err(missing("left")),
            },
        };
        let right: Vec<&Item> = self.items[before..].iter().filter(has).collect();
        let right = match right.as_slice() {
            [] => return Err(missing("right")),
            [item] => item.qualifier.clone(),
            _ => return Err(twice("right")),
        };
        let right_value = build::qualified(&right, name);
        let value = match join {
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right_value,
            JoinOperator::FullOuter(_) => build::call("coalesce", vec![left_value, right_value]),
            _ => left_value,
        };
        members.push(right);
        self.merged.retain(|of| of.name != name || !of.members.iter().any(|member| members.contains(member)));
        self.merged.push(Merged { name: name.to_owned(), value, members });
        Ok(())
    }

    pub(super) fn item(&self, qualifier: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.qualifier == qualifier)
    }

    /// The one time series that this FROM is, if it is that and nothing else.
    pub(super) fn single_source(&self) -> Option<(&Item, &Source)> {
        let [item] = self.items.as_slice() else { return None };
        Some((item, item.relation.as_ref()?))
    }

    /// What `*` means: an expression and a name per column.
    pub(super) fn star(&self) -> Vec<(Expr, String)> {
        let joined = self.items.len() > 1;
        let mut all = Vec::new();
        for merged in &self.merged {
            all.push((merged.value.clone(), merged.name.clone()));
        }
        for item in &self.items {
            let apart =
                |name: &str| !self.merged.iter().any(|of| of.name == name && of.members.contains(&item.qualifier));
            all.extend(self.star_of(item, joined).into_iter().filter(|(_, name)| apart(name)));
        }
        all
    }

    /// What `t.*` means; beside other tables tags are left out.
    pub(super) fn star_of(&self, item: &Item, joined: bool) -> Vec<(Expr, String)> {
        let wanted = |column: &&Column| column.starred && !(joined && column.class == Class::Tag);
        let columns = item.columns.iter().filter(wanted);
        columns.map(|column| (self.reference(item, &column.name), column.name.clone())).collect()
    }
}

impl Lowering<'_> {
    /// Lowers FROM in place.
    pub(super) fn from(&mut self, from: &mut [TableWithJoins], env: &Env) -> Result<Scope> {
        let mut scope = Scope::default();
        for table in from.iter_mut() {
            self.with_joins(table, env, &mut scope)?;
        }
        Ok(scope)
    }

    fn with_joins(&mut self, table: &mut TableWithJoins, env: &Env, scope: &mut Scope) -> Result<()> {
        self.factor(&mut table.relation, env, scope)?;
        for join in &mut table.joins {
            let before = scope.items.len();
            self.factor(&mut join.relation, env, scope)?;
            self.constraint(join, env, scope, before)?;
        }
        Ok(())
    }

    fn constraint(&mut self, join: &mut Join, env: &Env, scope: &mut Scope, before: usize) -> Result<()> {
        let kind = join.join_operator.clone();
        let constraint = match &mut join.join_operator {
            JoinOperator::Join(c)
            | JoinOperator::Inner(c)
            | JoinOperator::Left(c)
            | JoinOperator::LeftOuter(c)
            | JoinOperator::Right(c)
            | JoinOperator::RightOuter(c)
            | JoinOperator::FullOuter(c)
            | JoinOperator::CrossJoin(c)
            | JoinOperator::Semi(c)
            | JoinOperator::LeftSemi(c)
            | JoinOperator::RightSemi(c)
            | JoinOperator::Anti(c)
            | JoinOperator::LeftAnti(c)
            | JoinOperator::RightAnti(c) => c,
            _ => fail!(FeatureNotSupported, "this kind of join is not supported"),
        };
        match constraint {
            JoinConstraint::On(condition) => {
                let copy = scope.clone();
                self.walk(condition, &copy, env)?;
            }
            JoinConstraint::Using(columns) => {
                for name in columns.iter() {
                    scope.merge(&parts_of(name).pop().unwrap_or_default(), before, &kind)?;
                }
            }
            JoinConstraint::Natural => {
                // Hidden columns have the same names everywhere, so NATURAL is spelled out over the visible ones.
                let left: Vec<_> = scope.items[..before].iter().flat_map(|item| &item.columns).cloned().collect();
                let right = scope.items[before..].iter().flat_map(|item| &item.columns);
                let shared = right.filter(|c| c.starred && left.iter().any(|l| l.starred && l.name == c.name));
                let shared: Vec<String> = shared.map(|column| column.name.clone()).collect();
                let name = |name: &String| ObjectName(vec![ObjectNamePart::Identifier(build::ident(name))]);
                *constraint = JoinConstraint::Using(shared.iter().map(name).collect());
                for name in &shared {
                    scope.merge(name, before, &kind)?;
                }
            }
            JoinConstraint::None => {}
        }
        Ok(())
    }

    fn factor(&mut self, factor: &mut TableFactor, env: &Env, scope: &mut Scope) -> Result<()> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let (name, alias) = (name.clone(), alias.clone());
                let (lowered, item) = self.table(&name, alias, env)?;
                *factor = lowered;
                self.push(scope, item)
            }
            TableFactor::Derived { subquery, alias, lateral, .. } => {
                let _ = lateral;
                let outs = self.query(subquery, env)?;
                let alias = alias.get_or_insert_with(|| build::alias("unnamed_subquery"));
                let outs = renamed(outs, alias)?;
                let item = item_of(folded(&alias.name), &outs);
                self.push(scope, item)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.with_joins(table_with_joins, env, scope),
            TableFactor::Table { name, alias, args: Some(args), .. } => {
                for arg in &mut args.args {
                    if let sqlparser::ast::FunctionArg::Unnamed(sqlparser::ast::FunctionArgExpr::Expr(expr)) = arg {
                        self.walk(expr, scope, env)?;
                    }
                }
                let function = parts_of(name).pop().unwrap_or_default();
                let item = table_function(&function, alias);
                self.push(scope, item)
            }
            TableFactor::Function { name, alias, .. } => {
                let function = parts_of(name).pop().unwrap_or_default();
                let item = table_function(&function, alias);
                self.push(scope, item)
            }
            TableFactor::UNNEST { alias, .. } => {
                let item = table_function("unnest", alias);
                self.push(scope, item)
            }
            other => fail!(FeatureNotSupported, "{other} in FROM is not supported"),
        }
    }

    fn push(&mut self, scope: &mut Scope, item: Item) -> Result<()> {
        if scope.item(&item.qualifier).is_some() {
            fail!(DuplicateAlias, "table name \"{}\" specified more than once", item.qualifier);
        }
        scope.items.push(item);
        Ok(())
    }

    fn table(&mut self, name: &ObjectName, alias: Option<TableAlias>, env: &Env) -> Result<(TableFactor, Item)> {
        let parts = parts_of(name);
        if let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && ident.quote_style.is_none()
            && NEVER_NAMES.iter().any(|word| ident.value.eq_ignore_ascii_case(word))
        {
            let error = error!(SyntaxError, "syntax error at or near \"{}\"", ident.value);
            return Err(super::walk::placed(error, &Expr::Identifier(ident.clone())));
        }
        let own = parts.last().cloned().unwrap_or_default();
        let qualifier = alias.as_ref().map_or_else(|| own.clone(), |alias| folded(&alias.name));
        if let [single] = parts.as_slice()
            && let Some((_, outs)) = env.ctes.iter().rev().find(|(cte, _)| cte == single)
        {
            let outs = match &alias {
                Some(alias) => renamed(outs.clone(), alias)?,
                None => outs.clone(),
            };
            let item = item_of(qualifier, &outs);
            return Ok((build::table(name.clone(), alias), item));
        }
        let resolved = self.names.get(&env.database, &parts).cloned().or_else(|| {
            // What a function in FROM was rewritten to is not among the names that were looked up.
            let [schema, table] = parts.as_slice() else { return None };
            let known = crate::plan::system::exists(schema, table);
            known.then(|| Resolved::System(schema.clone(), table.clone()))
        });
        let Some(resolved) = resolved else { return Err(undefined_table(name, &parts)) };
        let mut alias = alias.unwrap_or_else(|| build::alias(&qualifier));
        match resolved {
            Resolved::View(database, view, query) => {
                let (query, outs) = self.view(&database.name, &query)?;
                let outs = renamed(outs, &alias)?;
                let _ = view;
                let factor = TableFactor::Derived {
                    lateral: false,
                    subquery: Box::new(query),
                    alias: Some(alias),
                    sample: None,
                };
                Ok((factor, item_of(qualifier, &outs)))
            }
            Resolved::System(schema, table) => {
                let schema_name = schema.clone();
                let provider = crate::plan::system::table(&schema, &table, self.catalogs)?;
                let schema = provider.schema();
                let columns = schema.fields().iter().map(|field| Column {
                    name: field.name().clone(),
                    class: Class::Data,
                    time: false,
                    starred: true,
                });
                let oid = relations::find(&schema_name, &own).map(|of| of.oid);
                let mut item = Item { qualifier, database: None, columns: columns.collect(), relation: None, oid };
                alias_columns(&mut item, &mut alias)?;
                let unique = self.unique(&own);
                self.tables.insert(unique.clone(), provider);
                Ok((named_table(&unique, alias), item))
            }
            Resolved::Relation(database, relation) => self.relation(&database, &relation, None, qualifier, alias),
            Resolved::Child(database, child) => {
                self.relation(&database, &child.parent, Some(&child.name), qualifier, alias)
            }
        }
    }

    fn relation(
        &mut self,
        database: &Arc<model::catalog::Database>,
        relation: &Arc<Relation>,
        child: Option<&str>,
        qualifier: String,
        mut alias: TableAlias,
    ) -> Result<(TableFactor, Item)> {
        let oid = crate::plan::system::table_oid(relation.suid);
        let provider = RelationTable::new(TableOrigin {
            plane: self.plane,
            catalog: &self.names.catalog,
            database,
            relation,
            child,
            oid,
            now_us: self.context.now_us,
            overlay: self.context.overlay.get(&relation.suid).cloned().unwrap_or_default(),
            decides: self.context.pushdown.conditions,
        });
        let unique = self.unique(child.unwrap_or(&relation.name));
        self.ours.insert(unique.clone(), provider);
        let time_series = relation.is_time_series();
        let column = |(at, of): (usize, &model::schema::Column)| Column {
            name: of.name.clone(),
            class: if at == 0 && time_series { Class::Key } else { Class::Data },
            time: of.data_type == model::DataType::Timestamp,
            starred: true,
        };
        let mut columns: Vec<Column> = relation.columns.iter().enumerate().map(column).collect();
        let tag = |tag: &model::schema::Column| Column {
            name: tag.name.clone(),
            class: Class::Tag,
            time: false,
            starred: child.is_none(),
        };
        columns.extend(relation.tags.iter().map(tag));
        let hidden = if time_series { "tbname" } else { "_rowid" };
        columns.push(Column { name: hidden.to_owned(), class: Class::Hidden, time: false, starred: false });
        let source = Source { kind: relation.kind, table: unique.clone(), child: child.is_some() };
        let database = Some(database.name.clone());
        let mut item = Item { qualifier, database, columns, relation: Some(source), oid: Some(oid) };
        alias_columns(&mut item, &mut alias)?;
        Ok((named_table(&unique, alias), item))
    }
}

fn named_table(unique: &str, alias: TableAlias) -> TableFactor {
    build::table(ObjectName(vec![ObjectNamePart::Identifier(build::ident(unique))]), Some(alias))
}

/// `t AS x(a, b)` renames the first columns; the rest keep their names, so all are spelled out.
fn alias_columns(item: &mut Item, alias: &mut TableAlias) -> Result<()> {
    if alias.columns.is_empty() {
        return Ok(());
    }
    let visible = item.columns.iter().filter(|column| column.class != Class::Hidden).count();
    if alias.columns.len() > visible {
        let (has, given, name) = (visible, alias.columns.len(), &item.qualifier);
        fail!(InvalidColumnReference, "table \"{name}\" has {has} columns available but {given} columns specified");
    }
    for (column, given) in item.columns.iter_mut().zip(&alias.columns) {
        column.name = folded(&given.name);
    }
    let spelled = item.columns.iter();
    alias.columns =
        spelled.map(|column| TableAliasColumnDef { name: build::ident(&column.name), data_type: None }).collect();
    Ok(())
}

/// A function in FROM: one column, named as PostgreSQL names it.
fn table_function(function: &str, alias: &mut Option<TableAlias>) -> Item {
    let alias = alias.get_or_insert_with(|| build::alias(function));
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
    let column =
        |def: &TableAliasColumnDef| Column { name: folded(&def.name), class: Class::Data, time: false, starred: true };
    Item {
        qualifier: folded(&alias.name),
        database: None,
        columns: alias.columns.iter().map(column).collect(),
        relation: None,
        oid: None,
    }
}

fn ambiguous(name: &str) -> model::Error {
    error!(AmbiguousColumn, "column reference \"{name}\" is ambiguous")
}

fn undefined_table(name: &ObjectName, parts: &[String]) -> model::Error {
    let first = name.0.first().and_then(ObjectNamePart::as_ident).cloned().unwrap_or_else(|| Ident::new(""));
    let error = error!(UndefinedTable, "relation \"{}\" does not exist", parts.join("."));
    match position_of(&Expr::Identifier(first)) {
        0 => error,
        position => error.at(position),
    }
}

//! The types of parameters that the client did not say, found as PostgreSQL finds them: the first place that says
//! something about a parameter decides.
//!
//! Some places say it in the text alone ([`stated`]): a cast, LIMIT, an argument that has one type only. Others need the
//! types of what stands beside the parameter, and so a plan ([`implied`]).

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, InList, Placeholder};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use sqlparser::ast::{self, Visit, Visitor};

use super::names::folded;
use crate::pgtype::PgType;

/// What is known of `$1`, `$2`, … so far.
pub(super) struct Types(Vec<Option<PgType>>);

/// Names of functions, and their arguments, counted from 0, with their types.
type Arguments = (&'static [&'static str], &'static [(usize, PgType)]);

/// Arguments that have one type whatever the others are. Text needs no mention.
const ARGUMENTS: &[Arguments] = &[
    (&["left", "right", "repeat", "lpad", "rpad", "round", "trunc"], &[(1, PgType::INT4)]),
    (&["substr", "substring"], &[(1, PgType::INT4), (2, PgType::INT4)]),
    (&["split_part", "overlay"], &[(2, PgType::INT4)]),
    (&["chr", "ntile", "pg_cancel_backend", "pg_terminate_backend"], &[(0, PgType::INT4)]),
    (&["lag", "lead", "nth_value"], &[(1, PgType::INT4)]),
    (&["pg_sleep", "abs", "sqrt", "exp", "ln", "log", "ceil", "floor", "sign"], &[(0, PgType::FLOAT8)]),
    (&["sin", "cos", "tan", "asin", "acos", "atan", "degrees", "radians"], &[(0, PgType::FLOAT8)]),
    (&["power", "pow", "atan2"], &[(0, PgType::FLOAT8), (1, PgType::FLOAT8)]),
    (&["date_bin"], &[(0, PgType::INTERVAL), (1, PgType::TIMESTAMPTZ), (2, PgType::TIMESTAMPTZ)]),
    (&["date_trunc", "date_part"], &[(1, PgType::TIMESTAMPTZ)]),
    (&["current_setting"], &[(1, PgType::BOOL)]),
    (&["set_config"], &[(2, PgType::BOOL)]),
];

/// Functions whose arguments and result are of one type.
const ALIKE: [&str; 7] = ["coalesce", "nullif", "greatest", "least", "nvl", "ifnull", "make_array"];

/// The number of `$n`, counted from 0.
fn number(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

impl Types {
    /// What the client said.
    pub(super) fn given(types: &[Option<PgType>], count: usize) -> Self {
        let known = |n: usize| types.get(n).copied().flatten().filter(|of| *of != PgType::UNKNOWN);
        Self((0..count).map(known).collect())
    }

    fn note(&mut self, n: Option<usize>, of: PgType) {
        if let Some(slot @ None) = n.and_then(|n| self.0.get_mut(n)) {
            *slot = Some(of);
        }
    }

    /// What is known of each.
    pub(super) fn known(&self) -> &[Option<PgType>] {
        &self.0
    }

    /// All types: text where nothing says anything.
    pub(super) fn decided(self) -> Vec<PgType> {
        self.0.into_iter().map(|of| of.unwrap_or(PgType::TEXT)).collect()
    }
}

/// Notes what the text says by itself.
pub(super) fn stated(query: &ast::Query, types: &mut Types) {
    let _ = query.visit(&mut Stated(types));
}

struct Stated<'t>(&'t mut Types);

/// The parameter that an expression is, in parentheses or not.
fn parameter(expr: &ast::Expr) -> Option<usize> {
    match expr {
        ast::Expr::Nested(inner) => parameter(inner),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Placeholder(name) => number(name),
            _ => None,
        },
        _ => None,
    }
}

impl Visitor for Stated<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        let counts: Vec<&ast::Expr> = match &query.limit_clause {
            Some(ast::LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter().chain(offset.as_ref().map(|offset| &offset.value)).collect()
            }
            Some(ast::LimitClause::OffsetCommaLimit { offset, limit }) => vec![offset, limit],
            None => Vec::new(),
        };
        let fetched = query.fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref());
        for count in counts.into_iter().chain(fetched) {
            self.0.note(parameter(count), PgType::INT8);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &ast::TableFactor) -> ControlFlow<()> {
        let expr = |arg: &ast::FunctionArg| match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        };
        let args: Vec<ast::Expr> = table_arguments(table).unwrap_or_default().iter().filter_map(expr).collect();
        self.series(&args);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Cast { expr: inner, data_type, .. } => {
                if let Some(of) = PgType::of_name(&data_type.to_string()) {
                    self.0.note(parameter(inner), of);
                }
            }
            ast::Expr::Substring { substring_from, substring_for, .. } => {
                for count in [substring_from, substring_for].into_iter().flatten() {
                    self.0.note(parameter(count), PgType::INT4);
                }
            }
            ast::Expr::Function(function) => self.arguments(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Stated<'_> {
    /// `generate_series(1, $1)`, `generate_series($1::timestamptz, $2, $3)`: one argument says what the others are.
    fn series(&mut self, args: &[ast::Expr]) {
        let of = args.iter().find_map(|arg| match arg {
            ast::Expr::Value(value) if matches!(value.value, ast::Value::Number(..)) => Some(PgType::INT4),
            ast::Expr::Cast { data_type, .. } => PgType::of_name(&data_type.to_string()),
            _ => None,
        });
        let Some(of) = of else { return };
        for (at, arg) in args.iter().enumerate() {
            let step = at == 2 && matches!(of, PgType::TIMESTAMPTZ | PgType::TIMESTAMP);
            self.0.note(parameter(arg), if step { PgType::INTERVAL } else { of });
        }
    }

    fn arguments(&mut self, function: &ast::Function) {
        let Some(name) = function.name.0.last().and_then(|part| part.as_ident()).map(folded) else { return };
        let ast::FunctionArguments::List(list) = &function.args else { return };
        let expr = |arg: &ast::FunctionArg| match arg {
            ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => parameter(expr),
            _ => None,
        };
        let known = ARGUMENTS.iter().filter(|(names, _)| names.contains(&name.as_str()));
        for (at, of) in known.flat_map(|(_, arguments)| *arguments) {
            self.0.note(list.args.get(*at).and_then(expr), *of);
        }
        // One argument is seconds since the epoch; two are text and its pattern.
        if name == "to_timestamp" && list.args.len() == 1 {
            self.0.note(list.args.first().and_then(expr), PgType::FLOAT8);
        }
    }
}

/// The arguments of a function in FROM, if it has any.
fn table_arguments(table: &ast::TableFactor) -> Option<&[ast::FunctionArg]> {
    match table {
        ast::TableFactor::Table { args: Some(args), .. } => Some(&args.args),
        ast::TableFactor::Function { args, .. } => Some(args),
        _ => None,
    }
}

/// Notes what stands beside parameters in a plan.
///
/// # Errors
///
/// Never.
pub(super) fn implied(plan: &LogicalPlan, types: &mut Types) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let mut schema = merge_schema(&node.inputs());
        if let LogicalPlan::TableScan(scan) = node {
            schema = scan.projected_schema.as_ref().clone();
        }
        let mut beside = Beside { schema: &schema, types };
        beside.node(node);
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                beside.expr(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

struct Beside<'a> {
    schema: &'a DFSchema,
    types: &'a mut Types,
}

/// The parameter that an expression is, by whatever name it goes. A cast that was written has been seen already, so
/// that one here is the planner's.
fn placeholder(expr: &Expr) -> Option<&Placeholder> {
    match without_cast(expr) {
        Expr::Placeholder(placeholder) => Some(placeholder),
        _ => None,
    }
}

fn without_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_cast(&alias.expr),
        Expr::Cast(cast) => without_cast(&cast.expr),
        other => other,
    }
}

impl Beside<'_> {
    fn note(&mut self, expr: &Expr, of: Option<PgType>) {
        let Some(found) = placeholder(expr) else { return };
        // What the planner has found out already: in comparisons, of which varchar has none.
        let own = found.field.as_ref().filter(|field| !field.data_type().is_null()).map(|field| PgType::of(field));
        let own = own.map(|of| if of == PgType::VARCHAR { PgType::TEXT } else { of });
        let of = if own == Some(PgType::INTERVAL) { own } else { of.or(own) };
        if let Some(of) = of {
            self.types.note(number(&found.id), of);
        }
    }

    /// The type of an expression that is no parameter without one.
    fn type_of(&self, expr: &Expr) -> Option<PgType> {
        if placeholder(expr).is_some_and(|found| found.field.is_none()) {
            return None;
        }
        // A whole number that fits is int4, as in PostgreSQL.
        if let Expr::Literal(ScalarValue::Int64(Some(n)), _) = without_cast(expr) {
            return Some(if i32::try_from(*n).is_ok() { PgType::INT4 } else { PgType::INT8 });
        }
        let (_, field) = expr.to_field(self.schema).ok()?;
        (!field.data_type().is_null()).then(|| PgType::of(&field))
    }

    /// The type that an expression is compared as: PostgreSQL has no operators of varchar.
    fn compared(&self, expr: &Expr) -> Option<PgType> {
        self.type_of(expr).map(|of| if of == PgType::VARCHAR { PgType::TEXT } else { of })
    }

    /// Those that are compared with one another have the type of the first that has one.
    fn comparable<'e>(&mut self, exprs: impl Iterator<Item = &'e Expr> + Clone) {
        let of = exprs.clone().find_map(|expr| self.compared(expr));
        exprs.for_each(|expr| self.note(expr, of));
    }

    /// Those that are alike have the type of the first that has one.
    fn alike<'e>(&mut self, exprs: impl Iterator<Item = &'e Expr> + Clone) {
        let of = exprs.clone().find_map(|expr| self.type_of(expr));
        exprs.for_each(|expr| self.note(expr, of));
    }

    fn node(&mut self, node: &LogicalPlan) {
        match node {
            LogicalPlan::Filter(filter) => self.note(&filter.predicate, Some(PgType::BOOL)),
            LogicalPlan::Join(join) => join.filter.iter().for_each(|filter| self.note(filter, Some(PgType::BOOL))),
            LogicalPlan::Values(values) => {
                let width = values.values.first().map_or(0, Vec::len);
                (0..width).for_each(|at| self.alike(values.values.iter().filter_map(|row| row.get(at))));
            }
            LogicalPlan::Union(union) => {
                for at in 0..union.schema.fields().len() {
                    let columns: Vec<(&Expr, Option<PgType>)> =
                        union.inputs.iter().filter_map(|input| output_column(input, at)).collect();
                    let of = columns.iter().find_map(|(_, of)| *of);
                    columns.iter().for_each(|(expr, _)| self.note(expr, of));
                }
            }
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Placeholder(_) => self.note(expr, None),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.operator(left, *op, right),
            Expr::Not(inner) => self.note(inner, Some(PgType::BOOL)),
            Expr::Between(Between { expr, low, high, .. }) => {
                self.comparable([expr.as_ref(), low, high].into_iter());
            }
            Expr::InList(InList { expr, list, .. }) => self.comparable([expr.as_ref()].into_iter().chain(list)),
            Expr::Case(case) => self.case(case),
            Expr::ScalarFunction(call) if call.name() == "pg_any" => {
                if let [member, array] = call.args.as_slice() {
                    let of = self.compared(member).and_then(PgType::array_of);
                    self.note(array, of);
                    let member_type = self.type_of(array).and_then(|array| PgType::from_oid(array.element));
                    self.note(member, member_type);
                }
            }
            Expr::ScalarFunction(call) if ALIKE.contains(&call.name()) => self.alike(call.args.iter()),
            Expr::AggregateFunction(call) => {
                call.params.filter.iter().for_each(|filter| self.note(filter, Some(PgType::BOOL)));
            }
            _ => {}
        }
    }

    fn operator(&mut self, left: &Expr, op: Operator, right: &Expr) {
        if matches!(op, Operator::And | Operator::Or) {
            self.note(left, Some(PgType::BOOL));
            self.note(right, Some(PgType::BOOL));
            return;
        }
        let (left_type, right_type) = (self.compared(left), self.compared(right));
        self.note(left, right_type);
        self.note(right, left_type);
    }

    fn case(&mut self, case: &Case) {
        let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
        match &case.expr {
            Some(operand) => self.comparable([operand.as_ref()].into_iter().chain(whens)),
            None => whens.for_each(|when| self.note(when, Some(PgType::BOOL))),
        }
        let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
        self.alike(thens.chain(case.else_expr.as_deref()));
    }
}

/// The expression of one of a plan's columns, and its type if it is no parameter.
fn output_column(plan: &LogicalPlan, at: usize) -> Option<(&Expr, Option<PgType>)> {
    let LogicalPlan::Projection(projection) = plan else { return None };
    let expr = projection.expr.get(at)?;
    let field = plan.schema().field(at);
    let known = placeholder(expr).is_none() && *field.data_type() != DataType::Null;
    Some((expr, known.then(|| PgType::of(field))))
}

//! One expression of a SELECT: subqueries inside it are lowered, pseudo-columns and TDengine's functions replaced.
//!
//! Start reading at [`Lowering::walk`].

use std::ops::ControlFlow;

use model::{Error, Result, error};
use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, ObjectNamePart, Query,
    Value, VisitMut, VisitorMut,
};

use super::scope::{Class, Scope};
use super::{Env, Lowering, build};
use crate::parser::markers::{Unit, position_of};
use crate::plan::names::folded;

/// Pseudo-columns that only a window gives a meaning.
pub(super) const WINDOW_COLUMNS: [&str; 3] = ["_wstart", "_wend", "_wduration"];

struct Walker<'w, 'a> {
    lowering: &'w mut Lowering<'a>,
    scope: &'w Scope,
    env: &'w Env,
    /// How deep inside subqueries.
    depth: usize,
}

impl Lowering<'_> {
    /// Lowers one expression in place.
    pub(super) fn walk(&mut self, expr: &mut Expr, scope: &Scope, env: &Env) -> Result<()> {
        let mut walker = Walker { lowering: self, scope, env, depth: 0 };
        match expr.visit(&mut walker) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

impl VisitorMut for Walker<'_, '_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if self.depth == 0
            && let Err(error) = self.lowering.query(query, self.env)
        {
            return ControlFlow::Break(error);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match replacement(expr, self.scope) {
            Ok(Some(new)) => *expr = new,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

/// What stands for `expr`, if something else does.
fn replacement(expr: &Expr, scope: &Scope) -> Result<Option<Expr>> {
    match expr {
        // What lowering made itself says what it means.
        Expr::Identifier(ident) if scope.resolve(expr).is_some() => match position_of(expr) {
            0 => Ok(None),
            _ => scope.merged_column(&folded(ident), expr),
        },
        Expr::Identifier(ident) if ident.quote_style.is_none() => match folded(ident).as_str() {
            "_c0" | "_rowts" => scope.key().map(Some).ok_or_else(|| no_time(expr)),
            "now" => Ok(Some(build::call("now", Vec::new()))),
            "tableoid" => Ok(match scope.items.as_slice() {
                [item] => item.oid.map(table_oid),
                _ => None,
            }),
            _ => Ok(None),
        },
        Expr::CompoundIdentifier(parts) => {
            let names: Vec<String> = parts.iter().map(folded).collect();
            if let ([.., table, name], true) = (names.as_slice(), position_of(expr) > 0) {
                scope.check_qualified(table, name, expr)?;
            }
            match names.as_slice() {
                // db.t.c and db.public.t.c are t.c where t is that table.
                [.., database, table, name] if parts.len() <= 4 => {
                    let known = scope.item(table).is_some_and(|item| {
                        database == "public" || item.database.as_deref() == Some(database.as_str())
                    });
                    Ok(known.then(|| build::qualified(table, name)))
                }
                [table, name] if name == "tableoid" && scope.resolve(expr).is_none() => {
                    Ok(scope.item(table).and_then(|item| item.oid).map(table_oid))
                }
                [table, name] if matches!(name.as_str(), "_c0" | "_rowts") => {
                    let item = scope.item(table);
                    let key = item.and_then(|item| item.columns.iter().find(|c| c.class == Class::Key));
                    Ok(key.map(|key| build::qualified(table, &key.name)))
                }
                _ => Ok(None),
            }
        }
        Expr::Function(function) => call(function, expr, scope),
        _ => Ok(super::json::replacement(expr)),
    }
}

/// `tableoid` of every row of a table.
fn table_oid(oid: u32) -> Expr {
    build::call("pg_oid", vec![build::number(oid.into())])
}

/// The time column, or the only time that there is, or why there is none.
pub(super) fn key(scope: &Scope, at: &Expr) -> Result<Expr> {
    scope.key().or_else(|| scope.time()).ok_or_else(|| no_time(at))
}

fn no_time(at: &Expr) -> Error {
    placed(error!(InvalidColumnReference, "there is no time column here"), at).with_hint(
        "FROM must be a super table, child table or normal table, or a subquery that gives its time column or one timestamp",
    )
}

/// The error at the place of `expr`.
pub(super) fn placed(error: Error, expr: &Expr) -> Error {
    match position_of(expr) {
        0 => error,
        position => error.at(position),
    }
}

/// A function's bare name in lower case.
pub(super) fn name_of(function: &Function) -> Option<String> {
    let ObjectName(parts) = &function.name;
    let [.., ObjectNamePart::Identifier(ident)] = parts.as_slice() else { return None };
    Some(folded(ident))
}

/// The arguments of a call that are plain expressions; None if there are others, or DISTINCT.
pub(super) fn plain_args(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.duplicate_treatment.is_some() {
        return None;
    }
    let plain = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

/// Whether a call is `name(*)`.
pub(super) fn is_star(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    matches!(list.args.as_slice(), [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)])
}

/// The same call with other arguments; FILTER and OVER stay.
fn with_args(function: &Function, name: &str, args: Vec<Expr>) -> Expr {
    let mut new = build::function(name, args);
    new.filter.clone_from(&function.filter);
    new.over.clone_from(&function.over);
    Expr::Function(new)
}

/// TDengine's functions that are others in disguise.
fn call(function: &Function, expr: &Expr, scope: &Scope) -> Result<Option<Expr>> {
    let Some(name) = name_of(function) else { return Ok(None) };
    let Some(args) = plain_args(function) else { return Ok(None) };
    let args: Vec<Expr> = args.into_iter().cloned().collect();
    let count = args.len();
    Ok(match (name.as_str(), count) {
        ("first" | "last" | "last_row" | "twa", 1) => {
            let mut args = args;
            args.push(key(scope, expr)?);
            Some(with_args(function, &name, args))
        }
        ("spread", 1) => {
            let (max, min) = (with_args(function, "max", args.clone()), with_args(function, "min", args));
            Some(build::call("__spread", vec![max, min]))
        }
        ("today", 0) => Some(build::call("timetruncate", vec![build::call("now", Vec::new()), build::text("1d")])),
        ("stddev", 1) => Some(with_args(function, "stddev_pop", args)),
        ("elapsed", 1 | 2) => {
            let mut args = args.into_iter();
            let time = args.next().expect("counted above");
            let unit = args.next().unwrap_or_else(|| build::number(0));
            let ends = ["min", "max"].map(|end| with_args(function, end, vec![time.clone()]));
            let [min, max] = ends;
            Some(build::call("__elapsed", vec![min, max, unit]))
        }
        ("top" | "bottom" | "diff", _) if function.filter.is_some() || function.over.is_some() => {
            let error = error!(FeatureNotSupported, "{name} takes neither FILTER nor OVER");
            return Err(placed(error.with_hint("use WHERE and PARTITION BY"), expr));
        }
        ("match" | "nmatch", 2) => {
            let mut args = args.into_iter();
            let (left, right) = (args.next().expect("two"), args.next().expect("two"));
            let op = if name == "match" { BinaryOperator::PGRegexMatch } else { BinaryOperator::PGRegexNotMatch };
            Some(Expr::Nested(Box::new(build::binary(left, op, right))))
        }
        (
            "derivative" | "irate" | "interp" | "sample" | "tail" | "unique" | "statecount" | "stateduration"
            | "histogram" | "leastsquares" | "hyperloglog" | "apercentile" | "percentile" | "mavg" | "csum" | "mode"
            | "forecast" | "cols",
            _,
        ) => {
            let error = error!(FeatureNotSupported, "the function {name} is not supported yet");
            return Err(placed(error, expr));
        }
        _ => None,
    })
}

/// Durations that are arguments become plain values before anything else reads them as intervals: `elapsed(ts, 1s)`,
/// `timetruncate(ts, 1h)`, `timediff(a, b, 1m)`.
pub(super) fn spell_units(query: &mut Query) -> Result<()> {
    struct Units;
    impl VisitorMut for Units {
        type Break = Error;
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
            let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
            let place = match name_of(function).as_deref() {
                Some("elapsed" | "timetruncate") => 1,
                Some("timediff") => 2,
                _ => return ControlFlow::Continue(()),
            };
            let elapsed = name_of(function).as_deref() == Some("elapsed");
            let FunctionArguments::List(list) = &mut function.args else { return ControlFlow::Continue(()) };
            if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.get_mut(place) {
                match unit_argument(unit, elapsed) {
                    Ok(spelled) => *unit = spelled,
                    Err(error) => return ControlFlow::Break(error),
                }
            }
            ControlFlow::Continue(())
        }
    }
    match query.visit(&mut Units) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A unit such as `1s` in one of its spellings: the nanoseconds that ELAPSED counts in, 0 for ticks of the precision;
/// the others take it as text.
fn unit_argument(unit: &Expr, elapsed: bool) -> Result<Expr> {
    let text = match unit {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    };
    let duration = crate::parser::markers::duration_of(unit)
        .or_else(|| crate::parser::markers::Duration::parse(text?).filter(|of| of.unit != Unit::Tick));
    match duration {
        Some(duration) if elapsed => {
            let nanos = duration.unit.nanos().and_then(|nanos| nanos.checked_mul(duration.count));
            let nanos = nanos.filter(|nanos| *nanos > 0).ok_or_else(|| {
                placed(error!(InvalidParameterValue, "{duration} is not a unit of fixed length"), unit)
            })?;
            Ok(build::number(nanos))
        }
        Some(duration) => Ok(build::text(&duration.to_string())),
        None if elapsed && !is_zero(unit) => {
            Err(placed(error!(InvalidParameterValue, "the unit must be a duration such as 1s"), unit))
        }
        None => Ok(unit.clone()),
    }
}

/// 0: TDengine's word for the precision of the database.
fn is_zero(unit: &Expr) -> bool {
    matches!(unit, Expr::Value(value) if matches!(&value.value, Value::Number(digits, _) if digits == "0"))
}

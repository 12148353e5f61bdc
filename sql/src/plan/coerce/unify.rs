//! Several expressions as one type: CASE, COALESCE, GREATEST, LEAST, NULLIF and arrays, and the functions whose results
//! have the type of what they are given.

use std::collections::HashSet;
use std::sync::OnceLock;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Case, Expr, Operator};
use model::{Error, error};

use super::operators::no_operator;
use super::{Rewriter, cast_to, narrow};
use crate::numeric::{Shape, Shown};
use crate::pgtype::PgType;
use crate::plan::error::to_datafusion;
use crate::plan::places::spotted;
use crate::plan::types::{Typed, category, common};

/// Functions of DataFusion's and ours that take numerics as they are; all others get doubles.
const EXACT: [&str; 34] = [
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "array_agg",
    "first_value",
    "last_value",
    "nth_value",
    "lag",
    "lead",
    "first",
    "last",
    "last_row",
    "spread",
    "round",
    "trunc",
    "ceil",
    "ceiling",
    "floor",
    "abs",
    "sign",
    "signum",
    "div",
    "mod",
    "to_char",
    "pg_text",
    "pg_varchar",
    "pg_numeric",
    "pg_typeof",
    "numeric_scale",
    "pg_any",
    "make_array",
    "named_struct",
];

fn is_exact(name: &str) -> bool {
    static NAMES: OnceLock<HashSet<&str>> = OnceLock::new();
    NAMES.get_or_init(|| EXACT.into_iter().collect()).contains(name)
        || name.starts_with("__")
        || name.starts_with("pg_")
}

/// Literals and whole numbers beside numerics of one scale: that scale, which most values have.
fn scale_of_columns(exprs: &[Expr], types: &[Typed], to: &Typed) -> Option<DataType> {
    if to.pg != PgType::NUMERIC {
        return None;
    }
    let literal = |expr: &Expr| matches!(expr, Expr::Literal(..));
    let columns = exprs.iter().zip(types).filter(|(expr, of)| of.arrow.is_decimal() && !literal(expr));
    let mut shapes = columns.filter_map(|(_, of)| Shape::of(&of.arrow));
    let first = shapes.next().filter(|of| of.shown == Shown::All)?;
    if !shapes.all(|of| of.shown == Shown::All && of.scale == first.scale) {
        return None;
    }
    let all = || types.iter().filter_map(|of| Shape::of(&of.arrow));
    if all().any(|of| of.scale > first.scale) {
        return None;
    }
    let whole = all().map(|of| of.whole).max()?;
    Some(Shape::fixed(whole, first.scale).arrow())
}

/// Functions that take text: of numbers and the like they do not exist.
const OF_TEXT: [&str; 24] = [
    "upper",
    "lower",
    "length",
    "char_length",
    "character_length",
    "octet_length",
    "bit_length",
    "initcap",
    "reverse",
    "btrim",
    "ltrim",
    "rtrim",
    "trim",
    "replace",
    "translate",
    "split_part",
    "starts_with",
    "strpos",
    "left",
    "right",
    "lpad",
    "rpad",
    "repeat",
    "ascii",
];

impl Rewriter<'_> {
    /// 42883 where a function of text is given something else.
    fn check_text(&self, name: &str, args: &[Expr]) -> Result<()> {
        let Some(first) = args.first().filter(|_| OF_TEXT.contains(&name)) else { return Ok(()) };
        let Some(of) = self.typed(first).filter(|of| !of.is_unknown()) else { return Ok(()) };
        if !matches!(category(of.pg), 'N' | 'B' | 'D' | 'T') {
            return Ok(());
        }
        let types = args.iter().map(|arg| self.typed(arg).map_or_else(|| "unknown".to_owned(), |of| of.name()));
        let types: Vec<String> = types.collect();
        let error = error!(UndefinedFunction, "function {name}({}) does not exist", types.join(", "));
        Err(to_datafusion(error.with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )))
    }

    /// Expressions as the type that they have in common, in the order that decides it.
    ///
    /// # Errors
    ///
    /// What [`common`] says, and 22P02 for a literal that is no value of the type.
    pub(super) fn as_common(&self, construct: &str, exprs: Vec<Expr>) -> Result<Vec<Expr>> {
        let exprs: Vec<Expr> = exprs.into_iter().map(narrow).collect();
        let Some(mut types) = exprs.iter().map(|expr| self.typed(expr)).collect::<Option<Vec<_>>>() else {
            return Ok(exprs);
        };
        let fault = |(error, at): (Error, usize)| spotted(error, construct, at, 0);
        let mut to = common(construct, &types).map_err(fault)?;
        let mut exprs = exprs;
        if to.pg == PgType::NUMERIC && types.iter().any(Typed::is_unknown) {
            // Literals have scales of their own, which the common type must hold.
            for (expr, of) in exprs.iter_mut().zip(&mut types).filter(|(_, of)| of.is_unknown()) {
                *expr = self.converted(std::mem::take(expr), of, &to)?;
                *of = self.typed(expr).unwrap_or_else(Typed::unknown);
            }
            to = common(construct, &types).map_err(fault)?;
        }
        if let Some(arrow) = scale_of_columns(&exprs, &types, &to) {
            to.arrow = arrow;
        }
        exprs.into_iter().zip(&types).map(|(expr, of)| self.converted(expr, of, &to)).collect()
    }

    pub(super) fn case(&self, case: Case) -> Result<Expr> {
        let Case { expr, when_then_expr, else_expr } = case;
        let (mut whens, thens): (Vec<Expr>, Vec<Expr>) = when_then_expr.into_iter().map(|(w, t)| (*w, *t)).unzip();
        let mut operand = expr.map(|expr| *expr);
        match operand.take() {
            Some(of) => {
                let all = std::iter::once(of.clone()).chain(whens.iter().cloned()).collect();
                match self.as_common("CASE", all) {
                    Ok(mut all) => {
                        operand = Some(all.remove(0));
                        whens = all;
                    }
                    Err(fault) => return Err(self.not_comparable(&of, &whens).unwrap_or(fault)),
                }
            }
            None => {
                whens = whens.into_iter().map(|when| self.truth(when, "CASE/WHEN")).collect::<Result<_>>()?;
            }
        }
        // ELSE decides first.
        let otherwise = else_expr.map(|expr| *expr);
        let has_else = otherwise.is_some();
        let mut results: Vec<Expr> = otherwise.into_iter().collect();
        results.extend(thens);
        let mut results = self.as_common("CASE", results)?.into_iter();
        let else_expr = if has_else { results.next().map(Box::new) } else { None };
        let when_then_expr = whens.into_iter().zip(results).map(|(w, t)| (Box::new(w), Box::new(t))).collect();
        Ok(Expr::Case(Case { expr: operand.map(Box::new), when_then_expr, else_expr }))
    }

    fn not_comparable(&self, operand: &Expr, whens: &[Expr]) -> Option<DataFusionError> {
        let of = self.typed(operand)?;
        let types = whens.iter().filter_map(|when| self.typed(when));
        let wrong = types.into_iter().find(|when| common("", &[of.clone(), when.clone()]).is_err())?;
        Some(no_operator(&of, "=", &wrong))
    }

    /// A call whose arguments must agree in their type, or that takes no numerics.
    pub(super) fn unified(&self, call: ScalarFunction) -> Result<Expr> {
        let ScalarFunction { func, args } = call;
        let rebuilt = |args| Ok(Expr::ScalarFunction(ScalarFunction { func: func.clone(), args }));
        let construct = match func.name() {
            "coalesce" => "COALESCE",
            "greatest" => "GREATEST",
            "least" => "LEAST",
            "make_array" => "ARRAY",
            "array_append" | "array_prepend" | "array_remove_all" | "array_replace_all" | "array_position"
            | "array_positions" => return rebuilt(args.into_iter().map(narrow).collect()),
            "nullif" => return rebuilt(self.as_comparable(args)?),
            name => {
                self.check_text(name, &args)?;
                let args = self.as_doubles(name, args);
                return rebuilt(args);
            }
        };
        rebuilt(self.as_common(construct, args)?)
    }

    /// The arguments of NULLIF: as `=` would compare them.
    fn as_comparable(&self, args: Vec<Expr>) -> Result<Vec<Expr>> {
        let args: Vec<Expr> = args.into_iter().map(narrow).collect();
        let [left, right] = args.as_slice() else { return Ok(args) };
        let (Some(left_type), Some(right_type)) = (self.typed(left), self.typed(right)) else { return Ok(args) };
        match self.operate(left.clone(), Operator::Eq, right.clone())? {
            Expr::BinaryExpr(binary) if !matches!(left_type.arrow, DataType::Interval(_)) => {
                Ok(vec![*binary.left, *binary.right])
            }
            _ if left_type.arrow == right_type.arrow => Ok(args),
            _ => Err(no_operator(&left_type, "=", &right_type)),
        }
    }

    /// Decimal arguments as doubles, for a function that does not know numerics.
    pub(super) fn as_doubles(&self, name: &str, args: Vec<Expr>) -> Vec<Expr> {
        if is_exact(name) {
            return args;
        }
        let one = |expr: Expr| match self.typed(&expr) {
            Some(of) if of.arrow.is_decimal() => {
                let double = Typed::of_arrow(DataType::Float64);
                let copy = expr.clone();
                self.converted(expr, &of, &double).unwrap_or_else(|_| cast_to(copy, DataType::Float64))
            }
            _ => expr,
        };
        args.into_iter().map(one).collect()
    }
}

//! Functions that give rows, not one value: TOP, BOTTOM and DIFF. They become window functions and QUALIFY.
//!
//! Start reading at [`Lowering::rows_functions`].

use model::{Result, error};
use sqlparser::ast::{BinaryOperator, Expr, OrderBy, OrderByKind, Value};

use super::scope::Scope;
use super::select::{Listed, Parts, rows_call};
use super::walk::{key, placed};
use super::window::replace;
use super::{Lowering, build};
use crate::parser::markers::Windowing;

impl Lowering<'_> {
    /// Rewrites TOP, BOTTOM and DIFF in the list.
    pub(super) fn rows_functions(
        &mut self,
        list: &mut [Listed],
        parts: &mut Parts<'_>,
        windowing: &mut Windowing,
        scope: &Scope,
    ) -> Result<()> {
        let chosen = list.iter().position(|listed| {
            rows_call(&listed.expr).is_some_and(|(_, name, _)| matches!(name.as_str(), "top" | "bottom"))
        });
        if let Some(at) = chosen {
            extremes(list, at, parts, windowing, scope)?;
        }
        differences(list, parts, windowing, scope)
    }
}

/// `top(x, k)`: the rows of the k greatest values, in the order of their time.
fn extremes(list: &mut [Listed], at: usize, parts: &mut Parts<'_>, windowing: &Windowing, scope: &Scope) -> Result<()> {
    let expr = list[at].expr.clone();
    let Some((_, name, args)) = rows_call(&expr) else { return Ok(()) };
    if windowing.interval.is_some() {
        return Err(placed(error!(FeatureNotSupported, "{name} with INTERVAL is not supported yet"), &expr));
    }
    let count = match args[1] {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<i64>().ok().filter(|k| (1..=100).contains(k)),
            _ => None,
        },
        _ => None,
    };
    let Some(count) = count else {
        let error = error!(InvalidParameterValue, "the second argument of {name} is a whole number from 1 to 100");
        return Err(placed(error, args[1]));
    };
    let time = key(scope, &expr)?;
    let value = args[0].clone();
    let order = vec![build::ordered(value.clone(), name == "bottom"), build::ordered(time.clone(), true)];
    let rank = build::over("row_number", Vec::new(), windowing.partition.clone(), order);
    let not_null = Expr::IsNotNull(Box::new(Expr::Nested(Box::new(value.clone()))));
    let conditions = parts.select.selection.take().into_iter().chain([not_null]).collect();
    parts.select.selection = build::all_of(conditions);
    let few = build::binary(rank, BinaryOperator::LtEq, build::number(count));
    let conditions = parts.select.qualify.take().into_iter().chain([few]).collect();
    parts.select.qualify = build::all_of(conditions);
    list[at].expr = value;
    default_order(parts, &windowing.partition, &time);
    Ok(())
}

/// `diff(x, n)`: the difference to the value before it in the partition.
fn differences(list: &mut [Listed], parts: &mut Parts<'_>, windowing: &Windowing, scope: &Scope) -> Result<()> {
    let mut droppable: Option<Vec<Expr>> = None;
    let mut found = false;
    let time = scope.key();
    for listed in list.iter_mut() {
        let original = listed.expr.clone();
        let made = std::cell::RefCell::new(Vec::new());
        replace(&mut listed.expr, &|candidate| {
            let (_, name, args) = rows_call(candidate)?;
            if name != "diff" {
                return None;
            }
            let option = args.get(1).map_or_else(|| build::number(0), |option| (*option).clone());
            let order = vec![build::ordered(time.clone()?, true)];
            let args = vec![args[0].clone(), option.clone()];
            let call = build::over("__diff", args, windowing.partition.clone(), order);
            made.borrow_mut().push((call.clone(), option));
            Some(call)
        });
        for (call, option) in made.into_inner() {
            found = true;
            let option = match &option {
                Expr::Value(value) => value.value.to_string().parse::<u8>().ok().filter(|n| *n <= 3),
                _ => None,
            };
            let Some(option) = option else {
                let error = error!(InvalidParameterValue, "the second argument of diff is a number from 0 to 3");
                return Err(placed(error, &original));
            };
            let drops = droppable.get_or_insert_with(Vec::new);
            // A row goes only if every DIFF in it is null and says that nulls go.
            if option >= 2 { drops.push(Expr::IsNotNull(Box::new(call))) } else { drops.push(build::text("keep")) }
        }
        if !found
            && let Some((_, name, _)) = rows_call(&original)
            && name == "diff"
        {
            key(scope, &original)?;
        }
    }
    let Some(drops) = droppable else { return Ok(()) };
    if windowing.interval.is_some() {
        return Err(error!(FeatureNotSupported, "diff with INTERVAL is not supported"));
    }
    if drops.iter().all(|drop| matches!(drop, Expr::IsNotNull(_))) {
        let any = drops.into_iter().reduce(|left, right| build::binary(left, BinaryOperator::Or, right));
        let conditions = parts.select.qualify.take().into_iter().chain(any).collect();
        parts.select.qualify = build::all_of(conditions);
    }
    if let Some(time) = time {
        default_order(parts, &windowing.partition, &time);
    }
    Ok(())
}

/// By partition and time, unless something else was asked for.
pub(super) fn default_order(parts: &mut Parts<'_>, partition: &[Expr], time: &Expr) {
    if parts.order_by.is_some() || parts.select.distinct.is_some() {
        return;
    }
    let keys = partition.iter().cloned().chain([time.clone()]);
    let exprs = keys.map(|expr| build::ordered(expr, true)).collect();
    *parts.order_by = Some(OrderBy { kind: OrderByKind::Expressions(exprs), interpolate: None });
}

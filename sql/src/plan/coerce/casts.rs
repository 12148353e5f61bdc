//! Casts: of literals, which are read at once, and of values.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Cast, Expr};
use model::error;

use super::{Rewriter, cast_to};
use crate::functions::pg::conversion;
use crate::functions::pg::numeric::literal;
use crate::pgtype::PgType;
use crate::pgvalue::{ValueSettings, decode};
use crate::plan::error::to_datafusion;
use crate::plan::types::{Typed, castable, category};

impl Rewriter<'_> {
    /// A cast that was written.
    pub(super) fn cast(&self, cast: Cast) -> Result<Expr> {
        let to = Typed::of(&cast.field);
        let Some(from) = self.typed(&cast.expr) else { return Ok(Expr::Cast(cast)) };
        if from.is_unknown() && !matches!(*cast.expr, Expr::Placeholder(_)) && !is_named(to.pg) {
            if let (Expr::Literal(value, _), true) = (cast.expr.as_ref(), to.arrow.is_string()) {
                // Text stays a cast, so that it is not unknown any more.
                let _ = value;
                return Ok(Expr::Cast(cast));
            }
            return self.converted(*cast.expr, &from, &to);
        }
        if from.is_unknown() {
            return Ok(Expr::Cast(cast));
        }
        if !castable(from.pg, to.pg) {
            let error = error!(CannotCoerce, "cannot cast type {} to {}", from.name(), to.name());
            return Err(to_datafusion(error));
        }
        if to.arrow == PgType::NUMERIC.arrow() && from.arrow.is_decimal() {
            // A parameter of unconstrained numeric keeps its own scale.
            return Ok(*cast.expr);
        }
        let float_or_decimal = from.arrow.is_floating() || from.arrow.is_decimal();
        let text = from.arrow.is_string() && !to.arrow.is_string() && !is_named(to.pg);
        let narrower = from.arrow.is_integer() && to.arrow.is_integer() && from.arrow != to.arrow;
        let length = |of: &DataType| matches!(of, DataType::Interval(_) | DataType::Duration(_));
        let clock = |of: &DataType| matches!(of, DataType::Time32(_) | DataType::Time64(_));
        let odd = length(&from.arrow) && (clock(&to.arrow) || length(&to.arrow)) && from.arrow != to.arrow
            || clock(&from.arrow) && length(&to.arrow);
        if (to.arrow.is_integer() && float_or_decimal) || narrower || text || odd {
            return Ok(conversion(*cast.expr, to.pg, to.arrow));
        }
        Ok(self.of_time(Cast { expr: cast.expr, field: cast.field }))
    }

    /// Casts between instants and wall clocks go through the session's zone.
    fn of_time(&self, cast: Cast) -> Expr {
        let to = cast.field.data_type().clone();
        let from = self.type_of(&cast.expr);
        if let DataType::Timestamp(_, Some(_)) = &to {
            if let Some(DataType::Timestamp(unit, None)) = from {
                return self.in_zone(*cast.expr, unit);
            }
            if from == Some(DataType::Date32) {
                let naive = cast_to(*cast.expr, DataType::Timestamp(TimeUnit::Microsecond, None));
                return self.in_zone(naive, TimeUnit::Microsecond);
            }
        }
        let local = matches!(to, DataType::Timestamp(_, None) | DataType::Date32 | DataType::Time64(_));
        if local && let Some(DataType::Timestamp(unit, Some(zone))) = from {
            let own = self.context.timezone.arrow_name();
            if zone.as_ref() != own {
                let wall = cast_to(*cast.expr, DataType::Timestamp(unit, Some(own.into())));
                return Expr::Cast(Cast { expr: Box::new(wall), field: cast.field });
            }
        }
        Expr::Cast(cast)
    }

    /// `expr`, of a type that converts without being asked, as `to`.
    pub(super) fn converted(&self, expr: Expr, from: &Typed, to: &Typed) -> Result<Expr> {
        if let Expr::Alias(alias) = expr {
            return self.converted(*alias.expr, from, to);
        }
        if from.is_unknown() {
            return self.read(expr, to);
        }
        if from.arrow == to.arrow && self.type_of(&expr).as_ref() == Some(&to.arrow) {
            return Ok(expr);
        }
        if let Expr::Literal(value, metadata) = &expr {
            if to.arrow == DataType::Float64
                && value.data_type().is_decimal()
                && let Some(double) = double(value)
            {
                return Ok(Expr::Literal(ScalarValue::Float64(Some(double)), metadata.clone()));
            }
            if to.arrow.is_numeric() && value.data_type().is_integer() {
                return Ok(Expr::Literal(value.cast_to(&to.arrow)?, metadata.clone()));
            }
        }
        if from.arrow.is_string() && to.arrow.is_string() {
            return Ok(expr);
        }
        let cast = Cast::new(Box::new(expr), to.arrow.clone());
        Ok(self.of_time(cast))
    }

    /// A literal or parameter of unknown type, as `to`.
    fn read(&self, expr: Expr, to: &Typed) -> Result<Expr> {
        match expr {
            Expr::Placeholder(Placeholder { id, field: None }) => {
                let arrow = if to.arrow.is_null() { DataType::Utf8 } else { to.arrow.clone() };
                let arrow = if to.pg == PgType::NUMERIC { PgType::NUMERIC.arrow() } else { arrow };
                let field = Arc::new(Field::new(&id, arrow, true));
                Ok(Expr::Placeholder(Placeholder { id, field: Some(field) }))
            }
            Expr::Literal(value, metadata) if value.is_null() => {
                Ok(Expr::Literal(ScalarValue::try_from(&to.arrow)?, metadata))
            }
            Expr::Literal(value, metadata) => {
                let Some(Some(text)) = value.try_as_str() else { return Ok(Expr::Literal(value, metadata)) };
                if to.arrow.is_string() && category(to.pg) == 'S' {
                    return Ok(Expr::Literal(value, metadata));
                }
                if let DataType::Timestamp(unit, Some(zone)) = &to.arrow {
                    let finest = if *unit == TimeUnit::Nanosecond { TimeUnit::Microsecond } else { *unit };
                    return self.instant(text, finest, zone);
                }
                if to.pg == PgType::NUMERIC
                    && let Some(number) = literal(text)
                {
                    // It keeps the scale that it was written with; whoever needs one type converts it once more.
                    return Ok(Expr::Literal(number, metadata));
                }
                let read = decode(to.pg, false, text.as_bytes(), &self.settings()).map_err(to_datafusion)?;
                Ok(Expr::Literal(read.cast_to(&to.arrow)?, metadata))
            }
            other => Ok(other),
        }
    }

    /// How the session reads values.
    fn settings(&self) -> ValueSettings {
        ValueSettings { time_zone: self.context.timezone, ..ValueSettings::default() }
    }
}

/// Types whose text is a name that is looked up.
fn is_named(pg: PgType) -> bool {
    matches!(pg, PgType::REGCLASS | PgType::REGTYPE | PgType::REGPROC | PgType::REGNAMESPACE)
}

/// The double nearest to a decimal.
fn double(value: &ScalarValue) -> Option<f64> {
    let text = crate::pgvalue::scalar_text(value, &Arc::default()).ok()??;
    text.parse().ok()
}

//! What a plan gives the client: names, types and origins of columns, and where in the text an error belongs.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::LogicalPlan;
use model::{Error, Result, error};
use sqlparser::ast::{Expr, Query, Value, Visit, Visitor};

use super::error::shown;
use super::table::{ATTNUM, TABLE_OID};
use crate::pgtype::{PG_TYPMOD, PgType};
use crate::session::OutputColumn;

/// The columns of a plan's result.
#[must_use]
pub(super) fn columns(plan: &LogicalPlan) -> Arc<[OutputColumn]> {
    plan.schema().fields().iter().map(|field| column(field)).collect()
}

fn column(field: &Field) -> OutputColumn {
    let declared = PgType::of(field);
    if !fits(declared, field.data_type()) {
        // A cast keeps what was said of its operand.
        let pg_type = PgType::of_arrow(field.data_type());
        let name = shown(field.name()).to_owned();
        return OutputColumn { name, pg_type, typmod: -1, table_oid: 0, attnum: 0 };
    }
    let number = |key: &str| field.metadata().get(key).and_then(|text| text.parse::<i64>().ok());
    OutputColumn {
        name: shown(field.name()).to_owned(),
        pg_type: declared,
        typmod: number(PG_TYPMOD).and_then(|n| i32::try_from(n).ok()).unwrap_or(-1),
        table_oid: number(TABLE_OID).and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        attnum: number(ATTNUM).and_then(|n| i16::try_from(n).ok()).unwrap_or(0),
    }
}

/// Whether values of this Arrow type can be what the field's metadata says.
fn fits(declared: PgType, data_type: &DataType) -> bool {
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let decimal = matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..));
    PgType::of_arrow(data_type) == declared
        || declared.arrow() == *data_type
        || (text && declared.arrow() == DataType::Utf8)
        || (decimal && declared == PgType::NUMERIC)
}

/// The highest `$n` in a query, 0 if there is none.
///
/// # Errors
///
/// 42P02 for `$0` and for a parameter with a name.
pub(super) fn highest_parameter(query: &Query) -> Result<usize> {
    struct Highest(usize);
    impl Visitor for Highest {
        type Break = Error;
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
            if let Expr::Value(value) = expr
                && let Value::Placeholder(name) = &value.value
            {
                match name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()).filter(|n| *n > 0) {
                    Some(n) => self.0 = self.0.max(n),
                    None => return ControlFlow::Break(error!(UndefinedParameter, "there is no parameter {name}")),
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut highest = Highest(0);
    match query.visit(&mut highest) {
        ControlFlow::Continue(()) => Ok(highest.0),
        ControlFlow::Break(error) => Err(error),
    }
}

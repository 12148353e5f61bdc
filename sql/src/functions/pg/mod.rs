//! PostgreSQL's functions, and TDengine's scalar ones.
//!
//! They are registered once per process. What depends on the session (current_user, names of oids, TimeZone) is found at
//! run time in DataFusion's configuration: [`crate::catalogs::SessionExtension`] and `execution.time_zone`.
//! Start reading at [`scalar::Scalar`], which turns a row-wise function into a DataFusion one.

mod arrays;
mod convert;
mod extract;
mod format;
mod info;
mod json;
mod math;
pub(crate) mod moments;
mod number;
pub(crate) mod numeric;
pub mod scalar;
mod series;
mod similar;
mod sleep;
mod tdengine;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod time;
mod whole;

use std::sync::Arc;

pub(crate) use arrays::{given, parse_array, text_function};
pub(crate) use convert::conversion;
use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;

/// Registers every function. Names that DataFusion has too are replaced.
///
/// # Errors
///
/// If the registry takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in all() {
        registry.register_udf(Arc::new(function))?;
    }
    Ok(())
}

fn all() -> Vec<ScalarUDF> {
    let lists = [
        info::functions(),
        json::functions(),
        arrays::functions(),
        time::functions(),
        format::functions(),
        math::functions(),
        numeric::functions(),
        tdengine::functions(),
        series::functions(),
        sleep::functions(),
        texts::functions(),
        json::functions(),
        vec![similar::function()],
    ];
    lists.concat()
}

//! What can be measured, one module for each mode of the command line.

pub(crate) mod answers;
pub(crate) mod cardinality;
pub(crate) mod disorder;
pub(crate) mod flat;
pub(crate) mod ingest;
pub(crate) mod recovery;
pub(crate) mod size;
pub(crate) mod suite;

use crate::load::Load;
use crate::report::count;

/// Rows per second and per second of CPU, as cells of a table.
fn rates(load: &Load) -> [String; 2] {
    [count(load.rate()), count(load.cpu_rate())]
}

/// A rate as a share of another.
fn share(of: f64, whole: f64) -> String {
    format!("{:.0} %", 100.0 * of / whole)
}

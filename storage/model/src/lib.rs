//! The vocabulary of Marigraph: ids, time, types, schemas, rows, commands, errors, and the waist [`DataPlane`].
//!
//! Every room speaks it, so nothing here does I/O, reads a clock or starts a task. Start reading at [`DataPlane`]:
//! the language (`sql`) is written against it, the agreement (`cluster`) implements it.

pub mod aggregate;
pub mod catalog;
pub mod command;
pub mod error;
pub mod hash;
pub mod id;
pub mod options;
pub mod plane;
pub mod quick;
pub mod scan;
pub mod schema;
pub mod sqlstate;
pub mod time;
pub mod types;
pub mod write;

pub use catalog::Catalog;
pub use error::{Error, Result};
pub use id::{ColumnId, DatabaseId, DnodeId, Sid, Suid, VgroupId};
pub use plane::DataPlane;
pub use sqlstate::SqlState;
pub use time::{Precision, TimeRange};
pub use types::{DataType, Value};

//! Functions that DataFusion lacks or has otherwise than PostgreSQL and TDengine.

pub mod pg;

//! Functions that DataFusion lacks or has otherwise than PostgreSQL and TDengine: windows of time, TDengine's aggregates
//! and row functions ([`timeseries`]), PostgreSQL's functions ([`pg`]).

pub mod aggregate;
pub(crate) mod checked;
pub mod grid;
pub mod pg;
pub mod timeseries;
pub mod window;

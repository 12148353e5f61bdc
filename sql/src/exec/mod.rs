//! The operators that DataFusion lacks. Start reading at [`scan`], the leaf of every plan over our tables.

pub mod aggregate;
pub mod fill;
pub mod held;
pub mod scan;

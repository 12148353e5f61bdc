//! Tests of the whole room: one dnode from its founding to its restart, and groups of three voters in one process.

mod dnode;
mod voters;

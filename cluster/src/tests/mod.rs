//! Tests of the whole room: one dnode from its founding to its restart, groups of three voters in one
//! process, and three dnodes in one process.

mod cluster;
mod dnode;
mod voters;

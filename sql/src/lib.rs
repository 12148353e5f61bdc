//! The language: what a statement means, and how it runs over a [`model::DataPlane`].
//!
//! A statement's life: [`parser`] makes a [`statement::Statement`] of the text; [`lower`] turns TDengine's SELECT into
//! plain SQL; [`plan`] makes a DataFusion plan whose leaves scan vgroups; [`session`] runs it. The hot way of INSERT
//! and COPY goes from text to typed columns without an AST ([`insert`], [`copy`]).
//!
//! This room never names the cluster, the disk or the wire. Only here are sqlparser and DataFusion known.
//! Start reading at [`session::Session`].

pub mod catalogs;
pub mod compat;
pub mod copy;
pub mod exec;
pub mod functions;
pub mod insert;
pub mod literal;
pub mod lower;
pub mod numeric;
pub mod parser;
pub mod pgtype;
pub mod pgvalue;
pub mod plan;
pub mod session;
mod staging;
pub mod statement;
#[cfg(test)]
pub mod testing;

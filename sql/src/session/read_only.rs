//! Which statements a read-only transaction refuses, by the names that PostgreSQL gives them.

use std::ops::ControlFlow;

use sqlparser::ast::{LockType, Query, Visit, Visitor};

use crate::statement::{Other, Statement};

/// The command that a read-only transaction refuses; None for a statement that changes nothing.
pub(super) fn writes(statement: &Statement) -> Option<&'static str> {
    Some(match statement {
        Statement::Query(query) => return locks(query),
        Statement::Explain { analyze: true, statement, .. } => return writes(statement),
        Statement::InsertUnread | Statement::InsertValues | Statement::Insert(_) => "INSERT",
        Statement::Delete { .. } => "DELETE",
        Statement::Update { .. } => "UPDATE",
        Statement::Copy(copy) if copy.from => "COPY FROM",
        Statement::Truncate(_) => "TRUNCATE TABLE",
        Statement::CreateDatabase { .. } => "CREATE DATABASE",
        Statement::AlterDatabase { .. } => "ALTER DATABASE",
        Statement::DropDatabase { .. } => "DROP DATABASE",
        Statement::CreateTable(create) if create.stable => "CREATE STABLE",
        Statement::CreateTable(_) | Statement::CreateChildren(_) => "CREATE TABLE",
        Statement::CreateTableAs { .. } => "CREATE TABLE AS",
        Statement::AlterTable { stable: true, .. } => "ALTER STABLE",
        Statement::AlterTable { .. } => "ALTER TABLE",
        Statement::DropTable { stable: true, .. } => "DROP STABLE",
        Statement::DropTable { .. } => "DROP TABLE",
        Statement::CreateView { .. } => "CREATE VIEW",
        Statement::DropView { .. } => "DROP VIEW",
        Statement::CreateDnode { .. } => "CREATE DNODE",
        Statement::CreateMnode { .. } => "CREATE MNODE",
        Statement::CreateUser { .. } => "CREATE ROLE",
        Statement::AlterUser { .. } => "ALTER ROLE",
        Statement::DropUser { .. } => "DROP ROLE",
        Statement::Trim(_) => "TRIM DATABASE",
        // What only moves bytes is allowed, as VACUUM is.
        Statement::Other(Other::Accept(tag)) if !matches!(*tag, "VACUUM" | "ANALYZE" | "REINDEX" | "CLUSTER") => tag,
        _ => return None,
    })
}

/// FOR UPDATE and its kin at any depth.
fn locks(query: &Query) -> Option<&'static str> {
    struct Locks;
    impl Visitor for Locks {
        type Break = &'static str;
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
            match query.locks.first().map(|lock| &lock.lock_type) {
                Some(LockType::Update) => ControlFlow::Break("SELECT FOR UPDATE"),
                Some(LockType::Share) => ControlFlow::Break("SELECT FOR SHARE"),
                None => ControlFlow::Continue(()),
            }
        }
    }
    match query.visit(&mut Locks) {
        ControlFlow::Break(command) => Some(command),
        ControlFlow::Continue(()) => None,
    }
}

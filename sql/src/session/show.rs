//! SET, RESET, DISCARD, SHOW of settings, and SHOW and DESCRIBE of TDengine's things, which are queries on the catalogs.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use model::{Result, fail};
use sqlparser::ast;

use super::execute::{text_columns, text_rows};
use super::resolve::{self, Object};
use super::{OutputColumn, Rows, Session};
use crate::catalogs::{self, CatalogContext, describe};
use crate::statement::{Show, Statement};

impl Session {
    pub(super) fn set(&mut self, name: &str, values: Option<&[String]>, local: bool) -> Result<String> {
        if local && !self.transaction.holds() {
            self.warn("25P01", "SET LOCAL can only be used in transaction blocks");
            // What is wrong with it is said all the same.
            self.settings.now().as_ref().clone().set_list(name, values, true)?;
            return Ok("SET".to_owned());
        }
        self.settings.change(|settings| settings.set_list(name, values, local))?;
        Ok("SET".to_owned())
    }

    pub(super) fn reset(&mut self, name: &str) -> Result<String> {
        self.settings.change(|settings| {
            if name.eq_ignore_ascii_case("all") {
                settings.reset_all();
                return Ok(());
            }
            settings.reset(name)
        })?;
        Ok("RESET".to_owned())
    }

    pub(super) fn discard(&mut self, what: &str) -> Result<String> {
        match what.to_ascii_uppercase().as_str() {
            "ALL" => {
                if self.transaction.holds() {
                    fail!(ActiveSqlTransaction, "DISCARD ALL cannot run inside a transaction block");
                }
                self.cursors.clear();
                self.prepared.clear();
                self.reset("all")?;
                Ok("DISCARD ALL".to_owned())
            }
            "PLANS" => Ok("DISCARD PLANS".to_owned()),
            "SEQUENCES" => Ok("DISCARD SEQUENCES".to_owned()),
            _ => Ok("DISCARD TEMP".to_owned()),
        }
    }

    pub(super) fn setting_columns(&self, name: &str) -> Arc<[OutputColumn]> {
        if name.eq_ignore_ascii_case("all") {
            ["name", "setting", "description"].iter().flat_map(|name| text_columns(name).to_vec()).collect()
        } else {
            text_columns(spelling(name))
        }
    }

    pub(super) fn show_setting(&self, name: &str) -> Result<Rows> {
        if name.eq_ignore_ascii_case("all") {
            let settings = self.settings.now();
            let all = settings.all().into_iter().map(|(name, value, text)| vec![Some(name), Some(value), Some(text)]);
            return text_rows(&["name", "setting", "description"], all.collect(), "SHOW");
        }
        let value = self.setting(name).ok_or_else(|| super::settings::unknown(name))?;
        text_rows(&[spelling(name)], vec![vec![Some(value)]], "SHOW")
    }

    /// The value of a setting as SHOW prints it: the session's, or what the server is known to be.
    fn setting(&self, name: &str) -> Option<String> {
        let known = || catalogs::statics::default_setting(name).map(str::to_owned);
        self.settings.now().shown(name).or_else(known)
    }

    /// The columns of a SHOW or DESCRIBE, which does not run for it.
    pub(super) async fn show_columns(&self, statement: &Statement) -> Result<Arc<[OutputColumn]>> {
        match self.shown(statement).await? {
            Shown::Rows(batch) => Ok(columns_of(&batch)),
            Shown::Query(query) => Ok(self.plan(&query, &[]).await?.columns),
        }
    }

    /// SHOW and DESCRIBE of TDengine's things.
    pub(super) async fn show(&self, statement: &Statement) -> Result<Rows> {
        match self.shown(statement).await? {
            Shown::Rows(batch) => Ok(Rows {
                columns: columns_of(&batch),
                schema: batch.schema(),
                stream: Box::pin(futures::stream::iter([Ok(batch)])),
                tag: "SHOW",
                binary: false,
            }),
            Shown::Query(query) => Ok(Rows { tag: "SHOW", ..self.run_query(&query, Vec::new()).await? }),
        }
    }

    async fn shown(&self, statement: &Statement) -> Result<Shown> {
        let show = match statement {
            Statement::Describe(name) => {
                let found = resolve::table(self.plane(), &self.database, name).await?;
                let Object::Table(table) = &found.object else {
                    fail!(WrongObjectType, "\"{}\" is a view: \\d shows its columns", name.name);
                };
                return Ok(Shown::Rows(describe::describe(table)?));
            }
            Statement::Show(show) => show,
            other => fail!(InternalError, "{other:?} is no SHOW"),
        };
        Ok(Shown::Rows(match show {
            Show::CreateTable(name) => {
                let found = resolve::table(self.plane(), &self.database, name).await?;
                match &found.object {
                    Object::Table(table) => describe::show_create_table(table)?,
                    Object::View(view) => describe::show_create_view(view)?,
                }
            }
            Show::CreateDatabase(name) => {
                let database = resolve::database(self.plane(), name).await?;
                describe::show_create_database(&database)?
            }
            Show::CreateView(name) => {
                let found = resolve::table(self.plane(), &self.database, name).await?;
                let Object::View(view) = &found.object else {
                    fail!(WrongObjectType, "\"{}\" is not a view", name.name);
                };
                describe::show_create_view(view)?
            }
            other => return self.shown_by_query(other).await,
        }))
    }

    async fn shown_by_query(&self, show: &Show) -> Result<Shown> {
        if let Some(database) = shown_database(show) {
            resolve::database(self.plane(), database).await?;
        }
        let Some(text) = catalogs::show::show(show, &self.catalog_context())? else {
            fail!(FeatureNotSupported, "SHOW {show:?} is not supported");
        };
        let parsed = self.parse_one(&text)?;
        let Statement::Query(query) = parsed.statement else {
            fail!(InternalError, "SHOW is not a query: {text}");
        };
        Ok(Shown::Query(query))
    }

    /// What the catalogs are asked with.
    pub(super) fn catalog_context(&self) -> CatalogContext {
        let plane = self.engine.plane.clone();
        let mut context = CatalogContext::new(plane.catalog(), plane, &self.database, &self.login.user);
        context.settings = self.settings.clone();
        context.backend = self.login.backend;
        context.address.clone_from(&self.login.address);
        context.now_us = self.now_us();
        context.started_ms = self.engine.started_ms;
        context.observer = self.engine.observer.get().cloned();
        context
    }
}

/// What a SHOW gives.
enum Shown {
    /// These rows.
    Rows(RecordBatch),
    /// Those of a query on the catalogs.
    Query(Box<ast::Query>),
}

fn columns_of(batch: &RecordBatch) -> Arc<[OutputColumn]> {
    let column = |field: &Arc<Field>| OutputColumn {
        name: field.name().clone(),
        pg_type: crate::pgtype::PgType::of(field),
        typmod: -1,
        table_oid: 0,
        attnum: 0,
    };
    batch.schema().fields().iter().map(column).collect()
}

/// The database that a SHOW names.
fn shown_database(show: &Show) -> Option<&str> {
    match show {
        Show::Tables(_, database, _) | Show::Stables(database, _) | Show::Vgroups(database) | Show::Alive(database) => {
            database.as_deref()
        }
        _ => None,
    }
}

/// A setting's name as PostgreSQL spells it.
fn spelling(name: &str) -> &str {
    super::SETTINGS.iter().find(|setting| setting.name.eq_ignore_ascii_case(name)).map_or(name, |setting| setting.name)
}

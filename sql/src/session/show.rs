//! SET, RESET, DISCARD, SHOW of settings, and SHOW and DESCRIBE of TDengine's things, which are queries on the catalogs.

use std::sync::Arc;

use model::{Result, error, fail};

use super::execute::{text_columns, text_rows};
use super::resolve::{self, Object};
use super::{OutputColumn, Rows, Session};
use crate::catalogs::{self, CatalogContext, describe};
use crate::statement::{Show, Statement};

impl Session {
    pub(super) fn set(&mut self, name: &str, values: Option<Vec<String>>, local: bool) -> Result<String> {
        if local && !self.transaction.is_block() {
            self.notices.push(super::Notice {
                severity: "WARNING",
                code: "25P01",
                message: "SET LOCAL can only be used in transaction blocks".to_owned(),
            });
            return Ok("SET".to_owned());
        }
        if local && !self.locals.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            let before = self.settings.get(name).unwrap_or_default().to_owned();
            self.locals.push((name.to_owned(), before));
        }
        let change = match values {
            Some(values) => self.settings.set(name, &values.join(", "))?,
            None => self.settings.reset(name)?,
        };
        self.changes.extend(change);
        Ok("SET".to_owned())
    }

    /// The end of a transaction takes SET LOCAL back.
    pub(super) fn restore_locals(&mut self) {
        for (name, value) in std::mem::take(&mut self.locals) {
            if let Ok(change) = self.settings.set(&name, &value) {
                self.changes.extend(change);
            }
        }
    }

    /// ROLLBACK takes every SET of the transaction back, and clients are told of what they follow.
    pub(super) fn restore_settings(&mut self) {
        let Some(before) = self.settings_before.take() else { return };
        let changed = self.settings.reported();
        self.settings = before;
        let now = self.settings.reported();
        self.changes.extend(now.into_iter().filter(|setting| !changed.contains(setting)));
        self.locals.clear();
    }

    pub(super) fn reset(&mut self, name: &str) -> Result<String> {
        if name.eq_ignore_ascii_case("all") {
            let changes = self.settings.reset_all();
            self.changes.extend(changes);
        } else {
            let change = self.settings.reset(name)?;
            self.changes.extend(change);
        }
        Ok("RESET".to_owned())
    }

    pub(super) fn discard(&mut self, what: &str) -> Result<String> {
        match what.to_ascii_uppercase().as_str() {
            "ALL" => {
                if self.transaction.is_block() {
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
            let all =
                self.settings.all().into_iter().map(|(name, value, text)| vec![Some(name), Some(value), Some(text)]);
            return text_rows(&["name", "setting", "description"], all.collect(), "SHOW");
        }
        let Some(value) = self.settings.get(name) else {
            return Err(error!(UndefinedObject, "unrecognized configuration parameter \"{name}\"")
                .with_hint("SHOW ALL lists the settings."));
        };
        text_rows(&[spelling(name)], vec![vec![Some(value.to_owned())]], "SHOW")
    }

    /// SHOW and DESCRIBE of TDengine's things.
    pub(super) async fn show(&mut self, statement: &Statement) -> Result<Rows> {
        let show = match statement {
            Statement::Describe(name) => {
                let found = resolve::table(self.plane(), &self.database, name).await?;
                let Object::Table(table) = &found.object else {
                    fail!(WrongObjectType, "\"{}\" is a view: \\d shows its columns", name.name);
                };
                return self.batch_rows(describe::describe(table)?);
            }
            Statement::Show(show) => show,
            other => fail!(InternalError, "{other:?} is no SHOW"),
        };
        match show {
            Show::CreateTable(name) => {
                let found = resolve::table(self.plane(), &self.database, name).await?;
                match &found.object {
                    Object::Table(table) => self.batch_rows(describe::show_create_table(table)?),
                    Object::View(view) => self.batch_rows(describe::show_create_view(view)?),
                }
            }
            Show::CreateDatabase(name) => {
                let database = resolve::database(self.plane(), name).await?;
                self.batch_rows(describe::show_create_database(&database)?)
            }
            Show::CreateView(name) => {
                let found = resolve::table(self.plane(), &self.database, name).await?;
                let Object::View(view) = &found.object else {
                    fail!(WrongObjectType, "\"{}\" is not a view", name.name);
                };
                self.batch_rows(describe::show_create_view(view)?)
            }
            other => {
                if let Some(database) = shown_database(other) {
                    resolve::database(self.plane(), database).await?;
                }
                let Some(text) = catalogs::show::show(other, &self.catalog_context())? else {
                    fail!(FeatureNotSupported, "SHOW {other:?} is not supported");
                };
                let parsed = self.parse_one(&text)?;
                let Statement::Query(query) = parsed.statement else {
                    fail!(InternalError, "SHOW is not a query: {text}");
                };
                let mut rows = self.run_query(&query, Vec::new()).await?;
                rows.tag = "SHOW";
                Ok(rows)
            }
        }
    }

    /// What the catalogs are asked with.
    pub(super) fn catalog_context(&self) -> CatalogContext {
        let plane = self.engine.plane.clone();
        let mut context = CatalogContext::new(plane.catalog(), plane, &self.database, &self.login.user);
        context.settings = self.settings.all().into_iter().map(|(name, value, _)| (name, value)).collect();
        context.backend = self.login.backend;
        context.address.clone_from(&self.login.address);
        context.now_us = self.now_us();
        context.started_ms = self.engine.started_ms;
        context
    }

    fn batch_rows(&self, batch: datafusion::arrow::array::RecordBatch) -> Result<Rows> {
        let schema = batch.schema();
        let columns = schema.fields().iter().map(|field| OutputColumn {
            name: field.name().clone(),
            pg_type: crate::pgtype::PgType::of(field),
            typmod: -1,
            table_oid: 0,
            attnum: 0,
        });
        let columns = columns.collect();
        Ok(Rows { columns, schema, stream: Box::pin(futures::stream::iter([Ok(batch)])), tag: "SHOW" })
    }
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

//! The wire's session made of `sql`, and its users made of the catalog.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::Result;
use model::catalog::User;
use sql::copy::CopyIn;
use sql::pgvalue::ValueSettings;
use sql::session::{
    Engine, Kept, Login, Notice, Outcome, OutputColumn, Parameter, Prepared, Rows, Session, TransactionStatus,
};
use sql::statement::Parsed;

use super::backend::{Backend, Shape, WireSession};

/// Sessions over one engine.
pub(crate) struct EngineBackend {
    pub(crate) engine: Arc<Engine>,
}

#[async_trait]
impl Backend for EngineBackend {
    type Session = Session;

    fn user(&self, name: &str) -> Option<User> {
        self.engine.plane().catalog().users.get(name).cloned()
    }

    async fn open(&self, login: Login) -> Result<Session> {
        self.engine.session(login).await
    }
}

#[async_trait]
impl WireSession for Session {
    type Parsed = Parsed;
    type Prepared = Prepared;

    fn parse(&mut self, text: &str) -> Result<Vec<Parsed>> {
        Self::parse(self, text)
    }

    fn parse_to_run(&mut self, text: &mut String) -> Result<Vec<Parsed>> {
        Self::parse_to_run(self, text)
    }

    fn recall(&mut self, text: &str) -> Option<Parsed> {
        Self::recall(self, text)
    }

    async fn prepare(&mut self, parsed: Parsed, types: &[u32]) -> Result<Prepared> {
        Self::prepare(self, parsed, types).await
    }

    fn shape(&self, prepared: &Prepared) -> Shape {
        Shape { parameters: prepared.parameters.clone(), columns: prepared.columns.clone() }
    }

    async fn execute(&mut self, prepared: &Prepared, parameters: Vec<Parameter>) -> Result<Outcome> {
        Self::execute(self, prepared, parameters).await
    }

    async fn run_once(&mut self, parsed: Parsed) -> Result<Outcome> {
        Self::run_once(self, parsed).await
    }

    async fn finish_copy(&mut self, copy: CopyIn) -> Result<String> {
        Self::finish_copy(self, copy).await
    }

    fn begin_implicit(&mut self) {
        Self::begin_implicit(self);
    }

    async fn end_implicit(&mut self, ok: bool) -> Result<()> {
        if ok {
            return Self::end_implicit(self).await;
        }
        Self::fail(self);
        Ok(())
    }

    fn fail(&mut self) {
        Self::fail(self);
    }

    fn status(&self) -> TransactionStatus {
        Self::status(self)
    }

    fn database(&self) -> &str {
        Self::database(self)
    }

    fn settings(&self) -> Arc<ValueSettings> {
        Arc::new(self.value_settings())
    }

    fn statement_timeout(&self) -> Option<Duration> {
        Self::settings(self).statement_timeout()
    }

    fn idle_timeout(&self) -> Option<Duration> {
        Self::settings(self).idle_timeout(Self::status(self) != TransactionStatus::Idle)
    }

    fn reported(&self) -> Vec<(String, String)> {
        Self::settings(self).reported()
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        Self::take_parameter_changes(self)
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        Self::take_notices(self)
    }

    fn keep(&mut self, name: &str, text: &str, types: &[u32]) -> Result<u64> {
        Self::keep(self, name, text, types)
    }

    fn kept(&self, name: &str) -> Option<&Kept> {
        Self::kept(self, name)
    }

    fn forget(&mut self, name: &str) {
        Self::forget(self, name);
    }

    fn cursor(&self, name: &str) -> Option<(Arc<[OutputColumn]>, bool)> {
        Self::cursor(self, name)
    }

    async fn fetch_portal(&mut self, name: &str, limit: Option<u64>) -> Result<Rows> {
        Self::fetch_portal(self, name, limit).await
    }

    fn close_portal(&mut self, name: &str) {
        Self::close_portal(self, name);
    }
}

//! How a query runs that was planned before: at once after it was described, or later as a prepared statement.
//!
//! A plan is used again only where the statement would be planned in the same way ([`PlanContext::is_like`]); from the
//! second time on it is a [`Template`] if it can be one. All else is planned anew. Start reading at
//! [`Session::run_described`] and [`Session::run_again`].

use std::sync::Arc;

use datafusion::common::ScalarValue;
use model::{Result, fail};
use parking_lot::Mutex;
use sqlparser::ast;

use super::execute::shift;
use super::repeat::{Match, Skeleton};
use super::{Prepared, Rows, Session};
use crate::plan::Planned;
use crate::plan::template::Template;
use crate::statement::Statement;

/// What is kept of the planning of a prepared statement.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// As it was planned last.
    planned: Option<Planned>,
    template: Option<Arc<Template>>,
    /// A template cannot be made of it.
    single: bool,
    /// Whether it has run.
    ran: bool,
    /// It is a statement that has come before, with these values.
    matched: Option<Match>,
    /// It is one that has come before, and has no plan yet.
    repeats: Option<Skeleton>,
}

/// The plan of a prepared statement, which changes as the statement runs.
#[derive(Clone, Debug, Default)]
pub(super) struct PlanCell(Arc<Mutex<Plan>>);

impl PlanCell {
    /// A plan that was just made.
    pub(super) fn of(planned: Planned) -> Self {
        let plan = Plan { planned: Some(planned), ..Plan::default() };
        Self(Arc::new(Mutex::new(plan)))
    }

    /// The plan of a statement that has come before.
    pub(super) fn matched(matched: Match) -> Self {
        let plan = Plan { matched: Some(matched), ..Plan::default() };
        Self(Arc::new(Mutex::new(plan)))
    }

    /// Has a plan kept of it for others of this skeleton, when it runs.
    pub(super) fn repeats(&self, skeleton: Option<Skeleton>) {
        if skeleton.is_some() {
            self.0.lock().repeats = skeleton;
        }
    }

    fn planned(&self) -> Option<Planned> {
        self.0.lock().planned.clone()
    }

    fn template(&self) -> Option<Arc<Template>> {
        self.0.lock().template.clone()
    }

    /// Whether it is time to make a template: what runs once needs none.
    fn may_be_template(&self) -> bool {
        let mut plan = self.0.lock();
        std::mem::replace(&mut plan.ran, true) && plan.template.is_none() && !plan.single
    }

    fn keep(&self, planned: &Planned) {
        *self.0.lock() = Plan { planned: Some(planned.clone()), ..Plan::default() };
    }

    fn keep_template(&self, template: Option<Template>) {
        let mut plan = self.0.lock();
        plan.single = template.is_none();
        plan.template = template.map(Arc::new);
    }
}

impl Session {
    /// Runs a query that was described by the same statement.
    pub(super) async fn run_described(
        &mut self,
        prepared: &Prepared,
        query: &ast::Query,
        values: Vec<ScalarValue>,
    ) -> Result<Rows> {
        let Some(planned) = prepared.plan.planned() else {
            return self.run_query_as(query, values, &prepared.parameters).await;
        };
        self.engine.plans.miss();
        let repeats = prepared.plan.0.lock().repeats.take();
        if let Some(skeleton) = repeats {
            self.learn(&skeleton, query, prepared.parsed.offset, &planned).await;
        }
        self.run_planned(&planned, values).await
    }

    /// Runs a query that was prepared by an earlier statement.
    pub(super) async fn run_again(
        &mut self,
        prepared: &Prepared,
        query: &ast::Query,
        values: Vec<ScalarValue>,
    ) -> Result<Rows> {
        let cell = &prepared.plan;
        if self.settings.now().keeps_plans() {
            let context = self.plan_context();
            if let Some(template) = cell.template()
                && let Some(rows) = self.run_template(&template, &values).await
            {
                self.engine.plans.hit(None);
                return Ok(rows);
            }
            if let Some(planned) = cell.planned()
                && let Some(planned) = planned.again(&self.engine.plane, context).await?
            {
                if cell.may_be_template() {
                    let planner = &self.engine.planner;
                    let original = planner.bound(&planned, values.clone())?;
                    cell.keep_template(planner.template(&planned, &values, &original));
                }
                self.engine.plans.hit(None);
                return self.run_planned(&planned, values).await;
            }
        }
        self.engine.plans.miss();
        let types: Vec<_> = prepared.parameters.iter().copied().map(Some).collect();
        let planned = self.plan(query, &types).await?;
        cell.keep(&planned);
        self.run_planned(&planned, values).await
    }

    /// Runs a statement whose text has come before. If its plan serves no more, the statement is planned by itself.
    pub(super) async fn run_repeated(&mut self, prepared: &Prepared) -> Result<Rows> {
        let matched = prepared.plan.0.lock().matched.clone();
        if let Some(Match { known, values, key }) = matched
            && let Some(rows) = self.run_template(&known.template, &values).await
        {
            self.engine.plans.hit(Some(&key));
            return Ok(rows);
        }
        let parsed = self.parse_one(&prepared.parsed.text)?;
        let Statement::Query(query) = &parsed.statement else {
            fail!(InternalError, "a query has become something else");
        };
        self.engine.plans.miss();
        self.text = Arc::from(parsed.text.as_str());
        self.run_query(query, Vec::new()).await.map_err(|error| shift(error, parsed.offset))
    }

    /// The rows of a template, None if the statement is to be planned by itself: also where it fails, because then it
    /// says what is wrong in its own words.
    async fn run_template(&self, template: &Template, values: &[ScalarValue]) -> Option<Rows> {
        let context = self.plan_context();
        let run = self.engine.planner.run_template(template, values, &context).await;
        let (schema, stream) = run.ok().flatten()?;
        Some(Rows { columns: template.columns(), schema, stream, tag: "SELECT", binary: false })
    }

    async fn run_planned(&self, planned: &Planned, values: Vec<ScalarValue>) -> Result<Rows> {
        let (schema, stream) = self.engine.planner.execute(planned, values).await?;
        Ok(Rows { columns: Arc::clone(&planned.columns), schema, stream, tag: "SELECT", binary: false })
    }
}

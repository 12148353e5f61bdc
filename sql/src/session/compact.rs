//! COMPACT DATABASE and KILL COMPACT.

use model::plane::Command;
use model::{Precision, Result, TimeRange, error};

use super::Session;
use crate::statement::TimeBound;

impl Session {
    /// COMPACT DATABASE of all times, or of the buckets that overlap some. Answers when it is done.
    pub(super) async fn compact(
        &mut self,
        name: &str,
        start: Option<&TimeBound>,
        end: Option<&TimeBound>,
    ) -> Result<String> {
        let database = super::resolve::database(self.plane(), name).await?;
        let precision = database.options.precision;
        let all = TimeRange::ALL;
        let range = TimeRange {
            min: start.map_or(Ok(all.min), |bound| self.tick(bound, precision))?,
            max: end.map_or(Ok(all.max), |bound| self.tick(bound, precision))?,
        };
        if let (true, Some(end)) = (range.is_empty(), end) {
            return Err(error!(InvalidParameterValue, "END WITH lies before START WITH").at(end.position));
        }
        self.engine.plane.admin(Command::Compact { database: database.id, range }).await?;
        Ok("COMPACT DATABASE".to_owned())
    }

    pub(super) async fn kill_compact(&mut self, id: u64) -> Result<String> {
        self.engine.plane.admin(Command::KillCompact(id)).await?;
        Ok("KILL COMPACT".to_owned())
    }

    fn tick(&self, bound: &TimeBound, precision: Precision) -> Result<i64> {
        crate::literal::timestamp(&bound.text, precision, &self.reading()).map_err(|error| error.at(bound.position))
    }
}

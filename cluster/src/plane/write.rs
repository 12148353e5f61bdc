//! Writing: each vgroup's share is cut into parts, stamped with (writer, seq), and asked of the leader until it is
//! applied, refused, or nobody can know.

use futures::future::join_all;
use model::command::{Applied, Rejection, Stamp};
use model::write::{Effect, Outcome, Share, WriteBatch};
use model::{Catalog, DatabaseId, Error, Result, SqlState, VgroupId, error};
use tokio::time::Instant;

use super::share::{PART_BYTES_MAX, Part, Step, cut, split};
use super::{LOOK_AGAIN, Plane};
use crate::peers::{Request, Response, Written};
use crate::raft::group::{Lost, Pending};
use crate::vgroup::replica::{NotWritten, applied};

/// How often a stale part is looked up again: each time a table must have been dropped at the wrong moment.
const STALE_MAX: usize = 8;

/// What one attempt at a part came to.
enum Attempt {
    Applied(Applied),
    /// Certainly not applied by this attempt.
    Refused(Error),
    /// Not proposed by this attempt, but another one may succeed.
    NotLed,
    /// Perhaps applied.
    Unknown(String),
}

impl Plane {
    pub(super) async fn write_all(&self, batch: WriteBatch) -> Result<Outcome> {
        let _room = self.node.room(batch.bytes() as u64, self.deadline()).await?;
        let catalog = self.node.catalog();
        let database = batch.database;
        let shares = split(&catalog, batch)?;
        let writes = shares.into_iter().map(|(vgroup, steps)| {
            let catalog = &catalog;
            async move { Share { vgroup, result: self.write_share(catalog, database, vgroup, steps).await } }
        });
        Ok(Outcome { shares: join_all(writes).await })
    }

    async fn write_share(
        &self,
        catalog: &Catalog,
        database: DatabaseId,
        vgroup: VgroupId,
        steps: Vec<Step>,
    ) -> Result<Effect> {
        let epoch = catalog.vgroups.get(&vgroup).map_or(0, |vgroup| vgroup.epoch);
        let part = |steps| Part { stamp: self.stamp(), database, epoch, steps };
        let parts: Vec<Part> = cut(steps, PART_BYTES_MAX).into_iter().map(part).collect();
        let of = parts.len();
        let mut total = Effect::default();
        // All parts stand in the log before the first answer is awaited, in order; what fails is repeated alone.
        let mut proposed = Vec::with_capacity(of);
        for part in parts {
            let first = self.propose_here(vgroup, &part).await;
            proposed.push((part, first));
        }
        for (done, (part, first)) in proposed.into_iter().enumerate() {
            match self.finish(vgroup, part, first).await {
                Ok(effect) => add(&mut total, effect),
                Err(error) if done == 0 && of == 1 => return Err(error),
                Err(error) => {
                    let message = format!(
                        "The write was larger than one log entry: \
                         {done} of {of} parts were applied ({} rows) before this",
                        total.written
                    );
                    return Err(if error.fields().detail.is_some() { error } else { error.with_detail(message) });
                }
            }
        }
        Ok(total)
    }

    /// The next (writer, seq); the leader adds its time.
    fn stamp(&self) -> Stamp {
        let (writer, seq) = self.node.next_seq();
        Stamp { hlc: 0, origin: 0, writer, seq }
    }

    /// Proposes a part to the replica here, if there is one and it leads.
    async fn propose_here(&self, vgroup: VgroupId, part: &Part) -> Option<Result<Pending, NotWritten>> {
        let replica = self.node.replica(vgroup)?;
        if let Some(error) = replica.broken() {
            return Some(Err(NotWritten::Refused(error)));
        }
        if !replica.group.is_leader() {
            return None;
        }
        Some(replica.propose(part).await)
    }

    /// Repeats a part until it is known what became of it, or until nobody can know in time.
    async fn finish(
        &self,
        vgroup: VgroupId,
        mut part: Part,
        first: Option<Result<Pending, NotWritten>>,
    ) -> Result<Effect> {
        let deadline = self.deadline();
        let mut first = Some(first);
        let mut doubt: Option<String> = None;
        let mut stale = 0;
        for tried in 0.. {
            let attempt = match first.take().flatten() {
                Some(proposed) => pending(proposed).await,
                None => self.attempt(vgroup, &part, tried).await,
            };
            match attempt {
                Attempt::Applied(Applied::Done(effect)) => return Ok(effect),
                Attempt::Applied(Applied::Rejected(Rejection::Stale)) if stale < STALE_MAX => {
                    // Rejected for good under its old number: a new number for a new lookup.
                    stale += 1;
                    part.stamp = self.stamp();
                    doubt = None;
                    continue;
                }
                Attempt::Applied(Applied::Rejected(rejection)) => return Err(rejected(vgroup, rejection)),
                Attempt::Refused(error) => return Err(doubt.map_or(error, |why| unknown(vgroup, &why))),
                Attempt::Unknown(why) => doubt = Some(why),
                Attempt::NotLed => {}
            }
            if Instant::now() > deadline || self.running().is_err() {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        match doubt {
            Some(why) => Err(unknown(vgroup, &why)),
            None => {
                self.running()?;
                Err(self.no_leader(vgroup))
            }
        }
    }

    /// One attempt, here or at the leader elsewhere.
    async fn attempt(&self, vgroup: VgroupId, part: &Part, tried: usize) -> Attempt {
        if let Some(proposed) = self.propose_here(vgroup, part).await {
            return pending(proposed).await;
        }
        let Some(member) = self.leader_of(vgroup, tried).filter(|member| member.dnode != self.node.dnode()) else {
            return Attempt::NotLed;
        };
        let request = Request::Write { vgroup, share: part.encode() };
        let asked = self.node.world.network.call(&member.endpoint, request);
        match self.while_leading(vgroup, &member, asked).await {
            Ok(Response::Written(Written::Applied(applied))) => Attempt::Applied(applied),
            Ok(Response::Written(Written::Refused(refusal))) => Attempt::Refused(refusal.into()),
            Ok(Response::Written(Written::Unknown(why))) => Attempt::Unknown(why),
            Ok(Response::NotLeader(_)) => Attempt::NotLed,
            Ok(Response::Failed(refusal)) => match Error::from(refusal) {
                // It is going down, or not up yet: another one will lead.
                error if moves_on(&error) => Attempt::NotLed,
                error => Attempt::Refused(error),
            },
            Ok(other) => Attempt::Unknown(format!("{} answered {other:?}", member.endpoint)),
            Err(unreachable) if unreachable.sent => Attempt::Unknown(unreachable.to_string()),
            Err(_) => Attempt::NotLed,
        }
    }
}

/// Whether the refusal is about the dnode that was asked and not about what it was asked.
pub(super) fn moves_on(error: &Error) -> bool {
    matches!(error.state(), SqlState::AdminShutdown | SqlState::CannotConnectNow)
}

/// Waits for what was proposed here.
async fn pending(proposed: Result<Pending, NotWritten>) -> Attempt {
    match proposed {
        Ok(pending) => match pending.answer().await {
            Ok((_, answer)) => applied(answer).map_or_else(Attempt::Refused, Attempt::Applied),
            Err(Lost::NotLeader(_)) => Attempt::NotLed,
            Err(Lost::Unknown(why) | Lost::Stopped(why)) => Attempt::Unknown(why),
        },
        Err(NotWritten::Refused(error)) => Attempt::Refused(error),
        Err(NotWritten::Lost(Lost::Unknown(why))) => Attempt::Unknown(why),
        Err(NotWritten::Lost(_)) => Attempt::NotLed,
    }
}

fn add(total: &mut Effect, effect: Effect) {
    total.written += effect.written;
    total.deleted += effect.deleted;
    total.created += effect.created;
    total.dropped += effect.dropped;
}

/// 40003: the client must look.
fn unknown(vgroup: VgroupId, why: &str) -> Error {
    error!(StatementCompletionUnknown, "it is not known whether vgroup {} applied the write", vgroup.0)
        .with_detail(why.to_owned())
        .with_hint("Read back what was written, or write it again: rows with the same key replace each other")
}

fn rejected(vgroup: VgroupId, rejection: Rejection) -> Error {
    match rejection {
        Rejection::Stale => error!(UndefinedTable, "a table of the write was dropped while it was under way"),
        Rejection::WrongVgroup => {
            error!(SerializationFailure, "vgroup {} no longer holds the tables of the write", vgroup.0)
        }
        Rejection::TableExists(name) => error!(DuplicateTable, "table \"{name}\" already exists"),
        Rejection::OtherRelation(name) => error!(DuplicateTable, "table \"{name}\" exists in another super table"),
        Rejection::NoTable(name) => error!(UndefinedTable, "table \"{name}\" does not exist"),
        Rejection::Forgotten => unknown(vgroup, "The write is so old that its outcome was forgotten"),
    }
}

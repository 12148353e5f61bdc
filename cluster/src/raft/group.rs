//! One replica of one Raft group, as the rest of the room uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::VgroupId;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, InitializeError, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::{ClientWriteResult, VoteRequest, VoteResponse};
use openraft::storage::{RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::{Config, LinearizerOption, Raft, ServerState, SnapshotPolicy};
use tokio::time::Instant;

use super::log_store::LogStore;
use super::network::{Links, Snapshot};
use super::types::{Answer, Command, LogId, Member, SnapshotMeta, Types, Vote, decode, encode};
use crate::Settings;
use crate::peers::{Network, RaftCall};
use crate::raft::inbox::Inbox;
use crate::suspect::Suspicion;

/// Part of an election timeout that a lease may be used for: the rest is for clocks that drift (decision 17).
const LEASE_PERCENT: u64 = 80;

/// Between two campaigns of a new group, and how many there are before it is left to elections.
const FIRST_CAMPAIGN: Duration = Duration::from_millis(50);
const FIRST_CAMPAIGNS_MAX: usize = 40;

/// Entries that a voter may lack and still be handed the leadership.
const HAND_OVER_ENTRIES_MAX: u64 = 64;

/// Why a group did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    /// Nothing happened: somebody else leads, or nobody does.
    NotLeader(Option<Member>),
    /// It was proposed, and nobody here knows what became of it.
    Unknown(String),
    /// This replica has stopped: its disk failed, or the dnode is going down. Nothing happened.
    Stopped(String),
}

/// The answer to a proposal, once it is there.
pub(crate) struct Pending(tokio::sync::oneshot::Receiver<ClientWriteResult<Types>>);

/// One replica of one group.
pub(crate) struct Group<SM: RaftStateMachine<Types>> {
    pub(crate) id: VgroupId,
    pub(crate) replica: u64,
    pub(crate) store: LogStore,
    raft: Raft<Types, SM>,
    lease: Duration,
    /// No vote is granted before this in a group larger than one: an old leader may still use its lease (decision 17).
    votes_from: Instant,
    suspicion: Arc<Suspicion>,
    inbox: Inbox,
    role_ms: AtomicI64,
}

/// What a group is made of.
pub(crate) struct Parts<SM> {
    pub(crate) id: VgroupId,
    pub(crate) replica: u64,
    pub(crate) store: LogStore,
    pub(crate) machine: SM,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) suspicion: Arc<Suspicion>,
    pub(crate) inbox: Inbox,
}

/// How openraft is set up, the same for every group.
fn config(settings: &Settings) -> Result<Arc<Config>, String> {
    let config = Config {
        cluster_name: "marigraph".to_owned(),
        heartbeat_interval: settings.heartbeat_ms,
        election_timeout_min: settings.election_min_ms,
        election_timeout_max: settings.election_max_ms,
        install_snapshot_timeout: 600_000,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        max_payload_entries: 64,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(true),
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| error.to_string())
}

impl<SM> Group<SM>
where
    SM: RaftStateMachine<Types, SnapshotData = Snapshot>,
{
    /// Starts a replica. A single voter campaigns at once: nobody else could be leading.
    pub(crate) async fn start(parts: Parts<SM>, settings: &Settings) -> io::Result<Arc<Self>> {
        let Parts { id, replica, store, machine, network, suspicion, inbox } = parts;
        let config = config(settings).map_err(io::Error::other)?;
        // A replica without a past has promised nobody a lease.
        let state = store.log().state();
        let lease_ms = if state.vote.is_none() && state.last.is_none() { 0 } else { settings.election_max_ms };
        let links = Links { group: id, network };
        let raft = Raft::new(replica, config, links, store.clone(), machine).await.map_err(io::Error::other)?;
        let group = Arc::new(Self {
            id,
            replica,
            store,
            raft,
            lease: Duration::from_millis(settings.election_max_ms * LEASE_PERCENT / 100),
            votes_from: Instant::now() + Duration::from_millis(lease_ms),
            suspicion,
            inbox,
            role_ms: AtomicI64::new(0),
        });
        group.campaign_if_alone().await?;
        group.wait_for_old_leases();
        Ok(group)
    }

    /// In a group larger than one it does not vote for itself either, while an old leader may use its lease.
    fn wait_for_old_leases(self: &Arc<Self>) {
        if self.alone() || self.votes_from <= Instant::now() {
            return;
        }
        self.raft.runtime_config().elect(false);
        let (group, until) = (Arc::downgrade(self), self.votes_from);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(group) = group.upgrade()
                && !group.suspicion.is_suspect()
            {
                group.raft.runtime_config().elect(true);
            }
        });
    }

    /// Makes the group's first membership, if it has none. Every first member may do so: they say the same.
    pub(crate) async fn initialize(&self, members: BTreeMap<u64, Member>) -> io::Result<()> {
        match self.raft.initialize(members).await {
            Ok(()) => {}
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
        self.campaign_if_alone().await
    }

    async fn campaign_if_alone(&self) -> io::Result<()> {
        if self.alone() {
            self.raft.runtime_config().elect(true);
            return self.raft.trigger().elect(false).await.map_err(io::Error::other);
        }
        if self.suspicion.is_suspect() {
            self.raft.runtime_config().elect(false);
        }
        Ok(())
    }

    /// Campaigns at once, and again until somebody leads: a new group need not wait for the silence of a leader that it has
    /// never had. For the replica that can win; the others may not be open yet.
    pub(crate) fn campaign_first(self: &Arc<Self>) {
        let group = Arc::downgrade(self);
        tokio::spawn(async move {
            for _ in 0..FIRST_CAMPAIGNS_MAX {
                let Some(group) = group.upgrade() else { return };
                if group.leader().is_some() || group.raft.trigger().elect(true).await.is_err() {
                    return;
                }
                drop(group);
                tokio::time::sleep(FIRST_CAMPAIGN).await;
            }
        });
    }

    /// Whether this replica is the only voter.
    pub(crate) fn alone(&self) -> bool {
        self.raft.voter_ids().eq([self.replica])
    }

    /// Puts an entry at the end of the log. Proposals of one caller keep their order. `Err` means that nothing was
    /// proposed.
    pub(crate) async fn propose(&self, command: Bytes) -> Result<Pending, Lost> {
        let (responder, answer) = ProgressResponder::complete_only();
        match self.raft.client_write_ff(Command(command), Some(responder)).await {
            Ok(()) => Ok(Pending(answer)),
            Err(fatal) => Err(Lost::Stopped(fatal.to_string())),
        }
    }

    /// Returns when everything that was committed before the call is applied here. Only a leader can know.
    pub(crate) async fn barrier(&self) -> Result<u64, Lost> {
        let option = LinearizerOption::new(Some(self.lease), true).with_wait_timeout(self.lease);
        match self.raft.ensure_linearizable(option).await {
            Ok(read) => Ok(read.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(Lost::NotLeader(forward.leader_node))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(Lost::NotLeader(None)),
            Err(RaftError::Fatal(fatal)) => Err(Lost::Stopped(fatal.to_string())),
        }
    }

    /// Returns when `index` is applied here, or `false` after `limit`.
    pub(crate) async fn applied(&self, index: u64, limit: Duration) -> bool {
        self.raft.wait(Some(limit)).applied_index_at_least(Some(index), "applied").await.is_ok()
    }

    /// Whether this replica leads, to its own knowledge.
    pub(crate) fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// Whether the replica is alive: not stopped, and not halted by its disk.
    pub(crate) fn running(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_ok()
    }

    /// Where the leader is, to this replica's knowledge.
    pub(crate) fn leader(&self) -> Option<Member> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        metrics.membership_config.membership().get_node(&leader).cloned()
    }

    /// leader, follower, candidate or learner; `unsynced` while it is suspect.
    pub(crate) fn role(&self) -> &'static str {
        if self.suspicion.is_suspect() && !self.alone() {
            return "unsynced";
        }
        match self.raft.server_metrics().borrow_watched().state {
            ServerState::Leader => "leader",
            ServerState::Candidate => "candidate",
            ServerState::Learner => "learner",
            ServerState::Follower => "follower",
            ServerState::Shutdown => "offline",
        }
    }

    /// Index of the last applied entry.
    pub(crate) fn applied_index(&self) -> u64 {
        self.raft.data_metrics().borrow_watched().last_applied.as_ref().map_or(0, |id| id.index)
    }

    /// Milliseconds since the epoch of the last change of role.
    pub(crate) fn role_ms(&self) -> i64 {
        self.role_ms.load(Ordering::Relaxed)
    }

    /// Notes that the role has just changed.
    pub(crate) fn role_changed(&self, now_ms: i64) {
        self.role_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Tells openraft that the state machine has a new state on disk, so that the log before it may be purged.
    pub(crate) async fn flushed(&self) -> io::Result<()> {
        self.raft.trigger().snapshot().await.map_err(io::Error::other)
    }

    /// Stops the replica. Proposals that are under way end as unknown.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.id, %error, "a Raft group did not stop in order");
        }
    }

    /// Before this replica stops: if it leads, has another voter lead, so that nobody waits for an election. Gives up after
    /// `limit`; then they elect one.
    pub(crate) async fn hand_over(&self, limit: Duration) {
        if self.alone() || !self.is_leader() {
            return;
        }
        let ready = self.caught_up(HAND_OVER_ENTRIES_MAX);
        let Some(heir) = self.voters().into_iter().find(|voter| *voter != self.replica && ready.contains(voter)) else {
            return;
        };
        if self.transfer(heir).await.is_ok() {
            let follows = |metrics: &openraft::RaftMetrics<Types>| metrics.current_leader != Some(self.replica);
            let _ = self.raft.wait(Some(limit)).metrics(follows, "hand over").await;
        }
    }

    /// Hands the leadership to another replica.
    pub(crate) async fn transfer(&self, to: u64) -> io::Result<()> {
        self.raft.trigger().transfer_leader(to).await.map_err(io::Error::other)
    }

    /// Has another replica follow the group. Only a leader can.
    pub(crate) async fn add_learner(&self, replica: u64, member: Member) -> io::Result<()> {
        self.raft.add_learner(replica, member, false).await.map(drop).map_err(io::Error::other)
    }

    /// Gives replicas that follow the group a vote, all at once. Only a leader can.
    pub(crate) async fn add_voters(&self, replicas: BTreeSet<u64>) -> io::Result<()> {
        let change = openraft::ChangeMembers::AddVoterIds(replicas);
        self.raft.change_membership(change, true).await.map(drop).map_err(io::Error::other)
    }

    /// Whether a change of the voters is half done: whoever made it is gone, and nobody else ends it.
    pub(crate) fn is_joint(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_joint_config().len() > 1
    }

    /// Who has a vote.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.raft.voter_ids().collect()
    }

    /// Everyone in the group, with or without a vote.
    pub(crate) fn members(&self) -> BTreeSet<u64> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().nodes().map(|(replica, _)| *replica).collect()
    }

    /// The replicas that answer and have at most `entries` entries less than this one, which leads.
    pub(crate) fn caught_up(&self, entries: u64) -> BTreeSet<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        let reached = |(_, matched): &(&u64, &Option<LogId>)| {
            matched.as_ref().is_some_and(|matched| matched.index + entries >= last)
        };
        let answers = |replica: &u64| {
            let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(replica)).and_then(Option::as_ref);
            heard.is_some_and(|heard| openraft::Instant::elapsed(&**heard) < self.lease * 2)
        };
        let near = metrics.replication.iter().flatten().filter(reached).map(|(replica, _)| *replica);
        near.filter(answers).collect()
    }

    /// Answers a message of another replica.
    pub(crate) async fn answer(&self, call: RaftCall) -> io::Result<Vec<u8>> {
        let failed = |error: RaftError<Types>| io::Error::other(error);
        let bytes = match call {
            RaftCall::Append(rpc) => {
                let response = self.raft.append_entries(decode(&rpc)?).await.map_err(failed)?;
                encode(&response)
            }
            RaftCall::Vote(rpc) => encode(&self.vote(decode(&rpc)?, false).await?),
            RaftCall::PreVote(rpc) => encode(&self.vote(decode(&rpc)?, true).await?),
            RaftCall::Transfer(_) if self.suspicion.is_suspect() => {
                return Err(io::Error::other("a suspect replica does not lead"));
            }
            RaftCall::Transfer(rpc) => {
                let answer = self.raft.handle_transfer_leader(decode(&rpc)?).await.map_err(io::Error::other)?;
                encode(&answer)
            }
            RaftCall::SnapshotPart(part) => {
                self.inbox.take(&part)?;
                encode(&())
            }
            RaftCall::SnapshotInstall { transfer, vote, meta } => {
                let (vote, meta): (Vote, SnapshotMeta) = (decode(&vote)?, decode(&meta)?);
                let snapshot = RaftSnapshot { meta, snapshot: Snapshot::Received(self.inbox.complete(transfer)?) };
                let response = self.raft.install_full_snapshot(vote, snapshot).await.map_err(io::Error::other)?;
                encode(&response.vote)
            }
            RaftCall::LastLogId => encode(&self.raft.is_leader().then(|| self.store.log().state().last).flatten()),
        };
        Ok(bytes.to_vec())
    }

    /// Grants or refuses a vote. A suspect replica, and one that has just started, refuses (decision 17 and the
    /// suspect rule); alone it is never asked.
    async fn vote(&self, request: VoteRequest<Types>, before: bool) -> io::Result<VoteResponse<Types>> {
        if self.suspicion.is_suspect() || Instant::now() < self.votes_from {
            let vote = self.raft.metrics().borrow_watched().vote;
            return Ok(VoteResponse::new(vote, None, false));
        }
        let answer = if before { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
        answer.map_err(io::Error::other)
    }

    /// Takes the suspicion from this replica once its synced log reaches what the leader had when it was asked.
    pub(crate) async fn clear_suspicion(&self, network: &Arc<dyn Network>) -> io::Result<()> {
        if !self.suspicion.is_suspect() {
            return Ok(());
        }
        let Some((leader, member)) = self.leader_id() else { return Ok(()) };
        let request = crate::peers::Request::Raft { group: self.id, replica: leader, call: RaftCall::LastLogId };
        let Ok(crate::peers::Response::Raft(bytes)) = network.call(&member.endpoint, request).await else {
            return Ok(());
        };
        let Some(barrier) = decode::<Option<storage::wal::Position>>(&bytes)? else { return Ok(()) };
        let limit = self.lease * 10;
        if !self.applied(barrier.index, limit).await {
            return Ok(());
        }
        self.store.sync_until(barrier).await?;
        self.suspicion.clear()?;
        self.raft.runtime_config().elect(true);
        Ok(())
    }

    fn leader_id(&self) -> Option<(u64, Member)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let member = metrics.membership_config.membership().get_node(&leader).cloned()?;
        (leader != self.replica).then_some((leader, member))
    }

    /// Calls `changed` with each change of leadership, until the replica stops.
    pub(crate) fn on_role_change<F, Fut>(&self, changed: F)
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut watch = self.raft.server_metrics();
        tokio::spawn(async move {
            let mut state = watch.borrow_watched().state;
            while watch.changed().await.is_ok() {
                let now = watch.borrow_watched().state;
                if now != state {
                    state = now;
                    changed().await;
                }
            }
        });
    }

    /// The term of which this replica is the leader.
    pub(crate) fn leading_term(&self) -> Option<u64> {
        self.is_leader().then(|| self.raft.metrics().borrow_watched().current_term)
    }

    /// The last entry in the log.
    pub(crate) fn last(&self) -> Option<storage::wal::Position> {
        self.store.log().state().last
    }

    /// Where the log was purged to.
    #[cfg(test)]
    pub(crate) fn purged(&self) -> Option<storage::wal::Position> {
        self.raft.metrics().borrow_watched().purged.as_ref().map(super::types::position)
    }
}

impl Pending {
    /// Waits for the answer.
    pub(crate) async fn answer(self) -> Result<(u64, Answer), Lost> {
        match self.0.await {
            Ok(Ok(response)) => Ok((response.log_id.index, response.data)),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => Err(Lost::NotLeader(forward.leader_node)),
            Ok(Err(error)) => Err(Lost::Unknown(error.to_string())),
            Err(_) => Err(Lost::Unknown("the replica stopped before the entry was applied".to_owned())),
        }
    }
}

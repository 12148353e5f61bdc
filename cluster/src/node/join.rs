//! How a data directory becomes a dnode: the one that it was, the founder of a cluster, or a new one of another's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::SqlState;
use storage::files::LogFiles;
use tokio::time::Instant;

use super::StartError;
use crate::identity::{FOUNDER, Identity};
use crate::peers::{Request, Response};
use crate::{Settings, World};

/// How long a dnode asks to join before it gives up.
const JOIN_MAX: Duration = Duration::from_secs(60);

/// Between two times that it asks.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Who this dnode is. Joins a cluster if it is to and has not yet.
pub(super) async fn identity(
    world: &World,
    settings: &Settings,
    marks: &Arc<dyn LogFiles>,
) -> Result<Identity, StartError> {
    let failed = |source: io::Error| StartError::Io {
        what: format!("read or write the identity in {}", settings.data_dir.display()),
        source,
    };
    if let Some(known) = Identity::load(marks).map_err(failed)? {
        return Ok(known);
    }
    let founds = settings.first_ep.is_empty() || settings.first_ep == settings.endpoint;
    if !founds && has_metadata(&settings.data_dir) {
        let why = format!("{} has metadata but no identity: which dnode it was is lost", settings.data_dir.display());
        return Err(StartError::Damaged(why));
    }
    if founds {
        return Ok(Identity { cluster_id: 0, dnode: FOUNDER, uuid: 0 });
    }
    let random = || u128::from(world.randomness.id());
    let uuid = Identity::candidate(marks, random() << 64 | random()).map_err(failed)?;
    let joined = ask(world, settings, uuid).await?;
    joined.store(marks).map_err(failed)?;
    tracing::info!(dnode = joined.dnode.0, cluster = format!("{:016x}", joined.cluster_id), "joined");
    Ok(joined)
}

/// Whether there is metadata of a cluster.
fn has_metadata(directory: &Path) -> bool {
    directory.join("mnode").exists()
}

/// Asks `first_ep`, and whoever it names as the leader, until one of them decides.
async fn ask(world: &World, settings: &Settings, uuid: u128) -> Result<Identity, StartError> {
    let deadline = Instant::now() + JOIN_MAX;
    let mut endpoint = settings.first_ep.clone();
    let mut said = false;
    let mut redirected = false;
    loop {
        let request = Request::Join {
            endpoint: settings.endpoint.clone(),
            support_vnodes: settings.support_vnodes,
            uuid,
            token: settings.join_token.clone(),
        };
        let why = match world.network.call(&endpoint, request).await {
            Ok(Response::Joined(identity)) => return Ok(identity),
            // Once, and then after a pause: two that take each other for the leader would send it to and fro.
            Ok(Response::NotLeader(Some(leader))) if leader != endpoint && !redirected => {
                redirected = true;
                endpoint = leader;
                continue;
            }
            Ok(Response::NotLeader(_)) => "the mnode group has no leader".to_owned(),
            Ok(Response::Failed(refusal)) => {
                let error = model::Error::from(refusal);
                // Joining may be repeated, so an unknown outcome is asked for again.
                let again = matches!(
                    error.state(),
                    SqlState::CannotConnectNow | SqlState::AdminShutdown | SqlState::StatementCompletionUnknown
                );
                if !again {
                    let hint = error.fields().hint.as_deref().map(|hint| format!(". {hint}")).unwrap_or_default();
                    return Err(StartError::NotJoined(format!(
                        "{endpoint} does not let this dnode join: {error}{hint}"
                    )));
                }
                error.to_string()
            }
            Ok(other) => format!("{endpoint} answered {other:?}"),
            Err(unreachable) => unreachable.to_string(),
        };
        if Instant::now() > deadline {
            return Err(StartError::NotJoined(format!(
                "no cluster could be joined through first_ep {} within {} s: {why}",
                settings.first_ep,
                JOIN_MAX.as_secs()
            )));
        }
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(first_ep = settings.first_ep, why, "waiting to join");
        }
        redirected = false;
        endpoint.clone_from(&settings.first_ep);
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

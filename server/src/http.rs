//! `/health` and `/metrics` on the HTTP port.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use cluster::Node;
use metrics_exporter_prometheus::PrometheusHandle;
use sql::session::Engine;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::budget::Budget;
use crate::wire::Phase;

/// What the pages are made of.
#[derive(Clone)]
pub(crate) struct Pages {
    pub(crate) node: Arc<Node>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Answers until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, pages: Pages) -> std::io::Result<()> {
    let router = Router::new().route("/health", get(health)).route("/metrics", get(metrics_page)).with_state(pages);
    axum::serve(listener, router).await
}

/// 200 while serving, 503 while stopping or without a leader.
async fn health(State(pages): State<Pages>) -> impl IntoResponse {
    let status = pages.node.status().await;
    let stopping = *pages.phase.borrow() > Phase::Serving;
    let led = status.mnodes.iter().any(|mnode| mnode.role == "leader");
    let (code, word) = match (stopping, led) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "no leader"),
        (false, true) => (StatusCode::OK, "ok"),
    };
    let body = serde_json::json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "dnode": status.dnode.0,
        "dnodes": status.dnodes.len(),
        "vnodes": status.vnodes.len(),
    });
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string())
}

/// Prometheus text.
async fn metrics_page(State(pages): State<Pages>) -> impl IntoResponse {
    let status = pages.node.status().await;
    let (hits, misses) = pages.engine.plan_counts();
    metrics::counter!("marigraph_plan_cache_hits_total").absolute(hits);
    metrics::counter!("marigraph_plan_cache_misses_total").absolute(misses);
    metrics::gauge!("marigraph_vnodes").set(status.vnodes.len() as f64);
    for vnode in &status.vnodes {
        let vgroup = vnode.vgroup.0.to_string();
        let gauge = |name: &'static str, value: u64| {
            metrics::gauge!(name, "vgroup" => vgroup.clone()).set(value as f64);
        };
        gauge("marigraph_vnode_tables", vnode.tables);
        gauge("marigraph_vnode_memtable_rows", vnode.memtable_rows);
        gauge("marigraph_vnode_disk_bytes", vnode.disk_bytes);
        gauge("marigraph_vnode_applied_index", vnode.applied);
    }
    pages.budget.report(&pages.node.memory(), &pages.engine.memory().used());
    pages.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], pages.metrics.render())
}

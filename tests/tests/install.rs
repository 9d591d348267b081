//! The guard by Helm: installed into a cluster of two nodes, labelled, met by an agent, upgraded under load, rolled back, tested, released, and
//! uninstalled without a trace.

#[path = "install/agents.rs"]
mod agents;
#[path = "install/docs.rs"]
mod docs;
#[path = "install/life.rs"]
mod life;
#[path = "install/rendering.rs"]
mod rendering;
#[path = "install/rights.rs"]
mod rights;
#[path = "install/webhook.rs"]
mod webhook;

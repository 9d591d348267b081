//! The way of a request: TLS, HTTP, the pipeline that decides, and the connection to the API server.
//!
//! A [`Proxy`] serves connections that the kernel redirected, each already tied to a workload ([`Handle`]) by the listener that
//! accepted it. Every request passes one pipeline (`pipeline.rs`); bodies stream both ways and are never
//! buffered here. What goes wrong is answered to that client alone, as a Kubernetes `Status`.
//!
//! Everything a client sends is hostile: its memory, time and number of connections are bounded by [`Limits`] and
//! [`Timeouts`] (docs/limits.md), and headers go on by an allow list.

#![forbid(unsafe_code)]

mod body;
mod buffered;
mod client_body;
mod config;
mod connection;
mod cork;
mod counted;
mod credentials;
mod drain;
mod exchange;
mod form;
mod gate;
mod handle;
mod headers;
mod observer;
mod pipeline;
mod proxy;
mod quota;
mod refusal;
mod silence;
mod status;
mod strict;
mod tls;
mod upgrade;
mod upstream;
mod watch_end;

pub use config::{Access, ForwardProxy, Limits, LimitsError, ProxyConfig, ProxyKind, Timeouts, Upstream};
pub use credentials::{Authenticate, UpstreamCredentials};
pub use drain::{Drain, DrainSignal};
pub use gate::{GATE_PATH, GateProof, GateService};
pub use handle::Handle;
pub use observer::{CLOSED_WITHOUT_REQUEST, Observer};
pub use proxy::{Proxy, ProxyError};

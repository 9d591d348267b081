//! The proxy over real sockets and real TLS, between a hyper client and a hyper server that the tests control.

#![allow(clippy::unwrap_used, reason = "a test bed that can't be set up is a failed test")]

mod bed;

mod api_servers;
#[path = "../../fuzz/checks/connection.rs"]
mod connection;
mod drain;
mod fuzz_corpus;
mod goaway;
mod headers;
mod hostile;
mod hostile_answers;
mod http2_conformance;
mod identity;
mod limits;
mod log_line;
mod policy;
mod pool;
mod silence;
mod streaming;
mod tls;
mod unread_bodies;
mod upgrades;

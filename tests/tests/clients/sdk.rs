//! SDKs, helm and MCP servers, unmodified and with their in-cluster configuration: what they get through the guard is what an ordinary
//! pod with the same account gets.

#[path = "sdk/compare.rs"]
mod compare;
#[path = "sdk/go.rs"]
mod go;
#[path = "sdk/helm.rs"]
mod helm;
#[path = "sdk/javascript.rs"]
mod javascript;
#[path = "sdk/mcp.rs"]
mod mcp;
#[path = "sdk/python.rs"]
mod python;
#[path = "sdk/rust.rs"]
mod rust;
#[path = "sdk/space.rs"]
mod space;
#[path = "sdk/wire.rs"]
mod wire;

pub(crate) use space::define_things;

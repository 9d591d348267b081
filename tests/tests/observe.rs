//! The guard as seen from outside: metrics as documented, a real Prometheus that scrapes it, each alert, and every query of the dashboard.

#[path = "observe/documented.rs"]
mod documented;
#[path = "observe/events.rs"]
mod events;
#[path = "observe/prometheus.rs"]
mod prometheus;
#[path = "observe/rules.rs"]
mod rules;
#[path = "observe/watched.rs"]
mod watched;

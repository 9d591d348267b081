//! One module for each verb.
pub(crate) mod cluster;

//! One module for each verb: what it takes, and what it does with the library.

pub(crate) mod bench;
pub(crate) mod cluster;
pub(crate) mod codegen;
pub(crate) mod demo;
pub(crate) mod e2e;
pub(crate) mod fuzz;
pub(crate) mod image;
pub(crate) mod kernels;
pub(crate) mod oracle;
pub(crate) mod slow;
pub(crate) mod test;

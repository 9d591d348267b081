//! A client's bytes behind the TLS handshake, through the whole proxy: what reaches the API server is a request that the guard understands.
#![no_main]

#[allow(dead_code, unused_imports, reason = "the bed of the crate's tests, of which this needs a part")]
#[path = "../../tests/proxy"]
mod proxy {
    pub(crate) mod bed;
}
#[path = "../checks/connection.rs"]
mod connection;

use proxy::bed;

libfuzzer_sys::fuzz_target!(|input: &[u8]| connection::check(input));

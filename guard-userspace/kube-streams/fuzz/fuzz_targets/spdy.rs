//! Any bytes as SPDY of either side: cut or whole they are told the same.
#![no_main]

#[path = "../checks/sessions.rs"]
mod sessions;
#[path = "../checks/spdy.rs"]
mod spdy;

libfuzzer_sys::fuzz_target!(|input: &[u8]| spdy::check(input));

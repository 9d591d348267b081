//! A connection's bytes are read alike however they are split, and what passes is what came.
#![no_main]

#[path = "../checks/requests.rs"]
mod requests;

libfuzzer_sys::fuzz_target!(|input: &[u8]| requests::check(input));

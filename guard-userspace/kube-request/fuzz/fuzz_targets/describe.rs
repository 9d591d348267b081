//! Any method with any target has a description that holds together, or none.
#![no_main]

#[path = "../checks/describe.rs"]
mod describe;

libfuzzer_sys::fuzz_target!(|input: &[u8]| describe::check(input));

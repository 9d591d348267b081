//! Whole frames with anything in them: channels, and SPDY in a tunnel.
#![no_main]

#[path = "../checks/channels.rs"]
mod channels;
#[path = "../checks/sessions.rs"]
mod sessions;

libfuzzer_sys::fuzz_target!(|input: &[u8]| channels::check(input));

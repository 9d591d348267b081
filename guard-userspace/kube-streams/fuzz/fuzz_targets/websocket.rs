//! Any bytes as a WebSocket of either side: cut or whole they are told the same.
#![no_main]

#[path = "../checks/sessions.rs"]
mod sessions;
#[path = "../checks/websocket.rs"]
mod websocket;

libfuzzer_sys::fuzz_target!(|input: &[u8]| websocket::check(input));

//! What fuzzing has found goes on to hold: each input of the committed corpora, through the same checks.

#[path = "../fuzz/checks/channels.rs"]
mod channels;
#[path = "../fuzz/checks/sessions.rs"]
mod sessions;
#[path = "../fuzz/checks/spdy.rs"]
mod spdy;
#[path = "../fuzz/checks/websocket.rs"]
mod websocket;

use std::{fs, path::Path};

fn each_of(corpus: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut inputs = 0;
    for input in fs::read_dir(corpus).expect("the corpus is committed") {
        let file = input.expect("a folder that can be read").path();
        check(&fs::read(file).expect("a file that can be read"));
        inputs += 1;
    }
    assert!(inputs > 0);
}

#[test]
fn every_websocket_of_the_corpus_is_told_the_same_in_pieces() {
    each_of("websocket", websocket::check);
}

#[test]
fn every_spdy_of_the_corpus_is_told_the_same_in_pieces() {
    each_of("spdy", spdy::check);
}

#[test]
fn every_session_of_the_corpus_is_told_the_same_in_pieces() {
    each_of("channels", channels::check);
}

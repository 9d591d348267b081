//! What fuzzing has found goes on to hold: each input of the committed corpus, through the same checks.

use std::{fs, path::Path};

#[test]
fn whatever_a_client_of_the_corpus_sends_the_api_server_gets_requests_that_the_guard_understands() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/connection");
    let mut inputs = 0;
    for input in fs::read_dir(corpus).unwrap() {
        crate::connection::check(&fs::read(input.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0);
}

//! What fuzzing has found goes on to hold: each input of the committed corpora, through the same checks.

#[path = "../fuzz/checks/requests.rs"]
mod requests;

use std::{fs, path::Path};

#[test]
fn every_input_of_the_corpus_is_read_alike_however_it_is_split() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/requests");
    let mut inputs = 0;
    for input in fs::read_dir(corpus).unwrap() {
        requests::check(&fs::read(input.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0);
}

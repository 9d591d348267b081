//! What fuzzing has found goes on to hold: each input of the committed corpora, through the same checks.

#[path = "../fuzz/checks/describe.rs"]
mod describe;

use std::{fs, path::Path};

#[test]
fn every_target_of_the_corpus_is_described_as_one_or_not_at_all() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/describe");
    let mut inputs = 0;
    for input in fs::read_dir(corpus).unwrap() {
        describe::check(&fs::read(input.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0);
}

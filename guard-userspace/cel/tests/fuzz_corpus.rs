//! What fuzzing has found goes on to hold: each input of the committed corpora, each expression of ours, and texts made of their pieces, through
//! the same checks.

#[path = "../fuzz/checks/expression.rs"]
mod expression;

use std::{fs, path::Path};

use proptest::prelude::*;

const EXPRESSIONS: &str = include_str!("expressions.txt");

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_expression_of_the_corpus_ends_within_its_limits() {
    let mut inputs = 0;
    for input in fs::read_dir(folder().join("fuzz/corpus/expression")).unwrap() {
        expression::check(&fs::read(input.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0);
    for source in EXPRESSIONS.lines() {
        expression::check(source.as_bytes());
    }
}

/// Pieces of expressions, which come closer to expressions than characters do.
fn pieces() -> Vec<String> {
    let mut pieces: Vec<String> = EXPRESSIONS
        .lines()
        .flat_map(|line| line.split_inclusive(['(', ')', '[', ']', '.', ',', ' ', '{', '}', ':', '?']))
        .map(str::to_owned)
        .collect();
    pieces.sort();
    pieces.dedup();
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_an_expression_or_an_error(source in "\\PC{0,60}") {
        expression::check(source.as_bytes());
    }

    #[test]
    fn any_pieces_are_an_expression_or_an_error(chosen in prop::collection::vec(prop::sample::select(pieces()), 1..16)) {
        expression::check(chosen.concat().as_bytes());
    }
}

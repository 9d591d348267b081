//! Any text is an expression that ends within its limits, or none.
#![no_main]

#[path = "../checks/expression.rs"]
mod expression;

libfuzzer_sys::fuzz_target!(|input: &[u8]| expression::check(input));

//! `cargo xtask codegen`: writes the files in the repository that come from code.

use std::process::ExitCode;

/// Nothing is generated so far, and a verb that did nothing in silence would look like one that worked.
pub(crate) fn run() -> ExitCode {
    eprintln!(
        "Nothing in the repository is generated yet: the first will be the CustomResourceDefinitions in deploy/, from the \
         types in guard-api, with the policy engine."
    );
    ExitCode::FAILURE
}

//! The catalogue of detectors, for people.

use std::fmt::Write;
use std::path::PathBuf;

use guard_masking::detectors;

use crate::Generated;

/// The page.
pub(crate) fn files() -> Vec<Generated> {
    let mut text = String::from(
        "# Detectors\n\nWhat the guard hides, each with the documentation that its format is read from. [masking.md](masking.md) says how. Written by \
         `cargo xtask codegen`; `guard mask --list` prints the same.\n\n| detector | what it finds | source | |\n|---|---|---|---|\n",
    );
    for detector in detectors() {
        let state = if detector.default { "" } else { "off unless named" };
        writeln!(text, "| `{}` | {} | {} | {state} |", detector.id, detector.about, detector.source)
            .expect("a string takes what is written");
    }
    vec![Generated { path: PathBuf::from("docs/detectors.md"), text }]
}

//! The slow tests: what `cargo xtask test --slow` runs after everything else.

use anyhow::Result;

use xtask::counts::Counts;
use xtask::paths::Paths;
use xtask::progress::Progress;

/// One slow test, run by our own process.
pub(crate) struct Slow {
    /// What it shows, as a heading.
    pub(crate) name: &'static str,
    /// Runs it and says how many of its parts passed and failed.
    pub(crate) run: fn(&Paths, &Progress) -> Result<Counts>,
}

/// All of them, in order.
pub(crate) const TESTS: &[Slow] = &[
    Slow { name: "other kernels, under QEMU", run: super::kernels::all },
    Slow { name: "the image: two builds, one digest; another architecture", run: super::image::proven },
];

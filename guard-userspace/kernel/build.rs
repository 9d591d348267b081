//! Finds the kernel programs that `cargo xtask build` made, so that the binary carries them.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=GUARD_EBPF_OBJECT");
    let object = env::var_os("GUARD_EBPF_OBJECT").map_or_else(default_object, PathBuf::from);
    assert!(
        object.is_file(),
        "the kernel programs are not at {}: run `cargo xtask build`, or set GUARD_EBPF_OBJECT",
        object.display()
    );
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=GUARD_EBPF_OBJECT={}", object.display());
}

/// `guard-ebpf.o` in the target directory: `OUT_DIR` is `<target>/<profile>/build/<package>/out`.
fn default_object() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    out.ancestors().nth(4).expect("OUT_DIR lies four levels below the target directory").join("guard-ebpf.o")
}

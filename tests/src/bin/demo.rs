//! `cargo xtask demo` runs this against a cluster that is up: the main job, a step at a time.

fn main() -> std::process::ExitCode {
    guard_e2e::demo::main()
}

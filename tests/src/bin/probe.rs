//! Runs inside a pod and tries one way to the API server. See [`guard_e2e::probe`].

fn main() {
    guard_e2e::probe::main();
}

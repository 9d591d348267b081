//! Entering and telling apart.

use guard_kernel::netns::Netns;

use crate::lab::Space;

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let space = Space::new("inside");
    let before = Netns::current().unwrap().identity().unwrap();
    let inside = space.netns.run(|| Netns::current().unwrap().identity().unwrap()).unwrap();
    assert_eq!(inside, space.netns.identity().unwrap());
    assert_ne!(inside, before);
    assert_eq!(Netns::current().unwrap().identity().unwrap(), before);
}

#[test]
fn cookies_and_identities_tell_namespaces_apart() {
    let (one, two) = (Space::new("one"), Space::new("two"));
    assert_ne!(one.netns.cookie().unwrap(), two.netns.cookie().unwrap());
    assert_eq!(one.netns.cookie().unwrap(), one.netns.cookie().unwrap());
    assert_ne!(one.netns.identity().unwrap(), two.netns.identity().unwrap());
    let own = Netns::of_process(std::process::id()).unwrap();
    assert_eq!(own.identity().unwrap(), Netns::current().unwrap().identity().unwrap());
}

#[test]
fn a_file_that_is_no_namespace_is_refused() {
    let error = Netns::open("/etc/passwd").unwrap_err();
    assert!(error.to_string().contains("ordinary file"), "{error}");
}

#[test]
#[should_panic(expected = "in the namespace")]
fn a_panic_inside_reaches_the_caller() {
    let space = Space::new("panic");
    let _ = space.netns.run(|| panic!("in the namespace"));
}

//! Protocol truth: requests as they are written down in `tests/go/clients`, over HTTP/1.0, 1.1 and 2, answered through the guard as by
//! the API server itself, headers and bodies to the byte.

use super::compare::{Steps, assert_equal};
use super::go::PAIR;
use super::space::{Space, TARGET};

#[test]
fn every_answer_is_the_api_servers_own() {
    let space = Space::new("wire");
    let _target = space.target();
    let part = |part| ["client", part, &space.name, TARGET];
    PAIR.direct.exec(part("fixtures")).ok();
    let [guarded, direct] = std::thread::scope(|scope| {
        [&PAIR.guarded, &PAIR.direct]
            .map(|pod| scope.spawn(move || pod.exec(part("wire"))))
            .map(|run| Steps::read(&run.join().expect("the run's thread")))
    });
    let [guarded, direct] = [guarded, direct].map(without_flow_control);
    assert_equal(&guarded, &direct);
    assert!(guarded.count() > 150, "{:?}", guarded.names());
}

/// A body that is too long is refused by the guard, as the API server refuses it. Only the API server says by which of its own queues it would
/// have gone.
fn without_flow_control(mut steps: Steps) -> Steps {
    for result in steps.results_mut().filter(|result| result["Status"] == 413) {
        if let Some(header) = result["Header"].as_array_mut() {
            header.retain(|line| !line.as_str().is_some_and(|line| line.starts_with("X-Kubernetes-Pf-")));
        }
    }
    steps
}

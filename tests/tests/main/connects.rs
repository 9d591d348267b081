//! K1, K2: however a client connects to the API server's addresses, it meets the guard.

use crate::WORLD;
use crate::table::{Control::ApiServer, Guarded::Guard, Way, try_all};

#[test]
fn every_address_of_the_api_server_leads_to_the_guard() {
    let ways: &[Way<'_>] = &[
        ("connect --to 10.96.0.1:443", ApiServer, Guard),
        ("connect --to [fd00:10:96::1]:443", ApiServer, Guard),
        ("connect --to 172.30.0.10:6443", ApiServer, Guard),
        ("connect --to [fd00:30::10]:6443", ApiServer, Guard),
        ("connect --to [::ffff:10.96.0.1]:443", ApiServer, Guard),
        ("connect --to [::ffff:172.30.0.10]:6443", ApiServer, Guard),
        // Aliases that an administrator has named.
        ("connect --to 172.30.0.200:6443", ApiServer, Guard),
        ("connect --to [fd00:30::200]:6443", ApiServer, Guard),
        // 172.30.0.10 behind the well-known NAT64 prefix.
        ("connect --to [64:ff9b::ac1e:a]:6443", ApiServer, Guard),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn every_kind_of_connect_leads_to_the_guard() {
    let ways: &[Way<'_>] = &[
        ("connect --to 10.96.0.1:443 --way fast-open", ApiServer, Guard),
        ("connect --to [fd00:30::10]:6443 --way fast-open", ApiServer, Guard),
        ("connect --to 10.96.0.1:443 --way fast-open-connect", ApiServer, Guard),
        ("connect --to 10.96.0.1:443 --way io-uring", ApiServer, Guard),
        ("connect --to [fd00:10:96::1]:443 --way io-uring", ApiServer, Guard),
        ("connect --to 10.96.0.1:443 --way multipath", ApiServer, Guard),
        ("connect --to [fd00:30::10]:6443 --way multipath", ApiServer, Guard),
        ("connect --to 10.96.0.1:443 --way bound", ApiServer, Guard),
        ("connect --to 172.30.0.10:6443 --way bound-here", ApiServer, Guard),
        ("connect --to [fd00:30::10]:6443 --way bound-here", ApiServer, Guard),
        ("connect --to 10.96.0.1:443 --way again", ApiServer, Guard),
    ];
    try_all(&WORLD.ring.enter(), ways);
}

#[test]
fn a_client_is_told_the_address_that_it_asked_for() {
    let arena = WORLD.ring.enter();
    for address in ["10.96.0.1:443", "172.30.0.10:6443", "[fd00:10:96::1]:443", "[::ffff:10.96.0.1]:443"] {
        let arguments = format!("peer-name --to {address}");
        for pod in [&arena.ordinary, &arena.agent] {
            assert_eq!(pod.probe(&arguments).answer.as_deref(), Some(address), "{}", pod.name);
        }
    }
}

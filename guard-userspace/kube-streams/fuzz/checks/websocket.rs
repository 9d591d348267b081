//! Bytes of a WebSocket, as anybody may send them.

use guard_kube_streams::Side;

use crate::sessions::{check as check_session, protocol};

/// The first byte chooses the protocol, the second the pieces, the third how much of the rest the client says before the server.
pub(crate) fn check(input: &[u8]) {
    let [number, piece, cut, bytes @ ..] = input else { return };
    let (client, server) = bytes.split_at(bytes.len().min(usize::from(*cut)));
    check_session(&protocol(number % 7), &[(Side::Client, client), (Side::Server, server)], usize::from(*piece));
}

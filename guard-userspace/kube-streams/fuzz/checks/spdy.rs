//! Bytes of SPDY, as anybody may send them.

use guard_kube_streams::Side;

use crate::sessions::{check as check_session, protocol};

/// The first byte chooses the purpose, the second the pieces, the next two how much of the rest the client says before the server.
pub(crate) fn check(input: &[u8]) {
    let [number, piece, high, low, bytes @ ..] = input else { return };
    let cut = usize::from(u16::from_be_bytes([*high, *low]));
    let (client, server) = bytes.split_at(bytes.len().min(cut));
    check_session(&protocol(7 + number % 2), &[(Side::Client, client), (Side::Server, server)], usize::from(*piece));
}

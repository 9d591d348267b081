//! Messages of nftables: the header, the types, the batch.
//!
//! `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`.

use crate::netlink::{NLM_F_ACK, Request};

pub(super) const NFPROTO_INET: u8 = 1;
/// Length of `nfgenmsg`.
pub(super) const NFGENMSG: usize = 4;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;

/// What a message does.
#[derive(Clone, Copy)]
pub(super) enum Verb {
    NewTable = 0,
    GetTable = 1,
    DelTable = 2,
    NewChain = 3,
    NewRule = 6,
    GetRule = 7,
    NewSet = 9,
    NewSetElem = 12,
    GetSetElem = 13,
    DelSetElem = 14,
}

/// A message about the `inet` family.
pub(super) fn request(verb: Verb, flags: u16) -> Request {
    Request::new(NFNL_SUBSYS_NFTABLES << 8 | verb as u16, flags).fixed(&[NFPROTO_INET, 0, 0, 0])
}

/// Whether a message from the kernel is of this type.
pub(super) fn is(kind: u16, verb: Verb) -> bool {
    kind == NFNL_SUBSYS_NFTABLES << 8 | verb as u16
}

/// The changes as one transaction: the kernel makes all of them at one instant, or none.
///
/// `None` where there is nothing to change.
pub(super) fn batch(mut changes: Vec<Request>) -> Option<Vec<Request>> {
    let last = changes.pop()?.with_flags(NLM_F_ACK);
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let frame = |kind| Request::new(kind, 0).fixed(&[0, 0, high, low]);
    let mut requests = Vec::with_capacity(changes.len() + 3);
    requests.push(frame(NFNL_MSG_BATCH_BEGIN));
    requests.append(&mut changes);
    requests.push(last);
    requests.push(frame(NFNL_MSG_BATCH_END));
    Some(requests)
}

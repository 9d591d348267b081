//! WebSocket frames that are whole, with anything in them: what lies behind the framing is reached by every input.

use guard_kube_streams::Side;

use crate::sessions::{check as check_session, protocol};

/// The first byte chooses the protocol, the second the pieces. Then frames: who and what it is, how long, its payload.
pub(crate) fn check(input: &[u8]) {
    let [number, piece, rest @ ..] = input else { return };
    let mut rest = rest;
    let mut frames: Vec<(Side, Vec<u8>)> = Vec::new();
    while let [what, length, after @ ..] = rest {
        let (payload, after) = after.split_at(after.len().min(usize::from(*length % 126)));
        rest = after;
        let side = if what & 0x10 == 0 { Side::Client } else { Side::Server };
        let opcode = [0, 1, 2, 2, 2, 8, 9, 10][usize::from(what & 7)];
        let fin = if opcode >= 8 || what & 8 == 0 { 0x80 } else { 0 };
        let length = u8::try_from(payload.len()).expect("at most 125");
        let mut frame = vec![fin | opcode];
        match side {
            Side::Client => {
                let key = [*number, *piece, *what, length];
                frame.push(0x80 | length);
                frame.extend_from_slice(&key);
                frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
            }
            Side::Server => {
                frame.push(length);
                frame.extend_from_slice(payload);
            }
        }
        frames.push((side, frame));
    }
    let said: Vec<(Side, &[u8])> = frames.iter().map(|(side, frame)| (*side, &frame[..])).collect();
    check_session(&protocol(number % 7), &said, usize::from(*piece));
}

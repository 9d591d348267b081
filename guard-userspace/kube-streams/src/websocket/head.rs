//! Heads of frames (RFC 6455, 5.2).

use crate::{Fault, Side};

/// Longest head: two bytes, a length of eight, a key of four.
const MAX_HEAD: usize = 14;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) key: Option<[u8; 4]>,
    pub(super) length: u64,
}

/// Collects a head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadReader {
    bytes: [u8; MAX_HEAD],
    filled: usize,
}

impl Opcode {
    fn of(number: u8) -> Result<Self, Fault> {
        match number {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            other => Err(Fault::Opcode(other)),
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl HeadReader {
    /// Nothing of a head is there.
    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// What was collected.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Takes from `input` what the head needs, and says how much; the head, once it is there.
    pub(super) fn read(&mut self, side: Side, input: &[u8]) -> Result<(usize, Option<Head>), Fault> {
        for (index, byte) in input.iter().enumerate() {
            self.bytes[self.filled] = *byte;
            self.filled += 1;
            // What is wrong is said at the byte that is.
            let head = self.head(side)?;
            if head.is_some() {
                return Ok((index + 1, head));
            }
        }
        Ok((input.len(), None))
    }

    fn head(&self, side: Side) -> Result<Option<Head>, Fault> {
        let first = self.bytes[0];
        if first & 0x70 != 0 {
            return Err(Fault::ReservedBits);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::of(first & 0x0f)?);
        if opcode.is_control() && !fin {
            return Err(Fault::FragmentedControl);
        }
        if self.filled < 2 {
            return Ok(None);
        }
        let second = self.bytes[1];
        let masked = second & 0x80 != 0;
        match side {
            Side::Client if !masked => return Err(Fault::Unmasked),
            Side::Server if masked => return Err(Fault::Masked),
            _ => {}
        }
        let (short, extended) = match second & 0x7f {
            126 => (0, 2),
            127 => (0, 8),
            short => (short, 0),
        };
        if opcode.is_control() && extended > 0 {
            return Err(Fault::OversizedControl);
        }
        let key_at = 2 + extended;
        if self.filled < key_at + if masked { 4 } else { 0 } {
            return Ok(None);
        }
        let length = match extended {
            0 => u64::from(short),
            _ => self.bytes[2..key_at].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let only_form = match extended {
            0 => true,
            2 => length > 125,
            _ => length > u64::from(u16::MAX) && length <= i64::MAX.unsigned_abs(),
        };
        if !only_form {
            return Err(Fault::Length);
        }
        let key = masked.then(|| self.bytes[key_at..key_at + 4].try_into().expect("four bytes"));
        Ok(Some(Head { fin, opcode, key, length }))
    }
}

/// Appends the head of an unmasked frame.
pub(crate) fn write_head(fin: bool, opcode: Opcode, length: usize, out: &mut Vec<u8>) {
    out.push(if fin { 0x80 } else { 0 } | opcode.number());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(side: Side, bytes: &[u8]) -> Result<(usize, Option<Head>), Fault> {
        HeadReader::default().read(side, bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 30] {
            for fin in [true, false] {
                let mut bytes = Vec::new();
                write_head(fin, Opcode::Binary, length, &mut bytes);
                let head = Head { fin, opcode: Opcode::Binary, key: None, length: length as u64 };
                assert_eq!(read(Side::Server, &bytes), Ok((bytes.len(), Some(head))));
            }
        }
    }

    #[test]
    fn a_frame_of_a_client_has_a_key_and_a_servers_has_none() {
        let masked = [0x82, 0x81, 1, 2, 3, 4];
        assert_eq!(read(Side::Client, &masked).unwrap().1.unwrap().key, Some([1, 2, 3, 4]));
        assert_eq!(read(Side::Server, &masked), Err(Fault::Masked));
        assert_eq!(read(Side::Client, &[0x82, 0x01]), Err(Fault::Unmasked));
    }

    #[test]
    fn what_readers_take_differently_is_a_fault() {
        for (bytes, fault) in [
            (&[0xc2][..], Fault::ReservedBits),
            (&[0x92], Fault::ReservedBits),
            (&[0x83], Fault::Opcode(3)),
            (&[0x8b], Fault::Opcode(11)),
            (&[0x09], Fault::FragmentedControl),
            (&[0x89, 126], Fault::OversizedControl),
            (&[0x82, 126, 0, 125], Fault::Length),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Fault::Length),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], Fault::Length),
        ] {
            assert_eq!(read(Side::Server, bytes), Err(fault), "{bytes:x?}");
        }
    }
}

//! Heads of frames (SPDY/3.1, 2.2).

use crate::Fault;

/// Bytes of every head.
pub(super) const HEAD: usize = 8;
/// The flag that ends a side's use of a stream.
pub(super) const FIN: u8 = 0x01;
/// `CLEAR_SETTINGS`.
const CLEAR: u8 = 0x01;
/// Settings in one frame at most; eight are defined.
const MAX_SETTINGS: u32 = 64;

/// What the first eight bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Data { stream: u32, fin: bool, length: u32 },
    Control { kind: ControlKind, fin: bool, length: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlKind {
    SynStream,
    SynReply,
    RstStream,
    Settings,
    Ping,
    GoAway,
    Headers,
    WindowUpdate,
}

impl ControlKind {
    fn of(number: u16) -> Result<Self, Fault> {
        match number {
            1 => Ok(Self::SynStream),
            2 => Ok(Self::SynReply),
            3 => Ok(Self::RstStream),
            4 => Ok(Self::Settings),
            6 => Ok(Self::Ping),
            7 => Ok(Self::GoAway),
            8 => Ok(Self::Headers),
            9 => Ok(Self::WindowUpdate),
            other => Err(Fault::FrameType(other)),
        }
    }

    /// Bytes before the header block, or all that the frame has.
    pub(super) fn fixed(self) -> u8 {
        match self {
            Self::SynStream => 10,
            Self::SynReply | Self::Headers | Self::Settings | Self::Ping => 4,
            Self::RstStream | Self::GoAway | Self::WindowUpdate => 8,
        }
    }

    pub(super) fn has_headers(self) -> bool {
        matches!(self, Self::SynStream | Self::SynReply | Self::Headers)
    }

    /// Its readers ignore most lengths: one that is not exact would be two different frames to two of them.
    fn allows(self, length: u32) -> bool {
        let fixed = u32::from(self.fixed());
        match self {
            Self::SynStream | Self::SynReply | Self::Headers => length > fixed,
            Self::Settings => {
                length >= fixed && (length - fixed).is_multiple_of(8) && length - fixed <= 8 * MAX_SETTINGS
            }
            Self::Ping | Self::RstStream | Self::GoAway | Self::WindowUpdate => length == fixed,
        }
    }

    fn flags(self) -> u8 {
        match self {
            // UNIDIRECTIONAL is not used: its stream could not be told from one that the server has ended.
            Self::SynStream | Self::SynReply | Self::Headers => FIN,
            Self::Settings => CLEAR,
            Self::RstStream | Self::Ping | Self::GoAway | Self::WindowUpdate => 0,
        }
    }
}

impl Head {
    pub(super) fn of(bytes: [u8; HEAD]) -> Result<Self, Fault> {
        let [a, b, c, d, flags, high, middle, low] = bytes;
        let length = u32::from_be_bytes([0, high, middle, low]);
        if a & 0x80 == 0 {
            if flags & !FIN != 0 {
                return Err(Fault::Flags);
            }
            let stream = u32::from_be_bytes([a, b, c, d]);
            return Ok(Self::Data { stream, fin: flags & FIN != 0, length });
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != 3 {
            return Err(Fault::Version(version));
        }
        let number = u16::from_be_bytes([c, d]);
        let kind = ControlKind::of(number)?;
        if !kind.allows(length) {
            return Err(Fault::FrameLength(number));
        }
        if flags & !kind.flags() != 0 {
            return Err(Fault::Flags);
        }
        Ok(Self::Control { kind, fin: flags & FIN != 0, length })
    }
}

/// Appends data frames with all of `bytes`, which may need more than one; `fin` on the last.
pub(crate) fn write_data(stream: u32, fin: bool, bytes: &[u8], out: &mut Vec<u8>) {
    /// 24 bits.
    const MAX_DATA: usize = (1 << 24) - 1;
    let mut frame = |bytes: &[u8], fin: bool| {
        out.extend_from_slice(&stream.to_be_bytes());
        let length = u32::try_from(bytes.len()).expect("at most 24 bits") | if fin { u32::from(FIN) << 24 } else { 0 };
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
    };
    let mut rest = bytes;
    while rest.len() > MAX_DATA {
        let (now, later) = rest.split_at(MAX_DATA);
        frame(now, false);
        rest = later;
    }
    frame(rest, fin);
}

/// Appends a GOAWAY with the status *protocol error* (SPDY/3.1, 2.6.6).
pub(crate) fn write_goaway(last_stream: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x80, 3, 0, 7, 0, 0, 0, 8]);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&1_u32.to_be_bytes());
}

/// Appends a `RST_STREAM` with the status *cancel* (SPDY/3.1, 2.6.3).
pub(crate) fn write_reset(stream: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x80, 3, 0, 3, 0, 0, 0, 8]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&5_u32.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_take_differently_is_a_fault() {
        for (bytes, fault) in [
            ([0x80, 2, 0, 1, 0, 0, 0, 20], Fault::Version(2)),
            ([0x80, 3, 0, 5, 0, 0, 0, 0], Fault::FrameType(5)),
            ([0x80, 3, 0, 10, 0, 0, 0, 20], Fault::FrameType(10)),
            ([0x80, 3, 0, 3, 0, 0, 0, 9], Fault::FrameLength(3)),
            ([0x80, 3, 0, 6, 0, 0, 0, 5], Fault::FrameLength(6)),
            ([0x80, 3, 0, 7, 0, 0, 0, 4], Fault::FrameLength(7)),
            ([0x80, 3, 0, 4, 0, 0, 0, 5], Fault::FrameLength(4)),
            ([0x80, 3, 0, 1, 0, 0, 0, 10], Fault::FrameLength(1)),
            ([0x80, 3, 0, 1, 2, 0, 0, 20], Fault::Flags),
            ([0x80, 3, 0, 3, 1, 0, 0, 8], Fault::Flags),
            ([0, 0, 0, 1, 2, 0, 0, 0], Fault::Flags),
        ] {
            assert_eq!(Head::of(bytes), Err(fault), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        write_data(7, true, &[1, 2, 3], &mut out);
        let head = Head::of(out[..8].try_into().unwrap());
        assert_eq!(head, Ok(Head::Data { stream: 7, fin: true, length: 3 }));
        out.clear();
        write_goaway(3, &mut out);
        let head = Head::of(out[..8].try_into().unwrap());
        assert_eq!(head, Ok(Head::Control { kind: ControlKind::GoAway, fin: false, length: 8 }));
    }

    #[test]
    fn more_than_a_frame_holds_goes_in_several() {
        let mut out = Vec::new();
        write_data(1, true, &vec![0; 1 << 24], &mut out);
        assert_eq!(
            Head::of(out[..8].try_into().unwrap()),
            Ok(Head::Data { stream: 1, fin: false, length: (1 << 24) - 1 })
        );
        let second = &out[8 + (1 << 24) - 1..];
        assert_eq!(Head::of(second[..8].try_into().unwrap()), Ok(Head::Data { stream: 1, fin: true, length: 1 }));
        assert_eq!(second.len(), 9);
    }
}

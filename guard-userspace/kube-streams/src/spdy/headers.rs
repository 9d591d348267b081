//! Header blocks: names and values, deflated with one state for all blocks of a side (SPDY/3.1, 2.6.10).

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::dictionary;
use crate::Fault;

/// Bytes of one block, inflated, at most. Kubernetes sends some hundred.
pub(crate) const MAX_HEADERS: usize = 16 << 10;
/// Headers in one block at most.
const MAX_COUNT: u32 = 64;

/// Reads the blocks of one side. What is inflated of a block, and zlib's window, are all that is held.
pub(super) struct Blocks {
    zlib: Decompress,
    /// Filled up to `filled`; as long as a block may be, and one more byte.
    block: Box<[u8]>,
    filled: usize,
}

/// What Kubernetes reads of a stream's headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct StreamHeaders<'a> {
    pub(super) stream_type: Option<&'a str>,
    pub(super) port: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
}

impl fmt::Debug for Blocks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Blocks").field("filled", &self.filled).finish_non_exhaustive()
    }
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self { zlib: Decompress::new(true), block: vec![0; MAX_HEADERS + 1].into(), filled: 0 }
    }

    /// A piece of a block.
    pub(super) fn read(&mut self, mut deflated: &[u8]) -> Result<(), Fault> {
        loop {
            let (before_in, before_out) = (self.zlib.total_in(), self.zlib.total_out());
            let status = self.zlib.decompress(deflated, &mut self.block[self.filled..], FlushDecompress::Sync);
            let taken = usize::try_from(self.zlib.total_in() - before_in).map_err(|_| Fault::Zlib)?;
            let given = usize::try_from(self.zlib.total_out() - before_out).map_err(|_| Fault::Zlib)?;
            deflated = &deflated[taken..];
            self.filled += given;
            match status {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(&dictionary()).map_err(|_| Fault::Zlib)?;
                }
                // The end of the stream: nothing that follows could be read.
                Err(_) | Ok(Status::StreamEnd) => return Err(Fault::Zlib),
                Ok(_) if self.filled > MAX_HEADERS => return Err(Fault::HeadersTooLarge),
                Ok(_) if deflated.is_empty() => return Ok(()),
                Ok(_) if taken == 0 && given == 0 => return Err(Fault::Zlib),
                Ok(_) => {}
            }
        }
    }

    /// The block that is over, of which all must have been read.
    pub(super) fn end(&mut self) -> Result<StreamHeaders<'_>, Fault> {
        let filled = std::mem::take(&mut self.filled);
        parse(&self.block[..filled])
    }
}

/// The block must be what its lengths say: its readers take what is left over for the begin of the next one.
fn parse(block: &[u8]) -> Result<StreamHeaders<'_>, Fault> {
    let mut rest = block;
    let count = number(&mut rest)?;
    if count > MAX_COUNT {
        return Err(Fault::Headers);
    }
    let mut names: Vec<&[u8]> = Vec::new();
    let mut headers = StreamHeaders::default();
    for _ in 0..count {
        let name = field(&mut rest)?;
        let value = field(&mut rest)?;
        if name.is_empty()
            || name.iter().any(|byte| !byte.is_ascii_graphic() || byte.is_ascii_uppercase())
            || names.contains(&name)
        {
            return Err(Fault::Headers);
        }
        names.push(name);
        let slot = match name {
            b"streamtype" => &mut headers.stream_type,
            b"port" => &mut headers.port,
            b"requestid" => &mut headers.request_id,
            _ => continue,
        };
        // A NUL divides several values, of which a reader may take any.
        let value = std::str::from_utf8(value).ok().filter(|value| !value.contains('\0'));
        *slot = Some(value.ok_or(Fault::Headers)?);
    }
    if rest.is_empty() { Ok(headers) } else { Err(Fault::Headers) }
}

fn number(rest: &mut &[u8]) -> Result<u32, Fault> {
    let (number, after) = rest.split_first_chunk().ok_or(Fault::Headers)?;
    *rest = after;
    Ok(u32::from_be_bytes(*number))
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let length = usize::try_from(number(rest)?).map_err(|_| Fault::Headers)?;
    let (field, after) = rest.split_at_checked(length).ok_or(Fault::Headers)?;
    *rest = after;
    Ok(field)
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// A block as it is before zlib.
    pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
        let mut block = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            block.extend_from_slice(text.as_bytes());
        }
        block
    }

    fn compressor() -> Compress {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&dictionary()).unwrap();
        zlib
    }

    fn deflate(zlib: &mut Compress, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 1024);
        zlib.compress_vec(bytes, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    #[test]
    fn blocks_share_one_state_and_come_in_any_pieces() {
        let (mut zlib, mut blocks) = (compressor(), Blocks::new());
        for port in ["80", "443", "80"] {
            let deflated = deflate(&mut zlib, &block(&[("port", port), ("streamtype", "data"), ("requestid", "3")]));
            deflated.chunks(3).for_each(|piece| blocks.read(piece).unwrap());
            let expected = StreamHeaders { stream_type: Some("data"), port: Some(port), request_id: Some("3") };
            assert_eq!(blocks.end(), Ok(expected));
        }
    }

    #[test]
    fn a_block_that_is_not_what_its_lengths_say_is_a_fault() {
        let good = block(&[("streamtype", "data")]);
        let longer = [&good[..], b"x"].concat();
        let shorter = &good[..good.len() - 1];
        for bad in [&longer[..], shorter, &[], &[0, 0, 1, 0], &[0xff; 64]] {
            assert_eq!(parse(bad), Err(Fault::Headers));
        }
        for bad in [
            block(&[("StreamType", "data")]),
            block(&[("", "data")]),
            block(&[("port", "80"), ("port", "443")]),
            block(&[("port", "80\u{0}443")]),
        ] {
            assert_eq!(parse(&bad), Err(Fault::Headers));
        }
    }

    #[test]
    fn a_bomb_is_not_inflated() {
        let bomb = deflate(&mut compressor(), &vec![0; 10 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(Blocks::new().read(&bomb), Err(Fault::HeadersTooLarge));
    }

    #[test]
    fn what_is_not_zlib_with_this_dictionary_is_a_fault() {
        assert_eq!(Blocks::new().read(b"hello, world"), Err(Fault::Zlib));
        let other = deflate(&mut Compress::new(Compression::best(), true), &block(&[("a", "b")]));
        let mut blocks = Blocks::new();
        // Without a dictionary zlib reads it, and so do its peers.
        assert_eq!(blocks.read(&other), Ok(()));
        let mut named = Compress::new(Compression::best(), true);
        named.set_dictionary(b"another").unwrap();
        assert_eq!(Blocks::new().read(&deflate(&mut named, b"x")), Err(Fault::Zlib));
    }

    #[test]
    fn a_stream_of_zlib_that_ends_is_a_fault() {
        let mut out = Vec::with_capacity(1024);
        compressor().compress_vec(&block(&[("a", "b")]), &mut out, FlushCompress::Finish).unwrap();
        assert_eq!(Blocks::new().read(&out), Err(Fault::Zlib));
    }
}

//! Base64 (RFC 4648, 4) in pieces, with line ends left out, as Go's `StdEncoding` reads it.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::Fault;

/// Characters decoded at once.
const CHUNK: usize = 4 << 10;

/// Reads one message after another.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Characters that are no full group yet.
    held: [u8; 3],
    count: usize,
    /// The padding was there: nothing may follow.
    padded: bool,
    /// Whether the message has said something.
    told: bool,
}

impl Decoder {
    /// Decodes a piece; `out` gets what it says, some at a time.
    pub(crate) fn decode(&mut self, text: &[u8], mut out: impl FnMut(&[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut characters = [0; CHUNK + 3];
        let mut bytes = [0; CHUNK + 3];
        for text in text.chunks(CHUNK) {
            characters[..self.count].copy_from_slice(&self.held[..self.count]);
            let mut filled = self.count;
            for character in text.iter().filter(|character| !matches!(character, b'\r' | b'\n')) {
                characters[filled] = *character;
                filled += 1;
            }
            self.count = filled % 4;
            let (groups, rest) = characters[..filled].split_at(filled - self.count);
            self.held[..rest.len()].copy_from_slice(rest);
            if self.padded && filled > 0 {
                return Err(Fault::Base64);
            }
            self.padded |= groups.last() == Some(&b'=');
            if self.padded && !rest.is_empty() {
                return Err(Fault::Base64);
            }
            let length = STANDARD.decode_slice(groups, &mut bytes).map_err(|_| Fault::Base64)?;
            if length > 0 {
                self.told = true;
                out(&bytes[..length])?;
            }
        }
        Ok(())
    }

    /// Whether the message has said something yet.
    pub(crate) fn has_told(&self) -> bool {
        self.told
    }

    /// A message ends.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        if self.count != 0 {
            return Err(Fault::Base64);
        }
        *self = Self::default();
        Ok(())
    }
}

/// Appends `bytes` as base64.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<Vec<u8>, Fault> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for piece in pieces {
            decoder.decode(piece, |bytes| {
                out.extend_from_slice(bytes);
                Ok(())
            })?;
        }
        decoder.end()?;
        Ok(out)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_wherever_it_is_cut(bytes: Vec<u8>, cut: prop::sample::Index) {
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            let (a, b) = text.split_at(cut.index(text.len() + 1));
            prop_assert_eq!(decode(&[a, b]), Ok(bytes));
        }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm\n9v", "foo")]
        {
            assert_eq!(decode(&[text.as_bytes()]).unwrap(), bytes.as_bytes(), "{text}");
        }
    }

    #[test]
    fn what_is_cut_off_or_padded_wrongly_is_a_fault() {
        for text in ["Z", "Zg", "Zg=", "=", "Z===", "Zg==Zg==", "Zm9v=", "Zg=v", "Zm-v", "Zm 9v"] {
            assert_eq!(decode(&[text.as_bytes()]), Err(Fault::Base64), "{text}");
        }
    }
}

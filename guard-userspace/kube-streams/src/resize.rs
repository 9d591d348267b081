//! The resize channel: sizes of a terminal, each a JSON object (`k8s.io/client-go/tools/remotecommand`, `TerminalSize`).

use std::collections::VecDeque;

use serde::Deserialize;

use crate::Fault;

/// Bytes of one size at most. A client sends some 30.
const MAX_SIZE: usize = 256;

/// Columns and rows.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width", alias = "width", default)]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height", alias = "height", default)]
    pub height: u16,
}

/// Finds the objects in bytes that come in any pieces. They need not be divided by anything.
#[derive(Debug, Default)]
pub(crate) struct SizeReader {
    held: Vec<u8>,
    found: VecDeque<TerminalSize>,
}

impl SizeReader {
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        // Of a piece that is at fault nothing is told, now or with another one.
        self.find(bytes).inspect_err(|_| self.found.clear())
    }

    fn find(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for byte in bytes {
            let between = self.held.is_empty();
            if between && byte.is_ascii_whitespace() {
                continue;
            }
            if between && *byte != b'{' || self.held.len() == MAX_SIZE {
                return Err(Fault::Resize);
            }
            self.held.push(*byte);
            // No object with two numbers in it has a brace inside.
            if *byte == b'}' {
                self.found.push_back(serde_json::from_slice(&self.held).map_err(|_| Fault::Resize)?);
                self.held.clear();
            }
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Option<TerminalSize> {
        self.found.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(pieces: &[&str]) -> Result<Vec<(u16, u16)>, Fault> {
        let mut reader = SizeReader::default();
        pieces.iter().try_for_each(|piece| reader.read(piece.as_bytes()))?;
        Ok(std::iter::from_fn(|| reader.next()).map(|size| (size.width, size.height)).collect())
    }

    #[test]
    fn sizes_come_in_any_pieces_with_or_without_lines_between() {
        assert_eq!(
            sizes(&["{\"Width\":80,", "\"Height\":24}\n{\"Width\":1,\"Height\":2}"]),
            Ok(vec![(80, 24), (1, 2)])
        );
        assert_eq!(sizes(&["{\"width\":80,\"height\":24}{}"]), Ok(vec![(80, 24), (0, 0)]));
    }

    #[test]
    fn what_is_no_size_is_a_fault_and_is_not_held() {
        for bad in ["80x24", "[1,2]", "{\"Width\":-1}", "{\"Width\":70000}", "{\"Width\":{}}", "{]}"] {
            assert_eq!(sizes(&[bad]), Err(Fault::Resize), "{bad}");
        }
        assert_eq!(sizes(&["{", &" ".repeat(MAX_SIZE)]), Err(Fault::Resize));
    }
}

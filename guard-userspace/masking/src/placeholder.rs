//! What stands in a finding's place.
//!
//! Grammar, in all contexts (docs/masking.md):
//! `<guard:DETECTOR:MAC>` in text, JSON and YAML strings; `guard.DETECTOR.MAC` where angle brackets or colons are not allowed
//! (URLs, XML, shell assignments, labels); base64 of the first where the value is base64. DETECTOR is `[a-z0-9-]{1,40}`,
//! MAC 20 hexadecimal digits: the first 80 bits of HMAC-SHA-256 of the value, under a key that HKDF derives from the
//! cluster's masking key and the scope. So it is the same after a restart and on every node, and says nothing in another scope.

use std::fmt;

use aws_lc_rs::{digest, hkdf, hmac};

/// Bytes of the MAC: 80 bits.
const MAC_LEN: usize = 10;

/// Where a placeholder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `<guard:DETECTOR:MAC>`
    Free,
    /// `guard.DETECTOR.MAC`
    Dotted,
    /// Base64 of `<guard:DETECTOR:MAC>`.
    Base64,
}

/// The key of one scope's placeholders.
#[derive(Clone)]
pub struct ScopeKey(hmac::Key);

impl fmt::Debug for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScopeKey(..)")
    }
}

struct Len;

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        digest::SHA256_OUTPUT_LEN
    }
}

impl ScopeKey {
    /// Derives the key of `scope` (a pod's uid, an issuer with a subject, one `guard run`) from the cluster's masking key.
    pub fn derive(masking_key: &[u8; 32], scope: &str) -> Self {
        let mut key = zeroize::Zeroizing::new([0; digest::SHA256_OUTPUT_LEN]);
        let info = [b"egressguard.io/placeholder/v1/".as_slice(), scope.as_bytes()];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"egressguard.io/masking")
            .extract(masking_key)
            .expand(&info, Len)
            .and_then(|output| output.fill(&mut *key))
            .expect("HKDF-SHA-256 gives 32 bytes");
        Self(hmac::Key::new(hmac::HMAC_SHA256, &*key))
    }

    fn mac(&self, value: &[u8]) -> [u8; MAC_LEN] {
        let tag = hmac::sign(&self.0, value);
        let mut mac = [0; MAC_LEN];
        mac.copy_from_slice(&tag.as_ref()[..MAC_LEN]);
        mac
    }

    /// The placeholder of `value`, appended to `out`.
    pub(crate) fn write(&self, detector: &str, value: &[u8], style: Style, out: &mut Vec<u8>) {
        let mac = Hex(self.mac(value));
        match style {
            Style::Free => out.extend_from_slice(format!("<guard:{detector}:{mac}>").as_bytes()),
            Style::Dotted => out.extend_from_slice(format!("guard.{detector}.{mac}").as_bytes()),
            Style::Base64 => {
                let plain = format!("<guard:{detector}:{mac}>");
                crate::encoded::encode_like(b"", true, plain.as_bytes(), out);
            }
        }
    }

    /// A replacement of the value's own length, for archives: `guard.` and the MAC, cut or filled with dots.
    pub fn same_length(&self, value: &[u8]) -> Vec<u8> {
        let mut out = format!("guard.{}", Hex(self.mac(value))).into_bytes();
        if value.len() < out.len() {
            // The MAC tells values apart; the word can go.
            out.drain(..("guard.".len()).min(out.len() - value.len()));
        }
        out.resize(value.len(), b'.');
        out
    }
}

struct Hex([u8; MAC_LEN]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholder(key: &ScopeKey, value: &str, style: Style) -> String {
        let mut out = Vec::new();
        key.write("key-value", value.as_bytes(), style, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn equal_values_are_equal_in_one_scope_and_in_no_other() {
        let here = ScopeKey::derive(&[7; 32], "pod-1");
        let again = ScopeKey::derive(&[7; 32], "pod-1");
        let there = ScopeKey::derive(&[7; 32], "pod-2");
        assert_eq!(placeholder(&here, "hunter2", Style::Free), placeholder(&again, "hunter2", Style::Free));
        assert_ne!(placeholder(&here, "hunter2", Style::Free), placeholder(&there, "hunter2", Style::Free));
        assert_ne!(placeholder(&here, "hunter2", Style::Free), placeholder(&here, "hunter3", Style::Free));
    }

    #[test]
    fn the_grammar_is_as_documented() {
        let key = ScopeKey::derive(&[7; 32], "pod-1");
        let free = placeholder(&key, "hunter2", Style::Free);
        let pattern = regex::Regex::new("^<guard:[a-z0-9-]{1,40}:[0-9a-f]{20}>$").unwrap();
        assert!(pattern.is_match(&free), "{free}");
        assert!(regex::Regex::new(r"^guard\.[a-z0-9-]{1,40}\.[0-9a-f]{20}$").unwrap().is_match(&placeholder(
            &key,
            "hunter2",
            Style::Dotted
        )));
        assert_eq!(
            crate::encoded::decode(placeholder(&key, "hunter2", Style::Base64).trim_end_matches('=').as_bytes()),
            free.as_bytes()
        );
    }

    #[test]
    fn a_replacement_has_the_length_of_what_it_replaces() {
        let key = ScopeKey::derive(&[7; 32], "pod-1");
        for len in [1, 8, 20, 25, 26, 27, 400] {
            assert_eq!(key.same_length(&vec![b'a'; len]).len(), len);
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", ScopeKey::derive(&[7; 32], "pod-1")), "ScopeKey(..)");
    }
}

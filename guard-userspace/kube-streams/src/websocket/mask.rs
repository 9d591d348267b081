//! Masking (RFC 6455, 5.3): XOR with four bytes, again and again.

/// Bytes that are done at once.
const WIDE: usize = 16;

/// Masks or unmasks `bytes`, which begin `offset` bytes into their frame.
pub(super) fn apply(mut key: [u8; 4], offset: usize, bytes: &mut [u8]) {
    key.rotate_left(offset % 4);
    let mut wide = [0; WIDE];
    wide.chunks_exact_mut(4).for_each(|four| four.copy_from_slice(&key));
    let wide = u128::from_ne_bytes(wide);
    let mut chunks = bytes.chunks_exact_mut(WIDE);
    for chunk in &mut chunks {
        let chunk: &mut [u8; WIDE] = chunk.try_into().expect("a chunk has this size");
        *chunk = (u128::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_xor_of_the_rfc_wherever_the_bytes_are_cut(mut bytes: Vec<u8>, key: [u8; 4], cut: prop::sample::Index) {
            let expected: Vec<u8> = bytes.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            let cut = cut.index(bytes.len() + 1);
            let (a, b) = bytes.split_at_mut(cut);
            apply(key, 0, a);
            apply(key, cut, b);
            prop_assert_eq!(bytes, expected);
        }
    }
}

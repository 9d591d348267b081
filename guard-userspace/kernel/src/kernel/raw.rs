//! Map keys and values as bytes.

use guard_common::{CounterKey, NetnsEntry, ServiceEntry, ServiceKey, VethAddressKey, VethEntry};

/// A shared type as a map's key or value: aya's marker trait can't be put on another crate's type.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Raw<T>(pub(super) T);

macro_rules! plain_bytes {
    ($($shared:ty),* $(,)?) => {$(
        // SAFETY: `repr(C)`, made of integers and arrays of them alone, without padding (its size is asserted beside it in
        // guard-common), and every bit pattern is a value of it.
        #[allow(unsafe_code)]
        unsafe impl aya::Pod for Raw<$shared> {}
    )*};
}

plain_bytes!(CounterKey, NetnsEntry, ServiceEntry, ServiceKey, VethAddressKey, VethEntry);

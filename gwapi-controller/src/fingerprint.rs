//! Short names for long texts.

/// 64 bits of FNV-1a in hex: the same for all versions and machines.
pub(crate) fn fingerprint(text: &str) -> String {
    format!("{:016x}", hash(text))
}

/// The same as a number.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

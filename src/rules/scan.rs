//! Where does a word end, among a million?
//!
//! What these functions say, a loop over the bytes says, too. But where a loop over an address ends, no
//! processor can guess, and a wrong guess costs as much as reading the address: so short texts are
//! looked at eight bytes at a time, without asking after each.

#![forbid(unsafe_code)]

/// ```text
/// separator = " " | TAB | CR | LF | "," ;
/// ```
pub fn is_separator(byte: u8) -> bool {
    (byte == b' ') | (byte == b'\t') | (byte == b'\r') | (byte == b'\n') | (byte == b',')
}

/// Where a list ends, or may end.
pub(super) fn is_fence(byte: u8) -> bool {
    (byte == 0) | (byte == b'[') | (byte == b']') | (byte == b':')
}

/// Part of an IPv4 address.
pub(super) fn is_numeric(byte: u8) -> bool {
    byte.is_ascii_digit() | (byte == b'.')
}

/// What a bare IPv6 pattern and the keyword behind it are made of.
pub(super) fn in_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'%' | b'/')
}

/// Whether a text of 8 to 16 bytes has none of these. False says nothing about a text of another length.
pub(super) fn is_short_without(text: &[u8], is_one: impl Fn(u8) -> bool) -> bool {
    let none = |bytes: &[u8; 8]| !bytes.iter().fold(false, |found, &byte| found | is_one(byte));
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) if text.len() <= 16 => none(first) & none(last),
        _ => false,
    }
}

/// ```text
/// list = { separator } { word { separator } } ;
/// ```
pub fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = list;
    std::iter::from_fn(move || {
        let start = left.iter().position(|&byte| !is_separator(byte))?;
        let text = left.get(start..)?;
        if is_short_without(text, is_separator) {
            left = &[];
            return Some(text);
        }
        let end = text.iter().position(|&byte| is_separator(byte)).unwrap_or(text.len());
        let (word, behind) = text.split_at_checked(end)?;
        left = behind;
        Some(word)
    })
}

/// Where a word of a pattern file ends: at the first blank of isspace(3), or at a NUL, which is none.
pub fn end_of_word(text: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let (eights, _) = text.as_chunks();
    for (n, &eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(eight);
        // The lowest bit that is left belongs to the first byte up to a blank; those above it may lie.
        let low = eight.wrapping_sub(EACH * (u64::from(b' ') + 1)) & !eight & (EACH * 0x80);
        if low != 0 {
            let at = n * 8 + low.trailing_zeros() as usize / 8;
            if text.get(at).is_some_and(|&byte| is_blank(byte) || byte == 0) {
                return Some(at);
            }
            break;
        }
    }
    text.iter().position(|&byte| is_blank(byte) || byte == 0)
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || (b'\t'..=b'\r').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_read_as_long_ones() {
        for length in 1..20 {
            for (at, byte) in (0..length).flat_map(|at| (0..=255_u8).map(move |byte| (at, byte))) {
                let mut text = vec![b'7'; length];
                text[at] = byte;
                let split: Vec<_> = text.split(|&b| is_separator(b)).filter(|w| !w.is_empty()).collect();
                assert_eq!(words(&text).collect::<Vec<_>>(), split);
                for is_one in [is_separator, is_fence, |byte| !is_numeric(byte)] {
                    let expected = (8..=16).contains(&length) && !text.iter().any(|&byte| is_one(byte));
                    assert_eq!(is_short_without(&text, is_one), expected, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_word_is_where_the_first_blank_is() {
        for length in 0..40 {
            let plain = vec![b'7'; length];
            assert_eq!(end_of_word(&plain), None, "{length}");
            for (at, byte) in (0..length).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut text = plain.clone();
                text[at] = byte;
                text[length - 1] = b'\n';
                let expected = text.iter().position(|&byte| is_blank(byte) || byte == 0);
                assert_eq!(end_of_word(&text), expected, "{byte} at {at} of {length}");
            }
        }
    }
}

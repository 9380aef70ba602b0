//! The echo: a checksum of the prompt, followed by the prompt.

use std::fmt::Write as _;

/// `"{crc32 as 8 hex digits} {prompt}"`.
pub(super) fn answer(prompt: &str) -> String {
    let mut text = String::with_capacity(9 + prompt.len());
    write!(text, "{:08x} ", crc32fast::hash(prompt.as_bytes()))
        .expect("a string takes what is written to it");
    text.push_str(prompt);
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_echo_is_the_checksum_and_the_prompt() {
        // The check value of CRC-32/ISO-HDLC, from the catalogue of parametrised CRC algorithms.
        assert_eq!(super::answer("123456789"), "cbf43926 123456789");
    }
}

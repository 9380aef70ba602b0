//! Characters of texts that are shown to people.

/// Returns true for a character that controls a terminal, or makes a text read differently from what it is:
/// control characters except line breaks and tabs, marks that change the direction of text, and invisible
/// characters. Joiners and separators of lines are not among them.
#[inline]
pub fn alters_display(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        c if c.is_ascii() => c.is_control(),
        // C1 controls, soft hyphen, Arabic letter mark, zero-width space, marks of direction, word joiner and
        // invisible operators, isolates, byte order mark, interlinear annotations, tags.
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Returns true for the separators of lines and paragraphs.
#[inline]
pub fn is_separator(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}')
}

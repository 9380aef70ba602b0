//! The bytes of mutated streams, in the framings of real servers.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::super::streams::Event;
use super::benign::Oddity;

/// Framing of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// As published.
    Plain,
    /// One kind of line break everywhere, and comments, ids and retry times between events.
    Lines(&'static str),
    /// One line break between events instead of two.
    Dense,
    /// Each event's data in several `data` lines.
    SeveralLines,
    /// No space after the colon, and the name after the data.
    NoSpace,
    /// The data of events without any fields, one per line.
    Bare,
    /// `data` lines in a dialect of plain lines.
    Data,
    /// A byte order mark before the first event, or before each.
    Marks,
}

impl Wire {
    pub(super) fn random(dialect: &str, oddities: &BTreeSet<Oddity>, random: &mut Rng) -> Self {
        let all = [
            Self::Plain,
            Self::Lines("\n"),
            Self::Lines("\r\n"),
            Self::Lines("\r"),
            Self::Dense,
            Self::SeveralLines,
            Self::NoSpace,
            Self::Bare,
            Self::Data,
            Self::Marks,
        ];
        let wire = all[random.usize(..all.len())];
        let is_text = oddities.contains(&Oddity::KeepAlive);
        match (dialect, wire) {
            // Plain lines have no fields.
            ("ollama", Self::Dense | Self::SeveralLines | Self::NoSpace | Self::Bare) => Self::Plain,
            ("ollama", Self::Lines("\r")) => Self::Lines("\r\n"),
            // Text that is not JSON needs a field around it.
            (_, Self::Bare) if is_text => Self::Plain,
            _ => wire,
        }
    }

    /// The bytes, and for each event the offset after its data.
    pub(super) fn write(self, dialect: &str, events: &[Event], random: &mut Rng) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let is_lines = dialect == "ollama" && self != Self::Data;
        for (at, Event { name, data }) in events.iter().enumerate() {
            let line = match self {
                Self::Lines(line) => line,
                _ => "\n",
            };
            if self == Self::Marks && (at == 0 || random.bool()) {
                bytes.extend("\u{FEFF}".as_bytes());
            }
            if matches!(self, Self::Lines(_)) && !is_lines {
                let between = ["", ": comment", ":", "id: 7", "retry: 100", "other: x", "data"];
                let between = between[random.usize(..between.len())];
                if !between.is_empty() {
                    bytes.extend(format!("{between}{line}{line}").as_bytes());
                }
            }
            let has_fields = !is_lines && self != Self::Bare;
            let named = !name.is_empty() && has_fields;
            if named && self != Self::NoSpace {
                bytes.extend(format!("event: {name}{line}").as_bytes());
            }
            match self {
                _ if !has_fields => bytes.extend(data.as_bytes()),
                Self::SeveralLines => {
                    let mut lines = split(data, random);
                    bytes.extend(format!("data: {}", lines.remove(0)).as_bytes());
                    lines.iter().for_each(|more| bytes.extend(format!("\ndata: {more}").as_bytes()));
                }
                Self::NoSpace => bytes.extend(format!("data:{data}").as_bytes()),
                _ => bytes.extend(format!("data: {data}").as_bytes()),
            }
            ends.push(bytes.len());
            if named && self == Self::NoSpace {
                bytes.extend(format!("\nevent:{name}").as_bytes());
            }
            bytes.extend(line.as_bytes());
            if has_fields && self != Self::Dense {
                bytes.extend(line.as_bytes());
            }
        }
        (bytes, ends)
    }
}

/// Splits JSON between its tokens.
fn split<'a>(data: &'a str, random: &mut Rng) -> Vec<&'a str> {
    let (mut lines, mut start) = (Vec::new(), 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for (at, byte) in data.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b',' | b'[' if !is_text && data.starts_with('{') && random.u8(..4) == 0 => {
                lines.push(&data[start..=at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    lines.push(&data[start..]);
    lines
}

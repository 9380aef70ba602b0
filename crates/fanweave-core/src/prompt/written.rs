//! Lists and objects as text: JSON, with the keys in alphabetical order.

use std::fmt::Write as _;
use std::io;

use minijinja::{Error, ErrorKind, State, Value};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::weight;

/// Work of a byte that is written. Source: the language pays this once it is printed.
const WRITTEN_BYTE: u64 = 16;

/// The text of a list or an object, as long as the work lasts. Values that JSON does not have are written as
/// the template language does.
pub(super) fn written(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let left = usize::try_from(weight::left(state) / WRITTEN_BYTE).unwrap_or(usize::MAX);
    let mut json = Bounded { text: Vec::new(), left };
    match value.serialize(&mut Serializer::with_formatter(&mut json, Spaced)) {
        Ok(()) => Ok(String::from_utf8_lossy(&json.text).into_owned()),
        Err(error) if error.is_io() => Err(ErrorKind::OutOfFuel.into()),
        Err(_) => {
            let mut text = Bounded { text: Vec::new(), left };
            write!(text, "{value}").map_err(|_| Error::from(ErrorKind::OutOfFuel))?;
            Ok(String::from_utf8_lossy(&text.text).into_owned())
        }
    }
}

struct Bounded {
    text: Vec<u8>,
    left: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::OutOfMemory)?;
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        io::Write::write_all(self, text.as_bytes()).map_err(|_| std::fmt::Error)
    }
}

/// A space after commas and colons, like the filter `tojson`.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::prompt::{chat, fstring};
    use crate::{Template, chain, vars};

    #[tokio::test]
    async fn lists_and_objects_are_written_as_json_in_every_template() {
        let value =
            json!({ "n": null, "b": true, "a": [1, 2.5, "it's \"<b>\""], "é": { "z": 1, "y": false } });
        let vars = vars! { x: value };
        let text = r#"{"a": [1, 2.5, "it's \"<b>\""], "b": true, "n": null, "é": {"y": false, "z": 1}}"#;
        for template in [
            "{{ x }}",
            "{{ x | string }}",
            "{{ [x] | join }}",
            "{% set y = x %}{{ y }}",
            "{{ x | default('') }}",
        ] {
            assert_eq!(Template::parse(template).unwrap().render(&vars).unwrap(), text, "{template}");
        }
        let lists = Template::parse(
            "{{ x.a }} {{ [x.b, none] }} {{ (1, 'b') }} {{ range(3) }} {{ [[1], 'b'] | join('; ') }}",
        );
        let lists = lists.unwrap().render(&vars).unwrap();
        assert_eq!(lists, r#"[1, 2.5, "it's \"<b>\""] [true, null] [1, "b"] [0, 1, 2] [1]; b"#);
        assert_eq!(fstring("{x}").invoke(vars.clone()).await.unwrap().messages[0].text(), text);
        let messages = chain(chat().system("{{ x }}").user("{{ x.a }}")).invoke(vars).await.unwrap().messages;
        assert_eq!(messages[0].text(), text);
        assert_eq!(messages[1].text(), r#"[1, 2.5, "it's \"<b>\""]"#);
    }

    #[test]
    fn values_that_json_does_not_have_are_written_as_the_language_does() {
        let text =
            Template::parse("{{ {(1, 2): 'a'} }} {{ 'a' }} {{ 1.0 }}").unwrap().render(&vars! {}).unwrap();
        assert_eq!(text, "{(1, 2): 'a'} a 1.0");
    }
}

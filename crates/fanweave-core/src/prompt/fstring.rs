//! Templates in the style of Python's f-strings.

use crate::chain::Chain;
use crate::{Error, ErrorKind, Prompt, Result, Template, Vars};

/// A chain that begins with a template in the style of Python's f-strings: `{x}` is a variable, `{{` and `}}`
/// are braces.
///
/// Only names are supported: no attributes, indices, conversions or formats. An invalid template fails every
/// run with [`ErrorKind::Config`]; [`Template::fstring`] reports it immediately.
///
/// ```
/// use fanweave::{prompts::fstring, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let joke = fstring("Tell a joke about {topic} as {{json}}.") | Fake::echo() | text();
/// assert_eq!(joke.invoke(vars! { topic: "bears" }).await?, "Tell a joke about bears as {json}.");
/// # Ok(())
/// # }) }
/// ```
pub fn fstring(text: &str) -> Chain<Vars, Prompt> {
    super::template::or_invalid(Template::fstring(text))
}

impl Template {
    /// Parses a template in the style of Python's f-strings. See [`fstring`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a brace is not closed, or contains more than a name.
    pub fn fstring(text: &str) -> Result<Self> {
        Template::parse(jinja(text)?)
    }
}

/// The same template in Jinja.
fn jinja(text: &str) -> Result<String> {
    let (mut out, mut literal) = (String::new(), String::new());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let line = || text[..text.len() - rest.len() + at].matches('\n').count() + 1;
        let tail = &rest[at..];
        if let Some(after) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
            literal.push_str(&tail[..1]);
            rest = after;
            continue;
        }
        if tail.starts_with('}') {
            return Err(broken(line(), "unmatched `}`: write `}}` for a literal brace"));
        }
        let Some(end) = tail.find('}') else {
            return Err(broken(line(), "unclosed `{`: write `{{` for a literal brace"));
        };
        let name = tail[1..end].trim();
        if !is_name(name) {
            let message = format!(
                "`{{{name}}}` is not a variable name: attributes, indices and formats are not supported"
            );
            return Err(broken(line(), &message));
        }
        flush(&mut literal, &mut out);
        out.push_str(&format!("{{{{ {name} }}}}"));
        rest = &tail[end + 1..];
    }
    literal.push_str(rest);
    flush(&mut literal, &mut out);
    // Jinja drops a trailing line break, and Python does not.
    if out.ends_with('\n') {
        out.push('\n');
    }
    Ok(out)
}

/// Escapes text so that Jinja prints it verbatim.
fn flush(literal: &mut String, out: &mut String) {
    if literal.contains('{') {
        let quoted =
            literal.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n").replace('\r', "\\r");
        out.push_str(&format!("{{{{ '{quoted}' }}}}"));
    } else {
        out.push_str(literal);
    }
    literal.clear();
}

/// Names that Jinja does not read as variables.
const TAKEN: [&str; 7] = ["true", "false", "none", "True", "False", "None", "not"];

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !TAKEN.contains(&name)
}

fn broken(line: usize, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the f-string is not valid: line {line}: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vars;

    #[test]
    fn an_invalid_name_is_rejected_with_its_line() {
        for (text, says) in [
            ("a\n{x.y}", "line 2: `{x.y}` is not a variable name"),
            ("{x:.2f}", "line 1: `{x:.2f}` is not a variable name"),
            ("{}", "`{}` is not a variable name"),
            ("{x", "unclosed"),
            ("x}", "unmatched"),
        ] {
            let error = Template::fstring(text).expect_err(text);
            assert!(error.message().contains(says), "{error}");
        }
    }

    proptest! {
        #[test]
        fn text_without_variables_stays_as_it_is(text in "[a-z{}%#'\\\\\n\"-]{0,40}") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            let template = Template::fstring(&format!("{escaped}{{x}}")).unwrap();
            prop_assert_eq!(template.render(&vars! { x: "{{ y }}" }).unwrap(), format!("{text}{{{{ y }}}}"));
            prop_assert_eq!(Template::fstring(&escaped).unwrap().render(&Vars::new()).unwrap(), text);
        }
    }

    #[test]
    fn a_name_that_the_template_could_not_look_up_is_refused() {
        for name in ["none", "True", "not", "größe"] {
            let error = Template::fstring(&format!("{{{name}}}")).expect_err("no template");
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.message().contains(&format!("`{{{name}}}` is not a variable name")), "{error}");
        }
        let vars = crate::vars! { none_left: "X" };
        assert_eq!(Template::fstring("{none_left}").unwrap().render(&vars).unwrap(), "X");
    }
}

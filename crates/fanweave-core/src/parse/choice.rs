//! Parses one of several options.

use super::unreadable;
use crate::chain::{Chain, chain};
use crate::think::answer_of;
use crate::{Context, Message, Node, Result, Runnable};

/// The step that [`choice`] makes.
#[derive(Debug, Clone)]
pub struct Choice {
    options: Vec<String>,
}

/// Returns the one of `options` that the message consists of, in the spelling of the option. Case, and
/// surrounding white space and punctuation, are ignored.
///
/// # Errors
/// A run fails with [`ErrorKind::Parse`](crate::ErrorKind::Parse), which names the options, if the message is
/// not one of them.
///
/// ```
/// use fanweave::{Message, chain, parsers::choice};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let answer = chain(choice(["yes", "no"])).invoke(Message::assistant("**Yes.**\n")).await?;
/// assert_eq!(answer, "yes");
/// # Ok(())
/// # }) }
/// ```
pub fn choice<T: Into<String>>(options: impl IntoIterator<Item = T>) -> Choice {
    Choice { options: options.into_iter().map(Into::into).collect() }
}

/// Like [`choice`], with values: each option is the `Display` text of a value.
///
/// ```
/// use std::fmt;
/// use fanweave::{Message, parsers::choice_of};
///
/// #[derive(Debug, Clone, PartialEq)]
/// enum Mood {
///     Glad,
///     Sad,
/// }
///
/// impl fmt::Display for Mood {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         f.write_str(if *self == Mood::Glad { "glad" } else { "sad" })
///     }
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let mood = choice_of([Mood::Glad, Mood::Sad]);
/// assert_eq!(mood.invoke(Message::assistant("Sad.")).await?, Mood::Sad);
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// Like [`choice`].
pub fn choice_of<T>(options: impl IntoIterator<Item = T>) -> Chain<Message, T>
where
    T: std::fmt::Display + Clone + Send + Sync + 'static,
{
    let values: Vec<T> = options.into_iter().collect();
    let names: Vec<String> = values.iter().map(ToString::to_string).collect();
    let known = names.clone();
    chain(choice(names)).map(move |name| {
        let at = known.iter().position(|known| *known == name).expect("a choice returns one of its options");
        values[at].clone()
    })
}

impl Runnable for Choice {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = String;

    async fn run(&self, message: Message, _: &Context) -> Result<String> {
        let text = answer_of(message);
        let found = self.options.iter().find(|option| option.trim() == text.trim());
        found
            .or_else(|| self.meant(&text))
            .cloned()
            .ok_or_else(|| unreadable(&format!("one of {}", self.options.join(", ")), &text))
    }

    fn describe(&self) -> Node {
        Node::step("choice")
    }
}

impl Choice {
    /// The option that the text names, ignoring case and surrounding characters. Options such as `-1` and
    /// `1`, or `C` and `C++`, differ only in those: then the longest option that the text contains is taken.
    fn meant(&self, text: &str) -> Option<&String> {
        let bare_text = bare(text);
        let alike: Vec<_> = self.options.iter().filter(|option| bare(option) == bare_text).collect();
        match alike.as_slice() {
            [one] if !bare_text.is_empty() => Some(one),
            several => {
                let text = text.to_lowercase();
                let held = several.iter().filter(|option| {
                    let option = option.trim().to_lowercase();
                    !option.is_empty() && text.contains(&option)
                });
                held.max_by_key(|option| option.len()).copied()
            }
        }
    }
}

/// The characters that count when two texts are compared.
fn bare(text: &str) -> String {
    text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use crate::{ErrorKind, Message, chain, choice};

    #[tokio::test]
    async fn an_invalid_option_is_an_error_that_lists_them() {
        let error = chain(choice(["yes", "no"])).invoke(Message::assistant("maybe")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parse);
        assert_eq!(error.to_string(), r#"expected one of yes, no, found "maybe""#);
    }

    #[tokio::test]
    async fn options_of_punctuation_are_distinguished() {
        assert_eq!(chain(choice(["+", "-"])).invoke(Message::assistant("-")).await.unwrap(), "-");
    }

    #[tokio::test]
    async fn options_that_differ_only_in_punctuation_are_distinguished() {
        for (options, answer, meant) in [
            (&["-1", "0", "1"][..], "1.", Some("1")),
            (&["-1", "0", "1"], "**-1**", Some("-1")),
            (&["C", "C++", "C#"], "c++.", Some("C++")),
            (&["C", "C++", "C#"], "\"C\"", Some("C")),
            (&["+", "-"], "*", None),
            (&["+", "-"], "", None),
            (&["+", "-"], "+.", Some("+")),
            (&["yes.", "no."], "Yes", Some("yes.")),
        ] {
            let read = chain(choice(options.iter().copied())).invoke(Message::assistant(answer)).await;
            assert_eq!(read.ok().as_deref(), meant, "{answer:?} of {options:?}");
        }
    }
}

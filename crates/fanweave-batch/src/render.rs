//! From what a row holds to what a model is asked.

use fanweave_core::{Error, ErrorKind, Prompt, Result, Template, Vars};
use serde::Deserialize;
use serde_json::Value;

use crate::Input;
use crate::source::Body;

/// How rows become prompts.
///
/// With a template, the fields of a row fill it: those of a JSON object or of a CSV record, and `input` for a
/// line of text. Without one, a row needs a `prompt` or `messages` of its own. A row of `messages` may set
/// parameters as a request does (`temperature`, `tools`, ..); its other fields are not sent.
///
/// ```
/// use fanweave_batch::{Input, Render};
/// use fanweave_core::{Template, vars};
///
/// let render = Render { template: Some(Template::parse("Where is {{ city }}?")?), system: None };
/// let prompt = render.render(Input::Vars(vars! { city: "Oslo" }))?;
/// assert_eq!(prompt.last_user_text(), "Where is Oslo?");
///
/// let error = Render::default().render(Input::Vars(vars! { city: "Oslo" })).unwrap_err();
/// assert_eq!(
///     error.message(),
///     "the row has the field `city`, but no `prompt` or `messages`: \
///      give a template, as in --prompt '{{ city }}'",
/// );
/// # Ok::<_, fanweave_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Render {
    /// Writes the user's message. Default none.
    pub template: Option<Template>,
    /// Writes a system message in front, from the same variables. Default none.
    pub system: Option<Template>,
}

impl Render {
    /// What the model is asked for `input`.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] where a variable is missing, or where there is neither a template nor a prompt;
    /// [`ErrorKind::Config`] where a template meets a row that is a whole request already.
    pub fn render(&self, input: Input) -> Result<Prompt> {
        let (system, prompt) = match input {
            Input::Prompt(_) if self.template.is_some() => {
                let message = "the row is a whole request already, and a template has no place in it; \
                               leave the template out";
                return Err(Error::new(ErrorKind::Config, message));
            }
            Input::Prompt(prompt) => (self.system_text(&Vars::new())?, *prompt),
            Input::Text(text) if self.template.is_none() && self.system.is_none() => (None, text.into()),
            Input::Text(text) => {
                let vars = Vars::from(text.as_str());
                let prompt = self.fill(&vars).unwrap_or_else(|| Ok(text.into()))?;
                (self.system_text(&vars)?, prompt)
            }
            Input::Vars(vars) => {
                let system = self.system_text(&vars)?;
                (system, self.fill(&vars).unwrap_or_else(|| own_prompt(&vars))?)
            }
        };
        Ok(match system {
            Some(system) => prompt.with_system(system),
            None => prompt,
        })
    }

    fn fill(&self, vars: &Vars) -> Option<Result<Prompt>> {
        let template = self.template.as_ref()?;
        Some(template.render(vars).map(Prompt::from))
    }

    fn system_text(&self, vars: &Vars) -> Result<Option<String>> {
        self.system.as_ref().map(|template| template.render(vars)).transpose()
    }
}

/// The prompt that a row brings along.
fn own_prompt(vars: &Vars) -> Result<Prompt> {
    let wrong = |message: String| Error::new(ErrorKind::Input, message);
    if vars.get("messages").is_some() {
        let body = Body::deserialize(Value::Object(vars.as_map().clone()));
        let body = body.map_err(|e| wrong(format!("the row is no chat: {e}")))?;
        return body.without_extra().into_prompt().map_err(wrong);
    }
    match vars.get("prompt") {
        Some(Value::String(text)) => Ok(Prompt::from(text.as_str())),
        Some(_) => Err(wrong("`prompt`: expected a text".to_owned())),
        None => Err(wrong(nothing_to_ask(vars))),
    }
}

fn nothing_to_ask(vars: &Vars) -> String {
    const SHOWN: usize = 8;
    let names: Vec<_> = vars.names().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let fields = match (names.as_slice(), vars.names().count()) {
        ([], _) => "no fields".to_owned(),
        ([one], _) => format!("the field {one}"),
        (names, all) if all > SHOWN => format!("the fields {} and {} more", names.join(", "), all - SHOWN),
        (names, _) => format!("the fields {}", names.join(", ")),
    };
    let example = vars.names().next().unwrap_or("field");
    format!(
        "the row has {fields}, but no `prompt` or `messages`: give a template, as in --prompt '{{{{ {example} }}}}'"
    )
}

#[cfg(test)]
mod tests {
    use fanweave_core::{Message, vars};
    use serde_json::json;

    use super::*;

    fn with(template: Option<&str>, system: Option<&str>) -> Render {
        let parse = |text: &str| Template::parse(text).unwrap();
        Render { template: template.map(parse), system: system.map(parse) }
    }

    #[test]
    fn a_system_message_comes_first_and_reads_the_same_variables() {
        let render = with(Some("{{ q }}"), Some("Answer in {{ lang }}."));
        let prompt = render.render(Input::Vars(vars! { q: "Why?", lang: "French" })).unwrap();
        assert_eq!(prompt.messages, [Message::system("Answer in French."), Message::user("Why?")]);
    }

    #[test]
    fn a_line_of_text_is_the_variable_input() {
        let prompt = with(Some("Translate: {{ input }}"), None).render(Input::Text("moin".into())).unwrap();
        assert_eq!(prompt.last_user_text(), "Translate: moin");
    }

    #[test]
    fn a_row_of_messages_is_a_chat_with_its_parameters_and_nothing_else() {
        let chat = json!([{"role": "user", "content": "hi"}]);
        let row = vars! { id: 7, messages: chat, temperature: 0.1, label: "x" };
        let prompt = Render::default().render(Input::Vars(row)).unwrap();
        assert_eq!(prompt.messages, [Message::user("hi")]);
        assert_eq!(prompt.parameters.temperature, Some(0.1));
        assert!(prompt.parameters.extra.is_empty());
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let error = |render: &Render, input| render.render(input).unwrap_err().to_string();
        let plain = Render::default();
        assert_eq!(error(&plain, Input::Vars(vars! { prompt: 3 })), "`prompt`: expected a text");
        assert_eq!(
            error(&plain, Input::Vars(vars! { a: 1, b: 2 })),
            "the row has the fields `a`, `b`, but no `prompt` or `messages`: \
             give a template, as in --prompt '{{ a }}'"
        );
        assert_eq!(
            error(&with(Some("{{ x }}"), None), Input::Vars(vars! { a: 1 })),
            "the template needs `x`, but only `a` is given"
        );
        let chat = Input::Vars(vars! { messages: json!("hi") });
        assert!(error(&plain, chat).starts_with("the row is no chat: "), "the type is wrong");
        let whole = error(&with(Some("{{ x }}"), None), Input::Prompt(Box::new("hi".into())));
        assert!(whole.starts_with("the row is a whole request already"), "{whole}");
    }
}

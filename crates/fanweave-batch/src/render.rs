//! Conversion of a row to a prompt.

use std::sync::Arc;

use fanweave_core::prompt::{Endpoint, RequestBody, render_threads};
use fanweave_core::{Error, ErrorKind, Prompt, Result, Role, Template, Vars};
use serde_json::{Map, Value};

use crate::Input;
use crate::input::field;
use crate::source::{RequestFields, read_exact_row, read_row, read_vendor_row};

/// Variable of templates that has all fields of a row.
pub(crate) const ROW: &str = "row";

/// Options for converting rows to prompts.
///
/// A template is filled with the fields of a row: the fields of a JSON object or CSV record, or `input` for a
/// line of text. `row["Product Name"]` is a field whose name has blanks, and `row` the object of all fields,
/// unless a field has that name. Without a template, a row must have a `prompt` or `messages` field, or be a
/// row of a batch of Anthropic or Gemini, or of a data set for training. A row with `messages` may also have
/// the other fields of a chat completion request (`temperature`, `tools`, `n`, ..), which are sent as they
/// are; fields with other names are data, and not sent.
///
/// ```
/// use fanweave::batch::{Input, Render};
/// use fanweave::{prompts::Template, vars};
///
/// let render = Render::new().template(Template::parse("Where is {{ city }}?")?);
/// let prompt = render.render(Input::Vars(vars! { city: "Oslo" }))?;
/// assert_eq!(prompt.last_user_text(), "Where is Oslo?");
///
/// let error = Render::default().render(Input::Vars(vars! { city: "Oslo" })).unwrap_err();
/// assert_eq!(
///     error.message(),
///     "the row has the field `city`, but no `prompt` or `messages`: \
///      pass a template, such as '{{ city }}'",
/// );
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Render {
    /// Template of the user message. Default: none.
    pub template: Option<Template>,
    /// Template of a system message that is put first, with the same variables. Default: none.
    pub system: Option<Template>,
    /// Drops an assistant's message at the end of a row's messages, which is the answer in rows for
    /// fine-tuning. Default: it is sent, for a model to continue it.
    pub drop_last_assistant: bool,
    /// Set to pass on requests of OpenAI batch files for other endpoints than chat completions, as prompts
    /// without messages whose [body](Prompt::body) is the request: for chains that send them. Default: such
    /// rows fail.
    pub other_endpoints: bool,
    /// Server whose request fields a row with `messages` may have; its other fields are data, which is not
    /// sent. Default: any.
    pub request_fields: RequestFields,
    /// Set to whether a template reads the variable `row`, once it is known.
    reads_row: Option<bool>,
    check: Option<PromptCheck>,
}

/// Returns an error for a prompt that is not to be sent.
type PromptCheck = Arc<dyn Fn(&Prompt) -> Result<()> + Send + Sync>;

impl Render {
    /// No templates: rows are prompts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the template of the user message.
    #[must_use]
    pub fn template(self, template: Template) -> Self {
        Self { template: Some(template), ..self }
    }

    /// Sets the template of a system message.
    #[must_use]
    pub fn system(self, template: Template) -> Self {
        Self { system: Some(template), ..self }
    }

    /// Sets whether an assistant's message at the end is dropped.
    #[must_use]
    pub fn drop_last_assistant(self, drop: bool) -> Self {
        Self { drop_last_assistant: drop, ..self }
    }

    /// Sets whether requests for other endpoints than chat completions are passed on.
    #[must_use]
    pub fn other_endpoints(self, pass: bool) -> Self {
        Self { other_endpoints: pass, ..self }
    }

    /// Sets the server whose request fields a row with `messages` may have.
    #[must_use]
    pub fn request_fields(self, request_fields: RequestFields) -> Self {
        Self { request_fields, ..self }
    }

    /// Adds a check of each prompt before its call. A row whose prompt it refuses fails with its error.
    /// Default: none.
    ///
    /// ```
    /// use fanweave::batch::{Input, Render};
    /// use fanweave::{Error, ErrorKind};
    ///
    /// let render = Render::new().check_prompts(|prompt| match prompt.last_user_text().len() {
    ///     0..100 => Ok(()),
    ///     _ => Err(Error::new(ErrorKind::Input, "the prompt is too long")),
    /// });
    /// assert!(render.render(Input::Text("short".into())).is_ok());
    /// assert!(render.render(Input::Text("long ".repeat(30))).is_err());
    /// ```
    #[must_use]
    pub fn check_prompts(self, check: impl Fn(&Prompt) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { check: Some(Arc::new(check)), ..self }
    }

    /// The same, ready for many rows.
    pub(crate) fn ready(self) -> Self {
        Self { reads_row: Some(self.reads_row()), ..self }
    }

    fn reads_row(&self) -> bool {
        [&self.template, &self.system].into_iter().flatten().any(reads_row)
    }

    /// Renders the prompt for `input`.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if a variable is missing, or if there is neither a template nor a prompt;
    /// [`ErrorKind::Config`] if there is a template but the row is a complete request.
    pub fn render(&self, input: Input) -> Result<Prompt> {
        let texts = self.texts(&input, |template, vars| Some(template.render(vars)));
        self.prompt_of(input, texts.expect("the texts are rendered, whatever it takes")?)
    }

    /// The prompt for `input`, or the work that is left if its templates take long.
    pub(crate) fn prepare(&self, input: Input) -> Prepared<Prompt> {
        match self.texts(&input, Template::try_render) {
            Some(texts) => Prepared::Now(texts.and_then(|texts| self.prompt_of(input, texts))),
            None => {
                let render = self.clone();
                Prepared::Later(Box::new(move || render.render(input)))
            }
        }
    }

    /// The texts of the templates. `None` if `render` gives up.
    pub(crate) fn texts(
        &self,
        input: &Input,
        render: impl Fn(&Template, &Vars) -> Option<Result<String>>,
    ) -> Option<Result<Texts>> {
        if let Input::Prompt(prompt) = input
            && let Some(endpoint) = prompt.body.as_deref().map(RequestBody::endpoint)
            && matches!(endpoint, Endpoint::Responses | Endpoint::Completions | Endpoint::Embeddings)
        {
            let message = format!("a request for {endpoint} is not a chat");
            let refused = Err(Error::new(ErrorKind::Input, message));
            return Some(if self.other_endpoints { Ok(Texts::default()) } else { refused });
        }
        if self.template.is_some() && matches!(input, Input::Prompt(_)) {
            let message = "the row is a complete request; remove the prompt template";
            return Some(Err(Error::new(ErrorKind::Config, message)));
        }
        if self.template.is_none() && self.system.is_none() {
            return Some(Ok(Texts::default()));
        }
        let own;
        let vars = match input {
            Input::Vars(vars)
                if vars.get("row").is_none() && self.reads_row.unwrap_or_else(|| self.reads_row()) =>
            {
                let (name, row) = row_variable(vars.as_map());
                let mut with_row = vars.clone();
                with_row.insert(name, row);
                own = with_row;
                &own
            }
            Input::Vars(vars) => vars,
            Input::Text(text) => {
                own = Vars::from(text.as_str());
                &own
            }
            Input::Prompt(_) => {
                own = Vars::new();
                &own
            }
        };
        let text = |template: &Option<Template>| match template {
            Some(template) => render(template, vars).map(|text| text.map(Some)),
            None => Some(Ok(None)),
        };
        let system = match text(&self.system)? {
            Ok(system) => system,
            Err(error) => return Some(Err(error)),
        };
        Some(text(&self.template)?.map(|user| Texts { system, user }))
    }
}

impl Render {
    fn prompt_of(&self, input: Input, texts: Texts) -> Result<Prompt> {
        let prompt = match (texts.user, input) {
            (Some(text), _) | (None, Input::Text(text)) => text.into(),
            (None, Input::Prompt(prompt)) => *prompt,
            (None, Input::Vars(vars)) => own_prompt(&vars, self.request_fields)?,
        };
        let prompt = if self.drop_last_assistant { without_answer(prompt) } else { prompt };
        let prompt = match texts.system {
            Some(system) => prompt.with_system(system),
            None => prompt,
        };
        if let Some(check) = &self.check {
            check(&prompt)?;
        }
        Ok(prompt)
    }
}

/// The rendered templates of a row.
#[derive(Default)]
pub(crate) struct Texts {
    system: Option<String>,
    user: Option<String>,
}

/// The prompt without an answer at its end.
fn without_answer(mut prompt: Prompt) -> Prompt {
    if ends_with_answer(&prompt) && prompt.messages.len() > 1 {
        prompt.messages.pop();
        if let Some(body) = prompt.body.take().and_then(|body| body.without_last_message()) {
            return prompt.with_body(body);
        }
    }
    prompt
}

/// Returns true if the last message is that of an assistant, as in rows for fine-tuning.
pub(crate) fn ends_with_answer(prompt: &Prompt) -> bool {
    prompt.messages.last().is_some_and(|message| message.role == Role::Assistant)
        && !prompt.parameters.extra.contains_key("continue_final_message")
}

/// The input of a chain, prepared from a row.
pub(crate) enum Prepared<I> {
    Now(Result<I>),
    /// Work of more than a millisecond or so, which must not hold up other rows.
    Later(Box<dyn FnOnce() -> Result<I> + Send>),
}

impl<I: Send + 'static> Prepared<I> {
    /// The input, prepared on another thread if that takes long.
    pub(crate) async fn finish(self) -> Result<I> {
        match self {
            Self::Now(input) => input,
            Self::Later(work) => render_threads().run(work).await?,
        }
    }

    /// The input, if it is prepared.
    pub(crate) fn now(self) -> Option<Result<I>> {
        match self {
            Self::Now(input) => Some(input),
            Self::Later(_) => None,
        }
    }

    /// The input, prepared on this thread.
    pub(crate) fn finish_here(self) -> Result<I> {
        match self {
            Self::Now(input) => input,
            Self::Later(work) => work(),
        }
    }
}

/// The prompt that a row contains.
fn own_prompt(vars: &Vars, fields: RequestFields) -> Result<Prompt> {
    let wrong = |message: String| Error::new(ErrorKind::Input, message);
    let own = |name: &str| field(vars.as_map(), name);
    if own("messages").is_some() {
        let read = match vars.json() {
            Some(json) => read_exact_row(json, vars.as_map(), fields),
            None => read_row(vars.as_map().clone(), fields),
        };
        return read.map_err(|e| wrong(format!("the row is not a valid chat: {e}")));
    }
    if let Some(read) = read_vendor_row(vars.as_map(), vars.json(), fields) {
        return read.map_err(wrong);
    }
    match own("prompt") {
        Some(Value::String(text)) => Ok(Prompt::from(text.as_str())),
        // The messages of a prompt, as in data sets for training.
        Some(Value::Array(messages)) if messages.iter().any(Value::is_object) => {
            let mut row = vars.as_map().clone();
            row.retain(|name, _| name != "prompt");
            row.insert("messages".to_owned(), Value::Array(messages.clone()));
            read_row(row, fields).map_err(|e| wrong(format!("`prompt` is not a valid chat: {e}")))
        }
        Some(_) => Err(wrong("`prompt`: expected a string".to_owned())),
        None => Err(wrong(no_prompt(vars))),
    }
}

fn no_prompt(vars: &Vars) -> String {
    const SHOWN: usize = 8;
    let names: Vec<_> = vars.names().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let fields = match (names.as_slice(), vars.names().count()) {
        ([one], _) => format!("the field {one}"),
        (names, all) if all > SHOWN => format!("the fields {} and {} more", names.join(", "), all - SHOWN),
        (names, _) => format!("the fields {}", names.join(", ")),
    };
    if let Some(advice) = only_list(vars) {
        return advice;
    }
    if names.is_empty() {
        return "the row is an empty object: it has no `prompt`, no `messages` and no field for a template"
            .to_owned();
    }
    let example = example(vars.names());
    format!(
        "the row has {fields}, but no `prompt` or `messages`: pass a template, such as '{{{{ {example} }}}}'"
    )
}

/// Advice for a row that is a whole table: it has only a list of rows, or the columns of a data frame.
pub(crate) fn only_list(vars: &Vars) -> Option<String> {
    let is_column = |value: &Value| value.as_object().is_some_and(|column| column.contains_key("0"));
    let is_split =
        || ["columns", "index", "data"].iter().all(|name| vars.get(name).is_some_and(Value::is_array));
    if (!vars.as_map().is_empty() && vars.as_map().values().all(is_column)) || is_split() {
        let advice = "the row has the columns of a data frame: write it as rows, in pandas with \
                      `to_json(path, orient=\"records\", lines=True)`";
        return Some(advice.to_owned());
    }
    let (name, Value::Array(items)) = vars.as_map().iter().next()? else { return None };
    let is_list = vars.as_map().len() == 1 && name != "messages" && items.iter().any(Value::is_object);
    is_list.then(|| {
        format!("the row has only the list `{name}`: make each of its items a row, with `jq -c '.{name}[]'`")
    })
}

/// The expression of a template for a field.
pub(crate) fn reference(name: &str) -> String {
    // Names of the template language have ASCII letters only.
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = name.starts_with(is_start) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { name.to_owned() } else { format!("row[{}]", Value::from(name)) }
}

/// An expression for an example: that of the first field that is not an id.
pub(crate) fn example<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let is_id = |name: &&str| {
        matches!(&*name.to_ascii_lowercase(), "id" | "custom_id" | "index" | "model" | "metadata")
    };
    let mut names = names.peekable();
    let first = names.peek().copied();
    reference(names.find(|name| !is_id(name)).or(first).unwrap_or("field"))
}

/// The fields of a row as the variable `row`.
fn row_variable(vars: &Map<String, Value>) -> (String, Value) {
    (ROW.to_owned(), Value::Object(vars.clone()))
}

/// Returns true if a template reads the variable `row`.
fn reads_row(template: &Template) -> bool {
    template.variables().iter().any(|name| name == ROW)
}

#[cfg(test)]
mod tests {
    use fanweave_core::{Message, vars};
    use serde_json::json;

    use super::*;

    fn with(template: Option<&str>, system: Option<&str>) -> Render {
        let parse = |text: &str| Template::parse(text).unwrap();
        Render { template: template.map(parse), system: system.map(parse), ..Render::default() }
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
    fn a_row_of_messages_is_a_request_without_its_data() {
        let chat = json!([{"role": "user", "name": "ann", "content": "hi"}]);
        let row = vars! { id: 7, messages: chat, temperature: 0.1, n: 3, label: "x", stream: true };
        let prompt = Render::default().render(Input::Vars(row)).unwrap();
        assert_eq!(prompt.messages, [Message::user("hi")]);
        assert_eq!(prompt.parameters.temperature, Some(0.1));
        assert_eq!(prompt.parameters.extra, serde_json::Map::from_iter([("n".to_owned(), json!(3))]));
        let body = r#"{"messages":[{"role":"user","name":"ann","content":"hi"}],"temperature":0.1,"n":3}"#;
        let sent: Value = serde_json::from_str(prompt.body.unwrap().json()).unwrap();
        assert_eq!(sent, serde_json::from_str::<Value>(body).unwrap());
    }

    #[test]
    fn a_row_without_a_valid_prompt_is_an_error() {
        let error = |render: &Render, input| render.render(input).unwrap_err().to_string();
        let plain = Render::default();
        assert_eq!(error(&plain, Input::Vars(vars! { prompt: 3 })), "`prompt`: expected a string");
        assert_eq!(
            error(&plain, Input::Vars(vars! { a: 1, b: 2 })),
            "the row has the fields `a`, `b`, but no `prompt` or `messages`: \
             pass a template, such as '{{ a }}'"
        );
        assert_eq!(
            error(&with(Some("{{ x }}"), None), Input::Vars(vars! { a: 1 })),
            "the template needs `x`, but only `a` is given"
        );
        let chat = Input::Vars(vars! { messages: json!("hi") });
        assert!(error(&plain, chat).starts_with("the row is not a valid chat: "), "the type is wrong");
        let whole = error(&with(Some("{{ x }}"), None), Input::Prompt(Box::new("hi".into())));
        assert!(whole.starts_with("the row is a complete request"), "{whole}");
    }

    const LOOPS: &str = "{% for a in range(n) %}{% for b in range(n) %}.{% endfor %}{% endfor %}";

    #[test]
    fn a_template_that_takes_long_is_left_for_another_thread() {
        let render = with(Some(LOOPS), Some("Be kind."));
        assert!(matches!(render.prepare(Input::Vars(vars! { n: 3 })), Prepared::Now(Ok(_))));
        assert!(matches!(render.prepare(Input::Vars(vars! { m: 3 })), Prepared::Now(Err(_))));
        let row = || Input::Vars(vars! { n: 200 });
        let Prepared::Later(work) = render.prepare(row()) else { panic!("it is rendered at once") };
        assert_eq!(work().unwrap(), render.render(row()).unwrap());
    }

    #[tokio::test]
    async fn rows_whose_templates_exceed_their_limits_fail_alone() {
        use fanweave_core::chain;
        use fanweave_core::model::fake::Fake;

        use crate::{BatchJob, Output, Source};

        let rows: String =
            (0..12).map(|n| format!("{{\"n\": {}}}\n", if n % 4 == 3 { 99_999 } else { n })).collect();
        let source = Source::from_reader("rows", std::io::Cursor::new(rows), None).unwrap();
        let sink = Output::Writer(Box::new(std::io::sink()));
        let job = BatchJob::new(source, with(Some(LOOPS), None), chain(Fake::echo()), sink);
        let summary = job.run().await.unwrap();
        assert_eq!((summary.ok, summary.failed), (9, 3));
    }
}

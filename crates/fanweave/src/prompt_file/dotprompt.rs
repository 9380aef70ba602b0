//! `.prompt`: front matter in YAML, then a template in Handlebars with roles.

use serde_json::{Map, Value};

use super::PromptFile;
use crate::chain_file::fields::Fields;
use crate::chain_file::problem::{Problem, Problems};
use crate::chain_file::tree::{Language, Node, Tree};
use crate::{Chat, Parameters, ResponseFormat, Role, Template, chat};

pub(super) fn read(text: &str) -> Result<PromptFile, Problems> {
    let (front, body) = split(text)?;
    let mut found = Vec::new();
    let mut file = PromptFile {
        name: None,
        model: None,
        parameters: Parameters::default(),
        defaults: Map::new(),
        chat: chat(),
    };
    if let Some((at, front)) = front {
        // Pad with blank lines, so that offsets are those of the whole file.
        let padded = format!("{}{front}", blank(&text[..at]));
        let tree = Node::parse(&padded, Language::Yaml)?;
        settings(&tree, &mut file, &mut found);
    }
    file.chat = messages(text, body, &mut found);
    Problems::check(found)?;
    Ok(file)
}

/// Blank text with the same bytes and lines.
fn blank(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// Front matter with its offset, if there is any.
type Front<'a> = Option<(usize, &'a str)>;

/// The front matter, and the offset of the template.
fn split(text: &str) -> Result<(Front<'_>, usize), Problems> {
    let Some(after) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else {
        return Ok((None, 0));
    };
    let start = text.len() - after.len();
    let mut at = start;
    for line in after.split_inclusive('\n') {
        if line.trim_end() == "---" {
            return Ok((Some((start, &text[start..at])), at + line.len()));
        }
        at += line.len();
    }
    Err(Problem::at(0, "the front matter is not closed: add a line with `---`".to_owned()).into())
}

fn settings(tree: &Node, file: &mut PromptFile, found: &mut Vec<Problem>) {
    if let Tree::Null = tree.value {
        return;
    }
    let Some(mut fields) = Fields::of(tree, "the front matter", found) else { return };
    file.name = fields.text("name").map(|name| name.value);
    file.model = fields.text("model").map(|model| model.value);
    for other in ["variant", "description", "metadata", "ext"] {
        fields.take(other);
    }
    if let Some(node) = fields.take("tools") {
        fields.problem(node.at, "prompt files cannot define tools: add them to the model");
    }
    if let Some(config) = fields.take("config") {
        file.parameters = config_of(config, fields.found);
    }
    if let Some(input) = fields.take("input")
        && let Some(mut input) = Fields::of(input, "`input`", fields.found)
    {
        input.take("schema");
        if let Some(Value::Object(defaults)) = input.take("default").map(Node::to_json) {
            file.defaults = defaults;
        }
        input.end();
    }
    if let Some(output) = fields.take("output")
        && let Some(mut output) = Fields::of(output, "`output`", fields.found)
    {
        let schema = output.take("schema").map(Node::to_json);
        let is_schema = |schema: &Value| schema.get("type").is_some_and(Value::is_string);
        match (output.text("format"), schema) {
            (_, Some(schema)) if is_schema(&schema) => {
                let name = file.name.clone().unwrap_or_else(|| "answer".to_owned());
                file.parameters.format = Some(ResponseFormat::JsonSchema { name, schema, strict: true });
            }
            (Some(format), _) if format.value == "json" => {
                file.parameters.format = Some(ResponseFormat::JsonObject);
            }
            (Some(format), _) if format.value != "text" => {
                let message = format!("unknown output format `{}`: must be text or json", format.value);
                output.problem(format.at, message);
            }
            _ => {}
        }
        output.end();
    }
    fields.end();
}

fn config_of(node: &Node, found: &mut Vec<Problem>) -> Parameters {
    let Some(mut fields) = Fields::of(node, "`config`", found) else { return Parameters::default() };
    let mut parameters = Parameters::new();
    parameters.temperature = fields.number("temperature", 0.0..=2.0);
    parameters.top_p = fields.number("topP", 0.0..=1.0);
    parameters.max_tokens = fields.at_least("maxOutputTokens", 1);
    parameters.stop =
        fields.take("stopSequences").map(|node| fields.texts("stopSequences", node)).unwrap_or_default();
    fields.end();
    parameters
}

/// Reads the template that begins at `start`.
fn messages(text: &str, start: usize, found: &mut Vec<Problem>) -> Chat {
    let mut reader =
        Reader { chat: chat(), role: Role::User, template: String::new(), began: start, open: Vec::new() };
    let mut at = start;
    while let Some(tag) = text[at..].find("{{").map(|open| at + open) {
        reader.literal(&text[at..tag]);
        let Some(end) = text[tag..].find("}}").map(|end| tag + end) else {
            found.push(Problem::at(tag, "`{{` is never closed".to_owned()));
            return reader.chat;
        };
        if let Err(message) = reader.tag(text[tag + 2..end].trim(), end + 2) {
            found.push(Problem::at(tag, message));
        }
        at = end + 2;
    }
    reader.literal(&text[at..]);
    if let Some(block) = reader.open.last() {
        found.push(Problem::at(
            text.len(),
            format!("`{{{{#{block}}}}}` is never closed: write `{{{{/{block}}}}}`"),
        ));
    }
    let began = reader.began;
    if let Err(message) = reader.flush() {
        found.push(Problem::at(began, message));
    }
    reader.chat
}

/// Converts a Handlebars template to messages with Jinja templates.
struct Reader {
    chat: Chat,
    role: Role,
    /// The message so far.
    template: String,
    /// Offset of its start in the file.
    began: usize,
    /// Blocks that are open.
    open: Vec<&'static str>,
}

impl Reader {
    /// Appends literal text, and escapes the tags of Jinja in it.
    fn literal(&mut self, text: &str) {
        for (i, piece) in text.split("{%").enumerate() {
            self.template.push_str(if i > 0 { "{{ '{%' }}" } else { "" });
            for (j, piece) in piece.split("{#").enumerate() {
                self.template.push_str(if j > 0 { "{{ '{#' }}" } else { "" });
                self.template.push_str(piece);
            }
        }
    }

    fn tag(&mut self, tag: &str, after: usize) -> Result<(), String> {
        let (word, rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let rest = rest.trim();
        match word {
            _ if tag.starts_with('!') => Ok(()),
            "role" => {
                self.flush()?;
                self.began = after;
                self.role = match rest.trim_matches(['"', '\'']) {
                    "system" => Role::System,
                    "user" => Role::User,
                    "model" | "assistant" => Role::Assistant,
                    other => {
                        return Err(format!("unknown role `{other}`: the roles are system, user, model"));
                    }
                };
                Ok(())
            }
            "history" => {
                self.flush()?;
                self.began = after;
                self.chat = std::mem::take(&mut self.chat).history("history");
                // The user speaks after the conversation.
                self.role = Role::User;
                Ok(())
            }
            "#if" => self.begin("if", &format!("{{% if {} is defined and {} %}}", path(rest)?, path(rest)?)),
            "#unless" => self
                .begin("unless", &format!("{{% if not ({} is defined and {}) %}}", path(rest)?, path(rest)?)),
            "#each" => self.begin("each", &format!("{{% for this in {} %}}", path(rest)?)),
            "else" if matches!(self.open.last(), Some(&("if" | "unless"))) => {
                self.template.push_str("{% else %}");
                Ok(())
            }
            "/if" | "/unless" => self.end(&word[1..], "{% endif %}"),
            "/each" => self.end("each", "{% endfor %}"),
            _ if rest.is_empty() && !tag.starts_with(['#', '/', '>', '{', '@']) && tag != "else" => {
                let path = path(tag)?;
                self.template.push_str(&format!("{{{{ {path} }}}}"));
                Ok(())
            }
            _ => Err(format!(
                "`{{{{{tag}}}}}` is not supported: use variables, role, history, #if, #unless, else or #each"
            )),
        }
    }

    fn begin(&mut self, block: &'static str, jinja: &str) -> Result<(), String> {
        self.open.push(block);
        self.template.push_str(jinja);
        Ok(())
    }

    fn end(&mut self, block: &str, jinja: &str) -> Result<(), String> {
        match self.open.pop() {
            Some(open) if open == block => {
                self.template.push_str(jinja);
                Ok(())
            }
            Some(open) => Err(format!("`{{{{/{block}}}}}` closes nothing: `{{{{#{open}}}}}` is open")),
            None => Err(format!("`{{{{/{block}}}}}` closes nothing")),
        }
    }

    /// Ends the message so far.
    fn flush(&mut self) -> Result<(), String> {
        if !self.open.is_empty() {
            return Err(format!("a message cannot begin inside `{{{{#{}}}}}`", self.open.join("}} {{#")));
        }
        let text = std::mem::take(&mut self.template);
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        Template::parse(text).map_err(|error| error.message().to_owned())?;
        let chat = std::mem::take(&mut self.chat);
        self.chat = match self.role {
            Role::System => chat.system(text),
            Role::Assistant => chat.assistant(text),
            _ => chat.user(text),
        };
        Ok(())
    }
}

/// A variable, or a field of one.
fn path(text: &str) -> Result<&str, String> {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_');
    if text.split('.').all(is_word) && !text.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(text)
    } else {
        Err(format!("`{text}` is not a valid variable name"))
    }
}

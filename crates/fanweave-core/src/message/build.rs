//! Builders of messages, parts and tool calls.

use serde_json::Value;

use super::{Media, Message, Part, Reply, ToolCall};

impl Message {
    /// Appends a part.
    ///
    /// ```
    /// use fanweave::{Message, messages::Part};
    ///
    /// let question = Message::user("Which bird is this?").with_part(Part::image_url("https://x.test/bird.png"));
    /// assert_eq!(question.parts.len(), 2);
    /// ```
    #[must_use]
    pub fn with_part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Appends an image.
    #[must_use]
    pub fn with_image(self, image: Media) -> Self {
        self.with_part(Part::Image(image))
    }

    /// Appends tool calls.
    ///
    /// ```
    /// use fanweave::{Message, messages::ToolCall};
    /// use fanweave::crates::serde_json::json;
    ///
    /// let calls = [ToolCall::new("c1", "add", json!({ "a": 1, "b": 2 }))];
    /// let answer = Message::assistant("Let me see.").with_tool_calls(calls);
    /// assert_eq!(answer.tool_calls().next().unwrap().arguments, r#"{"a":1,"b":2}"#);
    /// ```
    #[must_use]
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        self.parts.extend(calls.into_iter().map(Part::ToolCall));
        self
    }

    /// Prepends reasoning without a signature: models reason before they answer.
    #[must_use]
    pub fn with_reasoning(mut self, text: impl Into<String>) -> Self {
        self.parts.insert(0, Part::reasoning(text));
        self
    }

    /// Sets the [`reply`](Self::reply): what the provider says about this answer.
    #[must_use]
    pub fn with_reply(mut self, reply: Reply) -> Self {
        self.reply = Some(Box::new(reply));
        self
    }

    /// Sets the [`name`](Self::name) of the author.
    #[must_use]
    pub fn named(mut self, name: impl Into<Box<str>>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl Part {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Part::Text(text.into())
    }

    /// Reasoning without a signature.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Part::Reasoning { text: text.into(), signature: None }
    }

    /// An image that the provider fetches, or a `data:` URL.
    pub fn image_url(url: impl Into<String>) -> Self {
        Part::Image(Media::Url(url.into()))
    }

    /// A tool call. See [`ToolCall::new`].
    pub fn tool_call(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<Value>) -> Self {
        Part::ToolCall(ToolCall::new(id, name, arguments))
    }
}

impl ToolCall {
    /// A call with these arguments, written as compact JSON.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<Value>) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into().to_string() }
    }
}

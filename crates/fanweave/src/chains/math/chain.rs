//! The chain from a question to an expression of the model and its value.

use serde::Serialize;

use super::evaluate;
use crate::{
    Chain, Context, Delta, Error, ErrorKind, Message, Model, Node, Prompt, Result, Runnable, Streaming,
    Usage, Vars, chain, excerpt, prompt, vars,
};

/// The default prompt of [`Math`]. Its variable is `question`.
pub const MATH_PROMPT: &str = "Translate the question into one expression that a calculator can evaluate. \
Use only numbers, + - * / // % **, parentheses, pi, e and the functions abs, ceil, cos, exp, floor, log, log10, log2, \
max, min, round, sin, sqrt, tan. Write only the expression, between two lines of three backticks.

Question: What is 37593 to the power of one fifth?
```
37593 ** (1 / 5)
```

Question: {{ question }}
";

/// Answers arithmetic questions: the model writes an expression, and [`evaluate`] computes it.
///
/// ```
/// use fanweave::{chain, chains::math::Math, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::script([Ok("```\n12 * 7\n```")]).model();
/// let computed = Math::new(model).chain().invoke("How many days are twelve weeks?").await?;
/// assert_eq!(computed.answer, "84");
/// assert_eq!(computed.to_string(), "Answer: 84");
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// [`ErrorKind::Parse`] if the answer of the model contains no expression, or the expression has no value.
#[derive(Debug)]
pub struct Math {
    prompt: Chain<Vars, Prompt>,
    model: Model,
}

/// The output of [`Math`]. `Display` writes `Answer: 84`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MathAnswer {
    /// The number in decimal notation, without trailing zeros.
    pub answer: String,
    /// The expression that the model wrote. `None` if it answered without one.
    pub expression: Option<String>,
    /// Tokens of the call.
    pub usage: Usage,
}

impl std::fmt::Display for MathAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answer: {}", self.answer)
    }
}

impl Math {
    /// A chain over `model` with [`MATH_PROMPT`].
    pub fn new(model: Model) -> Self {
        Self { prompt: prompt(MATH_PROMPT), model }
    }

    /// Replaces [`MATH_PROMPT`]. Its variable is `question`.
    #[must_use]
    pub fn prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        self.prompt = prompt;
        self
    }

    /// The chain, to invoke, stream, batch and compose.
    pub fn chain(self) -> Chain<String, MathAnswer> {
        chain(self).named("math")
    }
}

impl Runnable for Math {
    type Input = String;
    type Output = MathAnswer;

    async fn run(&self, question: String, cx: &Context) -> Result<MathAnswer> {
        let quiet = cx.without_deltas();
        let prompt = self.prompt.run(vars! { question: question }, &quiet).await?;
        let message = self.model.run(prompt, &quiet).await?;
        let computed = read(message)?;
        // The expression is not part of the answer, so only the computed answer is emitted.
        if cx.wants_deltas() {
            cx.delta(Delta::text(computed.to_string())).await;
        }
        Ok(computed)
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::sequence([self.model.describe(), Node::step("evaluate")])
    }
}

/// The value of the expression in a model's answer: in a fence, after `Answer:`, or the whole text.
fn read(message: Message) -> Result<MathAnswer> {
    let usage = message.usage();
    let text = message.into_text();
    if let Some(expression) = fenced(&text) {
        return value(expression, usage);
    }
    if let Some((_, answer)) = text.rsplit_once("Answer:") {
        let answer = answer.trim().trim_end_matches('.');
        return match evaluate(answer) {
            Ok(number) => Ok(MathAnswer { answer: number.to_string(), expression: None, usage }),
            Err(_) => Err(no_expression(&text)),
        };
    }
    // Treat one line that begins like an expression as one, and report its errors.
    let bare = text.trim().trim_matches('`');
    let begins =
        bare.starts_with(|c: char| c.is_ascii_digit() || "(-+.".contains(c)) || evaluate(bare).is_ok();
    if begins && !bare.contains('\n') { value(bare, usage) } else { Err(no_expression(&text)) }
}

fn value(expression: &str, usage: Usage) -> Result<MathAnswer> {
    let number =
        evaluate(expression).map_err(|e| Error::new(ErrorKind::Parse, e.to_string()).with_source(e))?;
    Ok(MathAnswer { answer: number.to_string(), expression: Some(expression.trim().to_owned()), usage })
}

/// The text between the first two fences.
fn fenced(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("```")?;
    let inside = after.split_once("```").map_or(after, |(inside, _)| inside);
    // The first line may name a language, in a single word.
    match inside.split_once('\n') {
        Some((name, code))
            if !name.trim().is_empty() && name.trim().bytes().all(|b| b.is_ascii_alphabetic()) =>
        {
            Some(code)
        }
        _ => Some(inside),
    }
    .map(str::trim)
}

fn no_expression(text: &str) -> Error {
    let shown = excerpt(text.trim(), 300);
    Error::new(
        ErrorKind::Parse,
        format!("expected an expression between ``` or `Answer: ..` from the model, got: {shown}"),
    )
}

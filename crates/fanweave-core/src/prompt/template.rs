//! The template step: from variables to a prompt of one user message.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use minijinja::machinery::{eval, get_compiled_template, make_string_output};
use minijinja::value::ObjectRepr;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, Value, json};

use super::guard::{self, Steps};
use super::limits::{RenderLimits, fuel};
use super::partials::Partials;
use super::straight::Straight;
use super::values::Values;
use super::written::written;
use super::{filters, template_check, weight};
use crate::blocking::Pool;
use crate::chain::{Chain, chain};
use crate::context::memory;
use crate::generation::PerProcess;
use crate::runnable::Runnable;
use crate::{Context, Error, ErrorKind, Node, Prompt, Result, Vars};

/// A step that fills `{{ variables }}` into a text. The template language is Jinja.
///
/// A missing variable is an error that names it, before any call is made; extra ones are ignored. Values are
/// never read as templates: braces in data stay data.
///
/// ```
/// use fanweave::{prompts::Template, vars};
///
/// let template = Template::parse("Tell a joke about {{ topic }}.")?;
/// assert_eq!(template.render(&vars! { topic: "{{ bears }}" })?, "Tell a joke about {{ bears }}.");
/// assert_eq!(
///     template.render(&vars! { tpoic: "bears" }).unwrap_err().message(),
///     "the template needs `topic`, but only `tpoic` is given",
/// );
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone)]
pub struct Template {
    env: Arc<Environment<'static>>,
    /// The same with the [`QUICK`] limit, if that is less.
    quick: Option<Arc<Environment<'static>>>,
    /// Set if the template is rendered without limits for values that are small enough.
    straight: Option<(Straight, Arc<Environment<'static>>)>,
    /// Set if the steps of the template need guards: their number at most.
    guarded_steps: Option<u64>,
    limits: RenderLimits,
    partials: Partials,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("text", &self.text()).field("partials", &self.partials).finish()
    }
}

/// The one template of an environment.
const NAME: &str = "prompt";

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the text is not a valid template, naming the line.
    pub fn parse(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.len() > MAX_TEXT {
            let message =
                format!("the template has {} bytes, and at most {MAX_TEXT} are allowed", text.len());
            return Err(Error::new(ErrorKind::Config, message));
        }
        let invalid = |line: usize, why: &dyn fmt::Display| {
            Error::new(ErrorKind::Config, format!("the template is not valid: line {line}: {why}"))
        };
        if let Some(line) = template_check::too_long(&text) {
            let max = template_check::MAX_CODE_TOKENS;
            return Err(invalid(line, &format_args!("more than {max} tokens between two braces")));
        }
        let mut env = environment();
        env.add_template_owned(NAME, text.clone()).map_err(|e| {
            let detail = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
            invalid(e.line().unwrap_or(1), &detail)
        })?;
        if let Some((line, message)) = template_check::unknown(&env, &text) {
            return Err(invalid(line, &message));
        }
        let steps = guard::check(&get_compiled_template(&get(&env)).instructions);
        let guarded_steps = match steps {
            Steps::Plain => None,
            Steps::Guarded(count) => Some(count),
            Steps::Unknown(line) => {
                return Err(invalid(line, &"it uses a part of the template language that is not supported"));
            }
        };
        let straight = Straight::of(&get_compiled_template(&get(&env)).instructions, text.len());
        let env = Arc::new(env);
        let template = Self {
            straight: straight.map(|straight| (straight, env.clone())),
            env,
            quick: None,
            guarded_steps,
            limits: RenderLimits::default(),
            partials: Partials::default(),
        };
        Ok(template.with_limits(RenderLimits::for_process()))
    }

    /// Sets the limits of a rendering, which no template can exceed. Default: [`RenderLimits::default`].
    ///
    /// A template that exceeds one fails with [`ErrorKind::Input`], before any call is made.
    #[must_use]
    pub fn with_limits(mut self, limits: RenderLimits) -> Self {
        let with_work = |work_bytes| {
            let mut env = Environment::clone(&self.env);
            env.set_fuel(Some(fuel(work_bytes)));
            Arc::new(env)
        };
        let work = limits.work(self.memory_of_steps());
        self.quick = (work > QUICK).then(|| with_work(QUICK));
        self.env = with_work(work);
        self.limits = limits;
        self
    }

    /// The text that was parsed.
    pub fn text(&self) -> String {
        self.env.get_template(NAME).map(|template| template.source().to_owned()).unwrap_or_default()
    }

    /// The limits of a rendering.
    pub fn limits(&self) -> RenderLimits {
        self.limits
    }

    /// Memory of the copy of the steps for a rendering with guards.
    fn memory_of_steps(&self) -> u64 {
        self.guarded_steps.unwrap_or_default().saturating_mul(STEP_BYTES)
    }

    /// The variables that the template reads, sorted.
    pub fn variables(&self) -> Vec<String> {
        self.undeclared(false)
    }

    /// Like [`variables`](Self::variables), including the fields that the template reads of them, such as
    /// `user.name`.
    pub fn paths(&self) -> Vec<String> {
        self.undeclared(true)
    }

    fn undeclared(&self, nested: bool) -> Vec<String> {
        let Ok(template) = self.env.get_template(NAME) else { return Vec::new() };
        // Functions such as `range` are always available.
        let is_function = |path: &String| {
            let name = path.split('.').next().unwrap_or_default();
            self.env.globals().any(|(global, _)| global == name)
        };
        let mut names: Vec<_> = template.undeclared_variables(nested).into_iter().collect();
        names.retain(|name| !is_function(name) && !self.partials.has(name));
        names.sort();
        names
    }

    /// The text with the variables filled in.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if a variable is missing or has a type that the template cannot use, or if the
    /// template exceeds its [limits](Self::with_limits).
    pub fn render(&self, vars: &Vars) -> Result<String> {
        let vars = self.partials.complete(vars);
        let values = self.values(&vars);
        self.result(self.without_limits(&values, &vars).unwrap_or(&self.env), values, &vars)
    }

    /// Like [`render`](Self::render), but a rendering that takes more than about a millisecond is done on
    /// another thread, so that it holds up no other work. There is one such thread less than there are
    /// processors, but at least one; further renderings are queued.
    ///
    /// ```
    /// use fanweave::{prompts::Template, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let template = Template::parse("{% for n in range(1000) %}{{ word * n }}{% endfor %}")?;
    /// let text = template.render_async(&vars! { word: "river " }).await?;
    /// assert_eq!(text.len(), 2_997_000);
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// Those of [`render`](Self::render), and [`ErrorKind::Config`] if the system cannot start a thread.
    ///
    /// # Cancellation
    /// Dropping the future returns at once. Its thread ends when the template is rendered or at its limit.
    pub async fn render_async(&self, vars: &Vars) -> Result<String> {
        let vars = self.partials.complete(vars);
        if let Some(result) = self.attempt(&vars) {
            return result;
        }
        let (template, vars) = (self.clone(), vars.into_owned());
        render_threads().run(move || template.result(&template.env, Values::of(&vars, false), &vars)).await?
    }

    /// Like [`render_async`](Self::render_async), for a part of a prompt whose call follows in the step of
    /// `cx`: the memory of the run counts a long one from here on.
    #[doc(hidden)]
    pub async fn render_prompt(&self, vars: &Vars, cx: &Context) -> Result<String> {
        self.render_counted(vars, cx, memory::of_text_of_call).await
    }

    /// Like [`render_async`](Self::render_async), for the output of the step of `cx`.
    pub(crate) async fn render_output(&self, vars: &Vars, cx: &Context) -> Result<String> {
        self.render_counted(vars, cx, |text| text.len() as u64).await
    }

    async fn render_counted(&self, vars: &Vars, cx: &Context, bytes: fn(&str) -> u64) -> Result<String> {
        let vars = self.partials.complete(vars);
        if let Some(result) = self.attempt(&vars) {
            return result.and_then(|text| cx.hold_text(&text, bytes).map(|()| text));
        }
        let _permit = match cx.memory() {
            Some(memory) => Some(memory.rendering().await),
            None => None,
        };
        let (template, vars) = (self.clone(), vars.into_owned());
        let work = move || template.result(&template.env, Values::of(&vars, false), &vars);
        let text = render_threads().run(work).await??;
        cx.hold_text(&text, bytes)?;
        Ok(text)
    }

    /// Like [`render`](Self::render), but gives up after about a millisecond. `None` then, and the template
    /// can be rendered on [another thread](super::render_threads).
    ///
    /// ```
    /// use fanweave::{prompts::Template, vars};
    ///
    /// let quick = Template::parse("{{ n }}")?;
    /// assert_eq!(quick.try_render(&vars! { n: 1 }).expect("it is quick")?, "1");
    /// let slow = Template::parse("{% for a in range(n) %}{{ range(n) | join }}{% endfor %}")?;
    /// assert!(slow.try_render(&vars! { n: 500 }).is_none());
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn try_render(&self, vars: &Vars) -> Option<Result<String>> {
        self.attempt(&self.partials.complete(vars))
    }

    /// The result of a rendering that is quick.
    fn attempt(&self, vars: &Vars) -> Option<Result<String>> {
        let values = self.values(vars);
        if let Some(env) = self.without_limits(&values, vars) {
            return Some(self.result(env, values, vars));
        }
        let Some(env) = &self.quick else { return Some(self.result(&self.env, values, vars)) };
        match self.caught(env, values) {
            Ok(Err(error)) if error.kind() == minijinja::ErrorKind::OutOfFuel => None,
            text => Some(self.checked(text, vars)),
        }
    }

    fn values(&self, vars: &Vars) -> Values {
        Values::of(vars, self.straight.is_some())
    }

    /// The language without limits, if a rendering with these values cannot reach them.
    fn without_limits(&self, values: &Values, vars: &Vars) -> Option<&Environment<'static>> {
        let (straight, env) = self.straight.as_ref()?;
        let work = self.limits.work(0).min(QUICK).min(self.limits.output_bytes as u64);
        (straight.work(values.bytes(vars)?) < work).then_some(&**env)
    }

    fn result(&self, env: &Environment<'static>, values: Values, vars: &Vars) -> Result<String> {
        self.checked(self.caught(env, values), vars)
    }

    /// A few odd arguments make the language panic.
    fn caught(&self, env: &Environment<'static>, values: Values) -> Result<Rendered> {
        catch_unwind(AssertUnwindSafe(|| self.eval(env, values))).map_err(|panic| Error::from_panic(&*panic))
    }

    fn checked(&self, text: Result<Rendered>, vars: &Vars) -> Result<String> {
        let text = text?.map_err(|e| self.explain(&e, vars))?;
        if text.len() > self.limits.output_bytes {
            let (len, max) = (text.len(), self.limits.output_bytes);
            let message = format!(
                "the template cannot be rendered: its text has {len} bytes, and at most {max} are allowed"
            );
            return Err(Error::new(ErrorKind::Input, message));
        }
        Ok(text)
    }

    /// The same template without guards.
    #[cfg(test)]
    pub(super) fn unguarded(mut self) -> Self {
        self.guarded_steps = None;
        self
    }

    #[cfg(test)]
    pub(super) fn is_guarded(&self) -> bool {
        self.guarded_steps.is_some()
    }

    /// Returns true if these values are rendered without limits.
    #[cfg(test)]
    pub(super) fn is_rendered_without_limits(&self, vars: &Vars) -> bool {
        self.without_limits(&self.values(vars), vars).is_some()
    }

    /// The bound of the template, and its text without limits and with them.
    #[cfg(test)]
    pub(super) fn free_and_counted(&self, vars: &Vars) -> Option<(Straight, Result<String>, Result<String>)> {
        let (straight, env) = self.straight.as_ref()?;
        let values = self.values(vars);
        let free = self.result(env, values, vars);
        Some((*straight, free, self.result(&self.env, self.values(vars), vars)))
    }

    fn eval(&self, env: &Environment<'static>, values: Values) -> Rendered {
        let template = get(env);
        if self.guarded_steps.is_none() {
            return template.render(values.all);
        }
        let _session = weight::Session;
        let steps = guard::guarded(&get_compiled_template(&template).instructions);
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        eval(env, &steps, values.all, &BTreeMap::new(), &mut output, AutoEscape::None)?;
        drop(output);
        Ok(text)
    }

    /// Sets a variable for all calls that do not set it themselves.
    ///
    /// ```
    /// use fanweave::{prompts::Template, vars};
    ///
    /// let template = Template::parse("{{ greeting }}, {{ name }}!")?.partial("greeting", "Hello");
    /// assert_eq!(template.variables(), ["name"]);
    /// assert_eq!(template.render(&vars! { name: "Ada" })?, "Hello, Ada!");
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    #[must_use]
    pub fn partial(self, name: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        let value = value.into();
        self.partial_with(name, move || value.clone())
    }

    /// Like [`partial`](Self::partial), with a function that is evaluated for every call.
    #[must_use]
    pub fn partial_with<V: Into<Value>>(
        mut self,
        name: impl Into<Arc<str>>,
        value: impl Fn() -> V + Send + Sync + 'static,
    ) -> Self {
        self.partials.add(name.into(), Arc::new(move || value().into()));
        self
    }

    fn explain(&self, error: &minijinja::Error, vars: &Vars) -> Error {
        use minijinja::ErrorKind::{OutOfFuel, UndefinedError};
        if error.kind() == UndefinedError {
            let missing: Vec<_> =
                self.variables().into_iter().filter(|name| vars.get(name).is_none()).collect();
            if !missing.is_empty() {
                let given = match vars.names().collect::<Vec<_>>().as_slice() {
                    [] => "none are given".to_owned(),
                    names => format!("only {} given", are(names)),
                };
                let message = format!("the template needs {}, but {given}", list(&missing));
                return Error::new(ErrorKind::Input, message);
            }
        }
        let line = error.line().unwrap_or(1);
        let detail = match error.detail() {
            _ if error.kind() == OutOfFuel && self.limits.is_bounded_by_memory(self.memory_of_steps()) => {
                format!("it takes more memory than its limit of {}", size(self.limits.memory_bytes))
            }
            _ if error.kind() == OutOfFuel => {
                format!("it takes more work than its limit of {}", size(self.limits.work_bytes))
            }
            Some(detail) => detail.to_owned(),
            None => error.kind().to_string(),
        };
        Error::new(ErrorKind::Input, format!("the template cannot be rendered: line {line}: {detail}"))
    }
}

type Rendered = std::result::Result<String, minijinja::Error>;

/// Memory of a step in a copy of the steps. Source: a step is 40 bytes, and a list grows by doubling.
const STEP_BYTES: u64 = 80;

/// Work of about a millisecond, after which a rendering leaves the thread of its task.
const QUICK: u64 = 2 << 20;

/// The threads of renderings that take longer. One processor is left for other work, even if every template
/// takes as long as its limits allow.
pub fn render_threads() -> Pool {
    static THREADS: PerProcess<Pool> = PerProcess::new();
    let threads = THREADS.get(|| {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Pool::new(NonZeroUsize::new(processors.saturating_sub(1)).unwrap_or(NonZeroUsize::MIN))
    });
    Pool::clone(&threads)
}

/// Maximum length of a template, in bytes. Source: the compiler of the language is fast up to here.
const MAX_TEXT: usize = 4 << 20;

/// The language, without a template. All templates share its filters.
fn environment() -> Environment<'static> {
    static LANGUAGE: LazyLock<Environment<'static>> = LazyLock::new(language);
    LANGUAGE.clone()
}

fn language() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    // Prompts are plain text, whatever their name: nothing is escaped.
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_formatter(|out, state, value| {
        let Some(object) = value.as_object() else { return minijinja::escape_formatter(out, state, value) };
        // Values of variables are JSON. A plain object is therefore a function of the language, found
        // because no variable of its name is given.
        if object.repr() == ObjectRepr::Plain {
            let message =
                "this prints a function of the template language; no variable of that name is given";
            return Err(minijinja::Error::new(minijinja::ErrorKind::UndefinedError, message));
        }
        out.write_str(&written(state, value)?).map_err(minijinja::Error::from)
    });
    // It prints all that the program knows.
    env.remove_global("debug");
    filters::register(&mut env);
    env
}

fn get<'a>(env: &'a Environment<'a>) -> minijinja::Template<'a, 'a> {
    env.get_template(NAME).expect("an environment is created with its template")
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

fn are(names: &[&str]) -> String {
    format!("{} {}", list(names), if names.len() == 1 { "is" } else { "are" })
}

/// At most eight names, quoted.
fn list(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<_> = names.iter().take(8).map(|name| format!("`{}`", name.as_ref())).collect();
    let more = names.len() - shown.len();
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &tail
}

impl Runnable for Template {
    const DRIVES_CALLS: bool = true;

    type Input = Vars;
    type Output = Prompt;

    async fn run(&self, vars: Vars, cx: &Context) -> Result<Prompt> {
        self.render_prompt(&vars, cx).await.map(Prompt::from)
    }

    fn describe(&self) -> Node {
        let variables = self.variables();
        let properties: Map<_, _> =
            variables.iter().map(|name| (name.clone(), Value::Object(Map::new()))).collect();
        let schema = json!({ "type": "object", "properties": properties, "required": variables });
        Node::step("prompt").with_input(schema).with_reads(self.paths())
    }
}

/// A chain that begins with a template: `prompt("Tell a joke about {{ topic }}.") | model | text()`.
///
/// An invalid template fails every run with [`ErrorKind::Config`] and makes no call; [`Template::parse`]
/// reports it immediately.
///
/// ```
/// use fanweave::{prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let joke = prompt("Tell a joke about {{ topic }}.") | Fake::echo() | text();
/// assert_eq!(joke.invoke(vars! { topic: "bears" }).await?, "Tell a joke about bears.");
/// # Ok(())
/// # }) }
/// ```
///
/// To use the text of another chain, convert it with `Vars::from`, which makes it the variable `input`:
///
/// ```
/// use fanweave::{Vars, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let joke = prompt("A joke about {{ topic }}") | Fake::echo() | text();
/// let explained = joke.map(Vars::from) | prompt("Explain: {{ input }}") | Fake::echo() | text();
/// assert_eq!(explained.invoke(vars! { topic: "bears" }).await?, "Explain: A joke about bears");
/// # Ok(())
/// # }) }
/// ```
pub fn prompt(text: impl Into<String>) -> Chain<Vars, Prompt> {
    or_invalid(Template::parse(text))
}

/// A chain that begins with a template, or that fails because the template is invalid.
pub(super) fn or_invalid(template: Result<Template>) -> Chain<Vars, Prompt> {
    match template {
        Ok(template) => chain(template),
        Err(error) => chain(Broken(error)),
    }
}

/// Takes the position of a template that could not be parsed.
struct Broken(Error);

impl Runnable for Broken {
    const DRIVES_CALLS: bool = true;

    type Input = Vars;
    type Output = Prompt;

    async fn run(&self, _: Vars, _: &Context) -> Result<Prompt> {
        Err(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vars;

    #[test]
    fn a_missing_variable_is_named_with_the_given_ones() {
        let template = Template::parse("{{ a }} {{ b }} {{ c }}").unwrap();
        let error = template.render(&vars! { b: 1 }).unwrap_err();
        assert_eq!(error.to_string(), "the template needs `a`, `c`, but only `b` is given");
        assert_eq!(error.kind(), ErrorKind::Input);
    }

    #[test]
    fn an_optional_variable_may_be_missing() {
        let template =
            Template::parse("{% if tone is defined %}{{ tone }}{% else %}plain{% endif %}").unwrap();
        assert_eq!(template.render(&Vars::new()).unwrap(), "plain");
    }

    #[test]
    fn markup_in_values_is_not_escaped() {
        let template = Template::parse("{{ x }}").unwrap();
        assert_eq!(template.render(&vars! { x: "<b> & \"q\"" }).unwrap(), "<b> & \"q\"");
    }

    #[test]
    fn a_broken_template_names_its_line() {
        let error = Template::parse("fine\n{{ oops").expect_err("no template");
        assert!(error.to_string().starts_with("the template is not valid: line 2"), "{error}");
    }

    #[test]
    fn an_unknown_filter_or_test_is_found_when_the_template_is_read() {
        let error_of = |text: &str| Template::parse(text).err().map(|error| error.message().to_owned());
        let filter = "the template is not valid: line 2: unknown filter `uper`: did you mean `upper`?";
        assert_eq!(error_of("a\n{{ x | uper }}").as_deref(), Some(filter));
        let test = "the template is not valid: line 1: unknown test `evn`";
        assert_eq!(error_of("{% if x is not evn %}{% endif %}").as_deref(), Some(test));
        for fine in [
            "{{ x | default('a | b') | join(', ') }} | uper",
            "{# | uper #}{{ a or b }} {% if a is defined and b is even %}x{% endif %}",
            "{% raw %}{{ x | uper }}{% endraw %}",
            "{{ [1, 2] | map('upper') | list }} {{ \"it is fine\" }}",
        ] {
            assert_eq!(error_of(fine), None, "{fine}");
        }
    }

    #[test]
    fn a_template_knows_its_variables() {
        let template = Template::parse("{% for i in range(n) %}{{ user.name }}{% endfor %}").unwrap();
        assert_eq!(template.variables(), ["n", "user"]);
        assert_eq!(template.paths(), ["n", "user.name"]);
        let template = Template::parse("{{ b }}{% for x in a %}{{ x }}{% endfor %}").unwrap();
        assert_eq!(template.variables(), ["a", "b"]);
    }

    #[test]
    fn a_missing_variable_that_is_called_as_a_function_is_an_error_all_the_same() {
        let template = Template::parse("{{ name }} costs {{ range }}").unwrap();
        assert_eq!(template.render(&vars! { name: "It", range: "1-2" }).unwrap(), "It costs 1-2");
        let error = template.render(&vars! { name: "It" }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().contains("a function"), "{error}");
        let counts = Template::parse("{% for n in range(3) %}{{ n }}{% endfor %}{{ dict(a=1).a }}").unwrap();
        assert_eq!(counts.render(&vars! {}).unwrap(), "0121");
    }

    #[test]
    fn code_that_would_end_the_stack_is_refused() {
        let repeated = |word: &str, end: &str| format!("one\n{{{{ {}{end} }}}}", word.repeat(100_000));
        for (word, end) in [
            ("not ", "a"),
            ("a|upper|", "upper"),
            ("a+", "a"),
            ("a.", "a"),
            ("(", "a"),
            ("-", "a"),
            ("[", "]"),
        ] {
            let error = Template::parse(repeated(word, end)).expect_err("it is refused");
            assert!(error.message().contains("line 2"), "{word}: {error}");
        }
        let ifs = format!("{}x{}", "{% if a %}".repeat(50_000), "{% endif %}".repeat(50_000));
        assert!(Template::parse(ifs).is_err());
        // Texts and lists of an ordinary length are accepted.
        let list = (0..400).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let long = format!("{{{{ [{list}] | join('{}') }}}}", "word ".repeat(5_000));
        assert!(Template::parse(long).is_ok());
    }
}

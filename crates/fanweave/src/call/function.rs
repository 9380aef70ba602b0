//! Builds the chain of a function.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Config, IntoModel, Overrides};
use crate::models::{Client, ModelBuilder};
use crate::tool::Tools;
use crate::{
    Chain, Context, Error, ErrorKind, Message, Model, Node, Parameters, Prompt, Result, Runnable, Streaming,
    chain,
};

/// A function with `#[fanweave::call]`. The attribute implements this trait for the type with the function's
/// name.
///
/// ```
/// use fanweave::call::Function;
///
/// #[fanweave::call(model = "sim/writer")]
/// async fn recommend_book(genre: &str) -> String {
///     format!("Recommend a {genre} book.")
/// }
///
/// assert_eq!(recommend_book::NAME, "recommend_book");
/// ```
pub trait Function: Sized + 'static {
    /// Its argument, or a tuple of its arguments, as owned values.
    type Input: Send + 'static;
    /// Its output: a [`Response`](super::Response), or the type of its `response` option.
    type Output: Send + 'static;

    /// Its name, used in errors and events.
    const NAME: &'static str;
    /// The name of its model. `None` if the attribute has an expression.
    const MODEL: Option<&'static str> = None;

    /// The model of the attribute.
    ///
    /// # Errors
    /// If the attribute names no model, or the model cannot be built.
    fn model() -> Result<Model>;

    /// The parameters of the attribute.
    fn parameters() -> Parameters {
        Parameters::default()
    }

    /// The tools of the attribute.
    fn tools() -> Option<Tools> {
        None
    }

    /// Maximum number of model calls when tools are run. `None` if tools are only offered.
    fn rounds() -> Option<u32> {
        None
    }

    /// Timeout for the whole call: the function and every request.
    fn timeout() -> Option<Duration> {
        None
    }

    /// The model, wrapped in the retries and fallbacks of the attribute.
    ///
    /// # Errors
    /// If a fallback cannot be built.
    fn around(model: Chain<Prompt, Message>) -> Result<Chain<Prompt, Message>> {
        Ok(model)
    }

    /// Parses the answer.
    fn answer(model: Chain<Prompt, Message>, name: &str) -> Chain<Prompt, Self::Output>;

    /// Runs the function, which returns the prompt.
    fn config(input: Self::Input, cx: Context) -> impl Future<Output = Result<Config>> + Send;
}

/// A function bound to its arguments, which takes the context of a run.
type BoundFunction = Box<dyn FnOnce(Context) -> BoxFuture<'static, Result<Config>> + Send>;

/// A function with its arguments.
pub(super) struct Bound {
    config: BoundFunction,
    pub(super) overrides: Overrides,
}

impl Bound {
    /// A placeholder for a call that has begun.
    pub(super) fn begun() -> Self {
        let error = || Error::new(ErrorKind::Config, "the call has begun already");
        Self {
            config: Box::new(move |_| Box::pin(async move { Err(error()) })),
            overrides: Overrides::default(),
        }
    }
}

/// Binds the arguments of a function. The overrides of the current scope apply to the call, wherever it runs.
pub(super) fn bound<F: Function>(input: F::Input) -> Bound {
    Bound { config: Box::new(move |cx| Box::pin(F::config(input, cx))), overrides: Overrides::here() }
}

/// A chain that runs a bound function.
pub(super) fn of_bound<F: Function>() -> Chain<Bound, F::Output> {
    in_time::<F, _>(chain(Bounded::<F>(PhantomData))).named(F::NAME)
}

/// A function as a chain from its arguments.
pub fn chain_of<F: Function>() -> Chain<F::Input, F::Output> {
    in_time::<F, _>(chain(Whole::<F>(PhantomData))).named(F::NAME)
}

fn in_time<F: Function, I: Send + 'static>(call: Chain<I, F::Output>) -> Chain<I, F::Output> {
    match F::timeout() {
        Some(limit) => call.timeout(limit),
        None => call,
    }
}

struct Bounded<F>(PhantomData<fn() -> F>);

impl<F: Function> Runnable for Bounded<F> {
    type Input = Bound;

    const DRIVES_CALLS: bool = true;
    type Output = F::Output;

    async fn run(&self, bound: Bound, cx: &Context) -> Result<F::Output> {
        let Bound { config, mut overrides } = bound;
        // The enclosing scope has been read where the call was made.
        if let Some(outer) = cx.own_extension::<Overrides>() {
            overrides = overrides.or(outer.clone());
        }
        // Deltas of nested calls are not part of the function's own answer.
        let config = config(cx.without_deltas()).await?;
        let (chain, prompt) = assemble::<F>(config, overrides)?;
        chain.run(prompt, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        node::<F>()
    }
}

struct Whole<F>(PhantomData<fn() -> F>);

impl<F: Function> Runnable for Whole<F> {
    type Input = F::Input;

    const DRIVES_CALLS: bool = true;
    type Output = F::Output;

    async fn run(&self, input: F::Input, cx: &Context) -> Result<F::Output> {
        Bounded::<F>(PhantomData).run(bound::<F>(input), cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        node::<F>()
    }
}

/// The node of a function: the calls of its model. Those of the function's own body are not known.
fn node<F: Function>() -> Node {
    let model = Node::model(F::MODEL.unwrap_or("model"));
    // Rounds of tool calls.
    if F::rounds().is_some_and(|rounds| rounds > 1) { model.with_models(1) } else { model }
}

/// Builds the chain and the prompt from the attribute, the configuration and the overrides.
fn assemble<F: Function>(config: Config, overrides: Overrides) -> Result<(Chain<Prompt, F::Output>, Prompt)> {
    let Config { mut prompt, model, name, client, tools } = config;
    let chosen = model.is_some().then_some(name);
    let decided = Overrides { model, client, parameters: std::mem::take(&mut prompt.parameters), tools };
    let Overrides { model, client, parameters, tools } = overrides.or(decided);
    let name = match chosen {
        None => F::MODEL.map(str::to_owned),
        Some(name) => name,
    };
    // The parameters of the attribute also apply to its fallbacks, except those of one provider. They are
    // part of the prompt, because the tool loop has to see a `tool_choice` in order to clear it.
    let mut shared = F::parameters();
    shared.model = None;
    shared.extra = serde_json::Map::new();
    prompt.parameters = parameters.or(&shared);
    let model = match (model, client) {
        (Some(model), _) => model?,
        (None, Some(client)) => through::<F>(name, client)?,
        (None, None) => F::model()?,
    };
    let model = model.with(F::parameters());
    let name = model.name().to_owned();
    let model = F::around(chain(model))?;
    let model = match (tools.or_else(F::tools), F::rounds()) {
        (None, _) => model,
        (Some(tools), None) => chain(model.with_tools(tools)),
        (Some(tools), Some(rounds)) => chain(model.with_tools(tools).run_tools(rounds)),
    };
    Ok((F::answer(model, &name), prompt))
}

/// The model of a function through another client, if the model is known by name.
fn through<F: Function>(name: Option<String>, client: Client) -> Result<Model> {
    let Some(name) = name else {
        let message =
            format!("the model of `{}` is given as a value: override the model, not the client", F::NAME);
        return Err(Error::new(ErrorKind::Config, message));
    };
    if name.starts_with("sim/") {
        let message = format!("`{name}` is simulated in this process and does not use a client");
        return Err(Error::new(ErrorKind::Config, message));
    }
    ModelBuilder::new(name).client(client).build()
}

/// The model of a function, built once. A failed build is not cached.
pub fn shared_model(model: &'static OnceLock<Model>, build: impl FnOnce() -> Result<Model>) -> Result<Model> {
    if let Some(model) = model.get() {
        return Ok(model.clone());
    }
    let built = build()?;
    Ok(model.get_or_init(|| built).clone())
}

/// The chains of the given models.
pub fn models<M: IntoModel>(models: impl IntoIterator<Item = M>) -> Result<Vec<Chain<Prompt, Message>>> {
    models.into_iter().map(|model| model.into_model().map(chain)).collect()
}

/// The strings of an option.
pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

/// The model of that name, through the client of the attribute.
pub fn model_through(name: &str, client: impl IntoClient) -> Result<Model> {
    ModelBuilder::new(name).client(client.into_client()?).build()
}

/// Conversion to a client: from a client, or the result of building one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a client",
    label = "not a client",
    note = "pass a `fanweave::models::Client`, or a `Result` of one, such as `Client::builder().build()`"
)]
pub trait IntoClient {
    /// Converts to a client.
    ///
    /// # Errors
    /// The error of building it.
    fn into_client(self) -> Result<Client>;
}

impl IntoClient for Client {
    fn into_client(self) -> Result<Client> {
        Ok(self)
    }
}

impl IntoClient for &Client {
    fn into_client(self) -> Result<Client> {
        Ok(self.clone())
    }
}

impl IntoClient for Result<Client> {
    fn into_client(self) -> Result<Client> {
        self
    }
}

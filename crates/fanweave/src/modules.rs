//! The public modules that re-export names of other crates, by subject.

pub mod context {
    //! The context of a run: deadline, cancellation, concurrency, priority, tags, observers and values.
    //!
    //! A [`Context`] belongs to one run and is given to every step. Set it up with its `with_` methods and
    //! pass it to [`Chain::invoke_in`](crate::Chain::invoke_in) or `.within(cx)` of a batch.
    //!
    //! ```
    //! use std::time::Duration;
    //! use fanweave::{Context, prompt, testing::Fake, text, vars};
    //!
    //! # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    //! let joke = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
    //! let cx = Context::new().with_timeout(Duration::from_secs(30)).with_tag("nightly");
    //! assert_eq!(joke.invoke_in(vars! { topic: "bears" }, &cx).await?, "A joke about bears.");
    //! # Ok(())
    //! # }) }
    //! ```
    #[doc(inline)]
    pub use fanweave_core::context::*;
}

pub mod errors {
    //! Errors of calls and chains.
    //!
    //! An [`Error`] has a [`kind`](Error::kind), the provider's message, status and request id, the path of
    //! the step that failed, and a [`hint`](Error::hint). [`Error::is_retryable`] says whether the same call
    //! can succeed later. Batches of files have errors of their own: [`batch::Error`](crate::batch::Error).
    //!
    //! ```
    //! use fanweave::{ErrorKind, model};
    //!
    //! let error = model("opnai/gpt-5").unwrap_err();
    //! assert_eq!(error.kind(), ErrorKind::Config);
    //! println!("{error}");
    //! ```
    #[doc(inline)]
    pub use fanweave_core::{Advice, EXCERPT_BYTES, Error, ErrorKind, Result, closest, excerpt};
}

pub mod events {
    //! The course of a run: deltas of its answer, and events of its steps, requests, waits and retries.
    //!
    //! [`Chain::stream`](crate::Chain::stream) returns a [`Run`] of [`Delta`]s,
    //! [`Chain::events`](crate::Chain::events) an [`EventRun`] of [`Event`]s. An [`Observer`] in the context
    //! sees the events of all runs below it. All of them serialise.
    //!
    //! ```
    //! use fanweave::{EventKind, prompt, testing::Fake, vars};
    //!
    //! # fn main() { fanweave::blocking::wait(async {
    //! let mut events = (prompt("Name a {{ x }}.") | Fake::echo()).events(vars! { x: "bear" });
    //! while let Some(event) = events.next().await {
    //!     if let EventKind::StepFinished { .. } = event.kind {
    //!         println!("{} has finished", event.path);
    //!     }
    //! }
    //! # }) }
    //! ```
    #[doc(inline)]
    pub use fanweave_core::event::*;
    #[doc(inline)]
    pub use fanweave_core::runnable::DeltaMap;
    #[doc(inline)]
    pub use fanweave_core::{Delta, EventRun, Fold, Run};
}

pub mod messages {
    //! Messages of users, models and tools, independent of providers.
    //!
    //! ```
    //! use fanweave::Message;
    //! use fanweave::messages::Part;
    //!
    //! let question = Message::user("Name a bear.");
    //! assert!(matches!(&question.parts[..], [Part::Text(text)] if text == "Name a bear."));
    //! ```
    #[doc(inline)]
    pub use fanweave_core::message::*;
}

pub mod prompts {
    //! Prompts: templates, chats with histories and examples, and prompt files.
    //!
    //! | prompt | for |
    //! |---|---|
    //! | [`prompt`] | one user message from a template in Jinja's syntax |
    //! | [`prompt!`](macro@crate::prompt) | a template that is checked at compile time |
    //! | [`chat`] | several messages, histories, images |
    //! | [`FewShot`] | examples in a chat, all or selected by length or similarity |
    //! | [`fstring`] | templates in the syntax of Python's f-strings |
    //! | `PromptFile` | prompts in YAML files |
    #[doc(inline)]
    pub use fanweave_core::prompt::*;

    #[cfg(feature = "prompt-files")]
    pub use crate::prompt_file::PromptFile;
}

pub mod parsers {
    //! Parsers: steps that read a model's answer, incrementally if it is streamed.
    //!
    //! | parser | output |
    //! |---|---|
    //! | [`text`] | the text |
    //! | [`lines`], [`list`] | items of a list: one a line, or separated by commas |
    //! | [`json`], [`json_as`] | a JSON value, or a type, from text around it |
    //! | `structured` | a type: the provider receives its schema, invalid answers are retried |
    //! | [`structured_as`], [`structured_value`] | the same with a schema given as JSON |
    //! | [`choice`], [`choice_of`] | one of several words |
    //! | `matches` | groups of a regular expression |
    //! | [`tool_calls`] | the tools that the model wants to call |
    //! | [`repair`], [`repaired`] | another parser, whose errors a model corrects |
    //! | [`ThinkSplitter`], [`split_unopened`] | thinking and answer, for parsers of your own |
    #[doc(inline)]
    #[cfg(feature = "regex")]
    pub use fanweave_core::parse::matches::*;
    #[doc(inline)]
    pub use fanweave_core::parse::{
        choice::*, json::*, lines::*, list::*, repair::*, structured::*, text::*, tool_calls::*,
    };
    #[doc(inline)]
    pub use fanweave_core::think::*;

    #[cfg(feature = "structured")]
    pub use crate::structured::structured;
}

pub mod compose {
    //! Steps and chains: the functions that make them, and the types behind the verbs of
    //! [`Chain`](crate::Chain).
    //!
    //! | function | chain |
    //! |---|---|
    //! | [`step`], [`generator`] | an async closure; a closure that returns a stream |
    //! | [`parallel`], [`parallel_map`] | several chains with the same input, as a tuple or by name |
    //! | [`assign`], [`pick`], [`passthrough`] | more variables, fewer, the input itself |
    //! | [`branch`], [`router`], [`route_by`] | one of several chains, by conditions or by name |
    //! | [`dynamic`] | a loop: decides after each turn whether to repeat |
    //! | [`dag`] | steps by name that read each other's outputs |
    //! | [`configurable`] | alternatives that the caller's context selects |
    //!
    //! To write a combinator of your own, implement [`Runnable`].
    #[doc(inline)]
    pub use fanweave_core::compose::{
        assign::*, branch::*, configurable::*, dynamic::*, fallback::*, generator::*, hooks::*, named::*,
        parallel::*, parallel_map::*, passthrough::*, pick::*, retry::*, router::*, scoped::*, step::*,
        then::*, timeout::*,
    };
    #[doc(inline)]
    pub use fanweave_core::runnable::{Chain, Runnable, Streaming, chain};
    #[doc(inline)]
    pub use fanweave_core::{Dag, DagStep, Graph, IntoChain, IntoInput, Node, OnError, dag};
}

pub mod many {
    //! Many-valued chains: a call for each item of a list while the list is still being generated, and
    //! fan-in.
    //!
    //! ```
    //! use fanweave::{prompt, testing::Fake, text, vars};
    //!
    //! # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    //! let model = Fake::echo().model();
    //! let titles = (prompt("1. Tides\n2. Wind") | &model).lines();
    //! let article = titles.each(prompt("About {{ input }}.") | &model | text()).join("\n");
    //! assert_eq!(article.invoke(vars! {}).await?, "About Tides.\nAbout Wind.");
    //! # Ok(())
    //! # }) }
    //! ```
    #[doc(inline)]
    pub use fanweave_core::many::*;
}

pub mod rows {
    //! Many inputs through one chain in memory: [`Chain::batch`](crate::Chain::batch).
    //!
    //! [`Batch`] is the builder, [`Rows`] its results in input order, [`Completed`] in the order in which
    //! they finish. For files, journals and resume, see the module `batch`.
    #[doc(inline)]
    pub use fanweave_core::batch::*;
}

pub mod tools {
    //! Tools that models call: sets of them, the loop that runs them, and the traits for tools by hand.
    //!
    //! [`#[tool]`](macro@crate::tool) makes a tool of a function.
    #[doc(inline)]
    pub use fanweave_core::tool::*;
    #[doc(inline)]
    pub use fanweave_core::{ToolChoice, ToolSpec};
}

pub mod retrieval {
    //! Retrieval: documents, and the traits of retrievers, splitters and vector stores.
    //!
    //! Documents come from files with `loaders` and are divided with `splitters`. [`stores`](crate::stores)
    //! has the vector stores, [`chains`](crate::chains) the chains that answer from documents.
    #[doc(inline)]
    pub use fanweave_core::retrieve::*;
}

pub mod models {
    //! Models and embedders: providers, keys, connections, rate limits, prices, and models of your own.
    //!
    //! [`model`](fn@crate::model) is enough for most programs. [`ModelBuilder`] sets keys, URLs, limits and
    //! timeouts; [`Client`] the connections, [`Budget`] a spending limit, [`log`] a record of all calls. For
    //! a model of your own, implement [`ChatModel`]; for vectors, [`Embeddings`].
    //!
    //! ```no_run
    //! use fanweave::models::{ModelBuilder, RateLimits};
    //!
    //! let model = ModelBuilder::new("openai/gpt-5-mini")
    //!     .base_url("http://localhost:8000/v1")
    //!     .limits(RateLimits::new().requests_per_minute(500u32.try_into()?))
    //!     .build()?;
    //! # Ok::<_, Box<dyn std::error::Error>>(())
    //! ```
    #[doc(inline)]
    pub use fanweave_core::embed::*;
    #[doc(inline)]
    pub use fanweave_core::model::{
        CallHook, ChatModel, Generate, Generation, Generations, Model, Parameters, PendingCall,
        ResponseFormat,
    };
    #[doc(inline)]
    pub use fanweave_models::*;
}

#[cfg(feature = "batch")]
pub mod batch {
    //! Batches of files: sources of rows, a journal to resume from, ordered output, provider's batch APIs.
    //!
    //! [`BatchJob`] runs a chain for every row of a [`Source`]. [`JournalExt`] gives batches of a program's
    //! own inputs a journal.
    //!
    //! The next run of a job that was killed or stopped resumes it. A budget needs prices, such as those of
    //! [`Prices`](crate::models::Prices):
    //!
    //! ```no_run
    //! use fanweave::batch::{BatchJob, Costs, Output, Render, Settings, Source};
    //! use fanweave::{chain, model, models::Prices, prompts::Template};
    //!
    //! # fn main() -> Result<(), Box<dyn std::error::Error>> { fanweave::blocking::wait(async {
    //! let source = Source::open("products.csv", None)?;
    //! let render = Render::new().template(Template::parse("Name a shop that sells {{ product }}.")?);
    //! let prices = Prices::builtin();
    //! // At most 5 dollars: rows wait while those in flight, at 0.01 dollars each, could exceed it.
    //! let costs = Costs::new(move |model, usage| Some(prices.of(model)?.cost(usage))).cap(5.0, 0.01);
    //! let output = Output::File("names.jsonl".into());
    //! let job = BatchJob::new(source, render, chain(model("openai/gpt-5-mini")?), output)
    //!     .settings(Settings::new().retry_failed(true))
    //!     .costs(costs);
    //! let summary = job.run().await?;
    //! println!("{} answered, {} failed, over budget: {}", summary.ok, summary.failed, summary.over_budget);
    //! # Ok(())
    //! # }) }
    //! ```
    #[doc(inline)]
    pub use fanweave_batch::*;

    pub use crate::batch_api::ProviderBatches;
}

pub mod values {
    //! Values between steps: the variables of prompts, and the items of chains whose steps are known only at
    //! run time.
    #[doc(inline)]
    pub use fanweave_core::{FromItem, IntoItem, Item, Serde, Ticket, Vars, vars};
}

pub mod runtime {
    //! The runtime of blocking calls: settings, handle, shutdown, forks.
    #[doc(inline)]
    pub use fanweave_core::runtime::*;
}

pub mod blocking {
    //! Chains for code that is not async, and code that blocks as steps and models of chains.
    //!
    //! ```
    //! use fanweave::{prompt, testing::Fake, text, vars};
    //!
    //! let joke = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
    //! assert_eq!(joke.blocking().invoke(vars! { topic: "bears" })?, "A joke about bears.");
    //! # Ok::<_, fanweave::Error>(())
    //! ```
    #[doc(inline)]
    pub use fanweave_core::blocking::*;
}

pub mod testing {
    //! Models for tests, without keys and network.
    //!
    //! [`Fake`] answers from a script or echoes its prompt, and counts what is in flight. `Sim` writes
    //! plausible text with realistic latency, as `sim/writer`. `HashEmbedder` makes vectors from words.
    //!
    //! Nothing below a fake retries: its errors are those of the step, and only
    //! [`Chain::retry`](crate::Chain::retry) repeats it. The retries of real models, such as after a 429, are
    //! tested with a transport in memory: see [`HttpTransport`](crate::models::HttpTransport).
    //!
    //! ```
    //! use fanweave::{Error, ErrorKind, chain, testing::Fake, text};
    //!
    //! # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    //! let busy = Error::new(ErrorKind::Overloaded, "too busy");
    //! let model = chain(Fake::script([Err(busy), Ok("Paris")])).retry(Default::default()) | text();
    //! assert_eq!(model.invoke("The capital of France?").await?, "Paris");
    //! # Ok(())
    //! # }) }
    //! ```
    #[doc(inline)]
    pub use fanweave_core::model::fake::*;

    #[cfg(feature = "sim")]
    pub use crate::sim::{LATENCY, Sim};
    #[cfg(feature = "sim")]
    pub use crate::words::HashEmbedder;
    #[doc(inline)]
    #[cfg(feature = "sim")]
    pub use fanweave_sim::Latency;
}

#[cfg(feature = "workers")]
pub mod workers {
    //! Batches whose rows run at workers, which meet at a broker: a NATS server with JetStream.
    //!
    //! The program `fanweave` starts both with `fanweave batch --on local`. The protocol may still change.
    #[doc(inline)]
    pub use fanweave_workers::*;

    pub use crate::share::{Share, SharedLimits};
}

//! The `fanweave` command as a library: other languages run it inside a process of their own.
//!
//! [`run`] parses, runs and returns the exit code. It may run several times in a process, also at the same
//! time: it installs no signal handler and no panic hook, and never exits the process. [`main`] adds what
//! belongs to a process of its own.
//!
//! Arguments, output and exit codes are the interface. The rest of the crate is private.

mod args;
mod ask;
mod ask_template;
mod attachments;
mod batch;
mod chain_rows;
mod chat;
#[cfg(feature = "workers")]
mod cluster;
mod config;
mod connect;
mod cost;
mod cut;
mod documents;
mod dry_run;
mod embed;
mod endpoints;
mod exit;
mod headers;
mod index;
mod init;
mod keyboard;
mod keyring;
mod keys;
mod known;
mod live;
mod logs;
mod manual;
mod misplaced;
mod models;
mod out;
mod panel;
mod pieces;
mod program;
mod progress;
mod report;
mod route;
mod row_model;
mod rows;
mod run;
mod schema;
mod sim;
mod stop;
mod summary;
mod telemetry;
mod text_file;
mod trust;
mod waits;
mod why;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use args::{AskArgs, ChatArgs, Cli, Color, Command, RunArgs};
use clap::{CommandFactory, FromArgMatches};
pub use exit::Exit;
use exit::Failure;
use fanweave::models::adaptations_since;
use misplaced::Slips;
use out::tell;
use program::Program;
pub use stop::Stop;

/// Time that a run gets to close its files after a request to end at once. Longer than a write to a busy disk
/// usually takes.
const CLOSING: Duration = Duration::from_secs(1);

/// Runs the program with `args`, which do not include its name, and returns its exit code.
///
/// Reads standard input, writes to standard output and standard error, and reads environment variables and
/// the files of the current folder, as the command does. Blocks until the command ends; inside of a tokio
/// runtime, it blocks the thread and runs on another one.
///
/// Signals are left to the process. To stop the command, call [`run_until`] instead.
///
/// ```
/// use fanweave_cli::{Exit, run};
///
/// assert_eq!(run(["models", "gpt-5"]), Exit::Ok);
/// assert_eq!(run(["ask", "hello", "--model", "sim/ecco"]), Exit::Usage);
/// ```
pub fn run<I>(args: I) -> Exit
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    run_until(args, &Stop::new())
}

/// Like [`run`], until another thread requests a stop.
///
/// ```
/// use std::thread;
///
/// use fanweave_cli::{Exit, Stop, run_until};
///
/// let stop = Stop::new();
/// let server = thread::spawn({
///     let stop = stop.clone();
///     move || run_until(["sim", "--port", "0"], &stop)
/// });
/// stop.request();
/// stop.request();
/// let exit = server.join().expect("it does not panic");
/// assert!(matches!(exit, Exit::Ok | Exit::Interrupted));
/// ```
///
/// # Cancellation
///
/// The first request stops gracefully: rows in flight are finished and recorded, and the same arguments
/// resume. The second one ends the command at once with [`Exit::Interrupted`]: requests in flight are dropped
/// and may still be billed, and finished rows are kept. A thread that is blocked, such as in a read of
/// standard input, may outlive the call.
pub fn run_until<I>(args: I, stop: &Stop) -> Exit
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    if tokio::runtime::Handle::try_current().is_err() {
        return parse_and_run(args, stop);
    }
    // A runtime cannot block on another one on the same thread.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || parse_and_run(args, stop));
        let failed = |message: String| out::report(&Failure::new(message), Color::default());
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(exit)) => exit,
            Ok(Err(panic)) => out::report(&internal_error(&*panic), Color::default()),
            Err(error) => failed(format!("cannot start a thread: {error}")),
        }
    })
}

/// The `main` function of the program: runs the arguments of the process and handles its signals.
///
/// Silences panics, which are reported as errors, and raises the limit of open files. Only for a process that
/// is the program: use [`run`] or [`run_until`] elsewhere.
pub fn main() -> ExitCode {
    main_with(std::env::args_os().skip(1)).into()
}

/// Like [`main`], with arguments that do not include the name of the program, for a process whose own
/// arguments begin with others, such as those of an interpreter.
pub fn main_with<I>(args: I) -> Exit
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    quiet_panics();
    // Every call in flight needs a socket, and the usual soft limit is 1,024.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    run_until(args, &Stop::on_signals())
}

fn parse_and_run(args: Vec<OsString>, stop: &Stop) -> Exit {
    let slips = Slips::find(&args);
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed terminal is ignored, as for all output.
            match slips.hide(&error.render().to_string()).filter(|_| error.use_stderr()) {
                Some(hidden) => tell!("{}\n{}", hidden.trim_end(), misplaced::ADVICE),
                None => _ = error.print(),
            }
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let color = cli.color;
    let program = Program::new(args, stop.clone());
    let terminal = program.terminal.clone();
    let (before, is_noted) = (program.adapted_before.clone(), program.noted_adaptations.clone());
    let done = runtime().and_then(|runtime| {
        // On a worker of the runtime: tasks that it spawns and wakes need not move between threads.
        let done = runtime.block_on(async {
            let mut task = tokio::spawn(execute(cli.command, program));
            tokio::select! {
                done = &mut task => done.unwrap_or_else(|ended| Err(ended_early(ended))),
                exit = stop.ended() => {
                    terminal.restore();
                    if !stop.is_on_signals() {
                        // The process lives on: it may want to read the files of the run.
                        task.abort();
                        let _ = tokio::time::timeout(CLOSING, task).await;
                    }
                    Ok(exit)
                }
            }
        });
        // Results are written by now, and a blocked reader of stdin must not delay the exit.
        runtime.shutdown_background();
        done
    });
    if !is_noted.load(Ordering::Relaxed) {
        for adaptation in adaptations_since(&before) {
            tell!("{}", summary::adapted(&adaptation));
        }
    }
    done.unwrap_or_else(|failure| out::report(&failure.without(&slips), color))
}

/// Parses arguments without the name of the program.
fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    // Needed before parsing: clap colours its own error messages.
    let color = Color::from_raw_args(args).choice();
    let mut command = Cli::command().color(color);
    let name = OsString::from("fanweave");
    let matches = command.try_get_matches_from_mut(std::iter::once(&name).chain(args))?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

async fn execute(mut command: Command, mut program: Program) -> Result<Exit, Failure> {
    match &mut command {
        Command::Batch(args) => {
            batch::refuse_idle_flags(args)?;
            #[cfg(feature = "workers")]
            cluster::refuse_flags(args)?;
            program.config = config::load()?;
            let note = program.config.fill(&mut args.model, &mut args.fallback_model)?;
            out::note(note, args.quiet);
        }
        Command::Ask(AskArgs { model, resume, last, .. })
        | Command::Chat(ChatArgs { model, resume, last, .. }) => {
            program.config = config::load()?;
            if *resume {
                // The conversation that is continued has a model of its own.
                let conversation = logs::last_conversation().await?;
                model.model.get_or_insert_with(|| conversation.model.clone());
                *last = Some(conversation);
            }
            out::note(program.config.fill(model, &mut [])?, false);
        }
        Command::Run(args) => {
            #[cfg(feature = "workers")]
            cluster::refuse_run_flags(args)?;
            let RunArgs { model, quiet, .. } = &mut **args;
            program.config = config::load()?;
            out::note(program.config.fill(model, &mut [])?, *quiet);
        }
        Command::Config(_) => program.config = config::load()?,
        #[cfg(feature = "workers")]
        Command::Worker(args) => {
            program.config = config::load()?;
            cluster::fill(args, &mut program.config)?;
        }
        _ => {}
    }
    let program = &program;
    match command {
        Command::Batch(args) => Box::pin(batch::run(*args, program)).await,
        Command::Ask(args) => ask::run(args, program).await,
        Command::Chat(args) => chat::run(args, program).await,
        Command::Init(args) => init::run(&args, &program.config),
        Command::Run(args) => run::run(*args, program).await,
        Command::Config(args) => config::run(&args, &program.config),
        Command::Embed(args) => Box::pin(embed::run(*args, program)).await,
        Command::Index(args) => index::run(args, program).await,
        Command::Report(args) => report::run(&args),
        Command::Logs(args) => logs::run(args).await,
        Command::Models(args) => models::run(&args),
        Command::Keys(args) => keys::run(args, program).await,
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::pages(&args),
        Command::Sim(args) => sim::run(args, program).await,
        #[cfg(feature = "workers")]
        Command::Worker(args) => Box::pin(cluster::worker(*args, program)).await,
        #[cfg(feature = "workers")]
        Command::Jobs(args) => Box::pin(cluster::jobs(args, program)).await,
        #[cfg(feature = "workers")]
        Command::Broker(args) => Box::pin(cluster::broker(args)).await,
    }
}

/// Silences the panic hook: panics are caught and reported as errors of a row, a file or the program. With
/// `RUST_BACKTRACE` set, the default hook prints the location.
fn quiet_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
}

fn ended_early(ended: tokio::task::JoinError) -> Failure {
    match ended.try_into_panic() {
        Ok(panic) => internal_error(&*panic),
        Err(ended) => Failure::new(format!("internal error (please report it): {ended}")),
    }
}

/// The error for a panic of this program.
fn internal_error(panic: &(dyn std::any::Any + Send)) -> Failure {
    let why = fanweave::Error::from_panic(panic);
    Failure::new(format!("internal error (please report it): {}", why.message()))
        .with_hint("rows in the journal are safe; set RUST_BACKTRACE=1 for a backtrace")
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("cannot start the runtime: {e}")))
}

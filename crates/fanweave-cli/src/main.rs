//! The `fanweave` command: parse, run, exit.

mod args;
mod ask;
mod batch;
mod config;
mod connect;
mod cost;
mod cut;
mod documents;
mod dry_run;
mod exit;
mod index;
mod keyboard;
mod keyring;
mod keys;
mod lane;
mod live;
mod logs;
mod manual;
mod misplaced;
mod models;
mod out;
mod panel;
mod pieces;
mod progress;
mod report;
mod route;
mod run;
mod sim;
mod spread;
mod stop;
mod summary;
mod telemetry;
mod why;

use std::process::ExitCode;

use args::{AskArgs, Cli, Color, Command, RunArgs};
use clap::Parser;
use exit::{Exit, Failure};

fn main() -> ExitCode {
    quiet_panics();
    Color::from_raw_args().apply();
    let cli = Cli::parse();
    let done = runtime().and_then(|runtime| {
        // On a worker of the runtime: tasks that it spawns and wakes need not move between threads.
        let done = runtime.block_on(async {
            match tokio::spawn(run(cli)).await {
                Ok(done) => done,
                Err(ended) => Err(internal_error(&*ended.into_panic())),
            }
        });
        // Results are written by now, and a blocked reader of stdin must not delay the exit.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => out::report(&failure).into(),
    }
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    cli.color.apply();
    let mut command = cli.command;
    match &mut command {
        Command::Batch(args) => {
            batch::refuse_idle_flags(args)?;
            config::load()?;
            config::fill(&mut args.model, &mut args.fallback_model)?;
        }
        Command::Ask(AskArgs { model, .. }) | Command::Run(RunArgs { model, .. }) => {
            config::load()?;
            config::fill(model, &mut [])?;
        }
        Command::Config(_) => config::load()?,
        _ => {}
    }
    match command {
        Command::Batch(args) => Box::pin(batch::run(args)).await,
        Command::Ask(args) => ask::run(args).await,
        Command::Run(args) => run::run(args).await,
        Command::Config(args) => config::run(&args),
        Command::Index(args) => index::run(args).await,
        Command::Report(args) => report::run(&args),
        Command::Logs(args) => logs::run(args).await,
        Command::Models(args) => models::run(&args),
        Command::Keys(args) => keys::run(args).await,
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::pages(&args),
        Command::Sim(args) => sim::run(args).await,
    }
}

/// Silences the panic hook: panics are caught and reported as errors of a row, a file or the program. With
/// `RUST_BACKTRACE` set, the default hook prints the location.
fn quiet_panics() {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
}

/// The error for a panic of this program.
fn internal_error(panic: &(dyn std::any::Any + Send)) -> Failure {
    let why = fanweave::Error::from_panic(panic);
    Failure::new(format!("internal error (please report it): {}", why.message()))
        .with_hint("rows in the journal are safe; set RUST_BACKTRACE=1 for a backtrace")
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    // Every call in flight needs a socket, and the usual soft limit is 1,024.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("cannot start the runtime: {e}")))
}

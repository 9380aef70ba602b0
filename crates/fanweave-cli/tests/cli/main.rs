//! Runs the program as users do: as a process, with its files, output and exit codes. `library` runs it
//! inside the process of the tests.

mod ask;
mod bad_input;
mod batch;
mod chain_keys;
#[cfg(all(feature = "bedrock", feature = "vertex"))]
mod clouds;
mod columns;
mod config;
mod documents;
mod dry_run;
mod earlier_journals;
mod echoes;
mod embed;
mod endpoints;
mod faults;
mod help;
mod inputs;
#[cfg(feature = "keyring")]
mod keyring;
mod keys;
mod kills;
mod known;
mod library;
mod logs;
#[cfg(unix)]
mod planted;
mod report;
mod requests;
mod run;
mod run_flags;
mod samples;
mod shells;
mod signals;
mod stops;
mod support;
#[cfg(feature = "telemetry")]
mod telemetry;

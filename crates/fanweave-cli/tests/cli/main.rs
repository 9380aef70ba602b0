//! Runs the program as users do: as a process, with its files, output and exit codes.

mod ask;
mod bad_input;
mod batch;
mod config;
mod documents;
mod earlier_journals;
mod faults;
mod help;
#[cfg(feature = "keyring")]
mod keyring;
mod keys;
mod kills;
mod logs;
mod report;
mod run;
mod shells;
mod signals;
mod stops;
mod support;
#[cfg(feature = "telemetry")]
mod telemetry;

//! The program as a person uses it: a process, its files, what it prints and how it ends.

mod ask;
mod bad_input;
mod batch;
mod config;
mod documents;
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

//! Nests every verb in every other, with accounts that allow one or two concurrent requests, over real
//! sockets.
//!
//! `FANWEAVE_ACCOUNT_RUNS` sets the number of random compositions (default: 300). `FANWEAVE_ACCOUNT_SEED`
//! runs the same composition each time. With `--nocapture` the figures are printed at the end.
#![expect(clippy::unwrap_used, reason = "also in shared test code")]

#[path = "../../../fanweave-core/tests/permits/plan.rs"]
mod plan;
#[path = "../../../fanweave-core/tests/permits/styles.rs"]
mod styles;
#[path = "../../../fanweave-core/tests/permits/verbs.rs"]
mod verbs;

mod account;
mod buffer;
mod models;
mod random;
mod rows;
mod watchdog;

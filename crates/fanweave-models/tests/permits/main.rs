//! Every verb within every other at accounts that take one or two requests at once, over real sockets.
//!
//! `FANWEAVE_ACCOUNT_RUNS` sets how many random compositions run: 300 unless it is set.
//! `FANWEAVE_ACCOUNT_SEED` runs the same one each time. With `--nocapture` the figures are printed in the
//! end.
#![expect(clippy::unwrap_used, reason = "also in what the tests share")]

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

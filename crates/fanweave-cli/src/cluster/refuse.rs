//! Flags that cannot be used with workers.

use crate::args::{BatchArgs, Via};
use crate::exit::Failure;

/// Rejects flags that have no effect on rows at workers.
///
/// Must be called before settings from configuration files are filled in: those may be meant for other runs.
pub(crate) fn refuse_flags(args: &BatchArgs) -> Result<(), Failure> {
    if args.cluster.on.is_none() {
        return Ok(());
    }
    let is_dash = |path: &std::path::Path| path == std::path::Path::new("-");
    let refused = [
        ("--via batch-api", args.via == Via::BatchApi),
        ("--cache", args.model.cache.is_some()),
        ("--dedupe", args.dedupe),
        // Its value would be in the list of processes.
        ("--header", !args.model.header.is_empty()),
        ("--unordered", args.rows.unordered),
        ("--retry-failed", args.rows.retry_failed),
        ("--resume-changed", args.rows.resume_changed),
        ("--budget-usd", args.budget_usd.is_some()),
        ("--max-errors", args.rows.max_errors.is_some()),
        ("--schema", args.schema.is_some()),
        ("--columns", args.rows.columns.is_some()),
        ("an input from stdin", is_dash(&args.input)),
        ("several inputs", !args.more_input.is_empty() || args.input.is_dir()),
        ("an output to stdout", is_dash(&args.output)),
    ];
    let given: Vec<_> = refused.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect();
    if given.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("{} cannot be used with --on", given.join(", ")))
        .with_hint("remove --on to run the rows in this process"))
}

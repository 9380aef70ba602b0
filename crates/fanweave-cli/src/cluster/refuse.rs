//! Flags that cannot be used with workers.

use crate::args::{BatchArgs, On, Via};
use crate::exit::Failure;

/// Rejects flags that have no effect on rows at workers.
///
/// Must be called before settings from configuration files are filled in: those may be meant for other runs.
pub(crate) fn refuse_flags(args: &BatchArgs) -> Result<(), Failure> {
    let Some(on) = &args.cluster.on else { return Ok(()) };
    let is_dash = |path: &std::path::Path| path == std::path::Path::new("-");
    let is_given = |flags: &[(&'static str, bool)]| {
        flags.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    };
    let refused = is_given(&[
        ("--via batch-api", args.via == Via::BatchApi),
        ("--cache", args.model.cache.is_some()),
        ("--dedupe", args.dedupe),
        // Its value would be in the list of processes.
        ("--header", !args.model.header.is_empty()),
        ("--unordered", args.rows.unordered),
        ("--resume-changed", args.rows.resume_changed),
        ("--max-errors", args.rows.max_errors.is_some()),
        ("--schema", args.schema.is_some()),
        ("--columns", args.rows.columns.is_some()),
        ("an input from stdin", is_dash(&args.input)),
        ("--samples", args.samples.is_some()),
        ("--wait-for-quota", args.wait_for_quota),
        ("several inputs", !args.more_input.is_empty() || args.input.is_dir()),
        ("an output to stdout", is_dash(&args.output)),
    ]);
    if !refused.is_empty() {
        return Err(Failure::usage(format!("{refused} cannot be used with --on"))
            .with_hint("remove --on to run the rows in this process"));
    }
    let refused = match on {
        On::Local => is_given(&[
            ("--retry-failed", args.rows.retry_failed),
            ("--detach", args.cluster.detach),
            ("--creds", args.cluster.access.creds.is_some()),
            ("--ca", args.cluster.access.ca.is_some()),
            ("--plaintext", args.cluster.access.plaintext),
        ]),
        On::Broker(_) => is_given(&[("--workers", args.cluster.workers.is_some())]),
    };
    if !refused.is_empty() {
        let (what, hint) = match on {
            On::Local => ("--on local", "it needs the URL of a broker in --on"),
            On::Broker(_) => ("the URL of a broker", "start workers with `fanweave worker`"),
        };
        return Err(Failure::usage(format!("{refused} cannot be used with {what}")).with_hint(hint));
    }
    if *on == On::Local {
        return Ok(());
    }
    let of_workers = is_given(&[
        ("--concurrency", args.concurrency.is_some()),
        (
            "--base-url (or FANWEAVE_BASE_URL)",
            args.model.base_url.as_ref().is_some_and(|url| !url.is_empty()),
        ),
        ("--max-in-flight", args.model.max_in_flight.is_some()),
        ("--timeout", args.model.timeout.is_some()),
        ("--retries", args.model.retries.is_some()),
        ("--outage-timeout", args.model.outage_timeout.is_some()),
        ("--adapt", args.model.adapt),
        ("--strict-request", args.model.strict_request),
        ("--key-env", !args.key_env.is_empty()),
        ("--no-fallback-on-outage", args.no_fallback_on_outage),
        ("--prices", args.prices.is_some()),
    ]);
    if of_workers.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("{of_workers}: the workers of a broker have settings of their own"))
        .with_hint("pass it to `fanweave worker`"))
}

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
        ("--dedupe", args.rows.dedupe),
        // Its value would be in the list of processes.
        ("--header", !args.model.header.is_empty()),
        ("--unordered", args.rows.unordered),
        ("--resume-changed", args.rows.resume_changed),
        ("--max-errors", args.rows.max_errors.is_some()),
        ("an input from stdin", is_dash(&args.input)),
        ("--wait-for-quota", args.rows.wait_for_quota),
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
            ("--nkey", args.cluster.access.nkey.is_some()),
            ("--ca", args.cluster.access.ca.is_some()),
            ("--cert", args.cluster.access.cert.is_some()),
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
        ("--template-memory", args.template_memory.is_some()),
    ]);
    if of_workers.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!("{of_workers}: the workers of a broker have settings of their own"))
        .with_hint("pass it to `fanweave worker`"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use crate::args::Cli;

    /// Flags that are part of the run: of its work, its rows or its manifest.
    const OF_RUN: &[&str] = &[
        "budget-usd",
        "delimiter",
        "drop-last-assistant",
        "encoding",
        "fallback-model",
        "id-column",
        "input-format",
        "keep-going",
        "limit",
        "max-tokens",
        "model",
        "no-hedging",
        "override-model",
        "param",
        "prompt",
        "reasoning-budget",
        "reasoning-effort",
        "reasoning-summary",
        "rpm",
        "sample",
        "samples",
        "schema",
        "sheet",
        "skip-empty",
        "system",
        "temperature",
        "tpm",
    ];

    /// Flags of the command that submits the rows and writes the results.
    const OF_COMMAND: &[&str] = &[
        "ca",
        "cert",
        "cert-key",
        "columns",
        "creds",
        "csv-formulas",
        "detach",
        "dry-run",
        "fail-if-done",
        "fresh",
        "json",
        "nkey",
        "on",
        "output",
        "output-format",
        "plaintext",
        "quiet",
        "retry-failed",
        "show-progress",
        "strict",
        "via",
        "workers",
    ];

    #[test]
    fn every_flag_of_a_batch_has_an_effect_with_workers_or_is_refused() {
        let cli = Cli::command();
        let batch = cli.find_subcommand("batch").expect("there is one");
        let names = |command: &clap::Command| -> BTreeSet<String> {
            command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect()
        };
        let source = include_str!("refuse.rs");
        let (refused, _) = source.split_once("mod tests").expect("this is it");
        // Those that are not refused, and that workers take, pass through `local.rs`.
        let passed = include_str!("local.rs");
        let of_workers = names(cli.find_subcommand("worker").expect("there is one"));
        for flag in names(batch) {
            let is_quoted = |text: &str| {
                [format!("\"{flag}\""), format!("\"--{flag}\""), format!("\"--{flag} ")]
                    .iter()
                    .any(|quoted| text.contains(quoted))
            };
            let is_passed = of_workers.contains(&flag) && is_quoted(passed);
            let is_known = OF_RUN.contains(&&*flag) || OF_COMMAND.contains(&&*flag) || is_passed;
            assert!(is_known || is_quoted(refused), "--{flag} may be ignored with --on");
        }
    }
}

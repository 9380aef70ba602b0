//! `fanweave sim`: a simulated provider for tests and trials, without a key and without cost.

use std::io::{ErrorKind, Write};

use fanweave_sim::{Server, Stats};

use crate::args::SimArgs;
use crate::exit::{Exit, Failure};
use crate::out::tell;
use crate::program::Program;

/// Serves until a signal arrives, then prints a summary.
pub(crate) async fn run(args: SimArgs, program: &Program) -> Result<Exit, Failure> {
    let settings = args.settings();
    let addr = settings.addr;
    let example_key = settings.api_key.is_some();
    let server = Server::start(settings).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Failure::usage(error.to_string()),
        ErrorKind::AddrInUse => Failure::new(format!("port {} of {} is in use", addr.port(), addr.ip()))
            .with_hint(
                "stop the program that uses it, choose another port with --port, or use --port 0 for a free one",
            ),
        ErrorKind::PermissionDenied => Failure::new(format!("not allowed to listen on port {}", addr.port()))
            .with_hint("ports below 1024 are reserved: choose a higher one with --port"),
        _ => Failure::new(format!("cannot listen on {addr}: {error}")),
    })?;
    // A parent process can read the address here. A failed write does not matter: the server is still usable.
    let mut stdout = std::io::stdout();
    let _ignored = writeln!(stdout, "listening on {}", server.base_url()).and_then(|()| stdout.flush());
    let key = if example_key { " -H \"authorization: Bearer $KEY\"" } else { "" };
    tell!(
        "Try:  curl {}/chat/completions{key} -d '{{\"model\":\"writer\",\"messages\":[{{\"role\":\"user\",\"content\":\"Write a \
         haiku about tides.\"}}]}}'\nStop with Ctrl-C.",
        server.base_url()
    );
    program.stop.requested().await;
    tell!("{}", summary(&server.stats()));
    server.shutdown().await;
    Ok(Exit::Ok)
}

/// One-line summary of the requests, without zero counts.
fn summary(stats: &Stats) -> String {
    let faults = [
        (stats.rejected_429, "over the limits"),
        (stats.invalid, "invalid"),
        (stats.errors, "errors"),
        (stats.resets, "resets"),
        (stats.hangs, "hangs"),
        (stats.truncated, "truncated"),
        (stats.surplus, "unsolicited copies"),
        (stats.outage_status, "error statuses of an outage"),
        (stats.outage_reset, "resets of an outage"),
        (stats.outage_hang, "held by an outage"),
        (stats.outage_silence, "unanswered in an outage"),
        (stats.outage_garbage, "garbage answers in an outage"),
        (stats.outage_cut, "truncated by an outage"),
        (stats.client_disconnects, "client disconnects"),
    ];
    let faults: String = faults
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!(", {count} {what}"))
        .collect();
    format!(
        "{} requests: {} answered{faults}; max in flight {}, {} connections, {} tokens in, {} out",
        stats.requests,
        stats.ok,
        stats.peak_in_flight,
        stats.connections_opened,
        stats.input_tokens,
        stats.output_tokens
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_omits_zero_counts() {
        let line = summary(&Stats::default());
        assert_eq!(line, "0 requests: 0 answered; max in flight 0, 0 connections, 0 tokens in, 0 out");
    }
}

//! Configurations of brokers, with users that have the permissions they need.

use std::fmt::Write;
use std::path::Path;

use super::access::SPACE;
use super::server::{password, write_private};
use crate::args::BrokerConfigArgs;
use crate::exit::{Exit, Failure};
use crate::out::tell;

/// Default port of clients, and that of other servers.
const PORT: u16 = 4222;
const ROUTES_PORT: u16 = 6222;

/// A user of a broker.
struct User {
    name: &'static str,
    /// Subjects to which it publishes. None: all.
    publishes: Vec<String>,
    /// Subjects that it receives, apart from answers.
    subscribes: Vec<String>,
}

/// A machine of a broker.
struct Node {
    host: String,
    port: u16,
}

/// Writes the files.
pub(crate) fn write(args: &BrokerConfigArgs) -> Result<Exit, Failure> {
    let nodes = args.nodes.iter().map(|node| Node::parse(node)).collect::<Result<Vec<_>, _>>()?;
    if nodes.len() == 2 {
        return Err(Failure::usage("--nodes: two servers stop when one of them does; use 1, 3 or 5"));
    }
    let is_here = nodes.iter().all(|node| node.host == "127.0.0.1" || node.host == "localhost");
    if args.tls_cert.is_none() && !is_here {
        tell!(
            "note: without --tls-cert, prompts, answers and passwords can be read in the network, and commands \
             need --plaintext"
        );
    }
    let out = &args.out;
    let failed = |path: &Path, e: std::io::Error| {
        Failure::new(format!("{}: cannot write the file: {e}", path.display()))
    };
    std::fs::create_dir_all(out).map_err(|e| failed(out, e))?;
    let users: Vec<_> = users().into_iter().map(|user| (user, password())).collect();
    let cluster_password = password();
    let put = |name: &str, text: &str| {
        let path = out.join(name);
        if path.exists() {
            return Err(Failure::usage(format!("{} exists", path.display()))
                .with_hint("choose another --out: new passwords would lock out users of the present ones"));
        }
        write_private(&path, text).map_err(|e| failed(&path, e))?;
        tell!("wrote {}", path.display());
        Ok(())
    };
    for (number, node) in nodes.iter().enumerate() {
        let name = match nodes.len() {
            1 => "nats-server.conf".to_owned(),
            _ => format!("nats-server-{}.conf", number + 1),
        };
        put(&name, &server(args, &nodes, number, node, &users, &cluster_password))?;
    }
    let scheme = if args.tls_cert.is_some() { "tls" } else { "nats" };
    for (user, password) in &users {
        let urls: Vec<_> = nodes
            .iter()
            .map(|Node { host, port }| format!("{scheme}://{}:{password}@{host}:{port}", user.name))
            .collect();
        put(&format!("{}.url", user.name), &format!("{}\n", urls.join(",")))?;
    }
    let (out, copies) = (out.display(), if nodes.len() == 1 { 1 } else { 3 });
    let ca = args.tls_ca.as_ref().map(|ca| format!(" --ca {}", ca.display())).unwrap_or_default();
    let cert = if args.tls_verify { " --cert FILE --cert-key FILE" } else { "" };
    let plain = if is_here || args.tls_cert.is_some() { "" } else { " --plaintext" };
    tell!(
        "start nats-server with --config on each machine, then: fanweave broker init --on @{out}/operator.url --replicas {copies}{ca}{cert}{plain}"
    );
    Ok(Exit::Ok)
}

impl Node {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::usage(format!("--nodes: `{text}` must be HOST or HOST:PORT"));
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, port.parse().map_err(|_| wrong())?),
            Some(_) => return Err(wrong()),
            None => (text, PORT),
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if host.is_empty() || !host.chars().all(is_plain) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// The users, with their least permissions.
fn users() -> Vec<User> {
    let own = |subjects: &[&str]| -> Vec<String> {
        subjects.iter().map(|subject| subject.replace("{S}", SPACE)).collect()
    };
    // Subjects of submitters and of workers.
    let both = [
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.KV_{S}_run",
        "$JS.API.STREAM.INFO.{S}_RES",
        "$JS.API.STREAM.INFO.{S}_ROWS",
        "$JS.API.STREAM.INFO.{S}_JOBS",
        "$JS.API.DIRECT.GET.{S}_ROWS",
        "$JS.API.DIRECT.GET.{S}_RES",
        "$JS.API.DIRECT.GET.KV_{S}_run.>",
        "$JS.API.CONSUMER.CREATE.{S}_RES.>",
        "$JS.API.CONSUMER.MSG.NEXT.{S}_RES.*",
        "$JS.API.CONSUMER.DELETE.{S}_RES.*",
        "{S}.job.>",
    ];
    let submitter = [
        "{S}.rows.>",
        "$KV.{S}_run.>",
        "$JS.API.STREAM.PURGE.{S}_ROWS",
        "$JS.API.STREAM.PURGE.{S}_RES",
        "$JS.API.STREAM.PURGE.{S}_JOBS",
    ];
    let worker = [
        "{S}.res.>",
        "{S}.own.>",
        "$KV.{S}_run.stat.>",
        "$KV.{S}_run.pause.>",
        "$KV.{S}_run.limit.>",
        "$KV.{S}_run.money.>",
        "$KV.{S}_run.keeper",
        "$JS.ACK.{S}_JOBS.>",
        "$JS.API.CONSUMER.INFO.{S}_JOBS.*",
        "$JS.API.CONSUMER.MSG.NEXT.{S}_JOBS.*",
    ];
    vec![
        User { name: "operator", publishes: Vec::new(), subscribes: vec![">".to_owned()] },
        User {
            name: "submitter",
            publishes: own(&[&both[..], &submitter[..]].concat()),
            subscribes: Vec::new(),
        },
        User {
            name: "worker",
            publishes: own(&[&both[..], &worker[..]].concat()),
            subscribes: own(&["{S}.own.>"]),
        },
    ]
}

/// The configuration of a server.
fn server(
    args: &BrokerConfigArgs,
    nodes: &[Node],
    number: usize,
    node: &Node,
    users: &[(User, String)],
    cluster_password: &str,
) -> String {
    // JSON strings are strings of the configuration as well.
    let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
    let Node { host, port } = node;
    let listen = if host == "127.0.0.1" || host == "localhost" { "127.0.0.1" } else { "0.0.0.0" };
    let mut text = format!(
        "# Written by fanweave broker config. Has passwords: keep it private.\n\
         server_name: fanweave-{}\nlisten: {listen}:{port}\nmax_payload: 1MB\n\n\
         # Each message is on disk before it is acknowledged: a power failure repeats no paid call.\n\
         jetstream {{\n  store_dir: {}\n  sync_interval: always\n",
        number + 1,
        quoted(&args.store)
    );
    if let Some(size) = &args.max_store {
        let _ = writeln!(text, "  max_file_store: {size}");
    }
    text.push_str("}\n");
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => {
            let ca =
                args.tls_ca.as_ref().map(|ca| format!("  ca_file: {}\n", quoted(ca))).unwrap_or_default();
            format!("  cert_file: {}\n  key_file: {}\n{ca}", quoted(cert), quoted(key))
        }
        _ => String::new(),
    };
    if !tls.is_empty() {
        let verify = if args.tls_verify { "  verify: true\n" } else { "" };
        let _ = write!(text, "\ntls {{\n{tls}{verify}}}\n");
    }
    text.push_str("\nauthorization {\n  users: [\n");
    for (User { name, publishes, subscribes }, password) in users {
        let list =
            |subjects: &[String]| subjects.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "    {{\n      user: {name}, password: \"{password}\"");
        if !publishes.is_empty() {
            let receives = [&[format!("_INBOX.{name}.>")], &subscribes[..]].concat();
            let _ = writeln!(
                text,
                "      permissions: {{\n        publish: [{}]\n        subscribe: [{}]\n        allow_responses: true\n      }}",
                list(publishes),
                list(&receives)
            );
        }
        text.push_str("    }\n");
    }
    text.push_str("  ]\n}\n");
    if nodes.len() > 1 {
        let others = nodes.iter().enumerate().filter(|(other, _)| *other != number);
        let port_of = |at: usize| routes_port(nodes, at);
        let routes: Vec<_> = others
            .map(|(at, Node { host, .. })| {
                format!("\"nats-route://cluster:{cluster_password}@{host}:{}\"", port_of(at))
            })
            .collect();
        let tls = if tls.is_empty() { String::new() } else { format!("  tls {{\n{tls}  }}\n") };
        let _ = write!(
            text,
            "\ncluster {{\n  name: fanweave\n  listen: {listen}:{}\n  authorization {{ user: cluster, password: \
             \"{cluster_password}\" }}\n{tls}  routes: [{}]\n}}\n",
            port_of(number),
            routes.join(", ")
        );
    }
    text
}

/// Port at which a server meets the others. Servers on one machine have different ones.
fn routes_port(nodes: &[Node], number: usize) -> u16 {
    let before = nodes[..number].iter().filter(|node| node.host == nodes[number].host).count();
    ROUTES_PORT.saturating_add(u16::try_from(before).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_may_not_submit_and_a_submitter_may_not_record_results() {
        let users = users();
        let may = |name: &str, subject: &str| {
            let user = users.iter().find(|user| user.name == name).unwrap();
            user.publishes.iter().any(|allowed| allowed.trim_end_matches('>') == subject)
        };
        assert!(may("submitter", "fw.rows.") && may("worker", "fw.res.") && may("worker", "fw.own."));
        assert!(!may("worker", "fw.rows.") && !may("submitter", "fw.res.") && !may("worker", "$KV.fw_run."));
    }

    #[test]
    fn nodes_are_hosts_with_ports() {
        let node = Node::parse("a.b-c:1").unwrap();
        assert_eq!((node.host.as_str(), node.port), ("a.b-c", 1));
        assert_eq!(Node::parse("a").unwrap().port, 4222);
        assert!(Node::parse("a:x").is_err() && Node::parse("a b").is_err() && Node::parse("").is_err());
    }
}

//! `fanweave broker`: configurations and checks of a broker.

use fanweave::workers::{Finding, Terms};

use super::{access, config};
use crate::args::{BrokerCommand, BrokerCommandArgs};
use crate::exit::{Exit, Failure};
use crate::out::{escape_controls, print, tell};

pub(crate) async fn run(args: BrokerCommandArgs) -> Result<Exit, Failure> {
    match args.command {
        BrokerCommand::Config(args) => config::write(&args),
        BrokerCommand::Init { replicas, ack_wait, broker: at } => {
            let broker = access::broker(&at).await?;
            broker.init(&Terms::new().replicas(replicas).ack_wait(ack_wait)).await?;
            let (version, address) = broker.server();
            let copies = if replicas == 1 { "1 copy".to_owned() } else { format!("{replicas} copies") };
            tell!("nats-server {version} at {address} is ready for runs, with {copies} of each message");
            Ok(Exit::Ok)
        }
        BrokerCommand::Check { broker: at } => {
            let check = access::broker(&at).await?.check().await;
            let lines = check.findings.iter().map(|finding| match finding {
                Finding::Good(text) => format!("ok    {text}\n"),
                Finding::Note(text) => format!("note  {text}\n"),
                Finding::Bad(text) => format!("BAD   {text}\n"),
                _ => String::new(),
            });
            print(escape_controls(&lines.collect::<String>()).as_bytes())?;
            Ok(if check.is_good() { Exit::Ok } else { Exit::Error })
        }
    }
}

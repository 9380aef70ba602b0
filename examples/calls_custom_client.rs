//! Calls through a custom client: set by the attribute, by the function, for one call, and for a scope.
//!
//! The client uses a custom `HttpTransport`, which answers in place of a provider. The builder of the client
//! also sets timeouts, proxies, TLS roots and pool sizes.
//!
//!     cargo run --release -p fanweave --example calls_custom_client

use bytes::Bytes;
use fanweave::Result;
use fanweave::call::{Config, Overrides};
use fanweave::models::{Body, Client, HttpTransport, ModelBuilder};
use http::{Request, Response};
use http_body_util::Full;

/// Answers every request with its own name.
struct Here(&'static str);

impl HttpTransport for Here {
    async fn send(&self, _request: Request<Bytes>) -> Result<Response<Body>> {
        let answer = format!(r#"{{"choices":[{{"message":{{"content":"from the client {}"}}}}]}}"#, self.0);
        Ok(Response::new(Body::new(Full::new(Bytes::from(answer)))))
    }
}

fn client(name: &'static str) -> Result<Client> {
    Client::builder().transport(Here(name)).build()
}

/// Set by the attribute. The expression is evaluated once.
#[fanweave::call(model = "vllm/mistral-small", client = client("of the attribute"))]
async fn fixed(genre: &str) -> String {
    format!("Recommend a {genre} book.")
}

/// Set by the function, for each call.
#[fanweave::call(model = "vllm/mistral-small")]
async fn decided(genre: &str) -> Result<Config> {
    Ok(Config::new(format!("Recommend a {genre} book.")).client(client("that the function chose")?))
}

#[tokio::main]
async fn main() -> Result<()> {
    println!("{}", fixed("fantasy").await?);
    println!("{}", decided("fantasy").await?);

    // For one call: a client, or a model.
    println!("{}", fixed("fantasy").with_client(client("of this call")?).await?);
    let server = ModelBuilder::new("vllm/mistral-small")
        .base_url("http://127.0.0.1:9/v1")
        .client(client("of a server")?);
    println!("{}", fixed("fantasy").with_model(server.build()).await?);

    // For all calls within a future.
    let tested = Overrides::new().client(client("of a scope")?).scope(async { fixed("fantasy").await });
    println!("{}", tested.await?);
    println!("{}", fixed("fantasy").await?);
    Ok(())
}

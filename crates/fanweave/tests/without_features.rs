//! The facade without features: a service that only calls a model.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use fanweave::models::ModelBuilder;
use fanweave::{Vars, prompt, text};

/// Answers one request, and returns the base URL of the server.
fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        // The request ends with the value of its prompt.
        while !request.windows(5).any(|bytes| bytes == b"bears") {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the client closed its request");
            request.extend_from_slice(&bytes[..read]);
        }
        let body = format!(
            r#"{{"model":"m","choices":[{{"message":{{"role":"assistant","content":"{answer}"}},"finish_reason":"stop"}}]}}"#
        );
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    url
}

#[tokio::test]
async fn a_service_without_features_calls_a_model() {
    let model = ModelBuilder::new("openai/m")
        .base_url(serve("A bear walks into a bar."))
        .api_key("k")
        .build()
        .unwrap();
    let joke = prompt("Tell a joke about {{ input }}.") | &model | text();
    assert_eq!(joke.invoke(Vars::from("bears")).await.unwrap(), "A bear walks into a bar.");
}

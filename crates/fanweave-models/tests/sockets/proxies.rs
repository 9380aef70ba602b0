//! Calls through a proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fanweave_core::ErrorKind;
use fanweave_models::{Client, ModelBuilder, RetryPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Server, completion};
use crate::tls::{Behaviour, Secure};

/// A proxy that always connects to `target`, or responds with `refusal`.
struct TestProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    async fn start(port: u16, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(socket.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    seen.lock().unwrap().push(head.clone());
                    if let Some(refusal) = refusal {
                        socket.write_all(refusal.as_bytes()).await.unwrap();
                        return;
                    }
                    let mut target = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    if head.starts_with("CONNECT ") {
                        socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    } else {
                        target.write_all(head.as_bytes()).await.unwrap();
                    }
                    let _ = copy_bidirectional(&mut socket, &mut target).await;
                });
            }
        });
        Self { address, heads }
    }

    fn url(&self) -> String {
        format!("http://me:canary@{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// "me:canary" in base64.
const AUTH: &str = "proxy-authorization: basic bwu6y2fuyxj5";

#[tokio::test]
async fn a_request_without_tls_is_sent_to_the_proxy_in_full() {
    let server = Server::start(|_| completion("hi")).await;
    let proxy = TestProxy::start(server.address.port(), None).await;
    let client = Client::builder().proxy(&proxy.url()).build().unwrap();
    let model = ModelBuilder::new("vllm/x").base_url("http://far.invalid/v1").client(client).build().unwrap();
    assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
    let head = proxy.heads()[0].to_lowercase();
    assert!(head.starts_with("post http://far.invalid/v1/chat/completions http/1.1\r\n"), "{head}");
    assert!(head.contains(AUTH) && head.contains("host: far.invalid\r\n"), "{head}");
}

#[tokio::test]
async fn a_request_with_tls_passes_through_a_tunnel() {
    for http2 in [false, true] {
        let server = Secure::start(Behaviour { http2, ..Behaviour::default() }).await;
        let proxy = TestProxy::start(server.port, None).await;
        let client = Client::builder().root_certificates(server.pem.as_bytes()).proxy(&proxy.url());
        let model =
            server.model("localhost", client.build().unwrap()).api_key("sk-secret-1").build().unwrap();
        for _ in 0..3 {
            assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
        }
        let [head] = &*proxy.heads() else { panic!("one tunnel for all calls") };
        let head = head.to_lowercase();
        assert!(head.starts_with(&format!("connect localhost:{} http/1.1\r\n", server.port)), "{head}");
        assert!(head.contains(AUTH) && !head.contains("sk-secret-1"), "{head}");
    }
}

#[tokio::test]
async fn a_rejection_by_a_proxy_is_reported_without_its_password() {
    for (refusal, kind) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ErrorKind::Config),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", ErrorKind::Connection),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", ErrorKind::Connection),
        ("", ErrorKind::Connection),
    ] {
        let proxy = TestProxy::start(1, Some(refusal)).await;
        let client = Client::builder().proxy(&proxy.url()).build().unwrap();
        let model = ModelBuilder::new("vllm/x").base_url("https://far.invalid/v1").client(client);
        let error = model.retry(RetryPolicy::never()).build().unwrap().invoke("x").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(&proxy.address.to_string()), "{shown}");
        assert!(!shown.contains("canary") && !shown.to_lowercase().contains("bwu6y2fuyxj5"), "{shown}");
    }
}

#[tokio::test]
async fn no_proxy_asks_directly() {
    let server = Server::start(|_| completion("hi")).await;
    let client = Client::builder().proxy("http://127.0.0.1:9").no_proxy().build().unwrap();
    assert_eq!(server.model().client(client).build().unwrap().invoke("x").await.unwrap().text(), "hi");
}

/// Runs this test in another process with a different environment.
#[tokio::test]
async fn the_environment_names_the_proxy_and_the_roots() {
    if let Ok(url) = std::env::var("SOCKETS_CHILD_URL") {
        let model = ModelBuilder::new("vllm/x").base_url(url).retry(RetryPolicy::never()).build().unwrap();
        assert_eq!(model.invoke("x").await.unwrap().text(), "hi");
        return;
    }
    let (plain, secure) =
        (Server::start(|_| completion("hi")).await, Secure::start(Behaviour::default()).await);
    let roots = tempfile();
    std::fs::write(&roots, &secure.pem).unwrap();
    for (url, port, begins) in [
        ("http://far.invalid/v1".to_owned(), plain.address.port(), "POST http://far.invalid/"),
        (format!("https://localhost:{}/v1", secure.port), secure.port, "CONNECT localhost:"),
    ] {
        let proxy = TestProxy::start(port, None).await;
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "proxies::the_environment_names_the_proxy_and_the_roots"]);
        child
            .env_clear()
            .env("SOCKETS_CHILD_URL", url)
            .env("ALL_PROXY", proxy.url())
            .env("SSL_CERT_FILE", &roots);
        let output = child.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(proxy.heads()[0].starts_with(begins), "{:?}", proxy.heads());
    }
    std::fs::remove_file(roots).unwrap();
}

fn tempfile() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("fanweave-roots-{}.pem", std::process::id()))
}

use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Error, ErrorKind};
use http::{Request, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::transport::client::Client;
use crate::transport::unsent::{is_unreachable, never_sent};
use crate::transport::watch::Timeouts;

fn client() -> Client {
    let timeouts = Timeouts { connect: Duration::from_millis(100), ..Timeouts::default() };
    Client::builder().timeouts(timeouts).no_proxy().build().unwrap()
}

fn request(uri: &Uri) -> Request<Bytes> {
    Request::post(uri.clone()).body(Bytes::from_static(b"{}")).unwrap()
}

/// Passes the first connection to `serve`.
async fn listen<F>(scheme: &str, serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> (Uri, JoinHandle<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("{scheme}://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let task = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        drop(listener);
        serve(socket).await;
    });
    (uri, task)
}

async fn failure(uri: &Uri) -> Error {
    client().connections().lease(uri).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn unreachable_hosts_are_distinguished_from_requests_that_were_sent() {
    let (refused, _) = listen("http", |_| async {}).await;
    // Its only connection.
    client().connections().lease(&refused).await.unwrap();
    let unknown = format!("http://{}.invalid/", "x".repeat(64)).parse().unwrap();
    let (cut, _) = listen("https", |_| async {}).await;
    let (silent, _) = listen("https", |_| std::future::pending()).await;
    for uri in [refused, unknown, cut, silent] {
        let error = failure(&uri).await;
        assert!(never_sent(&error) && is_unreachable(&error), "{uri}: {error}");
        assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout), "{error}");
    }

    let (closes, _) = listen("http", |mut socket| async move {
        let _ = socket.read(&mut [0; 1024]).await;
    })
    .await;
    let error = client().connections().request(request(&closes), &mut None).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Connection && !never_sent(&error), "{error}");
}

#[tokio::test]
async fn a_proxy_that_gives_no_tunnel_is_unreachable_and_one_that_wants_a_password_is_not() {
    for (answer, unreachable) in [("502 X", true), ("407 X", false)] {
        let (proxy, _) = listen("http", move |mut socket| async move {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await;
        })
        .await;
        let client = Client::builder().proxy(&proxy.to_string()).build().unwrap();
        let error = client
            .connections()
            .request(request(&Uri::from_static("https://x.test/")), &mut None)
            .await
            .unwrap_err();
        assert!(never_sent(&error), "{error}");
        assert_eq!(is_unreachable(&error), unreachable, "{error}");
    }
}

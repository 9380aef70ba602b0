//! The listening socket and its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::exchange;
use super::provider::{OpenConnection, Provider};
use super::wire::Wire;
use crate::trouble::OutageKind;

/// Maximum connections waiting to be accepted: thousands of clients connect concurrently.
const BACKLOG: i32 = 8192;

/// Maximum concurrent requests on an HTTP/2 connection. Source: the usual limit of providers.
const MAX_STREAMS: u32 = 100;

/// Pause after a failed accept, usually caused by a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listening socket at `addr`, on the runtime of the caller.
pub(super) fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    reserve(addr).and_then(listen)
}

/// A socket at `addr` that does not listen: connections are refused, and the port stays reserved.
fn reserve(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Otherwise a restart would have to wait until the connections of the previous run have timed out.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves connections until `stop` is used or dropped, or the future is dropped; then closes all of them.
pub(super) async fn run(
    mut listener: TcpListener,
    addr: SocketAddr,
    provider: Arc<Provider>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => {
                drop(listener);
                break;
            }
            () = provider.wait_for_refusal() => {
                drop(listener);
                listener = tokio::select! {
                    _ = &mut stop => break,
                    reopened = listen_after_refusal(addr, &provider) => reopened,
                };
            }
            // Collect finished connections, so that the set does not grow without limit.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&provider)))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    connections.shutdown().await;
}

/// Refuses connections until the outage ends. The caller has closed the listener.
async fn listen_after_refusal(addr: SocketAddr, provider: &Provider) -> TcpListener {
    let mut reserved = reserve(addr);
    provider.trouble.wait_for(|outage| outage != Some(OutageKind::Refuse)).await;
    loop {
        match reserved.and_then(listen) {
            Ok(listener) => return listener,
            // The port was taken meanwhile, or no file descriptors are available.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        reserved = reserve(addr);
    }
}

/// Answers the requests of one connection, over HTTP/1.1 or HTTP/2 with prior knowledge.
async fn serve(stream: TcpStream, provider: Arc<Provider>) {
    let _open = OpenConnection::new(Arc::clone(&provider));
    // A failure only costs a few milliseconds.
    let _nodelay = stream.set_nodelay(true);
    let (wire, breaker) = Wire::new(stream);
    let refused = {
        let (provider, breaker) = (Arc::clone(&provider), breaker.clone());
        async move {
            provider.wait_for_refusal().await;
            breaker.pull();
        }
    };
    let service = service_fn(|request| exchange::handle(Arc::clone(&provider), breaker.clone(), request));
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http2().max_concurrent_streams(MAX_STREAMS);
    // An error means that the client disconnected or that a fault broke the connection: both are counted
    // elsewhere.
    tokio::select! {
        _ended = http.serve_connection(wire, service) => {}
        () = refused => {}
    }
}

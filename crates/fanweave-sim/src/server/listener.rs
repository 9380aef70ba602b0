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
use super::provider::Provider;
use super::stats::OpenConnection;
use super::wire::Wire;
use crate::trouble::OutageKind;

/// Connections that may wait to be accepted: thousands of clients connect at the same moment.
const BACKLOG: i32 = 8192;

/// Most requests at once on a connection that speaks HTTP/2. Source: the usual cap of providers.
const MAX_STREAMS: u32 = 100;

/// Pause after a failed accept, which usually means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listening socket at `addr`, on the runtime of the caller.
pub(super) fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    reserve(addr).and_then(listen)
}

/// A socket at `addr` that does not listen: connects are refused, and the port stays reserved.
fn reserve(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Or a restart would have to wait for the connections of the previous run to be forgotten.
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

/// Serves all who connect, until `stop` is used or dropped; then closes all connections. Dropping the future does too.
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
                    again = listen_after_refusal(addr, &provider) => again,
                };
            }
            // Finished connections must be collected, or the set would only grow.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&provider)))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    connections.shutdown().await;
}

/// Refuses connects until the outage ends. The caller has closed the listener.
async fn listen_after_refusal(addr: SocketAddr, provider: &Provider) -> TcpListener {
    let mut reserved = reserve(addr);
    provider.trouble.wait_for(|outage| outage != Some(OutageKind::Refuse)).await;
    loop {
        match reserved.and_then(listen) {
            Ok(listener) => return listener,
            // The port was taken in between, or there are no file descriptors left.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        reserved = reserve(addr);
    }
}

/// Answers the requests of one connection, which may speak HTTP/1.1 or, without asking first, HTTP/2.
async fn serve(stream: TcpStream, provider: Arc<Provider>) {
    let _open = OpenConnection::new(Arc::clone(&provider));
    // Only costs a few milliseconds where it fails.
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
    // An error means that the client went away or that a fault broke the connection: both are counted elsewhere.
    tokio::select! {
        _ended = http.serve_connection(wire, service) => {}
        () = refused => {}
    }
}

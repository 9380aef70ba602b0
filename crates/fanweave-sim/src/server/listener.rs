//! The listening socket and its connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::exchange;
use super::provider::Provider;
use super::stats::OpenConnection;
use super::wire::Wire;

/// Connections that may wait to be accepted: thousands of clients connect at the same moment.
const BACKLOG: i32 = 8192;

/// Pause after a failed accept, which usually means that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listening socket at `addr`.
pub(super) fn bind(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Or a restart would have to wait for the connections of the previous run to be forgotten.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves all who connect, until `stop` is used or dropped; then closes all connections. Dropping the future does too.
pub(super) async fn run(
    socket: std::net::TcpListener,
    provider: Arc<Provider>,
    mut stop: oneshot::Receiver<()>,
) {
    let Ok(listener) = TcpListener::from_std(socket) else {
        unreachable!("the socket is non-blocking and the runtime has I/O enabled, as `start` requires");
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            // Finished connections must be collected, or the set would only grow.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Arc::clone(&provider)))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, provider: Arc<Provider>) {
    let _open = OpenConnection::new(Arc::clone(&provider));
    // Only costs a few milliseconds where it fails.
    let _nodelay = stream.set_nodelay(true);
    let (wire, breaker) = Wire::new(stream);
    let service = service_fn(|request| exchange::handle(Arc::clone(&provider), breaker.clone(), request));
    // An error means that the client went away or that a fault broke the connection: both are counted elsewhere.
    let _ended = http1::Builder::new().serve_connection(wire, service).await;
}

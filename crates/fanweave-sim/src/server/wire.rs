//! A TCP connection that can be broken with a reset.
//!
//! Over HTTP/2 a broken answer resets its stream only: the connection carries others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The connection. Once its [`Breaker`] was pulled, closing it sends a reset instead of an orderly end.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TokioIo<TcpStream>,
    broken: Arc<AtomicBool>,
}

/// Decides how the connection ends.
#[derive(Clone, Debug)]
pub(super) struct Breaker(Arc<AtomicBool>);

impl Breaker {
    /// Makes the connection end with a reset.
    pub(super) fn pull(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> (Self, Breaker) {
        let broken = Arc::new(AtomicBool::new(false));
        (Self { stream: TokioIo::new(stream), broken: Arc::clone(&broken) }, Breaker(broken))
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn stream(&mut self) -> Pin<&mut TokioIo<TcpStream>> {
        Pin::new(&mut self.stream)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.is_broken() {
            // With a linger time of zero the system resets the connection when it is closed. If that fails, the client
            // sees an early end instead, which is as good a fault.
            let _lingers = socket2::SockRef::from(self.stream.inner()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An orderly shutdown would tell the client that all is well before the reset arrives.
        if self.is_broken() { Poll::Ready(Ok(())) } else { self.stream().poll_shutdown(cx) }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, slices)
    }
}

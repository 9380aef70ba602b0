//! A TCP connection that can be broken with a reset, and that can carry bytes outside of HTTP exchanges.
//!
//! With HTTP/2, a fault resets only the stream of its answer: the connection carries others.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The connection. After its [`Breaker`] was pulled, closing it sends a reset instead of a clean close.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TokioIo<TcpStream>,
    orders: Arc<Orders>,
    /// The unwritten end of an answer with its surplus.
    surplus: Bytes,
}

/// Requests of the exchanges to their connection.
#[derive(Debug, Default)]
struct Orders {
    is_broken: AtomicBool,
    has_surplus: AtomicBool,
    surplus: Mutex<Bytes>,
}

/// Controls how the connection ends.
#[derive(Clone, Debug)]
pub(super) struct Breaker(Arc<Orders>);

impl Breaker {
    /// Makes the connection end with a reset.
    pub(super) fn pull(&self) {
        self.0.is_broken.store(true, Ordering::Relaxed);
    }

    /// Sends bytes directly after the next write of HTTP, in the same packet if both fit: a client that
    /// checks its buffer can detect that they do not answer its next request.
    pub(super) fn append(&self, surplus: Bytes) {
        *self.0.surplus.lock().unwrap_or_else(PoisonError::into_inner) = surplus;
        self.0.has_surplus.store(true, Ordering::Release);
    }
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> (Self, Breaker) {
        let orders = Arc::<Orders>::default();
        let breaker = Breaker(Arc::clone(&orders));
        (Self { stream: TokioIo::new(stream), orders, surplus: Bytes::new() }, breaker)
    }

    fn is_broken(&self) -> bool {
        self.orders.is_broken.load(Ordering::Relaxed)
    }

    /// Takes the end of an answer together with its surplus, if present. Returns its length.
    fn take_with_surplus(&mut self, slices: &[IoSlice<'_>]) -> Option<usize> {
        if !self.orders.has_surplus.swap(false, Ordering::Acquire) {
            return None;
        }
        let surplus =
            std::mem::take(&mut *self.orders.surplus.lock().unwrap_or_else(PoisonError::into_inner));
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let length = bytes.len();
        bytes.extend_from_slice(&surplus);
        self.surplus = bytes.into();
        Some(length)
    }

    /// Writes the bytes that were taken with a surplus.
    fn poll_surplus(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.surplus.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.surplus))?;
            let _sent = self.surplus.split_to(written);
        }
        Poll::Ready(Ok(()))
    }

    fn stream(&mut self) -> Pin<&mut TokioIo<TcpStream>> {
        Pin::new(&mut self.stream)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.is_broken() {
            // With a linger time of zero the system resets the connection when it is closed. If that fails,
            // the client sees an early end instead, which is also a fault.
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
        ready!(self.poll_surplus(cx))?;
        match self.take_with_surplus(&[IoSlice::new(bytes)]) {
            Some(length) => Poll::Ready(Ok(length)),
            None => self.stream().poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_surplus(cx))?;
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A clean shutdown would signal success to the client before the reset arrives.
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
        ready!(self.poll_surplus(cx))?;
        match self.take_with_surplus(slices) {
            // A flush follows, and writes it.
            Some(length) => Poll::Ready(Ok(length)),
            None => self.stream().poll_write_vectored(cx, slices),
        }
    }
}

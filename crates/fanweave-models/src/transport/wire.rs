//! Surplus bytes on HTTP/1.1 connections: unsolicited responses.
//!
//! A server or gateway that sends an extra response shifts all later responses of the connection: each
//! request gets the response to another one. The bytes do not show this. A connection is therefore reused
//! only if nothing arrived between its last response and the next request:
//!
//! - hyper closes a connection with bytes left over after a response, or that reads bytes while idle.
//!   [`Wire`] reports that.
//! - hyper reads only what the runtime already knows of. [`Wire`] asks the operating system right before the
//!   first byte of a request is written.
//! - The response to a second or later request counts only after the connection was seen to hold nothing more
//!   ([`Record::verdict`]).
//! - A host that has once sent surplus bytes gets one request per connection from then on ([`Trust`]), and
//!   responses of other connections that are being read are rejected and requested again.
//! - A response on a used connection that is much too fast, or that begins like the previous one, is held
//!   until the real one would have arrived ([`pace`](super::pace)).
//!
//! # Limits
//! A surplus response that arrives after the next request was written is taken for the response to it if it
//! is neither a copy of the previous one nor faster than an eighth of the fastest response known. All bytes
//! are then valid, and only a model could tell. The shift is noticed as soon as a later response arrives
//! while no request is in flight, which may be never with a single call at a time. The same is true if the
//! real response takes longer than a held response is held (3 s), for that one request.
//!
//! A server that reports with 408 that it closes an idle connection has not sent a surplus response.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fanweave_core::__private::{Made, PerProcess};
use futures::task::AtomicWaker;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::descriptors::Permit;
use super::failure::causes;

/// The body of a request, complete in memory.
pub(crate) type Sent = Full<Bytes>;

/// Bytes at the beginning and at the end of the first chunk of a body that are compared with those of the
/// previous response. The ids of responses are among the first ones.
const COMPARED: (usize, usize) = (256, 64);

/// The first host that sent surplus bytes to this process.
static FIRST: PerProcess<Mutex<Option<String>>> = PerProcess::new();

fn first() -> Arc<Made<Mutex<Option<String>>>> {
    FIRST.get(Mutex::default)
}

/// Describes the first host of this process that has sent surplus responses.
pub(crate) fn notice() -> Option<String> {
    let first = first();
    let host = first.lock().unwrap_or_else(PoisonError::into_inner);
    let host = host.as_ref()?;
    Some(format!("{host} sent more responses than requests: it gets one request per connection"))
}

/// Tracks whether a host responds exactly once to each request.
pub(crate) struct Trust {
    host: String,
    /// Number of times that it did not.
    breaches: AtomicUsize,
}

impl Trust {
    pub(crate) fn of(host: &str) -> Arc<Self> {
        Arc::new(Self { host: host.to_owned(), breaches: AtomicUsize::new(0) })
    }

    fn breach(&self) {
        self.breaches.fetch_add(1, Ordering::Release);
        let first = first();
        first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| self.host.clone());
    }

    /// Number of times that the host has sent surplus bytes.
    pub(crate) fn breaches(&self) -> usize {
        self.breaches.load(Ordering::Acquire)
    }

    /// Returns true if connections of this host may carry more than one request. Once false, it remains so:
    /// a connection with a single request does not show whether the host has changed.
    pub(crate) fn is_kept(&self) -> bool {
        self.breaches() == 0
    }
}

/// State of one connection, shared by its [`Wire`] and the pool.
pub(crate) struct Record {
    trust: Arc<Trust>,
    /// Set before a request: the next write checks that nothing has arrived.
    is_armed: AtomicBool,
    /// Set if a response began before its request had been written.
    is_early: AtomicBool,
    /// Set when the response to the current request has been read to its end. Set before the first request.
    is_read: AtomicBool,
    /// Set once the current request has the head of its response.
    has_head: AtomicBool,
    /// Set if bytes were left over when the connection ended.
    has_rest: AtomicBool,
    has_surplus: AtomicBool,
    /// Set if the server has reported that it closes the idle connection.
    has_expired: AtomicBool,
    /// Fingerprint of the last response.
    last: AtomicU64,
    has_ended: AtomicBool,
    ended: AtomicWaker,
}

impl Record {
    pub(crate) fn new(trust: Arc<Trust>) -> Arc<Self> {
        Arc::new(Self {
            trust,
            is_armed: AtomicBool::new(false),
            is_early: AtomicBool::new(false),
            is_read: AtomicBool::new(true),
            has_head: AtomicBool::new(false),
            has_rest: AtomicBool::new(false),
            has_surplus: AtomicBool::new(false),
            has_expired: AtomicBool::new(false),
            last: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
            ended: AtomicWaker::new(),
        })
    }

    /// Expects a request.
    pub(crate) fn arm(&self) {
        self.is_early.store(false, Ordering::Relaxed);
        self.has_head.store(false, Ordering::Relaxed);
        self.is_read.store(false, Ordering::SeqCst);
        self.is_armed.store(true, Ordering::Release);
    }

    /// Returns true if the response began before its request had been written.
    pub(crate) fn is_early(&self) -> bool {
        self.is_early.load(Ordering::Acquire)
    }

    /// Reports that the head of the response has arrived.
    pub(crate) fn head(&self) {
        self.has_head.store(true, Ordering::Release);
    }

    /// Reports that the response has been read to its end: bytes left over are not part of it.
    pub(crate) fn read(&self) {
        self.is_read.store(true, Ordering::SeqCst);
        if self.has_rest.load(Ordering::SeqCst) {
            self.surplus();
        }
    }

    /// Reports that the connection has ended with bytes left over. They are the rest of a response if that
    /// was dropped before its end.
    fn rest(&self) {
        self.has_rest.store(true, Ordering::SeqCst);
        if self.is_read.load(Ordering::SeqCst) {
            self.surplus();
        }
    }

    /// Reports that the connection has delivered unsolicited bytes.
    pub(crate) fn surplus(&self) {
        if !self.has_expired.load(Ordering::Acquire) && !self.has_surplus.swap(true, Ordering::AcqRel) {
            self.trust.breach();
        }
    }

    /// Returns true if the body of a response begins like that of the previous one.
    pub(crate) fn repeats(&self, body: &[u8]) -> bool {
        let print = fingerprint(body);
        self.last.swap(print, Ordering::Relaxed) == print
    }

    /// Returns true while no request is in flight.
    fn is_idle(&self) -> bool {
        self.is_read.load(Ordering::SeqCst)
    }

    /// Waits until the connection has ended. Returns true if it ended without surplus bytes.
    pub(crate) fn poll_ended(&self, task: &mut Context<'_>) -> Poll<bool> {
        self.ended.register(task.waker());
        if self.has_ended.load(Ordering::Acquire) {
            Poll::Ready(!self.has_surplus.load(Ordering::Acquire))
        } else {
            Poll::Pending
        }
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.ended.wake();
    }
}

/// A hash of the length and the [`COMPARED`] bytes. It takes less than 100 ns.
fn fingerprint(body: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    let first = &body[..body.len().min(COMPARED.0)];
    let last = &body[body.len().saturating_sub(COMPARED.1)..];
    let mut hash = mix(0, body.len() as u64);
    for part in [first, last] {
        let (words, rest) = part.as_chunks();
        hash = words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        hash = rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)));
    }
    hash
}

/// Returns true for the response with which some servers announce that they close an idle connection.
fn is_expiry(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 408") || bytes.starts_with(b"HTTP/1.0 408")
}

/// Runs a connection to its end, and records how it ended.
pub(crate) async fn drive<S: Socket>(connection: http1::Connection<Wire<S>, Sent>, record: Arc<Record>) {
    let ending = Ending(record);
    match connection.without_shutdown().await {
        Ok(mut parts) => {
            // If the server closes the connection after a response, hyper does not check the bytes that
            // follow it.
            if !parts.read_buf.is_empty() {
                ending.0.rest();
            }
            drop(ending);
            let _ = std::future::poll_fn(|task| Pin::new(&mut parts.io).poll_shutdown(task)).await;
        }
        Err(error) if is_unexpected(&error) => ending.0.surplus(),
        Err(_) => {}
    }
}

/// Also covers a runtime that is shut down.
struct Ending(Arc<Record>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Returns true if hyper closed the connection because of unsolicited bytes.
pub(crate) fn is_unexpected(error: &hyper::Error) -> bool {
    // hyper has no method for that. A test checks its wording.
    causes(error).any(|cause| {
        cause.is::<hyper::Error>() && cause.to_string() == "received unexpected message from connection"
    })
}

/// Reason why a connection could not take another request. Nothing of the request was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The server has closed it.
    Closed,
    /// Unsolicited bytes have arrived.
    Surplus,
}

impl Unfit {
    /// Returns the reason carried by a hyper error, if it is one of these.
    pub(crate) fn of(error: &hyper::Error) -> Option<Self> {
        causes(error).find_map(|cause| cause.downcast_ref::<Self>()).copied()
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the server had closed the connection",
            Self::Surplus => "the server had sent more than one response to a request",
        })
    }
}

impl std::error::Error for Unfit {}

/// A stream over a TCP socket.
pub(crate) trait Socket: Read + Write + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
    /// Set if bytes on the socket are always HTTP. TLS also sends its own messages.
    const IS_PLAIN: bool;
}

impl Socket for TokioIo<TcpStream> {
    const IS_PLAIN: bool = true;

    fn tcp(&self) -> &TcpStream {
        self.inner()
    }
}

impl Socket for TokioIo<TlsStream<TcpStream>> {
    const IS_PLAIN: bool = false;

    fn tcp(&self) -> &TcpStream {
        self.inner().get_ref().0
    }
}

/// Maximum reads until the head of a response has arrived: a server may send informational responses without
/// end. Source: one in each second of the longest timeout, or a head of the 400 KB that hyper allows in
/// packets of the usual size.
const MAX_HEAD_READS: u32 = 1_024;

/// The error beyond them.
const NO_HEAD: &str = "the server sent only informational responses (1xx)";

/// The socket of an HTTP/1.1 connection, as hyper reads and writes it.
pub(crate) struct Wire<S> {
    socket: S,
    record: Arc<Record>,
    /// Set if bytes have been read since the current request began.
    is_answered: bool,
    /// Number of reads since the current request began.
    reads: u32,
    /// Set once a request has been written.
    is_used: bool,
    _permit: Permit,
}

impl<S: Socket> Wire<S> {
    pub(crate) fn new(socket: S, record: Arc<Record>, permit: Permit) -> Self {
        Self { socket, record, is_answered: false, reads: 0, is_used: false, _permit: permit }
    }

    /// Checks the connection before more of a request is written.
    fn check(&mut self) -> io::Result<()> {
        if self.record.is_armed.load(Ordering::Acquire) {
            self.record.is_armed.store(false, Ordering::Relaxed);
            self.is_answered = false;
            self.reads = 0;
            // With TLS the server sends first: tickets for the next handshake.
            if std::mem::replace(&mut self.is_used, true) || S::IS_PLAIN {
                return self.check_silence();
            }
        } else if self.is_answered {
            self.record.is_early.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Asks the operating system, which may know of bytes that the runtime has not noticed yet.
    fn check_silence(&self) -> io::Result<()> {
        let socket = SockRef::from(self.socket.tcp());
        let unfit = match socket.peek(&mut [MaybeUninit::uninit()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Ok(1..) if S::IS_PLAIN => {
                let mut bytes = [0; 12];
                let length = io::Read::read(&mut &*socket, &mut bytes).unwrap_or(0);
                if is_expiry(&bytes[..length]) {
                    Unfit::Closed
                } else {
                    self.record.surplus();
                    Unfit::Surplus
                }
            }
            _ => Unfit::Closed,
        };
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, unfit))
    }
}

impl<S: Socket> Wire<S> {
    /// Reads while no request is in flight: bytes are surplus, except for a report that the server closes the
    /// connection.
    fn poll_read_idle(
        &mut self,
        task: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 512];
        let length = bytes.len().min(buffer.remaining());
        let mut read = ReadBuf::new(&mut bytes[..length]);
        ready!(Pin::new(&mut self.socket).poll_read(task, read.unfilled()))?;
        if is_expiry(read.filled()) {
            self.record.has_expired.store(true, Ordering::Release);
        }
        self.is_answered = true;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> Read for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.record.is_idle() {
            return self.poll_read_idle(task, buffer);
        }
        let read = Pin::new(&mut self.socket).poll_read(task, buffer);
        if read.is_ready() {
            self.is_answered = true;
            self.reads = self.reads.saturating_add(1);
            if self.reads > MAX_HEAD_READS && !self.record.has_head.load(Ordering::Acquire) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, NO_HEAD)));
            }
        }
        read
    }
}

impl<S: Socket> Write for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.socket).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(task)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.socket).poll_write_vectored(task, bytes)
    }
}

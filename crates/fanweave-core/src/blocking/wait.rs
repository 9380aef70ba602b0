//! Waits for async work on a thread that may block.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::pool::aside;
use crate::runtime::BlockingCall;

/// Runs `future` to its end and blocks this thread meanwhile.
///
/// It needs no runtime, and works within one, which it does not use. Timers, sockets and spawned tasks run on
/// a small background runtime, which starts with the first call and lasts until
/// [`runtime::shutdown`](crate::runtime::shutdown). A future that waits for a task of the very thread that
/// blocks here never resolves: pass such results over a channel.
///
/// ```
/// use fanweave::{blocking, testing::Fake};
///
/// let answer = blocking::wait(Fake::echo().model().invoke("hello"))?;
/// assert_eq!(answer.text(), "hello");
/// # Ok::<_, fanweave::Error>(())
/// ```
///
/// # Panics
/// If the system cannot start a thread for the runtime, like tokio.
pub fn wait<F: Future>(future: F) -> F::Output {
    let call = BlockingCall::start();
    let _runtime = call.runtime().enter();
    aside(|| park_until_done(future))
}

/// Runs `future` to its end and blocks this thread, without a runtime around it.
pub fn park_until_done<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut task = Context::from_waker(&waker);
    // Within a task of a runtime, tokio would charge this work to the task's budget and make it yield. The
    // task could never resume, because its thread blocks here.
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return output;
        }
        std::thread::park();
    }
}

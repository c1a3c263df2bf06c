//! Responses over HTTP/2 that their client does not read.
//!
//! A client may close the window of a stream and keep the response, its buffers and its endpoint
//! for ever, while the connection itself is alive. Nobody would notice: hyper asks a body for its
//! next piece only once there is room for it. So each stream has a watch. The body tells it when a
//! piece has been handed over and when the next one is asked for, and whatever lies between for
//! too long resets the stream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

thread_local! {
    /// The watch of the stream whose task is being polled: hyper leaves no other way from a
    /// stream's task to its body.
    static CURRENT: RefCell<Option<Rc<StreamWatch>>> = const { RefCell::new(None) };
}

/// Since when a stream waits for its client.
#[derive(Debug, Default)]
pub(super) struct StreamWatch(Cell<Option<Instant>>);

impl StreamWatch {
    /// The watch of the stream that is being served; none outside of HTTP/2.
    pub(super) fn current() -> Option<Rc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// A piece of the body was handed over.
    pub(super) fn handed_over(&self) {
        self.0.set(Some(Instant::now()));
    }

    /// The next piece is asked for: the client has taken those before.
    pub(super) fn asked(&self) {
        self.0.set(None);
    }
}

/// Runs the streams of a client's connection on the worker that they came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamExecutor {
    /// Time that a client may take for a piece.
    pub(super) stall_timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        // In a box: the task would have room for it twice, as what it is given and as what it pins.
        tokio::task::spawn_local(watch(Box::pin(stream), self.stall_timeout));
    }
}

async fn watch(mut stream: Pin<Box<impl Future<Output = ()>>>, limit: Duration) {
    let watch = Rc::new(StreamWatch::default());
    let mut sleep = None;
    poll_fn(|cx| {
        let outer = CURRENT.replace(Some(Rc::clone(&watch)));
        let polled = stream.as_mut().poll(cx);
        CURRENT.set(outer);
        let since = match (polled, watch.0.get()) {
            (Poll::Ready(()), _) => return Poll::Ready(()),
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Pending, Some(since)) => since,
        };
        let deadline = since + limit;
        let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    })
    .await;
}

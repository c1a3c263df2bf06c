//! Lines for a stream that may stall: a bounded queue and a thread that writes. Whoever has
//! something to tell goes on, whether or not anybody reads it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the end of a process waits for a stream to take what is queued.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(1);

/// Bytes that may wait for the writer. A line is taken whole, however long, as long as what waits
/// before it is less.
const LIMIT: usize = 4 * 1024 * 1024;

/// Says how many lines were lost, as a line of the stream.
type LostLine = Box<dyn Fn(usize) -> String + Send>;

/// A stream of lines. They keep their order; where the writer cannot follow, lines are dropped, and
/// a line in their place says how many.
#[derive(Clone, Debug)]
pub(crate) struct LineQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines dropped since the writer last took what waited.
    lost: usize,
    /// Whether the writer holds something that is not written yet.
    writing: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0
    }
}

impl LineQueue {
    /// A queue before a stream; its thread lives as long as the process.
    pub(crate) fn start(
        name: &str,
        sink: impl Write + Send + 'static,
        lost_line: impl Fn(usize) -> String + Send + 'static,
    ) -> io::Result<Self> {
        Self::with_limit(LIMIT, name, sink, Box::new(lost_line))
    }

    fn with_limit(
        limit: usize,
        name: &str,
        sink: impl Write + Send + 'static,
        lost_line: LostLine,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { limit, state: Mutex::default(), changed: Condvar::new() });
        let queue = Self { shared: shared.clone() };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || shared.write(sink, &lost_line))?;
        Ok(queue)
    }

    /// Queues a line, or drops it where too much waits. Never waits for the stream.
    pub(crate) fn line(&self, text: &str) {
        self.push(&[text.as_bytes(), b"\n"]);
    }

    fn push(&self, parts: &[&[u8]]) {
        let mut state = self.shared.lock();
        // After a loss nothing is taken until the loss is told: lines keep their order.
        if state.lost > 0 || state.waiting.len() >= self.shared.limit {
            state.lost += 1;
        } else {
            parts.iter().for_each(|part| state.waiting.extend_from_slice(part));
        }
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written, at most `timeout`; says whether it was.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let is_busy = |state: &mut State| state.writing || !state.is_empty();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, is_busy);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }
}

/// For loggers: each event is one write, and ends its line itself.
impl Write for LineQueue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(&[bytes]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut sink: impl Write, lost_line: &LostLine) {
        let mut state = self.lock();
        loop {
            state = self
                .changed
                .wait_while(state, |state| state.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let mut batch = std::mem::take(&mut state.waiting);
            let lost = std::mem::take(&mut state.lost);
            state.writing = true;
            drop(state);
            if lost > 0 {
                batch.extend_from_slice(lost_line(lost).as_bytes());
                batch.push(b'\n');
            }
            // A closed pipe is no reason to stop serving, and a full disk may have room later.
            let _ = sink.write_all(&batch).and_then(|()| sink.flush());
            state = self.lock();
            state.writing = false;
            self.changed.notify_all();
        }
    }
}

/// A line on standard output, for commands that end when all is said.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const WAIT: Duration = Duration::from_secs(20);

    /// Tells of each write, and needs a permit to end it.
    struct Gate {
        began: Sender<String>,
        permits: Receiver<io::Result<()>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.began.send(String::from_utf8_lossy(bytes).into_owned());
            self.permits.recv().unwrap_or(Ok(()))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(limit: usize) -> (LineQueue, Receiver<String>, Sender<io::Result<()>>) {
        let (began, writes) = channel();
        let (permit, permits) = channel();
        let lost = Box::new(|lines| format!("{lines} lost"));
        let queue = LineQueue::with_limit(limit, "gate", Gate { began, permits }, lost);
        (queue.expect("a thread starts"), writes, permit)
    }

    #[test]
    fn a_stalled_stream_loses_lines_in_one_place_and_says_how_many() {
        let (queue, writes, permit) = gated(8);
        queue.line("first");
        assert_eq!(writes.recv_timeout(WAIT).as_deref(), Ok("first\n"));
        for text in ["a line beyond the limit", "b", "c"] {
            queue.line(text);
        }
        assert!(!queue.flush(Duration::from_millis(1)));
        permit.send(Ok(())).expect("the gate is there");
        let second = writes.recv_timeout(WAIT);
        assert_eq!(second.as_deref(), Ok("a line beyond the limit\n2 lost\n"));
        permit.send(Ok(())).expect("the gate is there");
        assert!(queue.flush(WAIT));
        queue.line("d");
        assert_eq!(writes.recv_timeout(WAIT).as_deref(), Ok("d\n"));
    }

    #[test]
    fn a_closed_stream_stops_nobody() {
        let (queue, writes, permit) = gated(8);
        for text in ["a", "b"] {
            permit.send(Err(io::ErrorKind::BrokenPipe.into())).expect("the gate is there");
            queue.line(text);
            assert_eq!(writes.recv_timeout(WAIT), Ok(format!("{text}\n")));
            assert!(queue.flush(WAIT));
        }
    }
}

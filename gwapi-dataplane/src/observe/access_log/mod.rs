//! The access log: a bounded queue and a thread that writes. It never slows traffic down: where
//! the writer cannot follow, lines are dropped and counted.

mod escape;
mod line;
mod stream_line;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::{RequestRecord, StreamRecord};
use crate::AccessLogFormat;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// Bytes that are written at once, give or take a line.
const BATCH: usize = 64 * 1024;

/// The access log of a proxy.
///
/// Dropping it lets the writer finish what is queued; [`AccessLog::flush`] waits for that.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: AccessLogFormat,
    queue: SyncSender<Vec<u8>>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    queued: AtomicU64,
    dropped: AtomicU64,
    /// Lines that have left the queue for good.
    done: Mutex<u64>,
    moved: Condvar,
}

impl AccessLog {
    /// Logs to standard output.
    pub(crate) fn stdout(format: AccessLogFormat) -> io::Result<Self> {
        Self::start(format, QUEUE, io::stdout())
    }

    fn start(
        format: AccessLogFormat,
        queue: usize,
        sink: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let (sender, receiver) = mpsc::sync_channel(queue);
        let writer = Writer { lines: receiver, sink, progress: progress.clone() };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(|| writer.run())?;
        Ok(Self { format, queue: sender, progress })
    }

    /// Queues the line of a request, or drops it where the queue is full.
    pub(crate) fn request(&self, record: &RequestRecord<'_>) {
        let mut line = Vec::with_capacity(512);
        match self.format {
            AccessLogFormat::Text => line::text(&mut line, record, Timestamp::now()),
            AccessLogFormat::Json => line::json_line(&mut line, record, Timestamp::now()),
        }
        self.queue(line);
    }

    /// The same for a connection or a flow of datagrams.
    pub(crate) fn stream(&self, record: &StreamRecord<'_>) {
        let mut line = Vec::with_capacity(512);
        match self.format {
            AccessLogFormat::Text => stream_line::text(&mut line, record, Timestamp::now()),
            AccessLogFormat::Json => stream_line::json_line(&mut line, record, Timestamp::now()),
        }
        self.queue(line);
    }

    fn queue(&self, line: Vec<u8>) {
        match self.queue.try_send(line) {
            Ok(()) => self.progress.queued.fetch_add(1, Relaxed),
            Err(_) => self.progress.dropped.fetch_add(1, Relaxed),
        };
    }

    /// Waits until what is queued now is written, at most `timeout`; says whether it was.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let target = self.progress.queued.load(Relaxed);
        let done = self.progress.done.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.progress.moved.wait_timeout_while(done, timeout, |done| *done < target);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }

    /// Lines that were not written.
    pub(crate) fn dropped(&self) -> u64 {
        self.progress.dropped.load(Relaxed)
    }

    /// Lines that were queued, the dropped ones apart.
    pub(crate) fn queued(&self) -> u64 {
        self.progress.queued.load(Relaxed)
    }
}

/// The thread behind an [`AccessLog`].
struct Writer<W> {
    lines: Receiver<Vec<u8>>,
    sink: W,
    progress: Arc<Progress>,
}

impl<W: Write> Writer<W> {
    /// Writes until the [`AccessLog`] is gone and its queue is empty.
    fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Ok(first) = self.lines.recv() {
            batch.clear();
            batch.extend_from_slice(&first);
            let mut lines = 1;
            while batch.len() < BATCH
                && let Ok(next) = self.lines.try_recv()
            {
                batch.extend_from_slice(&next);
                lines += 1;
            }
            // A closed pipe stays closed and a full disk may not stay full: go on, and count.
            if self.sink.write_all(&batch).and_then(|()| self.sink.flush()).is_err() {
                self.progress.dropped.fetch_add(lines, Relaxed);
            }
            *self.progress.done.lock().unwrap_or_else(PoisonError::into_inner) += lines;
            self.progress.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Ended;
    use gwapi_model::NamespacedName;
    use gwapi_translate::ir::ListenerKey;

    const WAIT: Duration = Duration::from_secs(20);

    /// Writes into memory; each write needs a permit first.
    struct Gate {
        permits: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(queue: usize) -> (AccessLog, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (permits, receiver) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate { permits: receiver, written: written.clone() };
        (AccessLog::start(AccessLogFormat::Text, queue, gate).unwrap(), permits, written)
    }

    fn log(log: &AccessLog, path: &str) {
        log.request(&RequestRecord {
            gateway: &NamespacedName::new("default", "web"),
            listener: &ListenerKey::new("http"),
            route: None,
            rule: None,
            backend: None,
            endpoint: None,
            peer: "127.0.0.1:1".parse().unwrap(),
            client: "127.0.0.1".parse().unwrap(),
            method: "GET",
            host: b"",
            path: path.as_bytes(),
            protocol: "HTTP/1.1",
            status: 404,
            duration: Duration::ZERO,
            upstream_duration: None,
            bytes_received: 0,
            bytes_sent: 0,
            authorization: None,
            ended: Ended::Complete,
        });
    }

    #[test]
    fn a_flush_returns_when_every_line_is_written_in_order() {
        let (access_log, permits, written) = gated(100);
        for path in ["/1", "/2", "/3"] {
            log(&access_log, path);
            permits.send(()).unwrap();
        }
        assert!(access_log.flush(WAIT));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let paths: Vec<&str> = text.lines().map(|line| line.split(' ').nth(5).unwrap()).collect();
        assert_eq!(paths, ["/1", "/2", "/3"]);
        assert_eq!(access_log.dropped(), 0);
    }

    #[test]
    fn a_writer_that_hangs_drops_lines_and_blocks_nobody() {
        let (access_log, permits, written) = gated(4);
        for _ in 0..1000 {
            log(&access_log, "/");
        }
        assert!(!access_log.flush(Duration::from_millis(1)), "nothing was written");
        let dropped = access_log.dropped();
        assert!(dropped >= 500, "queue and batch hold some 350 lines: {dropped}");
        assert_eq!(dropped + access_log.queued(), 1000);
        for _ in 0..10 {
            permits.send(()).unwrap();
        }
        assert!(access_log.flush(WAIT));
        let lines = written.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines as u64, access_log.queued());
    }

    #[test]
    fn lines_for_a_closed_pipe_are_counted_as_dropped() {
        let (access_log, permits, _) = gated(100);
        drop(permits);
        log(&access_log, "/");
        assert!(access_log.flush(WAIT));
        assert_eq!(access_log.dropped(), 1);
    }
}

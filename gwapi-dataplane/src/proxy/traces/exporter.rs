//! The thread that brings spans to collectors, in batches.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc as sync_mpsc;
use std::time::Duration;

use bytes::Bytes;
use gwapi_translate::ir::Tracing;
use rand::RngExt;
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::client::Client;
use super::otlp::export_request;
use super::tracer::{Ended, Load, Tracer};
use crate::Limits;
use crate::observe::SpanCounts;
use crate::proxy::snapshot::BackendEntry;

/// Spans, and bytes of them, that go at once.
const BATCH_SPANS: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;
/// Time that the first span of a batch waits for others.
const BATCH_TIME: Duration = Duration::from_secs(1);
/// Attempts for a batch, and the pauses between them: each twice as long as the one before, of which
/// the second half is drawn.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Time to bring away what is left at the end.
const LAST_TIME: Duration = Duration::from_secs(2);

/// Where the spans of a Gateway go now; none where they can go nowhere.
type Collector = watch::Receiver<Option<Arc<BackendEntry>>>;

/// Brings spans to collectors, on a thread that is there once somebody needs it.
#[derive(Default)]
pub(in crate::proxy) struct Exporter(Option<Thread>);

struct Thread {
    jobs: mpsc::UnboundedSender<Job>,
    /// Dropped by the thread when it ends.
    done: sync_mpsc::Receiver<()>,
}

/// What the exporter does for a Gateway.
struct Job {
    settings: Arc<Tracing>,
    ended: Ended,
    collector: Collector,
    limits: Limits,
}

/// A Gateway whose requests are traced.
pub(in crate::proxy) struct Traced {
    pub(in crate::proxy) tracer: Arc<Tracer>,
    settings: Arc<Tracing>,
    collector: watch::Sender<Option<Arc<BackendEntry>>>,
}

impl Traced {
    /// Whether these settings are those that it has.
    pub(in crate::proxy) fn is_by(&self, settings: &Arc<Tracing>) -> bool {
        self.settings == *settings
    }

    /// Spans go here from now on.
    pub(in crate::proxy) fn lead_to(&self, collector: Option<&Arc<BackendEntry>>) {
        self.collector.send_if_modified(|now| {
            let is_same = match (&now, collector) {
                (Some(now), Some(next)) => Arc::ptr_eq(now, next),
                (now, next) => now.is_none() && next.is_none(),
            };
            *now = collector.cloned();
            !is_same
        });
    }
}

impl Exporter {
    /// Traces a Gateway by these settings. Whoever drops what this returns, and all that holds its tracer,
    /// lets the last spans go out.
    pub(in crate::proxy) fn trace(
        &mut self,
        settings: &Arc<Tracing>,
        counts: Arc<SpanCounts>,
        limits: &Limits,
    ) -> io::Result<Traced> {
        if self.0.is_none() {
            self.0 = Some(Thread::start()?);
        }
        let (tracer, ended) = Tracer::new(Arc::clone(settings), counts);
        let (sender, collector) = watch::channel(None);
        let settings = Arc::clone(settings);
        let job = Job { settings: Arc::clone(&settings), ended, collector, limits: limits.clone() };
        if let Some(thread) = &self.0 {
            // A thread that is gone drops the job, and with it every span, which is counted.
            let _ = thread.jobs.send(job);
        }
        Ok(Traced { tracer, settings, collector: sender })
    }

    /// Brings away what waits, at most for a short time. Nothing is exported from then on.
    pub(in crate::proxy) fn finish(&mut self) {
        if let Some(Thread { jobs, done }) = self.0.take() {
            drop(jobs);
            // Whether it got done or not: there is no more time.
            let _ = done.recv_timeout(LAST_TIME + Duration::from_millis(500));
        }
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (ends, done) = sync_mpsc::channel();
        std::thread::Builder::new().name("gwapi-traces".to_owned()).spawn(move || {
            let _ends: sync_mpsc::Sender<()> = ends;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(run(receiver)),
                Err(error) => tracing::error!(%error, "no spans are exported"),
            }
        })?;
        Ok(Self { jobs, done })
    }
}

async fn run(mut jobs: mpsc::UnboundedReceiver<Job>) {
    let stop = watch::Sender::new(false);
    let mut exports = JoinSet::new();
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => drop(exports.spawn_local(export(job, stop.subscribe()))),
                None => break,
            },
            Some(_) = exports.join_next() => {}
        }
    }
    stop.send_replace(true);
    let last = async { while exports.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_TIME, last).await;
}

/// Exports until nobody traces by these settings any more, or all of it ends.
async fn export(job: Job, mut stop: watch::Receiver<bool>) {
    let Job { settings, mut ended, mut collector, limits } = job;
    let mut sending = Sending {
        client: Client::new(&settings, limits),
        load: Arc::clone(&ended.load),
        settings,
        fails: false,
    };
    loop {
        let batch = batch(&mut ended, &mut stop).await;
        if batch.is_empty() {
            return;
        }
        sending.deliver(batch, &mut collector, &mut stop).await;
    }
}

/// The next spans; none at the end.
async fn batch(ended: &mut Ended, stop: &mut watch::Receiver<bool>) -> Vec<Vec<u8>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut until = None;
    while batch.len() < BATCH_SPANS && bytes < BATCH_BYTES {
        let span = match ended.spans.try_recv() {
            Ok(span) => span,
            Err(_) if *stop.borrow() => break,
            Err(_) => {
                let waits = async {
                    tokio::select! {
                        span = ended.spans.recv() => Some(span),
                        _ = stop.wait_for(|stop| *stop) => None,
                    }
                };
                let came = match until {
                    None => waits.await,
                    Some(until) => timeout_at(until, waits).await.unwrap_or(Some(None)),
                };
                match came {
                    Some(Some(span)) => span,
                    // Time is up, or nobody traces any more.
                    Some(None) => break,
                    None => continue,
                }
            }
        };
        until.get_or_insert_with(|| Instant::now() + BATCH_TIME);
        ended.load.taken(&span);
        bytes += span.len();
        batch.push(span);
    }
    batch
}

struct Sending {
    client: Client,
    settings: Arc<Tracing>,
    load: Arc<Load>,
    /// Whether the batch before was lost: a line in the log tells of the first one.
    fails: bool,
}

impl Sending {
    async fn deliver(
        &mut self,
        batch: Vec<Vec<u8>>,
        collector: &mut Collector,
        stop: &mut watch::Receiver<bool>,
    ) {
        let request = Bytes::from(export_request(&self.settings.service_name, &batch));
        let count = batch.len() as u64;
        drop(batch);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let now = collector.borrow_and_update().clone();
            let error = match self.client.export(request.clone(), now.as_ref()).await {
                Ok(refused) => return self.delivered(count, refused.min(count)),
                Err(error) => error,
            };
            if attempt == ATTEMPTS || !error.is_temporary() || *stop.borrow() {
                return self.lost(count, &error);
            }
            let drawn = pause.mul_f64(rand::rng().random_range(0.5..=1.0));
            tokio::select! {
                () = tokio::time::sleep(drawn) => {}
                // At the end there is one more attempt, at once.
                _ = stop.wait_for(|stop| *stop) => {}
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn delivered(&mut self, count: u64, refused: u64) {
        let counts = &self.load.counts;
        counts.exported.fetch_add(count - refused, Relaxed);
        counts.refused.fetch_add(refused, Relaxed);
        if std::mem::take(&mut self.fails) {
            tracing::info!(collector = %self.settings.collector, "spans are exported again");
        }
    }

    fn lost(&mut self, count: u64, error: &(dyn Error + 'static)) {
        self.load.counts.failed.fetch_add(count, Relaxed);
        if !std::mem::replace(&mut self.fails, true) {
            let collector = &self.settings.collector;
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%collector, %error, cause, "spans are lost");
        }
    }
}

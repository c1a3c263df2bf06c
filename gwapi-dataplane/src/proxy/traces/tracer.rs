//! What a Gateway's requests are traced by: sampling, and the queue of what ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use gwapi_translate::ir::{AttributeSource, KnownAttribute, SamplingRate, Tracing};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt;
use tokio::sync::mpsc;

use super::context::{self, Context};
use super::span::{Recording, RequestTrace};
use crate::observe::SpanCounts;

/// Spans, and bytes of them, that may wait for the exporter.
const MAX_QUEUED: usize = 4096;
const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;

/// What the requests of a Gateway are traced by.
pub(in crate::proxy) struct Tracer {
    pub(super) settings: Arc<Tracing>,
    pub(super) attributes: Vec<(Arc<str>, Source)>,
    queue: mpsc::Sender<Vec<u8>>,
    load: Arc<Load>,
}

/// Where the value of an attribute comes from.
pub(super) enum Source {
    Header(HeaderName),
    RequestHeader(HeaderName),
    ResponseHeader(HeaderName),
    Literal(Arc<str>),
    Known(KnownAttribute),
}

impl Source {
    /// `None` for a header that no request can have.
    fn of(source: &AttributeSource) -> Option<Self> {
        let name = |text: &str| HeaderName::try_from(text).ok();
        Some(match source {
            AttributeSource::Header(text) => Self::Header(name(text)?),
            AttributeSource::RequestHeader(text) => Self::RequestHeader(name(text)?),
            AttributeSource::ResponseHeader(text) => Self::ResponseHeader(name(text)?),
            AttributeSource::Literal(text) => Self::Literal(Arc::clone(text)),
            AttributeSource::Known(known) => Self::Known(*known),
        })
    }

    fn in_request<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        match self {
            Self::Header(name) | Self::RequestHeader(name) => headers.get(name),
            _ => None,
        }
    }

    pub(super) fn in_response<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        match self {
            Self::Header(name) | Self::ResponseHeader(name) => headers.get(name),
            _ => None,
        }
    }
}

/// How much waits, and what became of the rest.
pub(super) struct Load {
    bytes: AtomicUsize,
    pub(super) counts: Arc<SpanCounts>,
}

impl Load {
    /// A span has left the queue.
    pub(super) fn taken(&self, span: &[u8]) {
        self.bytes.fetch_sub(span.len(), Relaxed);
    }
}

/// The other end of a queue.
pub(super) struct Ended {
    pub(super) spans: mpsc::Receiver<Vec<u8>>,
    pub(super) load: Arc<Load>,
}

impl Tracer {
    pub(super) fn new(settings: Arc<Tracing>, counts: Arc<SpanCounts>) -> (Arc<Self>, Ended) {
        let (queue, spans) = mpsc::channel(MAX_QUEUED);
        let load = Arc::new(Load { bytes: AtomicUsize::new(0), counts });
        let attributes = settings.attributes.iter();
        let attributes = attributes
            .filter_map(|it| Some((Arc::clone(&it.name), Source::of(&it.source)?)))
            .collect();
        let ended = Ended { spans, load: Arc::clone(&load) };
        (Arc::new(Self { settings, attributes, queue, load }), ended)
    }

    /// Takes a request into a trace: that of its caller, or a new one.
    pub(in crate::proxy) fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Box<RequestTrace> {
        let mut rng = rand::rng();
        let parent = Context::of(headers);
        let sampled = match (&parent, self.settings.parent_based) {
            // The caller is followed; of what it records there may be less.
            (Some(parent), Some(share)) => parent.sampled && is_drawn(share, &mut rng),
            // It is not believed in this: whoever asks for spans would make as many as they like.
            _ => is_drawn(self.settings.sampling, &mut rng),
        };
        let context = Context {
            trace_id: parent.map_or_else(|| id(&mut rng), |parent| parent.trace_id),
            span_id: id(&mut rng),
            sampled,
        };
        let state = parent.and_then(|_| context::state(headers));
        let recording = sampled.then(|| {
            let values = self.attributes.iter().map(|(_, it)| it.in_request(headers).cloned());
            Recording {
                tracer: Arc::clone(self),
                parent: parent.map(|parent| parent.span_id),
                user_agent: headers.get(USER_AGENT).cloned(),
                values: values.collect(),
            }
        });
        Box::new(RequestTrace { context, state, recording })
    }

    /// Queues a span that has ended, or drops it where too much waits.
    pub(super) fn queue(&self, span: Vec<u8>) {
        let length = span.len();
        let queued = self.load.bytes.fetch_add(length, Relaxed);
        if queued + length > MAX_QUEUED_BYTES || self.queue.try_send(span).is_err() {
            self.load.bytes.fetch_sub(length, Relaxed);
            self.load.counts.overflowed.fetch_add(1, Relaxed);
        }
    }
}

fn is_drawn(rate: SamplingRate, rng: &mut impl rand::Rng) -> bool {
    let SamplingRate { numerator, denominator } = rate;
    numerator >= denominator || rng.random_range(0..denominator) < numerator
}

/// An id, which zeros are none of.
fn id<const N: usize>(rng: &mut impl rand::Rng) -> [u8; N] {
    loop {
        let mut id = [0; N];
        rng.fill_bytes(&mut id);
        if id != [0; N] {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn so_many_are_drawn_of_so_many() {
        let mut rng = SmallRng::seed_from_u64(7);
        for (numerator, denominator, least, most) in
            [(0, 1, 0, 0), (1, 1, 10_000, 10_000), (1, 4, 2_300, 2_700), (1, 1000, 1, 30)]
        {
            let rate = SamplingRate { numerator, denominator };
            let drawn = (0..10_000).filter(|_| is_drawn(rate, &mut rng)).count();
            assert!((least..=most).contains(&drawn), "{rate:?}: {drawn}");
        }
    }

    #[test]
    fn what_does_not_fit_into_the_queue_is_counted_and_leaves_room_for_what_does() {
        let settings = Tracing {
            collector: gwapi_translate::ir::BackendKey::new("c"),
            headers: Vec::new(),
            sampling: SamplingRate::ALL,
            parent_based: None,
            service_name: "s".into(),
            span_name: None,
            attributes: Vec::new(),
        };
        let counts = Arc::new(SpanCounts::default());
        let (tracer, mut ended) = Tracer::new(Arc::new(settings), Arc::clone(&counts));
        tracer.queue(vec![0; MAX_QUEUED_BYTES]);
        tracer.queue(vec![0]);
        assert_eq!(counts.overflowed.load(Relaxed), 1);
        let span = ended.spans.try_recv().unwrap();
        ended.load.taken(&span);
        for _ in 0..MAX_QUEUED + 5 {
            tracer.queue(vec![0]);
        }
        assert_eq!(counts.overflowed.load(Relaxed), 6);
    }
}

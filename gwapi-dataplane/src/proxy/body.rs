//! Bodies on their way through: back-pressure is hyper's, timeouts and accounts are kept here.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::{Bytes, Incoming};
use tokio::time::Instant;

use super::account::ResponseAccount;
use super::congestion::Outlet;
use super::connection::Connection;
use super::copy::{BodyCopy, BrokenCopy, Copies};
use super::headers;
use super::held_heads::{HeldHead, HeldHeads};
use super::pace::Pace;
use super::replay::{ReadError, Reader};
use super::stall::{StreamWatch, Untaken};
use super::timers::{Timer, Timers};
use super::upstream::{UpstreamBody, http2_error};
use super::worker::Worker;
use crate::Limits;

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It is not what HTTP allows, or its sender went away.
    Broken,
    /// No progress for [`Limits::body_idle_timeout`], or less than [`Limits::min_rate`] asks for.
    Stalled,
    /// The timeout of the rule passed (TO-2).
    Deadline,
    /// Its trailers are more than a request may have, or than its connection has room for.
    Trailers,
}

/// Error of both kinds of bodies: it resets what carries them.
#[derive(Debug)]
pub(super) struct BodyError(BodyFault);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            BodyFault::Broken => "the body broke off",
            BodyFault::Stalled => "the body made no progress",
            BodyFault::Deadline => "the request took too long",
            BodyFault::Trailers => "the trailers are too long",
        })
    }
}

impl std::error::Error for BodyError {}

/// What the sender of a request knows of its body while hyper has it.
#[derive(Debug)]
pub(super) struct BodyProgress {
    received: Cell<u64>,
    last: Cell<Instant>,
    ended: Cell<bool>,
    fault: Cell<Option<BodyFault>>,
    /// Whether what came is no body of the request, as the library found that read it.
    malformed: Cell<bool>,
    /// Whether the response is on its way meanwhile.
    answering: Cell<bool>,
    /// What the trailers take of the room for heads: they are written out, and may be kept, until the request
    /// is over.
    trailers: OnceCell<HeldHead>,
}

impl BodyProgress {
    fn begin(now: Instant, ended: bool) -> Rc<Self> {
        Rc::new(Self {
            received: Cell::new(0),
            last: Cell::new(now),
            ended: Cell::new(ended),
            fault: Cell::new(None),
            malformed: Cell::new(false),
            answering: Cell::new(false),
            trailers: OnceCell::new(),
        })
    }

    /// Notes that so many bytes came.
    fn advance(&self, length: usize, now: Instant) {
        self.received.set(self.received.get() + length as u64);
        self.last.set(now);
    }

    /// Notes that all of it came.
    fn end(&self, now: Instant) {
        self.ended.set(true);
        self.last.set(now);
    }

    /// Bytes so far.
    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Whether all of it is here.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Why the client's part broke off, if it did.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.fault.get()
    }

    /// Whether the client sent something else than its head said.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed.get()
    }

    /// Notes why no more of it can be read.
    fn note_error(&self, error: &hyper::Error) {
        let is_malformed = match http2_error(error) {
            Some(error) => error.is_reset() && error.is_library(),
            None => is_malformed_http1(error),
        };
        self.malformed.set(is_malformed);
    }

    /// Notes that the client's part is broken, by whoever found it.
    pub(super) fn set_fault(&self, fault: BodyFault) {
        self.fault.set(Some(fault));
    }

    /// The response has begun. From now on the client may take its time with the rest, as it does
    /// where both sides talk: what ends them is silence of the response.
    pub(super) fn response_began(&self) {
        self.answering.set(true);
    }

    /// The response is over; what is left of the body has no more reason to be late.
    pub(super) fn response_ended(&self) {
        self.answering.set(false);
    }

    /// When the last piece came; the end counts.
    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }
}

/// The body of a request on its way to an endpoint.
pub(super) struct RequestBody {
    /// What comes; none where there is no body, or nothing more of it.
    source: Option<Source>,
    progress: Rc<BodyProgress>,
}

/// Where a body comes from.
enum Source {
    Client(Box<Arriving>),
    /// The client, and what was read of it before.
    Kept(Reader),
    Copy(BodyCopy),
    Whole(Whole),
}

/// A body that is here as a whole; it may be read as often as anybody likes.
struct Whole {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    /// What was not read yet.
    left: Option<Bytes>,
    trailers_left: bool,
}

impl Whole {
    fn new(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        let left = (!bytes.is_empty()).then(|| bytes.clone());
        Self { trailers_left: trailers.is_some(), bytes, trailers, left }
    }

    fn again(&self) -> Self {
        Self::new(self.bytes.clone(), self.trailers.clone())
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        if let Some(bytes) = self.left.take() {
            return Some(Frame::data(bytes));
        }
        let is_left = std::mem::take(&mut self.trailers_left);
        self.trailers.clone().filter(|_| is_left).map(Frame::trailers)
    }

    fn is_end(&self) -> bool {
        self.left.is_none() && !self.trailers_left
    }

    /// Trailers have no place behind a body whose length is told: it is left open where there are any.
    fn size_hint(&self) -> SizeHint {
        let left = self.left.as_ref().map_or(0, |left| left.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(left);
        if !self.trailers_left {
            hint.set_upper(left);
        }
        hint
    }
}

/// What came of reading a body before it is sent on.
pub(super) enum Gathered {
    /// All of it.
    Whole(Bytes),
    /// It is longer than it may be.
    TooLong,
    /// The client broke off.
    Broken(BodyFault),
}

/// A body that is on its way from the client.
pub(super) struct Arriving {
    incoming: Incoming,
    version: Version,
    progress: Rc<BodyProgress>,
    /// Those who get a copy of it.
    copies: Copies,
    /// The room that there is for its trailers.
    heads: HeldHeads,
    /// Fields that its trailers may not have.
    left_out: Vec<HeaderName>,
    idle: IdleTimer,
    pace: Pace,
    /// Since when the proxy has been waiting for the client; none while it is the endpoint that
    /// takes its time.
    waiting: Option<Instant>,
}

impl RequestBody {
    /// Passes on `incoming`, as fast and for as long as the limits of its connection ask. `now` is when
    /// its head came.
    pub(super) fn new(
        incoming: Incoming,
        version: Version,
        connection: &Connection,
        now: Instant,
    ) -> Self {
        let Worker { limits, timers, .. } = &*connection.worker;
        let idle_timeout = limits.body_idle_timeout;
        let progress = BodyProgress::begin(now, incoming.is_end_stream());
        let source = (!incoming.is_end_stream()).then(|| {
            Source::Client(Box::new(Arriving {
                incoming,
                version,
                progress: Rc::clone(&progress),
                copies: Copies::default(),
                heads: connection.held_heads.clone(),
                left_out: Vec::new(),
                idle: IdleTimer::new(idle_timeout, timers),
                pace: Pace::new(limits, idle_timeout),
                waiting: None,
            }))
        });
        Self { progress, source }
    }

    /// One that is known from the beginning.
    pub(super) fn whole(bytes: Bytes, now: Instant) -> Self {
        let progress = BodyProgress::begin(now, true);
        let source = (!bytes.is_empty()).then(|| Source::Whole(Whole::new(bytes, None)));
        Self { source, progress }
    }

    /// Reads all of it, where it has no more than so many bytes, before anything is done with it; from
    /// then on it is here as a whole.
    pub(super) async fn gather(&mut self, most: usize) -> Gathered {
        let is_short = |length: u64| usize::try_from(length).is_ok_and(|length| length <= most);
        if !is_short(self.size_hint().lower()) {
            return Gathered::TooLong;
        }
        if let Some(Source::Whole(whole)) = &self.source {
            return Gathered::Whole(whole.bytes.clone());
        }
        let (mut bytes, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *self).poll_frame(cx)).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) if bytes.len() + data.len() > most => return Gathered::TooLong,
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(BodyError(fault)) => return Gathered::Broken(fault),
            }
        }
        let bytes = bytes.freeze();
        let whole = Whole::new(bytes.clone(), trailers);
        self.source = (!whole.is_end()).then_some(Source::Whole(whole));
        Gathered::Whole(bytes)
    }

    /// Has its trailers without these fields.
    pub(super) fn leave_out<'a>(&mut self, names: impl Iterator<Item = &'a HeaderName>) {
        match &mut self.source {
            Some(Source::Client(arriving)) => arriving.left_out.extend(names.cloned()),
            Some(Source::Whole(Whole { trailers: Some(trailers), .. })) => {
                names.for_each(|name| _ = trailers.remove(name));
            }
            // It has none, or is read already.
            Some(Source::Whole(_) | Source::Kept(_) | Source::Copy(_)) | None => {}
        }
    }

    /// Keeps what is read of it, up to so many bytes, for it to be sent once more.
    pub(super) fn keep(&mut self, most: usize) {
        self.source = self.source.take().map(|source| match source {
            Source::Client(arriving) => Source::Kept(Reader::new(arriving, most)),
            other => other,
        });
    }

    /// The same body from its beginning; none where that is not kept, or the client broke it off.
    pub(super) fn again(&self) -> Option<Self> {
        if self.progress.fault().is_some() {
            return None;
        }
        let source = match &self.source {
            Some(Source::Kept(reader)) => Some(Source::Kept(reader.again()?)),
            Some(Source::Whole(whole)) => Some(Source::Whole(whole.again())),
            _ if self.is_end_stream() => None,
            _ => return None,
        };
        Some(Self { source, progress: Rc::clone(&self.progress) })
    }

    /// Begins to be read, where it is one of several from the beginning: none of those before reads on.
    pub(super) fn begin(&mut self) {
        if let Some(Source::Kept(reader)) = &mut self.source {
            reader.begin();
        }
    }

    /// A copy of it, which gets what is read of this one. A copy is not copied once more: it would be
    /// empty.
    pub(super) fn copy(&mut self, limits: &Limits, now: Instant) -> Self {
        let source = match &mut self.source {
            Some(Source::Client(arriving)) => {
                let length = arriving.left();
                Some(Source::Copy(arriving.copies.add(length, limits.max_mirror_behind_bytes)))
            }
            Some(Source::Whole(whole)) => Some(Source::Whole(whole.again())),
            Some(Source::Kept(_) | Source::Copy(_)) | None => None,
        };
        Self { progress: BodyProgress::begin(now, source.is_none()), source }
    }

    pub(super) fn progress(&self) -> &Rc<BodyProgress> {
        &self.progress
    }
}

impl Arriving {
    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// Bytes that are to come, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                self.waiting.get_or_insert_with(Instant::now);
                if !self.is_overdue(cx) {
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(BodyFault::Stalled)))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut()
                    && !self.take_trailers(trailers)
                {
                    return Poll::Ready(Some(Err(BodyFault::Trailers)));
                }
                self.idle.progress();
                let length = frame.data_ref().map_or(0, Bytes::len);
                let now = Instant::now();
                let waited = self.waiting.take().map_or(Duration::ZERO, |since| now - since);
                self.progress.advance(length, now);
                self.copies.push(&frame);
                if self.incoming.is_end_stream() {
                    self.progress.end(now);
                    self.copies.complete();
                }
                let in_time = self.pace.moved(length, waited) || self.progress.answering.get();
                Poll::Ready(Some(if in_time { Ok(frame) } else { Err(BodyFault::Stalled) }))
            }
            Poll::Ready(None) => {
                self.progress.end(Instant::now());
                self.copies.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.progress.note_error(&error);
                Poll::Ready(Some(Err(BodyFault::Broken)))
            }
        }
    }

    /// Leaves of trailers what goes on; false where they are more than there is room for.
    fn take_trailers(&self, trailers: &mut HeaderMap) -> bool {
        if !headers::are_short_trailers(trailers) {
            return false;
        }
        headers::strip_request_trailers(trailers);
        self.left_out.iter().for_each(|name| _ = trailers.remove(name));
        // Each copy is written out as well.
        let cost = headers::cost(trailers) * (1 + self.copies.len());
        self.heads.hold(cost).is_some_and(|held| self.progress.trailers.set(held).is_ok())
    }

    /// Whether a client that sends nothing has to be let go.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        while self.idle.poll(cx).is_ready() {
            if !self.progress.answering.get() {
                return true;
            }
            // Looks again later: nobody tells when the response is over.
            self.idle.progress();
        }
        false
    }
}

impl Drop for Arriving {
    /// Of a body over HTTP/2 that is given up it is seen why. Where the HTTP/2 library ends its stream it ends
    /// at once what reads it, which is not told that it was the client's fault.
    fn drop(&mut self) {
        let progress = &self.progress;
        if self.version != Version::HTTP_2 || progress.has_ended() || progress.fault().is_some() {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = Pin::new(&mut self.incoming).poll_frame(&mut cx) {
            if let Err(error) = frame {
                progress.note_error(&error);
                return;
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            // What broke off has no end, however often it is asked for it.
            None => {
                return Poll::Ready(this.progress.fault.get().map(|fault| Err(BodyError(fault))));
            }
            Some(Source::Client(arriving)) => {
                std::task::ready!(arriving.poll(cx))
            }
            Some(Source::Kept(reader)) => {
                match std::task::ready!(reader.poll(cx)) {
                    Some(Err(ReadError::Superseded)) => {
                        // The client is not to blame.
                        return Poll::Ready(Some(Err(BodyError(BodyFault::Broken))));
                    }
                    Some(Err(ReadError::Client(fault))) => Some(Err(fault)),
                    Some(Ok(frame)) => Some(Ok(frame)),
                    None => None,
                }
            }
            Some(Source::Copy(copy)) => std::task::ready!(poll_copy(copy, cx, &this.progress)),
            Some(Source::Whole(whole)) => return Poll::Ready(whole.next().map(Ok)),
        };
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|fault| {
                this.source = None;
                this.progress.fault.set(Some(fault));
                BodyError(fault)
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            None => true,
            Some(Source::Client(arriving)) => arriving.incoming.is_end_stream(),
            Some(Source::Kept(reader)) => reader.is_end_stream(),
            Some(Source::Copy(copy)) => copy.is_end_stream(),
            Some(Source::Whole(whole)) => whole.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.source {
            None => Some(0),
            Some(Source::Client(arriving)) => return arriving.incoming.size_hint(),
            Some(Source::Kept(reader)) => reader.left(),
            Some(Source::Copy(copy)) => copy.left(),
            Some(Source::Whole(whole)) => return whole.size_hint(),
        };
        left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn poll_copy(
    copy: &mut BodyCopy,
    cx: &mut Context<'_>,
    progress: &BodyProgress,
) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
    let frame = std::task::ready!(copy.poll(cx));
    let now = Instant::now();
    match &frame {
        Some(Ok(frame)) => progress.advance(frame.data_ref().map_or(0, Bytes::len), now),
        Some(Err(BrokenCopy)) => {}
        None => progress.end(now),
    }
    Poll::Ready(frame.map(|frame| frame.map_err(|BrokenCopy| BodyFault::Broken)))
}

/// The body of a response on its way to a client.
pub(super) struct ProxyBody {
    content: Content,
    /// None where nothing is waited for.
    idle: Option<IdleTimer>,
    deadline: Option<(Instant, Timer)>,
    account: Option<ResponseAccount>,
    watch: Option<Rc<StreamWatch>>,
    /// The last piece, where the client may have had no room for it.
    untaken: Option<Untaken>,
    outlet: Option<Outlet>,
}

enum Content {
    Empty,
    Text(Bytes),
    Upstream(UpstreamBody),
    /// All of it was handed over but for its trailers, where there are some.
    Ending(Option<HeaderMap>),
}

impl ProxyBody {
    pub(super) fn empty() -> Self {
        Self::local(Content::Empty)
    }

    pub(super) fn text(text: String) -> Self {
        Self::bytes(text.into())
    }

    pub(super) fn bytes(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        Self { watch: StreamWatch::current(), ..Self::local(Content::Text(bytes)) }
    }

    fn local(content: Content) -> Self {
        Self {
            content,
            idle: None,
            deadline: None,
            account: None,
            watch: None,
            untaken: None,
            outlet: None,
        }
    }

    /// What an endpoint sends. `account` is settled when the body ends, however it ends.
    pub(super) fn upstream(
        mut incoming: UpstreamBody,
        idle_timeout: Duration,
        deadline: Option<Instant>,
        timers: &Timers,
        account: ResponseAccount,
    ) -> Self {
        let outlet = account.outlet();
        if incoming.is_end_stream() || is_whole_over_http1(&incoming, outlet.as_ref()) {
            account.complete(incoming.take_reusable());
            return Self::empty();
        }
        Self {
            content: Content::Upstream(incoming),
            idle: Some(IdleTimer::new(idle_timeout, timers)),
            deadline: deadline.map(|deadline| (deadline, timers.timer())),
            outlet,
            account: Some(account),
            watch: StreamWatch::current(),
            untaken: None,
        }
    }

    fn fail(&mut self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.content = Content::Empty;
        if let Some(account) = self.account.take() {
            account.fail(fault);
        }
        Poll::Ready(Some(Err(BodyError(fault))))
    }

    /// The endpoint has sent all of it.
    fn end(&mut self, trailers: Option<HeaderMap>) {
        let ended = std::mem::replace(&mut self.content, Content::Ending(trailers));
        if let (Some(account), Content::Upstream(mut body)) = (&mut self.account, ended) {
            account.give_back(body.take_reusable());
        }
        if self.untaken.is_none() && matches!(self.content, Content::Ending(None)) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        self.content = Content::Empty;
        if let Some(account) = self.account.take() {
            account.complete(None);
        }
    }

    /// Hands over a piece. Over HTTP/2, where it may be the last one and the client have no room for it, it
    /// is followed until it is taken: nothing is asked for after the end, and nobody would see to it.
    fn hand_over(
        &mut self,
        mut data: Bytes,
        may_be_last: bool,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.untaken = None;
        if let Some(watch) = &self.watch {
            if may_be_last && !watch.has_room_for(data.len()) {
                let (followed, untaken) = Untaken::follow(data);
                (data, self.untaken) = (followed, Some(untaken));
            }
            watch.handed_over(data.len());
        }
        if let Some(outlet) = &mut self.outlet {
            outlet.handed_over(data.len());
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// The end, once the client has taken all before it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(untaken) = &mut self.untaken {
            if let Some(watch) = &self.watch {
                watch.waits_for(untaken);
            }
            std::task::ready!(untaken.poll_taken(cx));
            self.untaken = None;
            if let Some(watch) = &self.watch {
                watch.asked();
            }
        }
        let trailers = match std::mem::replace(&mut self.content, Content::Empty) {
            Content::Ending(trailers) => trailers,
            _ => None,
        };
        self.complete();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if matches!(this.content, Content::Ending(_)) {
            return this.poll_end(cx);
        }
        if let Some(watch) = &this.watch {
            watch.asked();
        }
        let incoming = match &mut this.content {
            Content::Empty | Content::Ending(_) => return Poll::Ready(None),
            Content::Text(text) => {
                let text = std::mem::take(text);
                let handed_over = this.hand_over(text, true);
                this.end(None);
                return handed_over;
            }
            Content::Upstream(incoming) => incoming,
        };
        if let Some((deadline, timer)) = &mut this.deadline
            && timer.poll(cx, *deadline).is_ready()
        {
            return this.fail(BodyFault::Deadline);
        }
        if let Some(outlet) = &mut this.outlet {
            std::task::ready!(outlet.poll_room(cx));
        }
        match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => match this.idle.as_mut().map(|idle| idle.poll(cx)) {
                Some(Poll::Ready(())) => this.fail(BodyFault::Stalled),
                _ => Poll::Pending,
            },
            Poll::Ready(Some(Ok(frame))) => {
                let ended =
                    incoming.is_end_stream() || is_whole_over_http1(incoming, this.outlet.as_ref());
                // Trailers may follow, or the end by itself, where no length says what is to come.
                let may_be_last =
                    ended || incoming.size_hint().exact().is_none_or(|rest| rest == 0);
                if let Some(idle) = &mut this.idle {
                    idle.progress();
                }
                match frame.into_data() {
                    Ok(data) => {
                        if let Some(account) = &mut this.account {
                            account.sent(data.len() as u64);
                        }
                        let handed_over = this.hand_over(data, may_be_last);
                        if ended {
                            this.end(None);
                        }
                        handed_over
                    }
                    Err(other) => {
                        this.end(other.into_trailers().ok());
                        this.poll_end(cx)
                    }
                }
            }
            Poll::Ready(Some(Err(_))) => this.fail(BodyFault::Broken),
            Poll::Ready(None) => {
                this.end(None);
                this.poll_end(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Text(_) | Content::Ending(_) => false,
            Content::Upstream(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty | Content::Ending(_) => SizeHint::with_exact(0),
            Content::Text(rest) => SizeHint::with_exact(rest.len() as u64),
            Content::Upstream(incoming) => incoming.size_hint(),
        }
    }
}

/// Whether a body over HTTP/1 is not in chunks as it says, and not only without its end.
fn is_malformed_http1(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|it| it.downcast_ref::<io::Error>());
    source.is_some_and(|it| matches!(it.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData))
}

/// Whether a client over HTTP/1 has all that the length says. What an endpoint over HTTP/2 sends then, be it
/// only the end, is asked for by nobody.
fn is_whole_over_http1(incoming: &UpstreamBody, outlet: Option<&Outlet>) -> bool {
    outlet.is_some() && incoming.size_hint().exact() == Some(0)
}

/// How long nothing may come. It costs nothing while pieces come without a wait.
struct IdleTimer {
    limit: Duration,
    timer: Timer,
    /// The end of the wait that is under way.
    end: Option<Instant>,
}

impl IdleTimer {
    fn new(limit: Duration, timers: &Timers) -> Self {
        Self { limit, timer: timers.timer(), end: None }
    }

    /// Something came: the next wait starts anew.
    fn progress(&mut self) {
        self.end = None;
    }

    /// Ready when nothing came for the limit; the wait starts with the first poll.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.end.or_else(|| Instant::now().checked_add(self.limit)) else {
            return Poll::Pending;
        };
        self.end = Some(end);
        self.timer.poll(cx, end)
    }
}

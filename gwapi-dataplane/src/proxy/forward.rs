//! The request as its endpoint gets it.

use http::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderValue, TE, UPGRADE};
use http::request::Parts;
use http::{Request, Uri, Version};
use hyper::body::Body;

use super::body::RequestBody;
use super::connection::Connection;
use super::filters::CompiledChanges;
use super::forwarded::{Client, X_FORWARDED_HOST};
use super::headers;
use super::plan::Forward;
use super::present::Present;
use super::reply::LocalReply;
use super::upstream::{HeadWriter, Outgoing};

/// A request's head, and the way that it goes.
pub(super) struct Fields<'a> {
    pub(super) head: Parts,
    pub(super) present: Present,
    pub(super) way: &'a Forward,
    /// Whether the fields are those that filters made already, with what the proxy says of the client.
    pub(super) settled: bool,
}

/// Who a request comes from, as the proxy answers for it.
#[derive(Clone, Copy)]
pub(super) struct Vouched<'a> {
    pub(super) connection: &'a Connection,
    pub(super) client: &'a Client,
}

impl Fields<'_> {
    /// The head of a copy, which goes another way and waits for nobody's consent.
    pub(super) fn copy<'b>(&self, way: &'b Forward) -> Fields<'b> {
        let mut head = self.head.clone();
        head.headers.remove(EXPECT);
        let present = self.present.without(Present::EXPECT);
        Fields { head, present, way, settled: self.settled }
    }

    /// The head of a copy whose fields are others.
    pub(super) fn copy_with<'b>(&self, headers: &HeaderMap, way: &'b Forward) -> Fields<'b> {
        let mut copy = self.copy(way);
        copy.head.headers = headers.clone();
        copy.head.headers.remove(EXPECT);
        copy
    }

    /// For an endpoint that speaks HTTP/1.1: in origin-form, and with the protocol to switch to, if any.
    pub(super) fn http1(
        mut self,
        vouched: Vouched<'_>,
        body: RequestBody,
        upgrade: Option<&HeaderValue>,
    ) -> Box<Outgoing> {
        self.settle(&body);
        let mut head = HeadWriter::new(&self.head.method, &self.way.target);
        // Where no filter may change what the proxy says of the client, it need not be in the map.
        let wire = vouched.connection.client.wire(vouched.client);
        let plain = !self.settled && self.changes().next().is_none();
        let written = match wire.filter(|_| plain) {
            Some(wire) => {
                head.field(HOST.as_str(), self.host().as_bytes());
                head.raw(wire);
                head.field(X_FORWARDED_HOST.as_str(), self.way.authority.as_bytes());
                Some(&HOST)
            }
            None => {
                self.vouch(vouched);
                None
            }
        };
        // RFC 9110 10.1.4: TE is for the next hop alone.
        let te = self.present.any(Present::TE) && self.head.headers.contains_key(TE);
        match (upgrade.is_some(), te) {
            (true, true) => head.field(CONNECTION.as_str(), b"upgrade, te"),
            (true, false) => head.field(CONNECTION.as_str(), b"upgrade"),
            (false, true) => head.field(CONNECTION.as_str(), b"te"),
            (false, false) => {}
        }
        if let Some(protocol) = upgrade {
            head.field(UPGRADE.as_str(), protocol.as_bytes());
        }
        // The library has no way to tell a client over HTTP/2 that its body is wanted: it is asked for.
        let expects = self.present.any(Present::EXPECT)
            && self.head.version == Version::HTTP_11
            && !body.is_end_stream();
        if expects {
            head.field(EXPECT.as_str(), b"100-continue");
        }
        head.fields(&self.head.headers, written);
        let outgoing = Outgoing::new(head, self.head.method, self.head.headers, body);
        let mut outgoing = Box::new(outgoing);
        if expects {
            outgoing.hold_back();
        }
        outgoing
    }

    /// For an endpoint that speaks HTTP/2, which wants the host in the target, and not in a field as
    /// well.
    pub(super) fn http2(
        mut self,
        vouched: Vouched<'_>,
        body: RequestBody,
    ) -> Result<Box<Request<RequestBody>>, LocalReply> {
        self.settle(&body);
        self.vouch(vouched);
        let host = self.head.headers.remove(HOST);
        let tls = self.way.backend.entry.tls.is_some();
        let uri = Uri::builder()
            .scheme(if tls { "https" } else { "http" })
            .authority(host.as_ref().map_or(&b""[..], HeaderValue::as_bytes))
            .path_and_query(self.way.target.clone())
            .build()
            .map_err(|_| LocalReply::BadRequest("malformed host"))?;
        let mut request = Box::new(Request::new(body));
        *request.uri_mut() = uri;
        *request.method_mut() = self.head.method;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.head.headers;
        Ok(request)
    }

    /// Leaves what goes all the way to the endpoint, each thing said once.
    fn settle(&mut self, body: &RequestBody) {
        let (fields, present) = (&mut self.head.headers, self.present);
        headers::strip_request(fields, present);
        if present.any(Present::COOKIE) {
            headers::join_cookies(fields);
        }
        if present.any(Present::CONTENT_LENGTH) {
            headers::plain_length(fields, body.size_hint().exact());
        }
    }

    /// Sets what the proxy says of the client, then lets the filters change it (HF-1).
    fn vouch(&mut self, vouched: Vouched<'_>) {
        let host = self.host().clone();
        if self.settled {
            self.head.headers.insert(HOST, host);
            return;
        }
        let mut fields = std::mem::take(&mut self.head.headers);
        vouched.connection.client.set(&mut fields, &self.way.authority, vouched.client);
        fields.insert(HOST, host);
        self.change(&mut fields);
        self.head.headers = fields;
    }

    fn change(&self, fields: &mut HeaderMap) {
        for changes in self.changes() {
            changes.apply(fields);
        }
    }

    fn changes(&self) -> impl Iterator<Item = &CompiledChanges> {
        let filters = std::iter::once(&self.way.rule.filters).chain(self.way.backend_filters());
        filters.flat_map(|filters| &filters.request_headers)
    }

    fn host(&self) -> &HeaderValue {
        self.way.host.as_ref().unwrap_or(&self.way.authority)
    }
}

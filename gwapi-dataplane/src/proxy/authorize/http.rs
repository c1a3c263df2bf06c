//! Services that are asked by a request like the client's (EA-2).

use std::rc::Rc;

use ::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, DATE, HOST, HeaderMap, HeaderName, HeaderValue, SERVER,
};
use ::http::uri::PathAndQuery;
use ::http::{Request, StatusCode, Uri, Version};
use gwapi_translate::ir::{BackendProtocol, HeaderNames};
use hyper::body::Bytes;

use super::answer::{Added, Consent, Denial, Failed, Put, Relayed};
use super::answer::{is_changeable, read_up, relayed};
use super::{Question, body, only, parsed};
use crate::proxy::core_state::CoreBackend;
use crate::proxy::upstream::{Answer, HeadWriter, Message, Outgoing, discard};
use crate::proxy::worker::Worker;

/// What is told and what is taken over.
#[derive(Debug)]
pub(super) struct Settings {
    path_prefix: String,
    /// Told besides those that always are.
    told: Vec<HeaderName>,
    /// Taken over from a consent; none means all.
    taken_over: Option<Vec<HeaderName>>,
}

impl Settings {
    pub(super) fn new(path_prefix: &str, told: &[String], taken_over: &HeaderNames) -> Self {
        Self {
            path_prefix: path_prefix.to_owned(),
            told: parsed(told),
            taken_over: only(taken_over),
        }
    }

    /// The request that asks: the client's method, host and path, and no more of its fields than is
    /// allowed. None where that is no request.
    pub(super) fn message(&self, service: &CoreBackend, question: Question<'_>) -> Option<Message> {
        let target = format!("{}{}", self.path_prefix, question.target);
        let target = PathAndQuery::try_from(target).ok()?;
        let shown = question.body.cloned().unwrap_or_default();
        let mut fields = self.fields(question, &shown);
        match service.protocol() {
            BackendProtocol::Http1 => {
                let mut head = HeadWriter::new(&question.head.method, &target);
                head.field(HOST.as_str(), question.authority.as_bytes());
                head.fields(&fields, None);
                let method = question.head.method.clone();
                let outgoing = Outgoing::new(head, method, fields, body(shown));
                Some(Message::Http1(Box::new(outgoing)))
            }
            BackendProtocol::H2c => {
                let scheme = if service.entry.tls.is_some() { "https" } else { "http" };
                let uri = Uri::builder().scheme(scheme).path_and_query(target);
                let uri = uri.authority(question.authority.as_bytes()).build().ok()?;
                let mut request = Box::new(Request::new(body(shown)));
                *request.uri_mut() = uri;
                *request.method_mut() = question.head.method.clone();
                *request.version_mut() = Version::HTTP_2;
                std::mem::swap(request.headers_mut(), &mut fields);
                Some(Message::Http2(request))
            }
            BackendProtocol::Tcp | BackendProtocol::Udp => None,
        }
    }

    /// All but the host.
    fn fields(&self, question: Question<'_>, shown: &Bytes) -> HeaderMap {
        let mut fields = HeaderMap::new();
        // It is the length of what is sent, and not that of what the client sends.
        fields.insert(CONTENT_LENGTH, HeaderValue::from(shown.len()));
        let told =
            self.told.iter().filter(|name| ![HOST, CONTENT_LENGTH, AUTHORIZATION].contains(name));
        for name in std::iter::once(&AUTHORIZATION).chain(told) {
            for value in question.headers.get_all(name) {
                fields.append(name, value.clone());
            }
        }
        fields
    }

    /// Reads the answer: 200 consents, and anything else denies.
    pub(super) async fn read(
        &self,
        answer: Answer,
        worker: &Rc<Worker>,
    ) -> Result<Consent, Denial> {
        let status = answer.response.status();
        if status == StatusCode::OK {
            let (head, body) = answer.response.into_parts();
            discard(body, answer.lease, worker);
            return Ok(self.consent(&relayed(head.headers)));
        }
        // An upgrade that nobody asked for is no answer.
        if status.is_informational() {
            return Err(Failed::Invalid.into());
        }
        let (response, _) = read_up(answer, worker).await?;
        let (head, body) = response.into_parts();
        let headers = relayed(head.headers);
        Err(Denial::Relayed(Box::new(Relayed { status, headers, body })))
    }

    /// What the request goes on with. Of a field that is to be taken over nothing is left that the client
    /// wrote, whether the service says anything in it or not.
    fn consent(&self, headers: &HeaderMap) -> Consent {
        let names: Vec<&HeaderName> = match &self.taken_over {
            Some(names) => names.iter().filter(|name| is_changeable(name)).collect(),
            None => {
                headers.keys().filter(|name| is_changeable(name) && is_of_request(name)).collect()
            }
        };
        let values = names.iter().flat_map(|&name| {
            headers
                .get_all(name)
                .iter()
                .map(move |value| (name.clone(), value.clone(), Put::Append))
        });
        let request = Added(values.collect());
        Consent { cleared: names.into_iter().cloned().collect(), request, ..Consent::default() }
    }
}

/// Whether a field of an answer means something in a request. Those that describe the answer itself, and
/// the body that stays behind, are taken over only where they are named.
fn is_of_request(name: &HeaderName) -> bool {
    *name != DATE && *name != SERVER && !name.as_str().starts_with("content-")
}

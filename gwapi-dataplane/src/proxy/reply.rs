//! Answers that the proxy gives itself.
//!
//! They say in one line what happened and nothing about what is behind the proxy. Changes of
//! response headers (HF-1) apply to what backends answer and to redirects, not to the other answers
//! of the proxy. CORS (HF-8) applies to all that a rule is answered with. What gRPC clients are told
//! instead is in `grpc`.

use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use http::{HeaderValue, Method, Response, StatusCode};
use hyper::body::Body;

use super::body::ProxyBody;
use crate::observe::Ended;

/// An answer of the proxy itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalReply {
    /// The request breaks a rule of HTTP; the text says which. Closes the connection.
    BadRequest(&'static str),
    /// CONNECT and TRACE.
    MethodNotAllowed,
    /// The client went on to send nothing for too long.
    RequestTimeout,
    /// The request target is too long.
    UriTooLong,
    /// An expectation other than `100-continue`.
    ExpectationFailed,
    /// Another listener of this port serves the host (LI-5).
    Misdirected,
    /// Too many header fields.
    TooManyHeaders,
    /// No listener or no route (LI-3, HR-6).
    NotFound(&'static str),
    /// `OPTIONS *`: about the proxy as a whole.
    Options,
    /// The rule leads nowhere (HB-2, HB-3, HB-5).
    NoBackend(&'static str),
    /// The endpoint broke off or answered something that is not HTTP.
    BadGateway(&'static str),
    /// No endpoint, or none that could be connected to (HB-4).
    Unavailable(&'static str),
    /// The process has more memory than it may. Closes the connection.
    Overloaded,
    /// A timeout of the rule or of the proxy passed (TO-2).
    GatewayTimeout,
    /// An authorization service took too long (EA-1).
    AuthorizationTimeout,
    /// The body is longer than an authorization service may be shown (EA-4).
    ContentTooLarge,
}

impl LocalReply {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Options => StatusCode::NO_CONTENT,
            Self::NoBackend(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout | Self::AuthorizationTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::ContentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::BadRequest(text)
            | Self::NotFound(text)
            | Self::NoBackend(text)
            | Self::BadGateway(text)
            | Self::Unavailable(text) => text,
            Self::MethodNotAllowed => "method not allowed",
            Self::RequestTimeout => "the request took too long to arrive",
            Self::UriTooLong => "request target too long",
            Self::ExpectationFailed => "unknown expectation",
            Self::Misdirected => "this connection does not serve that host",
            Self::TooManyHeaders => "too many header fields",
            Self::Options => "",
            Self::Overloaded => "overloaded, try again later",
            Self::GatewayTimeout => "the backend took too long to answer",
            Self::AuthorizationTimeout => "the authorization service took too long to answer",
            Self::ContentTooLarge => "the body is too long to be authorized",
        }
    }

    /// How a request that gets this answer ended.
    pub(super) fn ended(self) -> Ended {
        match self {
            Self::BadRequest(_) | Self::RequestTimeout => Ended::ClientError,
            Self::BadGateway(_) => Ended::UpstreamError,
            Self::GatewayTimeout | Self::AuthorizationTimeout => Ended::Timeout,
            Self::Unavailable(text) if text == CONNECT_FAILED => Ended::ConnectFailed,
            _ => Ended::Complete,
        }
    }

    /// Whether what follows on the connection cannot be trusted, or will not be read.
    fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::MethodNotAllowed
                | Self::RequestTimeout
                | Self::UriTooLong
                | Self::ExpectationFailed
                | Self::TooManyHeaders
                | Self::Overloaded
        )
    }

    /// Why the proxy does not take the request, in a word for the metrics; none where it went on
    /// to a route, or to one that is not there.
    pub(super) fn rejection(self) -> Option<&'static str> {
        Some(match self {
            Self::BadRequest(_) => "bad_request",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::UriTooLong => "uri_too_long",
            Self::ExpectationFailed => "expectation_failed",
            Self::Misdirected => "misdirected",
            Self::TooManyHeaders => "too_many_headers",
            Self::Overloaded => "overloaded",
            Self::ContentTooLarge => "content_too_large",
            Self::NotFound(_)
            | Self::Options
            | Self::NoBackend(_)
            | Self::BadGateway(_)
            | Self::Unavailable(_)
            | Self::GatewayTimeout
            | Self::AuthorizationTimeout => return None,
        })
    }

    /// The answer as a message; `http1` where `connection: close` may be said.
    pub(super) fn response(self, http1: bool) -> Response<ProxyBody> {
        let mut response = Response::new(match self.text() {
            "" => ProxyBody::empty(),
            text => ProxyBody::text(format!("{text}\n")),
        });
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        if !self.text().is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        if matches!(self, Self::MethodNotAllowed | Self::Options) {
            let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(ALLOW, methods);
        }
        if self == Self::Overloaded {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if http1 && self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// When to try again in an overload: memory that is given back comes back within seconds, or not
/// soon.
const RETRY_AFTER_SECONDS: &str = "5";

/// Text of the 503 that says that endpoints exist but none takes connections.
pub(super) const CONNECT_FAILED: &str = "no endpoint of the backend accepts connections";

/// A redirect (HF-2) or the answer to a preflight (CO-2), with the fields that filters made.
pub(super) fn without_body(status: StatusCode, headers: HeaderMap) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Takes the content from an answer that may have none: that to HEAD, whose length is told all the same
/// (RFC 9110 9.3.2), and that with a status for which there is none (RFC 9110 6.4.1). hyper does so over
/// HTTP/1 alone.
pub(super) fn strip_content(response: &mut Response<ProxyBody>, method: &Method) {
    let has_none = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !has_none && method != Method::HEAD {
        return;
    }
    let content = std::mem::replace(response.body_mut(), ProxyBody::empty());
    let length = content.size_hint().exact().filter(|length| *length > 0 && !has_none);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

//! Answers of the proxy to gRPC calls, whatever the kind of the route.
//!
//! A client of gRPC looks for `grpc-status` in trailers. An answer without a message has them in its
//! head, which is called trailers-only: status 200, one frame of headers, no body. The access log and
//! the metrics go on telling the status of HTTP that the answer stands for.

use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Response, StatusCode, Version, request};

use super::body::ProxyBody;
use super::headers::remove_where;
use super::reply::LocalReply;

/// Status codes of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Whether a request is a call: over HTTP/2, with the content type of gRPC or one of its subtypes.
/// gRPC-Web is another protocol, with answers of its own.
pub(super) fn is_call(head: &request::Parts) -> bool {
    const NAME: &[u8] = b"application/grpc";
    let content_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    head.version == Version::HTTP_2
        && content_type.and_then(|it| it.split_at_checked(NAME.len())).is_some_and(
            |(name, rest)| {
                name.eq_ignore_ascii_case(NAME)
                    && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
            },
        )
}

/// The answer to a call.
pub(super) fn answer(local: LocalReply) -> Response<ProxyBody> {
    trailers_only(code(local), local.text(), HeaderMap::new())
}

/// The answer to a call that an authorization service denies: the fields of what it says are kept, its
/// body is for others (HF-9).
pub(super) fn denied(status: StatusCode, mut headers: HeaderMap) -> Response<ProxyBody> {
    remove_where(&mut headers, |name| name.starts_with("content-") || name.starts_with("grpc-"));
    trailers_only(of_status(status), "not authorized", headers)
}

fn trailers_only(code: Code, text: &'static str, mut headers: HeaderMap) -> Response<ProxyBody> {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code as u16));
    // All of these texts are of plain letters, so that nothing needs an escape.
    headers.insert("grpc-message", HeaderValue::from_static(text));
    let mut response = Response::new(ProxyBody::empty());
    *response.headers_mut() = headers;
    response
}

/// What passed is told as gRPC tells it; for all else the table of its documentation on statuses of
/// HTTP holds.
fn code(local: LocalReply) -> Code {
    match local {
        LocalReply::GatewayTimeout
        | LocalReply::AuthorizationTimeout
        | LocalReply::RequestTimeout => Code::DeadlineExceeded,
        LocalReply::ContentTooLarge => Code::ResourceExhausted,
        // GR-5: 500 of HTTP, and so unknown by the table.
        LocalReply::NoBackend(_) => Code::Unavailable,
        _ => of_status(local.status()),
    }
}

/// The table of the documentation.
fn of_status(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented, // GR-6
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_call_is_told_by_version_and_content_type() {
        let is_call = |version: Version, content_type: &str| {
            let request = Request::post("/a.B/C").version(version);
            let request = request.header(CONTENT_TYPE, content_type).body(());
            super::is_call(&request.expect("a request").into_parts().0)
        };
        for call in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;charset=utf-8",
            "application/grpc ; a=b",
        ] {
            assert!(is_call(Version::HTTP_2, call), "{call}");
            assert!(!is_call(Version::HTTP_11, call), "{call}");
        }
        for other in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is_call(Version::HTTP_2, other), "{other}");
        }
    }

    #[test]
    fn statuses_of_http_become_those_of_the_documentation() {
        for (local, expected) in [
            (LocalReply::BadRequest("malformed path"), Code::Internal),
            (LocalReply::MethodNotAllowed, Code::Unknown),
            (LocalReply::RequestTimeout, Code::DeadlineExceeded),
            (LocalReply::TooManyHeaders, Code::Unknown),
            (LocalReply::Misdirected, Code::Unknown),
            (LocalReply::NotFound("no route"), Code::Unimplemented),
            (LocalReply::NoBackend("no backend"), Code::Unavailable),
            (LocalReply::BadGateway("broken"), Code::Unavailable),
            (LocalReply::Unavailable("no endpoint"), Code::Unavailable),
            (LocalReply::Overloaded, Code::Unavailable),
            (LocalReply::GatewayTimeout, Code::DeadlineExceeded),
        ] {
            assert_eq!(code(local), expected, "{local:?}");
        }
    }
}

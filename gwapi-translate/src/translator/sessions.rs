//! Session persistence, from what was written to IR (SP-1 to SP-5).

use std::time::Duration;

use gwapi_model::{
    CookieLifetimeType, GatewayDuration, SessionCookie, SessionHeader,
    SessionPersistence as Written, SessionPersistenceType,
};

use super::conditions::Problem;
use super::external_auth::is_vouched_for;
use crate::hash::fnv1a;
use crate::ir::{SessionCarrier, SessionPersistence};

/// The longest name of a cookie or header.
const MAX_NAME: usize = 256;

/// The longest path of a cookie.
const MAX_PATH: usize = 1024;

/// Header fields that no token can travel in: they say where a message ends and what becomes of its
/// connection, or carry something else between the same two. So do those of `content-`, and those that a
/// data plane answers for are not the client's.
const TAKEN: [&str; 16] = [
    "connection",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "location",
    "proxy-connection",
    "set-cookie",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
];

/// What a rule or a backend asks for; the scope is what its sessions belong to, and makes up the name of a
/// cookie that has none (SP-5).
pub(super) fn compile(
    written: &Written,
    scope: String,
    underscore_headers: bool,
) -> Result<SessionPersistence, Problem> {
    let refuse = |message: String| Err(Problem::unsupported(message).at("sessionPersistence"));
    let timeout = written.absolute_timeout.as_ref().map(GatewayDuration::get);
    if timeout.is_some_and(|timeout| timeout < Duration::from_secs(1)) {
        return refuse("absoluteTimeout is shorter than a second".to_owned());
    }
    let chosen = written.persistence_type.as_ref().unwrap_or(&SessionPersistenceType::Cookie);
    let carrier = match (chosen, &written.cookie, &written.header) {
        (SessionPersistenceType::Cookie, Some(settings), None) => cookie(settings, &scope, timeout),
        (SessionPersistenceType::Header, None, Some(settings)) => {
            header(settings, underscore_headers)
        }
        (SessionPersistenceType::Other(other), ..) => {
            Err(format!("type `{other}` is not known; Cookie and Header are"))
        }
        (_, Some(_), Some(_)) => Err("both cookie and header are set; keep one".to_owned()),
        _ => {
            let member = chosen.as_str().to_lowercase();
            Err(format!(
                "type {chosen} needs `{member}`, which CRDs have from v1.7 on, and no other"
            ))
        }
    };
    match carrier {
        Ok(carrier) => Ok(SessionPersistence { scope, carrier, absolute_timeout: timeout }),
        Err(message) => refuse(message),
    }
}

fn cookie(
    settings: &SessionCookie,
    scope: &str,
    timeout: Option<Duration>,
) -> Result<SessionCarrier, String> {
    let SessionCookie { name, path, lifetime_type } = settings;
    let permanent = match lifetime_type.as_ref().unwrap_or(&CookieLifetimeType::Session) {
        CookieLifetimeType::Session => false,
        CookieLifetimeType::Permanent if timeout.is_some() => true,
        CookieLifetimeType::Permanent => {
            return Err("a permanent cookie needs an absoluteTimeout".to_owned());
        }
        CookieLifetimeType::Other(other) => {
            return Err(format!("cookie.lifetimeType `{other}` is not known"));
        }
    };
    let name = match name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) if is_token(name) => name.to_owned(),
        Some(name) => return Err(format!("cookie.name `{name}` is no name of a cookie")),
        None => format!("gwapi-session-{:016x}", fnv1a(scope.as_bytes())),
    };
    // SP-3.
    let path = path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let is_plain = |byte: u8| (b'!'..=b'~').contains(&byte) && byte != b';';
    if !path.starts_with('/') || path.len() > MAX_PATH || !path.bytes().all(is_plain) {
        return Err(format!("cookie.path `{path}` is no path that a cookie can have"));
    }
    if name.starts_with("__Host-") && path != "/" {
        return Err(format!("a cookie that is named `{name}` has the path `/`"));
    }
    Ok(SessionCarrier::Cookie { name, path: path.to_owned(), permanent })
}

fn header(settings: &SessionHeader, underscore_headers: bool) -> Result<SessionCarrier, String> {
    let name = settings.name.to_ascii_lowercase();
    if !is_token(&name) {
        return Err(format!("header.name `{name}` is no name of a header"));
    }
    if TAKEN.contains(&&*name) || name.starts_with("content-") || is_vouched_for(&name) {
        return Err(format!("header.name `{name}` has another meaning already"));
    }
    if name.contains('_') && !underscore_headers {
        return Err(format!(
            "header.name `{name}`: headers with `_` in their name do not get as far as matching"
        ));
    }
    Ok(SessionCarrier::Header(name))
}

/// A token of RFC 9110 5.6.2.
fn is_token(text: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(of_token)
}

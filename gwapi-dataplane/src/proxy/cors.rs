//! Cross-origin resource sharing: preflights are answered, and responses tell browsers who may read
//! them (HF-8).

use std::rc::Rc;

use gwapi_translate::ir::{self, CorsHost, CorsNames, CorsOrigin};
use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, SET_COOKIE, VARY,
};
use http::request::Parts;

/// Headers by which a backend may say what is for the filter to say.
const ANSWERS: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

const ANY: HeaderValue = HeaderValue::from_static("*");

/// A filter, ready to answer.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<CorsOrigin>,
    credentials: bool,
    methods: Names,
    headers: Names,
    exposed: Names,
    max_age: HeaderValue,
}

/// Names as one field tells them.
#[derive(Debug)]
enum Names {
    Any,
    /// None where there is no name.
    Only(Option<HeaderValue>),
}

/// What a filter says to the origin of a request.
#[derive(Debug)]
pub(super) struct Grant {
    cors: Rc<Cors>,
    /// The origin as the response names it; none where it is not allowed, or there is none.
    origin: Option<HeaderValue>,
}

/// The method that a preflight asks for; none of a request that is no preflight (CO-2).
pub(super) fn asked_method(head: &Parts) -> Option<&str> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(ORIGIN) {
        return None;
    }
    head.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok()
}

impl Cors {
    pub(super) fn new(cors: &ir::Cors) -> Self {
        Self {
            origins: cors.allow_origins.clone(),
            credentials: cors.allow_credentials,
            methods: Names::new(&cors.allow_methods),
            headers: Names::new(&cors.allow_headers),
            exposed: Names::new(&cors.expose_headers),
            max_age: HeaderValue::from(cors.max_age),
        }
    }

    /// What it says to a request with these fields.
    pub(super) fn grant(self: &Rc<Self>, headers: &HeaderMap) -> Grant {
        let mut origins = headers.get_all(ORIGIN).iter();
        // CO-4: with credentials `*` means nothing to a browser; the origin itself does.
        let allowed = match (origins.next(), origins.next()) {
            (Some(origin), None) if self.allows(origin) => Some(match self.is_for_everybody() {
                true => ANY,
                false => origin.clone(),
            }),
            _ => None,
        };
        Grant { cors: Rc::clone(self), origin: allowed }
    }

    fn is_for_everybody(&self) -> bool {
        !self.credentials && self.origins.contains(&CorsOrigin::Any)
    }

    /// CO-1.
    fn allows(&self, origin: &HeaderValue) -> bool {
        let parsed = origin.to_str().ok().and_then(Origin::parse);
        self.origins.iter().any(|allowed| match allowed {
            CorsOrigin::Any => true,
            CorsOrigin::Of { scheme, host, port } => {
                parsed.as_ref().is_some_and(|origin| origin.is_of(scheme, host, *port))
            }
        })
    }
}

impl Grant {
    /// The fields of the answer to a preflight with these fields (CO-2).
    pub(super) fn preflight(&self, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        vary_by_origin(&mut headers);
        let Some(origin) = &self.origin else { return headers };
        let cors = &*self.cors;
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let any = || (!cors.credentials).then_some(ANY);
        let methods = match &cors.methods {
            Names::Only(names) => names.clone(),
            Names::Any => any().or_else(|| asked.get(ACCESS_CONTROL_REQUEST_METHOD).cloned()),
        };
        let names = match &cors.headers {
            Names::Only(names) => names.clone(),
            // CO-6: `*` would leave `Authorization` out.
            Names::Any => asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().or_else(any),
        };
        let exposed = match &cors.exposed {
            Names::Only(names) => names.clone(),
            Names::Any => any(),
        };
        let credentials = cors.credentials.then(|| HeaderValue::from_static("true"));
        let fields = [
            (ACCESS_CONTROL_ALLOW_METHODS, methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, names),
            (ACCESS_CONTROL_EXPOSE_HEADERS, exposed),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials),
            (ACCESS_CONTROL_MAX_AGE, Some(cors.max_age.clone())), // CO-7
        ];
        headers.extend(fields.into_iter().filter_map(|(name, value)| Some((name, value?))));
        headers
    }

    /// Says in a response what a browser has to know, in the place of what the backend said (CO-3). What is
    /// done to the response afterwards has to end with [`Self::name_exposed`].
    pub(super) fn change_response(&self, headers: &mut HeaderMap) {
        for name in &ANSWERS {
            headers.remove(name);
        }
        vary_by_origin(headers);
        let Some(origin) = &self.origin else { return };
        let cors = &*self.cors;
        let exposed = match &cors.exposed {
            Names::Only(names) => names.clone(),
            Names::Any => Some(ANY),
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if cors.credentials {
            let allowed = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
        }
        if let Some(exposed) = exposed {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Names the fields of a response that is complete where all of them are exposed to a script with
    /// credentials: to that one `*` says nothing (CO-4).
    pub(super) fn name_exposed(&self, headers: &mut HeaderMap) {
        let is_any = headers.get(ACCESS_CONTROL_EXPOSE_HEADERS).is_some_and(|value| *value == ANY);
        if !is_any || !self.cors.credentials || self.origin.is_none() {
            return;
        }
        let is_told = |name: &&HeaderName| **name != SET_COOKIE && !ANSWERS.contains(*name);
        match joined(headers.keys().filter(is_told)) {
            Some(names) => headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names),
            None => headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS),
        };
    }
}

impl Names {
    fn new(names: &CorsNames) -> Self {
        match names {
            CorsNames::Any => Self::Any,
            CorsNames::Only(names) => Self::Only(joined(names.iter())),
        }
    }
}

fn joined<T: AsRef<str>>(names: impl Iterator<Item = T>) -> Option<HeaderValue> {
    let mut text = String::new();
    for name in names {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name.as_ref());
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

/// A cache that keeps the response for one origin must not give it to another.
fn vary_by_origin(headers: &mut HeaderMap) {
    let says = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(b"origin")
        })
    };
    if !headers.get_all(VARY).iter().any(says) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// Where a script comes from.
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> Origin<'a> {
    /// None of `null`, and of what is no origin of HTTP.
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let well_known = match scheme {
            it if it.eq_ignore_ascii_case("http") => 80,
            it if it.eq_ignore_ascii_case("https") => 443,
            _ => return None,
        };
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, well_known),
        };
        Some(Self { scheme, host, port })
    }

    fn is_of(&self, scheme: &str, host: &CorsHost, port: u16) -> bool {
        let host_fits = match host {
            CorsHost::Any => true,
            CorsHost::Exact(name) => self.host.eq_ignore_ascii_case(name),
            CorsHost::Below(name) => {
                let (own, name) = (self.host.as_bytes(), name.as_bytes());
                own.len() > name.len() + 1 && {
                    let (start, end) = own.split_at(own.len() - name.len());
                    start.ends_with(b".") && end.eq_ignore_ascii_case(name)
                }
            }
        };
        host_fits && self.scheme.eq_ignore_ascii_case(scheme) && self.port == port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(allowed: CorsOrigin, origin: &str) -> bool {
        let cors = ir::Cors {
            allow_origins: vec![allowed],
            allow_credentials: true,
            allow_methods: CorsNames::Any,
            allow_headers: CorsNames::Any,
            expose_headers: CorsNames::Any,
            max_age: 5,
        };
        Cors::new(&cors).allows(&HeaderValue::from_str(origin).expect("a value"))
    }

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let of = |scheme: &str, host: CorsHost, port: u16| CorsOrigin::Of {
            scheme: scheme.to_owned(),
            host,
            port,
        };
        let exact = of("https", CorsHost::Exact("a.example".to_owned()), 443);
        for (origin, expected) in [
            ("https://a.example", true),
            ("https://a.example:443", true),
            ("HTTPS://A.Example", true),
            ("https://a.example:444", false),
            ("http://a.example", false),
            ("http://a.example:443", false),
            ("https://b.a.example", false),
            ("https://a.example.evil", false),
            ("https://a.example/", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(allows(exact.clone(), origin), expected, "{origin}");
        }
        let below = of("https", CorsHost::Below("bar.com".to_owned()), 443);
        for (origin, expected) in [
            ("https://www.bar.com", true),
            ("https://xpto.www.bar.com", true),
            ("https://bar.com", false),
            ("https://.bar.com", false),
            ("https://foobar.com", false),
            ("https://a.BAR.com:443", true),
        ] {
            assert_eq!(allows(below.clone(), origin), expected, "{origin}");
        }
        let any = of("http", CorsHost::Any, 8080);
        assert!(allows(any.clone(), "http://[::1]:8080") && !allows(any, "http://[::1]"));
        assert!(allows(CorsOrigin::Any, "null"));
    }
}

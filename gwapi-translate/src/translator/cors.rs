//! Cross-origin resource sharing, from what the user wrote to what the data plane answers by (HF-8).

use gwapi_model::HttpCorsFilter;
use http::{HeaderName, Method};

use super::conditions::Problem;
use crate::ir::{Cors, CorsHost, CorsNames, CorsOrigin};

/// Seconds for which a preflight may be kept where nothing is said (CO-7).
const MAX_AGE: u32 = 5;

/// Compiles a filter. What no browser could mean is refused, with the member that says it.
pub(super) fn compile(written: &HttpCorsFilter) -> Result<Cors, Problem> {
    let max_age = match written.max_age {
        None => MAX_AGE,
        Some(seconds) => u32::try_from(seconds)
            .map_err(|_| Problem::unsupported(format!("cors.maxAge {seconds} is negative")))?,
    };
    let origins = written.allow_origins.iter().map(|text| {
        origin(text).ok_or_else(|| {
            Problem::unsupported(format!(
                "cors.allowOrigins: `{text}` is no origin: write `*`, or http:// or https:// with a \
                 host, whose first label may be `*`, and perhaps a port"
            ))
        })
    });
    Ok(Cors {
        allow_origins: unique(origins)?,
        allow_credentials: written.allow_credentials.unwrap_or(false),
        allow_methods: names("allowMethods", &written.allow_methods, method)?,
        allow_headers: names("allowHeaders", &written.allow_headers, header)?,
        expose_headers: names("exposeHeaders", &written.expose_headers, header)?,
        max_age,
    })
}

/// CO-1.
fn origin(text: &str) -> Option<CorsOrigin> {
    if text == "*" {
        return Some(CorsOrigin::Any);
    }
    let (scheme, authority) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let well_known = match &*scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (authority, well_known),
    };
    let host = host.to_ascii_lowercase();
    let is_name = |name: &str| {
        let byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        name.split('.').all(|label| !label.is_empty() && label.bytes().all(byte))
    };
    let host = match host.strip_prefix('*') {
        Some("") => CorsHost::Any,
        Some(rest) => CorsHost::Below(rest.strip_prefix('.').filter(|it| is_name(it))?.to_owned()),
        None if is_name(&host) => CorsHost::Exact(host),
        None => return None,
    };
    Some(CorsOrigin::Of { scheme, host, port })
}

/// Methods differ by case (CO-5).
fn method(text: &str) -> Option<String> {
    Method::from_bytes(text.as_bytes()).ok().map(|_| text.to_owned())
}

/// Headers do not (CO-6); they are told as they were written.
fn header(text: &str) -> Option<String> {
    HeaderName::from_bytes(text.as_bytes()).ok().map(|_| text.to_owned())
}

fn names(
    member: &str,
    written: &[String],
    read: impl Fn(&str) -> Option<String>,
) -> Result<CorsNames, Problem> {
    if written.iter().any(|name| name == "*") {
        return Ok(CorsNames::Any);
    }
    let names = written.iter().map(|text| {
        read(text)
            .ok_or_else(|| Problem::unsupported(format!("cors.{member}: `{text}` is no name")))
    });
    unique(names).map(CorsNames::Only)
}

/// All of them, each once.
fn unique<T: PartialEq>(
    items: impl Iterator<Item = Result<T, Problem>>,
) -> Result<Vec<T>, Problem> {
    let mut unique = Vec::new();
    for item in items {
        let item = item?;
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    Ok(unique)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scheme: &str, host: CorsHost, port: u16) -> Option<CorsOrigin> {
        Some(CorsOrigin::Of { scheme: scheme.to_owned(), host, port })
    }

    #[test]
    fn origins_have_a_scheme_a_host_and_a_port() {
        let exact = |host: &str| CorsHost::Exact(host.to_owned());
        assert_eq!(origin("*"), Some(CorsOrigin::Any));
        assert_eq!(origin("https://a.example"), of("https", exact("a.example"), 443));
        assert_eq!(origin("HTTP://A.example"), of("http", exact("a.example"), 80));
        assert_eq!(origin("http://a:8080"), of("http", exact("a"), 8080));
        let below = CorsHost::Below("b.example".to_owned());
        assert_eq!(origin("https://*.b.example:444"), of("https", below, 444));
        assert_eq!(origin("https://*"), of("https", CorsHost::Any, 443));
        for text in [
            "",
            "a.example",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a:0",
            "https://a:x",
            "https://a:65536",
            "https://*b",
            "https://a.*.b",
            "https://*.*.b",
            "https://*.",
            "https://u@a",
            "null",
        ] {
            assert_eq!(origin(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_said_has_the_defaults_of_the_api() {
        let cors = compile(&HttpCorsFilter::default()).expect("it says nothing wrong");
        assert_eq!((cors.max_age, cors.allow_credentials), (5, false));
        assert_eq!(cors.allow_methods, CorsNames::Only(Vec::new()));
    }
}

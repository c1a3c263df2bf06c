//! What an echo backend says: a request's head in, a response out.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

use super::EchoIdentity;

/// Header by which a request asks for headers of the response.
const SET_HEADER: &str = "x-echo-set-header";

/// The longest delay that a request can ask for.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// A request, and who was asked. The order of the fields is that of the JSON answer.
#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    path: &'a str,
    host: &'a str,
    method: &'a str,
    proto: &'static str,
    headers: BTreeMap<String, Vec<String>>,
    namespace: &'a str,
    ingress: &'static str,
    service: &'a str,
    pod: &'a str,
    #[serde(skip)]
    head: &'a Parts,
}

impl<'a> Question<'a> {
    pub(super) fn new(head: &'a Parts, identity: &'a EchoIdentity) -> Self {
        let uri = &head.uri;
        let host = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
        };
        Self {
            path: uri.path_and_query().map_or("", |path| path.as_str()),
            host,
            method: head.method.as_str(),
            proto: protocol(head.version),
            headers: headers(&head.headers),
            namespace: &identity.namespace,
            ingress: "",
            service: &identity.service,
            pod: &identity.pod,
            head,
        }
    }

    /// The delay that the query asks for.
    pub(super) fn delay(&self) -> Result<Option<Duration>, String> {
        let query = self.head.uri.query().unwrap_or_default();
        match query.split('&').find_map(|pair| pair.strip_prefix("delay=")) {
            None | Some("") => Ok(None),
            Some(text) => match duration(text) {
                Some(delay) => Ok(Some(delay.min(MAX_DELAY))),
                None => Err(format!("invalid delay {text:?}: a number and ms or s, such as 250ms")),
            },
        }
    }

    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        let mut response = if prefers_text(&self.head.headers) {
            body("text/plain; charset=utf-8", self.text())
        } else {
            let mut json = serde_json::to_string_pretty(self).expect("text is always JSON");
            json.push('\n');
            body("application/json", json)
        };
        set_headers(response.headers_mut(), &self.head.headers);
        response
    }

    fn text(&self) -> String {
        let mut text = format!("Hostname: {}\n", self.pod);
        text += &format!("Namespace: {}\nService: {}\n\n", self.namespace, self.service);
        text += &format!("{} {} {}\nHost: {}\n", self.method, self.path, self.proto, self.host);
        for (name, values) in &self.headers {
            for value in values {
                text += &format!("{name}: {value}\n");
            }
        }
        text
    }
}

/// An answer to a request that is not echoed.
pub(super) fn refused(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    let json = serde_json::json!({ "message": message });
    let mut response = body("application/json", format!("{json}\n"));
    *response.status_mut() = status;
    response
}

fn body(content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The protocol as Go writes it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Headers without `Host`, which has a field of its own; names in Go's canonical form.
fn headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut by_name = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != HOST) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        by_name.entry(canonical(name)).or_default().push(value);
    }
    by_name
}

/// `x-forwarded-for` as `X-Forwarded-For`.
fn canonical(name: &HeaderName) -> String {
    let mut upper = true;
    name.as_str()
        .chars()
        .map(|character| {
            let character = if upper { character.to_ascii_uppercase() } else { character };
            upper = character == '-';
            character
        })
        .collect()
}

/// Whether plain text is wanted more than JSON; JSON wins ties, and where the client does not say.
fn prefers_text(headers: &HeaderMap) -> bool {
    let mut json = None;
    let mut text = None;
    for value in headers.get_all(ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let (range, parameters) = range.split_once(';').unwrap_or((range, ""));
            let wish = match range.trim().to_ascii_lowercase().as_str() {
                "application/json" | "application/*" | "*/*" => &mut json,
                "text/plain" | "text/*" => &mut text,
                _ => continue,
            };
            *wish = (*wish).max(Some(thousandths(parameters)));
        }
    }
    text > json && text != Some(0)
}

/// The `q` of a media range in thousandths.
fn thousandths(parameters: &str) -> u16 {
    let quality = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
    let quality = quality.and_then(|text| text.trim().parse::<f32>().ok()).unwrap_or(1.0);
    (quality.clamp(0.0, 1.0) * 1000.0) as u16
}

/// Sets the response headers that the request asks for; one that is there already is appended to.
fn set_headers(response: &mut HeaderMap, request: &HeaderMap) {
    for value in request.get_all(SET_HEADER) {
        for pair in value.to_str().unwrap_or_default().split(',') {
            let (name, value) = pair.trim().split_once(':').unwrap_or((pair.trim(), ""));
            let Ok(name) = name.parse::<HeaderName>() else { continue };
            let value = match response.get(&name).and_then(|old| old.to_str().ok()) {
                Some(old) => format!("{old},{}", value.trim()),
                None => value.trim().to_owned(),
            };
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.insert(name, value);
            }
        }
    }
}

/// A number with a unit as Go writes durations: `1s`, `250ms`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(accept: &str) -> bool {
        prefers_text(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_str(accept).unwrap())]))
    }

    #[test]
    fn json_is_the_answer_unless_text_is_wanted_more() {
        for accept in [
            "*/*",
            "application/json",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/json, text/plain, */*",
            "text/plain;q=0.5, application/json",
            "text/plain;q=0",
            "image/png",
        ] {
            assert!(!accepts(accept), "{accept}");
        }
        assert!(!prefers_text(&HeaderMap::new()));
        for accept in ["text/plain", "Text/Plain; charset=utf-8", "text/*", "text/plain, */*;q=0.1"]
        {
            assert!(accepts(accept), "{accept}");
        }
    }

    #[test]
    fn names_are_in_go_form() {
        assert_eq!(canonical(&HeaderName::from_static("x-forwarded-for")), "X-Forwarded-For");
        assert_eq!(canonical(&HeaderName::from_static("dnt")), "Dnt");
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("1s"), Some(Duration::from_secs(1)));
        assert_eq!(duration("1.5ms"), Some(Duration::from_micros(1500)));
        for text in ["", "1", "s", "1h30m", "-1s", "1e9s", "nan", "1..2s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn asked_headers_are_set_and_appended_to() {
        let request = HeaderMap::from_iter([(
            HeaderName::from_static(SET_HEADER),
            HeaderValue::from_static("X-A: 1, x-b:2,x-a:3,bad name:4"),
        )]);
        let mut response = HeaderMap::new();
        set_headers(&mut response, &request);
        assert_eq!(response["x-a"], "1,3");
        assert_eq!(response["x-b"], "2");
        assert_eq!(response.len(), 2);
    }
}

//! Filters as a worker runs them: header names and values parsed once, paths rewritten.

use std::rc::Rc;

use gwapi_translate::ir::{
    HeaderChanges, HttpFilter, PathMatch, PathRewrite, Redirect, UrlRewrite,
};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

use super::authorize::Authorizer;
use super::cors::Cors;
use super::mirror::Mirror;

/// The filters of a rule, or of one of its backends.
///
/// Most kinds do not touch each other: headers, a redirect that ends the chain, host and path. So
/// within a kind they run in their order, and between kinds there is none to keep. Of responses CORS
/// comes first: who changes its headers on purpose has the last word. External authorization reads
/// headers and writes them, and so it has its place among their changes, and before the redirect or after
/// it; of host and path it is told what the client asked for, wherever a rewrite stands.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) request_headers: Vec<CompiledChanges>,
    pub(super) response_headers: Vec<CompiledChanges>,
    pub(super) redirect: Option<Redirect>,
    pub(super) rewrite: Option<UrlRewrite>,
    pub(super) cors: Option<Rc<Cors>>,
    pub(super) mirrors: Vec<Mirror>,
    /// Services to ask, among the changes of request headers.
    pub(super) auth: Vec<Guard>,
}

/// A service to ask before the request goes on (HF-9).
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) authorizer: Authorizer,
    /// How many of the changes of request headers come before it.
    pub(super) after: usize,
}

impl Filters {
    pub(super) fn new(filters: &[HttpFilter]) -> Self {
        let mut compiled = Self::default();
        for filter in filters {
            match filter {
                HttpFilter::RequestHeaders(changes) => {
                    compiled.request_headers.push(CompiledChanges::new(changes));
                }
                HttpFilter::ResponseHeaders(changes) => {
                    compiled.response_headers.push(CompiledChanges::new(changes));
                }
                // The first redirect answers; nothing after it runs.
                HttpFilter::Redirect(redirect) => {
                    compiled.redirect.get_or_insert_with(|| redirect.clone());
                }
                HttpFilter::UrlRewrite(rewrite) => compiled.rewrite = Some(rewrite.clone()),
                HttpFilter::Cors(cors) => compiled.cors = Some(Rc::new(Cors::new(cors))),
                HttpFilter::Mirror(mirror) => compiled.mirrors.push(Mirror::new(mirror)),
                // What a redirect has answered is over.
                HttpFilter::ExternalAuth(_) if compiled.redirect.is_some() => {}
                HttpFilter::ExternalAuth(filter) => compiled.auth.push(Guard {
                    authorizer: Authorizer::new(filter),
                    after: compiled.request_headers.len(),
                }),
            }
        }
        compiled
    }

    /// Applies the changes of response headers (HF-1).
    pub(super) fn change_response(&self, headers: &mut HeaderMap) {
        for changes in &self.response_headers {
            changes.apply(headers);
        }
    }
}

/// Changes of headers (HF-1).
#[derive(Debug)]
pub(super) struct CompiledChanges {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl CompiledChanges {
    fn new(changes: &HeaderChanges) -> Self {
        let fields = |fields: &[(String, String)]| {
            fields
                .iter()
                .filter_map(|(name, value)| {
                    Some((changeable(name)?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
                })
                .collect()
        };
        Self {
            set: fields(&changes.set),
            add: fields(&changes.add),
            remove: changes.remove.iter().filter_map(|name| changeable(name)).collect(),
        }
    }

    /// `set`, then `add`, then `remove`.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// A header that a filter may change: all but those that say where a message ends and what the
/// connection does next.
fn changeable(name: &str) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let framing = [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE];
    (!framing.contains(&name)).then_some(name)
}

/// The path after a rewrite (HF-4, HF-6). `matched` is the path condition by which the rule was
/// chosen; a prefix can only be replaced where one was matched.
pub(super) fn rewrite_path(rewrite: &PathRewrite, matched: &PathMatch, path: &str) -> String {
    match rewrite {
        PathRewrite::Full(full) => with_slash(full.clone()),
        PathRewrite::Prefix(replacement) => {
            let PathMatch::Prefix(prefix) = matched else { return path.to_owned() };
            let rest = path.strip_prefix(&**prefix).unwrap_or(path);
            let replacement = replacement.trim_end_matches('/');
            if replacement.is_empty() {
                with_slash(rest.to_owned())
            } else {
                with_slash(format!("{replacement}{rest}"))
            }
        }
    }
}

fn with_slash(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

/// What a redirect needs to know of the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirected<'a> {
    pub(super) scheme: &'a str,
    /// Without port.
    pub(super) host: &'a str,
    pub(super) listener_port: u16,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
}

/// The value of `Location` (HF-2 to HF-4).
pub(super) fn location(
    redirect: &Redirect,
    matched: &PathMatch,
    request: Redirected<'_>,
) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
    let host = redirect.hostname.as_deref().unwrap_or(request.host);
    let well_known = if scheme == "https" { 443 } else { 80 };
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(_)) => well_known,
        (None, None) => request.listener_port,
    };
    let path = match &redirect.path {
        Some(rewrite) => rewrite_path(rewrite, matched, request.path),
        None => request.path.to_owned(),
    };
    let port = if port == well_known { String::new() } else { format!(":{port}") };
    let query = request.query.map_or(String::new(), |query| format!("?{query}"));
    format!("{scheme}://{host}{port}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(text.into())
    }

    /// HF-6.
    #[test]
    fn a_prefix_is_replaced_as_the_table_of_the_api_says() {
        for (path, matched, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/foo", "xyz", "/xyz/bar"),
            ("/bar", "", "/v1", "/v1/bar"),
            ("/", "", "/v1", "/v1/"),
            ("/foo/bar//", "/foo", "/xyz", "/xyz/bar//"),
            ("/foo/foo/bar", "/foo", "/", "/foo/bar"),
            ("/a/b/c", "/a/b", "/x/y/z/", "/x/y/z/c"),
        ] {
            let rewrite = PathRewrite::Prefix(replacement.to_owned());
            assert_eq!(
                rewrite_path(&rewrite, &prefix(matched), path),
                expected,
                "{path}: {matched} -> {replacement}"
            );
        }
    }

    #[test]
    fn a_redirect_says_the_port_only_where_it_is_not_the_schemes() {
        let redirect =
            Redirect { scheme: None, hostname: None, port: None, path: None, status: 302 };
        let request = Redirected {
            scheme: "http",
            host: "a.example",
            listener_port: 8080,
            path: "/p",
            query: Some("q=1"),
        };
        let scheme = |scheme: &str| Some(scheme.to_owned());
        for (redirect, listener_port, expected) in [
            (redirect.clone(), 8080, "http://a.example:8080/p?q=1"),
            (redirect.clone(), 80, "http://a.example/p?q=1"),
            (
                Redirect { scheme: scheme("https"), ..redirect.clone() },
                8080,
                "https://a.example/p?q=1",
            ),
            (
                Redirect { scheme: scheme("http"), ..redirect.clone() },
                8080,
                "http://a.example/p?q=1",
            ),
            (Redirect { port: Some(443), ..redirect.clone() }, 80, "http://a.example:443/p?q=1"),
            (
                Redirect { scheme: scheme("https"), port: Some(443), ..redirect.clone() },
                80,
                "https://a.example/p?q=1",
            ),
            (
                Redirect { scheme: scheme("https"), port: Some(8443), ..redirect.clone() },
                80,
                "https://a.example:8443/p?q=1",
            ),
            (
                Redirect { hostname: Some("b.example".to_owned()), ..redirect },
                80,
                "http://b.example/p?q=1",
            ),
        ] {
            let request = Redirected { listener_port, ..request };
            assert_eq!(location(&redirect, &prefix(""), request), expected, "{redirect:?}");
        }
    }

    #[test]
    fn filters_cannot_change_where_a_message_ends() {
        let changes = CompiledChanges::new(&HeaderChanges {
            set: vec![("content-length".to_owned(), "0".to_owned())],
            add: vec![("transfer-encoding".to_owned(), "gzip".to_owned())],
            remove: vec!["content-length".to_owned(), "x-a".to_owned()],
        });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
        headers.insert("x-a", HeaderValue::from_static("1"));
        changes.apply(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[CONTENT_LENGTH], "5");
    }
}

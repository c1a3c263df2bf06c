//! Filters of a rule or of a backend, from what the user wrote to what the data plane runs.
//!
//! A filter is honoured or refused, never passed over: who refuses it answers its requests with an
//! error (A4.4).

use gwapi_model::status::ConditionReason;
use gwapi_model::{
    BackendObjectReference, GrpcRouteRule, HttpHeader, HttpHeaderFilter, HttpPathModifier,
    HttpRequestMirrorFilter, HttpRequestRedirectFilter, HttpRouteFilter,
    HttpRouteFilterType as Type, HttpUrlRewriteFilter, PathModifierType, RouteKind,
};
use http::{HeaderName, HeaderValue};

use super::conditions::Problem;
use super::{cors, external_auth, rule, syntax};
use crate::ir::{
    BackendTarget, HeaderChanges, HttpFilter, HttpMatch, Mirror, PathMatch, PathRewrite, Redirect,
    UrlRewrite,
};

/// What became of a list of filters.
pub(super) struct Filters {
    /// Those that can be run.
    pub(super) filters: Vec<HttpFilter>,
    /// Why the list cannot be honoured (RT-12).
    pub(super) refused: Option<Problem>,
    /// Extensions that are not known (RT-10: a matter of ResolvedRefs).
    pub(super) unresolved: Vec<Problem>,
}

/// Headers that frame messages or belong to one connection: they are the proxy's own. So is every
/// header whose name starts with `proxy-`.
const OWNED_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Which way a message goes whose headers are changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Response,
}

/// Who is spoken to by way of a reference of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A backend like those of the route.
    AsTheRoute,
    /// A service that is asked by HTTP (EA-2); it is a Service in any case.
    ByHttp,
    /// A service that is asked by gRPC (EA-3).
    ByGrpc,
}

/// Compiles a list of filters of a route of that kind; `matches` are those of the rule, which a replaced prefix refers to.
/// `refer` finds out where a reference leads, and takes note where that is nowhere; it is told the place
/// of the filter.
pub(super) fn compile(
    written: &[HttpRouteFilter],
    kind: RouteKind,
    matches: &[HttpMatch],
    mut refer: impl FnMut(&BackendObjectReference, Asked, &str) -> BackendTarget,
) -> Filters {
    let mut result = Filters { filters: Vec::new(), refused: None, unresolved: Vec::new() };
    let mut refuse = |problem: Problem| {
        result.refused.get_or_insert(problem);
    };
    for (index, filter) in written.iter().enumerate() {
        let place = format!("filters[{index}]");
        if let Type::ExtensionRef = filter.filter_type {
            result.unresolved.push(extension_problem(filter, kind).at(place));
            continue;
        }
        let mut refer = |reference: &_, asked| refer(reference, asked, &place);
        let compiled = match &filter.filter_type {
            other if !is_of(kind, other) => Err(Problem::unsupported(format!(
                "type `{other}` is not supported on a {}",
                kind.kind()
            ))),
            Type::RequestMirror => {
                let written = filter.request_mirror.as_ref();
                let written = written.ok_or_else(|| missing("requestMirror"));
                written.and_then(|written| mirror(written, refer))
            }
            Type::ExternalAuth => {
                let written = filter.external_auth.as_deref();
                let written = written.ok_or_else(|| missing("externalAuth"));
                let compiled = written.and_then(|written| {
                    external_auth::compile(written, |asked| refer(&written.backend_ref, asked))
                });
                compiled.map(|compiled| Some(HttpFilter::ExternalAuth(compiled)))
            }
            _ => compile_filter(filter, matches).map(Some),
        };
        match compiled {
            Ok(compiled) => result.filters.extend(compiled),
            Err(problem) => refuse(problem.at(place)),
        }
    }
    if let Some(problem) = combination_problem(written) {
        refuse(problem);
    }
    result
}

/// GR-7: a GRPCRoute has fewer types of filters.
fn is_of(kind: RouteKind, filter: &Type) -> bool {
    kind.is_http() || GrpcRouteRule::FILTERS.contains(&filter.as_str())
}

/// A4.4: no extension is known.
fn extension_problem(filter: &HttpRouteFilter, kind: RouteKind) -> Problem {
    let what = match &filter.extension_ref {
        None => "extensionRef is not set".to_owned(),
        Some(it) => format!(
            "{} is no filter that is known; requests are answered with {}",
            syntax::kind_of_group(&it.kind, &it.name, &it.group),
            rule::refused_answer(kind)
        ),
    };
    Problem::new(ConditionReason::InvalidKind, what)
}

/// A4.4: each type once, and no redirect together with a rewrite.
fn combination_problem(written: &[HttpRouteFilter]) -> Option<Problem> {
    let count = |wanted: &Type| written.iter().filter(|it| it.filter_type == *wanted).count();
    let once = [
        Type::RequestHeaderModifier,
        Type::ResponseHeaderModifier,
        Type::RequestRedirect,
        Type::UrlRewrite,
        Type::Cors,
    ];
    let incompatible =
        |message: String| Problem::new(ConditionReason::IncompatibleFilters, message);
    if let Some(repeated) = once.iter().find(|filter_type| count(filter_type) > 1) {
        return Some(incompatible(format!("filters: {repeated} is there more than once")));
    }
    (count(&Type::RequestRedirect) > 0 && count(&Type::UrlRewrite) > 0).then(|| {
        incompatible("filters: RequestRedirect and URLRewrite cannot be combined".to_owned())
    })
}

fn missing(member: &str) -> Problem {
    Problem::unsupported(format!("{member} is not set"))
}

fn compile_filter(filter: &HttpRouteFilter, matches: &[HttpMatch]) -> Result<HttpFilter, Problem> {
    match &filter.filter_type {
        Type::RequestHeaderModifier => {
            let changes = filter.request_header_modifier.as_ref();
            let changes = changes.ok_or_else(|| missing("requestHeaderModifier"))?;
            Ok(HttpFilter::RequestHeaders(header_changes(changes, Direction::Request)?))
        }
        Type::ResponseHeaderModifier => {
            let changes = filter.response_header_modifier.as_ref();
            let changes = changes.ok_or_else(|| missing("responseHeaderModifier"))?;
            Ok(HttpFilter::ResponseHeaders(header_changes(changes, Direction::Response)?))
        }
        Type::RequestRedirect => {
            let written = filter.request_redirect.as_ref();
            redirect(written.ok_or_else(|| missing("requestRedirect"))?, matches)
                .map(HttpFilter::Redirect)
        }
        Type::UrlRewrite => {
            let written = filter.url_rewrite.as_ref();
            url_rewrite(written.ok_or_else(|| missing("urlRewrite"))?, matches)
                .map(HttpFilter::UrlRewrite)
        }
        Type::Cors => {
            let written = filter.cors.as_ref();
            cors::compile(written.ok_or_else(|| missing("cors"))?).map(HttpFilter::Cors)
        }
        other => Err(Problem::unsupported(format!("type `{other}` is not supported"))),
    }
}

/// HF-7. There is none where nothing is to be copied, or the reference leads nowhere.
fn mirror(
    written: &HttpRequestMirrorFilter,
    mut refer: impl FnMut(&BackendObjectReference, Asked) -> BackendTarget,
) -> Result<Option<HttpFilter>, Problem> {
    let (numerator, denominator) = mirrored_share(written)?;
    Ok(match refer(&written.backend_ref, Asked::AsTheRoute) {
        BackendTarget::Backend(backend) if numerator > 0 => {
            Some(HttpFilter::Mirror(Mirror { backend, numerator, denominator }))
        }
        BackendTarget::Backend(_) | BackendTarget::Invalid(_) => None,
    })
}

/// How many requests of how many are copied (HF-7).
fn mirrored_share(written: &HttpRequestMirrorFilter) -> Result<(u32, u32), Problem> {
    let (numerator, denominator) = match (written.percent, &written.fraction) {
        (None, None) => (100, 100),
        (Some(percent), None) => (percent, 100),
        (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
        (Some(_), Some(_)) => {
            return Err(Problem::unsupported(
                "requestMirror.percent and requestMirror.fraction cannot be combined",
            ));
        }
    };
    match (u32::try_from(numerator), u32::try_from(denominator)) {
        (Ok(numerator), Ok(denominator)) if denominator > 0 && numerator <= denominator => {
            Ok((numerator, denominator))
        }
        _ => Err(Problem::unsupported(format!(
            "requestMirror: {numerator} of {denominator} requests is no share"
        ))),
    }
}

/// HF-1. Of entries for one name in a list, however it is spelled, the first one counts.
fn header_changes(
    written: &HttpHeaderFilter,
    direction: Direction,
) -> Result<HeaderChanges, Problem> {
    let list = |headers: &[HttpHeader]| -> Result<Vec<(String, String)>, Problem> {
        let mut list: Vec<(String, String)> = Vec::with_capacity(headers.len());
        for header in headers {
            let name = header_name(&header.name, direction)?;
            if HeaderValue::from_str(&header.value).is_err() {
                return Err(Problem::unsupported(format!(
                    "the value of header `{name}` holds characters that no header may hold"
                )));
            }
            if list.iter().all(|(other, _)| *other != name) {
                list.push((name, header.value.clone()));
            }
        }
        Ok(list)
    };
    let remove = written.remove.iter().map(|name| removable_name(name, direction));
    Ok(HeaderChanges {
        set: list(&written.set)?,
        add: list(&written.add)?,
        remove: remove.collect::<Result<_, _>>()?,
    })
}

fn removable_name(text: &str, direction: Direction) -> Result<String, Problem> {
    let name = header_name(text, direction)?;
    if direction == Direction::Response && name == "date" {
        return Err(Problem::unsupported(
            "header `date` cannot be removed: every response carries it; use `set` to change it",
        ));
    }
    Ok(name)
}

pub(super) fn header_name(text: &str, direction: Direction) -> Result<String, Problem> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Problem::unsupported(format!("`{text}` is no header name")))?;
    let name = name.as_str();
    // A request has one host, which is also the authority of HTTP/2.
    if direction == Direction::Request && name == "host" {
        return Err(Problem::unsupported(
            "header `host` cannot be changed as a header; use a URLRewrite filter with `hostname`",
        ));
    }
    if OWNED_HEADERS.contains(&name) || name.starts_with("proxy-") {
        return Err(Problem::unsupported(format!(
            "header `{name}` is the proxy's own and cannot be changed"
        )));
    }
    Ok(name.to_owned())
}

/// HF-2 to HF-4.
fn redirect(
    written: &HttpRequestRedirectFilter,
    matches: &[HttpMatch],
) -> Result<Redirect, Problem> {
    if let Some(scheme) = written.scheme.as_deref().filter(|it| !matches!(*it, "http" | "https")) {
        return Err(Problem::unsupported(format!("scheme `{scheme}` is not supported")));
    }
    let status = written.status_code.unwrap_or(302);
    let status = u16::try_from(status)
        .ok()
        .filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308))
        .ok_or_else(|| Problem::unsupported(format!("statusCode {status} is not supported")))?;
    Ok(Redirect {
        scheme: written.scheme.clone(),
        hostname: precise_hostname(written.hostname.as_deref())?,
        port: written.port.map(gwapi_model::Port::get),
        path: path_rewrite(written.path.as_ref(), matches)?,
        status,
    })
}

/// HF-5.
fn url_rewrite(
    written: &HttpUrlRewriteFilter,
    matches: &[HttpMatch],
) -> Result<UrlRewrite, Problem> {
    Ok(UrlRewrite {
        hostname: precise_hostname(written.hostname.as_deref())?,
        path: path_rewrite(written.path.as_ref(), matches)?,
    })
}

fn precise_hostname(text: Option<&str>) -> Result<Option<String>, Problem> {
    match text {
        None => Ok(None),
        Some(text) if syntax::is_dns_name(text) => Ok(Some(text.to_ascii_lowercase())),
        Some(text) => Err(Problem::unsupported(format!("hostname `{text}` is no DNS name"))),
    }
}

/// HF-4, HF-6. What is replaced by must be able to stand in a URL as it is.
fn path_rewrite(
    written: Option<&HttpPathModifier>,
    matches: &[HttpMatch],
) -> Result<Option<PathRewrite>, Problem> {
    let Some(written) = written else { return Ok(None) };
    let rooted = |text: Option<&str>, member: &str| -> Result<String, Problem> {
        let text = text.ok_or_else(|| Problem::unsupported(format!("path.{member} is not set")))?;
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
        if !text.bytes().all(allowed) {
            return Err(Problem::unsupported(format!(
                "path.{member} holds characters that must be percent-encoded in a path"
            )));
        }
        Ok(if text.starts_with('/') { text.to_owned() } else { format!("/{text}") })
    };
    match &written.modifier_type {
        PathModifierType::ReplaceFullPath => {
            let text = rooted(written.replace_full_path.as_deref(), "replaceFullPath")?;
            Ok(Some(PathRewrite::Full(text)))
        }
        PathModifierType::ReplacePrefixMatch => {
            let text = rooted(written.replace_prefix_match.as_deref(), "replacePrefixMatch")?;
            // The prefix that is replaced is that of the one match (A4.4).
            if !matches!(matches, [HttpMatch { path: PathMatch::Prefix(_), .. }]) {
                return Err(Problem::unsupported(
                    "path.replacePrefixMatch needs a rule with exactly one match, of type \
                     PathPrefix",
                ));
            }
            Ok(Some(PathRewrite::Prefix(text.strip_suffix('/').unwrap_or(&text).to_owned())))
        }
        PathModifierType::Other(other) => {
            Err(Problem::unsupported(format!("path.type `{other}` is not supported")))
        }
    }
}

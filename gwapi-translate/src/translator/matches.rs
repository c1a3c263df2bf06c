//! Matches of a rule, from what the user wrote to what the table compares.

use std::collections::BTreeSet;
use std::sync::Arc;

use gwapi_model::{
    GrpcMethodMatch, GrpcRouteMatch, HttpHeaderMatch, HttpMethod, HttpPathMatch, HttpRouteMatch,
    PathMatchType, RouteRule, ValueMatchType,
};
use http::HeaderName;

use super::conditions::Problem;
use crate::ir::{HeaderMatch, HttpMatch, PathMatch, QueryParamMatch, ValueMatch};
use crate::{path, pattern};

/// The matches of a rule; none written means the path prefix `/` (HR-5), which is every call (GR-4).
///
/// One that cannot be read makes the rule unreadable: which requests it means is not known.
pub(super) fn compile(rule: RouteRule<'_>) -> Result<Vec<HttpMatch>, Problem> {
    let matches = match rule {
        RouteRule::Http(rule) => all(&rule.matches, compile_match)?,
        RouteRule::Grpc(rule) => all(&rule.matches, compile_grpc_match)?,
        RouteRule::Stream(_) => Vec::new(),
    };
    Ok(if matches.is_empty() { vec![HttpMatch::default()] } else { matches })
}

fn all<M>(
    written: &[M],
    compile: impl Fn(&M) -> Result<HttpMatch, Problem>,
) -> Result<Vec<HttpMatch>, Problem> {
    // There are as many lists as rules: they have no room to spare.
    let mut matches = Vec::with_capacity(written.len());
    for (index, written) in written.iter().enumerate() {
        let compiled = compile(written);
        matches.push(compiled.map_err(|problem| problem.at(format!("matches[{index}]")))?);
    }
    Ok(matches)
}

fn compile_match(written: &HttpRouteMatch) -> Result<HttpMatch, Problem> {
    let path = match &written.path {
        None => PathMatch::default(),
        Some(path) => compile_path(path).map_err(|problem| problem.at("path"))?,
    };
    let method = match &written.method {
        None => None,
        Some(HttpMethod::Other(method)) => {
            return Err(Problem::unsupported(format!("method `{method}` is not known")));
        }
        Some(method) => Some(method.as_str().to_owned()),
    };
    let headers = compile_headers(&written.headers)?;
    let mut names = BTreeSet::new();
    let mut query_params = Vec::with_capacity(written.query_params.len());
    for param in &written.query_params {
        let value = compile_value(param.match_type.as_ref(), &param.value)
            .map_err(|problem| problem.at(format!("query parameter `{}`", param.name)))?;
        // HM-6.
        if names.insert(param.name.as_str()) {
            query_params.push(QueryParamMatch { name: param.name.as_str().into(), value });
        }
    }
    Ok(HttpMatch { path, method, headers, query_params })
}

fn compile_grpc_match(written: &GrpcRouteMatch) -> Result<HttpMatch, Problem> {
    let path = match &written.method {
        None => PathMatch::default(),
        Some(method) => compile_grpc_method(method).map_err(|problem| problem.at("method"))?,
    };
    let headers = compile_headers(&written.headers)?;
    Ok(HttpMatch { path, headers, ..HttpMatch::default() })
}

/// GR-3: a call has the path `/service/method`. A service without method is a prefix, which says
/// more than a method without service (GR-2); each pattern sees its own element.
fn compile_grpc_method(written: &GrpcMethodMatch) -> Result<PathMatch, Problem> {
    let text = |text: &Option<Box<str>>| text.clone().filter(|text| !text.is_empty());
    let (service, method) = (text(&written.service), text(&written.method));
    if service.is_none() && method.is_none() {
        return Err(Problem::unsupported("neither service nor method is set"));
    }
    match written.match_type.as_ref().unwrap_or(&ValueMatchType::Exact) {
        ValueMatchType::Exact => {
            if let Some(service) = service.as_deref().filter(|it| !GrpcMethodMatch::is_service(it))
            {
                return Err(Problem::unsupported(format!("`{service}` is no gRPC service")));
            }
            if let Some(method) = method.as_deref().filter(|it| !GrpcMethodMatch::is_method(it)) {
                return Err(Problem::unsupported(format!("`{method}` is no gRPC method")));
            }
            Ok(match (service, method) {
                (Some(service), Some(method)) => {
                    PathMatch::Exact(format!("/{service}/{method}").into())
                }
                (Some(service), None) => PathMatch::Prefix(format!("/{service}").into()),
                (None, method) => PathMatch::GrpcMethod(method.unwrap_or_default().into()),
            })
        }
        ValueMatchType::RegularExpression => {
            for pattern in [&service, &method].into_iter().flatten() {
                check_pattern(pattern)?;
            }
            let (service, method) = (service.map(Into::into), method.map(Into::into));
            Ok(PathMatch::GrpcRegex { service, method })
        }
        ValueMatchType::Other(other) => {
            Err(Problem::unsupported(format!("type `{other}` is not supported")))
        }
    }
}

/// HM-5.
fn compile_headers(written: &[HttpHeaderMatch]) -> Result<Vec<HeaderMatch>, Problem> {
    let mut names = BTreeSet::new();
    let mut headers = Vec::with_capacity(written.len());
    for header in written {
        let place = format!("header `{}`", header.name);
        let name = HeaderName::from_bytes(header.name.as_bytes())
            .map_err(|_| Problem::unsupported("is no header name").at(&place))?;
        let value = compile_value(header.match_type.as_ref(), &header.value)
            .map_err(|problem| problem.at(&place))?;
        // HM-5: of entries for one name, however it is spelled, the first one counts.
        if names.insert(name.as_str().to_owned()) {
            headers.push(HeaderMatch { name: name.as_str().into(), value });
        }
    }
    Ok(headers)
}

/// HM-1 to HM-3, HR-3. Values of exact and prefix matches take the canonical form that request
/// paths have when they are compared (HM-4).
fn compile_path(written: &HttpPathMatch) -> Result<PathMatch, Problem> {
    let value = written.value.as_deref().unwrap_or("/");
    let literal = || -> Result<Arc<str>, Problem> {
        let broken = |why: &str| Problem::unsupported(format!("`{value}` {why}"));
        if value.contains(['?', '#']) {
            return Err(broken("is no path: it holds `?` or `#`"));
        }
        let canonical =
            path::canonical(value).map_err(|error| broken(&format!("is no path: {error}")))?;
        Ok(canonical.as_ref().into())
    };
    match written.match_type.as_ref().unwrap_or(&PathMatchType::PathPrefix) {
        PathMatchType::Exact => Ok(PathMatch::Exact(literal()?)),
        PathMatchType::PathPrefix => {
            let value = literal()?;
            Ok(PathMatch::Prefix(value.strip_suffix('/').unwrap_or(&value).into()))
        }
        PathMatchType::RegularExpression => {
            check_pattern(value)?;
            Ok(PathMatch::Regex(value.into()))
        }
        PathMatchType::Other(other) => {
            Err(Problem::unsupported(format!("type `{other}` is not supported")))
        }
    }
}

fn compile_value(match_type: Option<&ValueMatchType>, value: &str) -> Result<ValueMatch, Problem> {
    match match_type.unwrap_or(&ValueMatchType::Exact) {
        ValueMatchType::Exact => Ok(ValueMatch::Exact(value.into())),
        ValueMatchType::RegularExpression => {
            check_pattern(value)?;
            Ok(ValueMatch::Regex(value.into()))
        }
        ValueMatchType::Other(other) => {
            Err(Problem::unsupported(format!("type `{other}` is not supported")))
        }
    }
}

fn check_pattern(pattern: &str) -> Result<(), Problem> {
    let shown: String = pattern.chars().take(60).collect();
    pattern::compile(pattern).map(drop).map_err(|why| {
        Problem::unsupported(format!("`{shown}` is no valid regular expression: {why}"))
    })
}

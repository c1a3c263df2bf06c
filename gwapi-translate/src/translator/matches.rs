//! Matches of a rule, from what the user wrote to what the table compares.

use std::collections::BTreeSet;
use std::sync::Arc;

use gwapi_model::{
    HttpMethod, HttpPathMatch, HttpRouteMatch, HttpRouteRule, PathMatchType, ValueMatchType,
};
use http::HeaderName;

use super::conditions::Problem;
use crate::ir::{HeaderMatch, HttpMatch, PathMatch, QueryParamMatch, ValueMatch};
use crate::{path, pattern};

/// The matches of a rule; none written means the path prefix `/` (HR-5).
///
/// One that cannot be read makes the rule unreadable: which requests it means is not known.
pub(super) fn compile(rule: &HttpRouteRule) -> Result<Vec<HttpMatch>, Problem> {
    if rule.matches.is_empty() {
        return Ok(vec![HttpMatch::default()]);
    }
    let matches = rule.matches.iter().enumerate();
    matches
        .map(|(index, written)| {
            compile_match(written).map_err(|problem| problem.at(format!("matches[{index}]")))
        })
        .collect()
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
    let mut names = BTreeSet::new();
    let mut headers = Vec::with_capacity(written.headers.len());
    for header in &written.headers {
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

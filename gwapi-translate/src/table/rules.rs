//! Rules with their names and patterns compiled, and the conditions of a match.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use equivalent::Equivalent;
use http::HeaderName;
use http::header::HOST;
use regex::Regex;

use super::precedence::Precedence;
use super::{RequestHead, RouteMatch, query};
use crate::ir::{HttpMatch, HttpRule, PathMatch, RuleKey, ValueMatch};
use crate::pattern;

/// A rule of a table.
#[derive(Clone, Debug)]
pub(super) enum TableRule {
    /// Nothing of it is compiled, as of nearly all: it is read from the rule itself, so that 40,000 of
    /// them stay small.
    Plain(Arc<HttpRule>),
    Compiled(Arc<CompiledRule>),
}

/// A rule together with what a request cannot wait for.
#[derive(Debug)]
pub(super) struct CompiledRule {
    rule: Arc<HttpRule>,
    /// As the matches of the rule.
    conditions: Box<[Conditions]>,
}

/// Rules are the same where their keys are.
impl Hash for TableRule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rule().key.hash(state);
    }
}

impl PartialEq for TableRule {
    fn eq(&self, other: &Self) -> bool {
        self.rule().key == other.rule().key
    }
}

impl Eq for TableRule {}

impl Equivalent<TableRule> for RuleKey {
    fn equivalent(&self, rule: &TableRule) -> bool {
        *self == rule.rule().key
    }
}

/// What a match asks for besides a path that is compared as text.
#[derive(Debug)]
enum Conditions {
    /// Nothing that is compiled.
    Plain,
    /// It can never match.
    Never,
    Compiled(Box<Compiled>),
}

/// What is compiled of one match.
#[derive(Debug)]
struct Compiled {
    path: Option<PathPattern>,
    headers: Box<[(HeaderName, Value)]>,
    query_params: Box<[Value]>,
}

/// A path that is not compared as text.
#[derive(Debug)]
enum PathPattern {
    Whole(Regex),
    /// The elements of a gRPC call; any, where there is no pattern.
    Call {
        service: Option<Regex>,
        method: Option<Regex>,
    },
}

#[derive(Debug)]
enum Value {
    Exact(Arc<str>),
    Regex(Regex),
}

impl TableRule {
    pub(super) fn new(rule: Arc<HttpRule>) -> Self {
        let conditions: Vec<_> = rule.matches.iter().map(Conditions::compile).collect();
        if conditions.iter().all(|it| matches!(it, Conditions::Plain)) {
            return Self::Plain(rule);
        }
        Self::Compiled(Arc::new(CompiledRule { rule, conditions: conditions.into() }))
    }

    pub(super) fn rule(&self) -> &Arc<HttpRule> {
        match self {
            Self::Plain(rule) => rule,
            Self::Compiled(compiled) => &compiled.rule,
        }
    }

    /// A match, where some request may satisfy it.
    pub(super) fn candidate(&self, match_index: usize) -> Option<Candidate> {
        let match_index = u32::try_from(match_index).ok()?;
        let candidate = match self {
            Self::Plain(rule) => Candidate::Plain { rule: Arc::clone(rule), match_index },
            Self::Compiled(rule) => Candidate::Compiled { rule: Arc::clone(rule), match_index },
        };
        (!matches!(candidate.conditions(), Conditions::Never)).then_some(candidate)
    }
}

impl Conditions {
    fn compile(http_match: &HttpMatch) -> Self {
        let HttpMatch { path, method: _, headers, query_params } = http_match;
        let is_text = !matches!(path, PathMatch::Regex(_) | PathMatch::GrpcRegex { .. });
        if is_text && headers.is_empty() && query_params.is_empty() {
            return Self::Plain;
        }
        Compiled::compile(http_match).map_or(Self::Never, |it| Self::Compiled(Box::new(it)))
    }
}

impl Compiled {
    /// `None` where a name or a pattern is broken: such a match never matches. Translation says so
    /// in a condition of the route; here it must only do no harm.
    fn compile(http_match: &HttpMatch) -> Option<Self> {
        let path = PathPattern::compile(&http_match.path).ok()?;
        let headers = http_match
            .headers
            .iter()
            .map(|header| Some((header.name.parse().ok()?, Value::compile(&header.value)?)))
            .collect::<Option<_>>()?;
        let query_params = http_match
            .query_params
            .iter()
            .map(|param| Value::compile(&param.value))
            .collect::<Option<_>>()?;
        Some(Self { path, headers, query_params })
    }
}

impl PathPattern {
    /// Nothing for a path that is compared as text.
    fn compile(path: &PathMatch) -> Result<Option<Self>, String> {
        let element =
            |pattern: &Option<Arc<str>>| pattern.as_deref().map(pattern::compile).transpose();
        Ok(match path {
            PathMatch::Regex(pattern) => Some(Self::Whole(pattern::compile(pattern)?)),
            PathMatch::GrpcRegex { service, method } => {
                Some(Self::Call { service: element(service)?, method: element(method)? })
            }
            PathMatch::Exact(_) | PathMatch::Prefix(_) | PathMatch::GrpcMethod(_) => None,
        })
    }

    fn takes(&self, path: &str) -> bool {
        match self {
            Self::Whole(regex) => regex.is_match(path),
            Self::Call { service, method } => {
                let takes = |regex: &Option<Regex>, element| {
                    regex.as_ref().is_none_or(|regex| regex.is_match(element))
                };
                PathMatch::grpc_call(path).is_some_and(|(requested_service, requested_method)| {
                    takes(service, requested_service) && takes(method, requested_method)
                })
            }
        }
    }
}

impl Value {
    fn compile(value: &ValueMatch) -> Option<Self> {
        Some(match value {
            ValueMatch::Exact(text) => Self::Exact(text.clone()),
            ValueMatch::Regex(pattern) => Self::Regex(pattern::compile(pattern).ok()?),
        })
    }

    /// HM-5. A header that came in several lines matches if any single value does, or if all of
    /// them joined by `,` or by `, ` do: a client cannot avoid a match by adding a line, and a list
    /// cut into lines is still that list. Regular expressions see the single values.
    ///
    /// `Host` is what the backend gets: over HTTP/2 no client has to send such a field, and over HTTP/1
    /// whatever stands there counts for nothing where the target has a host (RFC 9112 3.2.2).
    fn takes_header(&self, request: &RequestHead<'_>, name: &HeaderName) -> bool {
        if *name == HOST {
            return self.takes_line(request.authority.as_bytes());
        }
        let values = || request.headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
        values().any(|value| self.takes_line(value))
            || match self {
                Self::Exact(text) => {
                    let text = text.as_bytes();
                    is_joined(values(), b",", text) || is_joined(values(), b", ", text)
                }
                Self::Regex(_) => false,
            }
    }

    /// Whether it takes a single value of a header.
    fn takes_line(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => value == text.as_bytes(),
            Self::Regex(regex) => {
                std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value))
            }
        }
    }

    fn takes_query_value(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => query::equals(value, text),
            Self::Regex(regex) => query::is_match(regex, value),
        }
    }
}

/// Whether the values with a separator between them are this text. No value at all is no text, not
/// even an empty one: a missing header never matches.
fn is_joined<'v>(
    mut values: impl Iterator<Item = &'v [u8]>,
    separator: &[u8],
    text: &[u8],
) -> bool {
    let Some(mut rest) = values.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    for value in values {
        match rest.strip_prefix(separator).and_then(|rest| rest.strip_prefix(value)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

/// The matches that compete for one path, in the order of precedence; what is many is shared by all
/// tables that do not differ in it. Most are alone, and then it takes the room of one.
#[derive(Clone, Debug)]
pub(super) enum Candidates {
    One(Candidate),
    Many(Arc<Vec<Candidate>>),
}

impl Candidates {
    /// Those of a list; none where it is empty.
    pub(super) fn of(mut all: Vec<Candidate>) -> Option<Self> {
        match all.len() {
            0 => None,
            1 => all.pop().map(Self::One),
            _ => {
                all.shrink_to_fit();
                Some(Self::Many(Arc::new(all)))
            }
        }
    }

    pub(super) fn as_slice(&self) -> &[Candidate] {
        match self {
            Self::One(candidate) => std::slice::from_ref(candidate),
            Self::Many(candidates) => candidates,
        }
    }
}

/// One match of a rule, in competition with others for a path.
#[derive(Clone, Debug)]
pub(super) enum Candidate {
    /// Of a rule of which nothing is compiled.
    Plain {
        rule: Arc<HttpRule>,
        match_index: u32,
    },
    Compiled {
        rule: Arc<CompiledRule>,
        match_index: u32,
    },
}

impl Candidate {
    pub(super) fn rule_key(&self) -> &RuleKey {
        &self.rule().key
    }

    fn rule(&self) -> &Arc<HttpRule> {
        match self {
            Self::Plain { rule, .. } => rule,
            Self::Compiled { rule, .. } => &rule.rule,
        }
    }

    /// What it asks for besides its path.
    fn conditions(&self) -> &Conditions {
        match self {
            Self::Plain { .. } => &Conditions::Plain,
            Self::Compiled { rule, .. } => &rule.conditions[self.index()],
        }
    }

    pub(super) fn cmp_precedence(&self, other: &Self) -> Ordering {
        self.precedence().cmp(&other.precedence())
    }

    fn precedence(&self) -> Precedence<'_> {
        Precedence::of(self.rule(), self.index())
    }

    /// Whether a request whose path is matched already satisfies the rest (HM-5 to HM-8); a method
    /// of any service lies where every path is looked for, and is part of the rest.
    pub(super) fn takes(&self, request: &RequestHead<'_>) -> bool {
        let http_match = self.http_match();
        if http_match.method.as_deref().is_some_and(|method| method != request.method) {
            return false;
        }
        if let PathMatch::GrpcMethod(method) = &http_match.path
            && PathMatch::grpc_call(request.path).map(|(_, method)| method) != Some(&**method)
        {
            return false;
        }
        let conditions = match self.conditions() {
            Conditions::Plain => return true,
            Conditions::Never => return false,
            Conditions::Compiled(conditions) => conditions,
        };
        let query = request.query.unwrap_or("");
        conditions.headers.iter().all(|(name, value)| value.takes_header(request, name))
            && http_match.query_params.iter().zip(&conditions.query_params).all(|(param, value)| {
                query::first_value(query, &param.name)
                    .is_some_and(|raw| value.takes_query_value(raw))
            })
    }

    /// Whether the regular expression of the path takes the request's path.
    pub(super) fn takes_path(&self, path: &str) -> bool {
        match self.conditions() {
            Conditions::Compiled(conditions) => {
                conditions.path.as_ref().is_some_and(|pattern| pattern.takes(path))
            }
            Conditions::Plain | Conditions::Never => false,
        }
    }

    pub(super) fn route_match(&self) -> RouteMatch<'_> {
        RouteMatch { rule: self.rule(), match_index: self.index() }
    }

    fn http_match(&self) -> &HttpMatch {
        &self.rule().matches[self.index()]
    }

    fn index(&self) -> usize {
        let (Self::Plain { match_index, .. } | Self::Compiled { match_index, .. }) = self;
        *match_index as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_joined_by_the_separator() {
        let joined = |values: &[&str], text: &str| {
            is_joined(values.iter().map(|value| value.as_bytes()), b", ", text.as_bytes())
        };
        assert!(joined(&["a", "b"], "a, b") && joined(&["a", "b, c"], "a, b, c"));
        for text in ["a", "a, ", "a, b, ", "a, b, c", "ab", "a,b", "b, a"] {
            assert!(!joined(&["a", "b"], text), "{text}");
        }
        assert!(!joined(&[], "") && joined(&[""], "") && joined(&["", ""], ", "));
    }

    #[test]
    fn candidates_take_the_room_of_one() {
        assert_eq!(size_of::<Candidates>(), size_of::<Candidate>());
    }

    #[test]
    fn a_broken_match_is_never_a_candidate() {
        let broken = ValueMatch::Regex("(".into());
        let matches = vec![
            HttpMatch { path: PathMatch::Regex("(".into()), ..HttpMatch::default() },
            HttpMatch {
                headers: vec![crate::ir::HeaderMatch { name: "a".into(), value: broken.clone() }],
                ..HttpMatch::default()
            },
            HttpMatch {
                headers: vec![crate::ir::HeaderMatch {
                    name: "a b".into(),
                    value: ValueMatch::Exact("1".into()),
                }],
                ..HttpMatch::default()
            },
            HttpMatch {
                query_params: vec![crate::ir::QueryParamMatch { name: "a".into(), value: broken }],
                ..HttpMatch::default()
            },
        ];
        for http_match in matches {
            let conditions = Conditions::compile(&http_match);
            assert!(matches!(conditions, Conditions::Never), "{http_match:?}");
        }
    }
}

//! Whether a match takes every request that another one takes.
//!
//! A yes is a proof; of regular expressions little is understood, and then the answer is no.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use regex::Regex;

use crate::ir::{HttpMatch, PathMatch, ValueMatch};
use crate::pattern;

/// Judges pairs of matches; patterns are compiled once.
#[derive(Default)]
pub(super) struct Judge {
    patterns: RefCell<HashMap<Arc<str>, Option<Regex>>>,
}

impl Judge {
    /// Whether every request that `narrow` takes is one that `wide` takes (HM-8).
    pub(super) fn takes_all_of(&self, wide: &HttpMatch, narrow: &HttpMatch) -> bool {
        (wide.method.is_none() || wide.method == narrow.method)
            && self.path_takes_all_of(&wide.path, &narrow.path)
            && wide.headers.iter().all(|wide| {
                let mut same = narrow.headers.iter().filter(|it| it.name == wide.name);
                same.any(|narrow| self.header_is_implied(&wide.value, &narrow.value))
            })
            && wide.query_params.iter().all(|wide| {
                let mut same = narrow.query_params.iter().filter(|it| it.name == wide.name);
                same.any(|narrow| self.value_is_implied(&wide.value, &narrow.value))
            })
    }

    fn path_takes_all_of(&self, wide: &PathMatch, narrow: &PathMatch) -> bool {
        use PathMatch::{Exact, GrpcMethod, GrpcRegex, Prefix, Regex};
        if wide == narrow {
            return true;
        }
        match (wide, narrow) {
            (Prefix(prefix), narrow) => prefix_takes_all_of(prefix, narrow),
            (Regex(pattern), Exact(path)) => self.is_match(pattern, path),
            (Regex(pattern), narrow) => match open_end(pattern) {
                Some(OpenEnd::Anything(start)) => all_begin_with(narrow, start),
                Some(OpenEnd::Elements(prefix)) => prefix_takes_all_of(prefix, narrow),
                None => false,
            },
            (GrpcMethod(method), Exact(path)) => {
                PathMatch::grpc_call(path).is_some_and(|(_, it)| *it == **method)
            }
            (GrpcRegex { service, method }, Exact(path)) => {
                PathMatch::grpc_call(path).is_some_and(|(requested_service, requested_method)| {
                    self.element_is_match(service, requested_service)
                        && self.element_is_match(method, requested_method)
                })
            }
            (GrpcRegex { service: None, method }, GrpcMethod(requested)) => {
                self.element_is_match(method, requested)
            }
            (
                GrpcRegex { service, method },
                GrpcRegex { service: narrow_service, method: narrow_method },
            ) => {
                (service.is_none() || service == narrow_service)
                    && (method.is_none() || method == narrow_method)
            }
            _ => false,
        }
    }

    /// HM-5: a text without commas is never what several lines make together, so that one of them is it.
    fn header_is_implied(&self, wide: &ValueMatch, narrow: &ValueMatch) -> bool {
        match narrow {
            ValueMatch::Exact(text) if text.contains(',') => wide == narrow,
            _ => self.value_is_implied(wide, narrow),
        }
    }

    fn value_is_implied(&self, wide: &ValueMatch, narrow: &ValueMatch) -> bool {
        match (wide, narrow) {
            (ValueMatch::Regex(pattern), ValueMatch::Exact(text)) => self.is_match(pattern, text),
            _ => wide == narrow,
        }
    }

    fn element_is_match(&self, pattern: &Option<Arc<str>>, element: &str) -> bool {
        pattern.as_ref().is_none_or(|pattern| self.is_match(pattern, element))
    }

    /// A broken pattern takes nothing.
    fn is_match(&self, pattern: &Arc<str>, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        let compiled = patterns
            .entry(Arc::clone(pattern))
            .or_insert_with(|| pattern::compile(pattern).ok())
            .as_ref();
        compiled.is_some_and(|regex| regex.is_match(text))
    }
}

/// Whether every path that a match takes lies under a prefix (HM-2).
fn prefix_takes_all_of(prefix: &str, narrow: &PathMatch) -> bool {
    let lies_under = |path: &str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match narrow {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => lies_under(path),
        PathMatch::Regex(pattern) => {
            literal_start(pattern).strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        }
        // Services are whatever they are.
        PathMatch::GrpcMethod(_) | PathMatch::GrpcRegex { .. } => prefix.is_empty(),
    }
}

/// Whether every path that a match takes begins with a text.
fn all_begin_with(narrow: &PathMatch, start: &str) -> bool {
    match narrow {
        PathMatch::Exact(path) => path.starts_with(start),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "/".starts_with(start),
        PathMatch::Prefix(prefix) => prefix.starts_with(start),
        PathMatch::Regex(pattern) => literal_start(pattern).starts_with(start),
        PathMatch::GrpcMethod(_) | PathMatch::GrpcRegex { .. } => "/".starts_with(start),
    }
}

/// What a pattern takes of which the end is open.
enum OpenEnd<'p> {
    /// Every path that begins with this.
    Anything(&'p str),
    /// Every path under this prefix.
    Elements(&'p str),
}

/// Reads patterns such as `/a/.*` and `/a(/.*)?`. A path holds no line break, which `.` would not take.
fn open_end(pattern: &str) -> Option<OpenEnd<'_>> {
    const ANYTHING: [&str; 2] = ["(.*)", ".*"];
    const ELEMENTS: [&str; 4] = ["(/.*)?", "(?:/.*)?", "(/|$)(.*)", "(/|$).*"];
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern.strip_suffix('$').unwrap_or(pattern);
    let before = |ends: &[&str]| {
        let mut starts = ends.iter().filter_map(|end| pattern.strip_suffix(end));
        starts.find(|start| !start.contains(is_special))
    };
    let elements = before(&ELEMENTS).map(OpenEnd::Elements);
    elements.or_else(|| before(&ANYTHING).map(OpenEnd::Anything))
}

/// The text that all begins with what a pattern takes; it may be empty.
pub(super) fn literal_start(pattern: &str) -> &str {
    if pattern.contains('|') {
        return "";
    }
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let end = pattern.find(is_special).unwrap_or(pattern.len());
    let (literal, rest) = pattern.split_at(end);
    // A quantifier is about the last character before it.
    match literal.char_indices().next_back() {
        Some((last, _)) if rest.starts_with(['*', '?', '+', '{']) => &literal[..last],
        _ => literal,
    }
}

fn is_special(c: char) -> bool {
    r"\.+*?()|[]{}^$".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathMatch {
        match text.split_at(1) {
            ("=", path) => PathMatch::Exact(path.into()),
            ("~", pattern) => PathMatch::Regex(pattern.into()),
            ("/", _) => PathMatch::Prefix(text.trim_end_matches('/').into()),
            (".", method) => PathMatch::GrpcMethod(method.into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_match_that_takes_all_of_another_one_is_told() {
        for (wide, narrow) in [
            ("/", "/a"),
            ("/", "=/a"),
            ("/", "~/a.*"),
            ("/a", "/a/b"),
            ("/a", "=/a"),
            ("/a", "=/a/b"),
            ("/a", "~/a/b+"),
            ("~.*", "/"),
            ("~/.*", "/"),
            ("~^/.*$", "/a"),
            ("~/a.*", "/ab"),
            ("~/a(/.*)?", "/a"),
            ("~/a(/|$)(.*)", "/a/b"),
            ("~/a[0-9]", "=/a1"),
            ("~/a.*", "~/ab?c"),
            ("~/.*", ".get"),
            ("/", ".get"),
            (".get", "=/s/get"),
        ] {
            assert!(
                Judge::default().path_takes_all_of(&path(wide), &path(narrow)),
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn a_path_match_that_leaves_some_of_another_one_is_not_told() {
        for (wide, narrow) in [
            ("/a", "/"),
            ("/a", "/ab"),
            ("/a", "=/ab"),
            ("/a", "~/a+"),
            ("/a", "~/a/?"),
            ("/a", "~/a/b|/c"),
            ("=/a", "/a"),
            ("~/a/.*", "/a"),
            ("~/a.b.*", "/a.b"),
            ("~/(", "=/("),
            ("~/ab", "~/ab?"),
            ("~/ab.*", "~/ab?"),
            ("~/a.*", "~(?x)/a"),
            ("/a", ".get"),
            (".get", "=/get"),
            (".get", "/s"),
        ] {
            assert!(
                !Judge::default().path_takes_all_of(&path(wide), &path(narrow)),
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn a_pattern_of_a_header_says_nothing_of_a_list() {
        let judge = Judge::default();
        let (pattern, list) = (ValueMatch::Regex("1,2|1".into()), ValueMatch::Exact("1,2".into()));
        assert!(!judge.header_is_implied(&pattern, &list), "it may come in two lines");
        assert!(judge.header_is_implied(&list, &list));
        assert!(judge.header_is_implied(&pattern, &ValueMatch::Exact("1".into())));
        assert!(judge.value_is_implied(&pattern, &list), "a query parameter has one value");
    }
}

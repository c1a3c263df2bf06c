//! Collects violations together with the field that is being looked at.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::ops::RangeInclusive;

use super::suggest::closest;
use super::syntax::Grammar;
use super::{FieldPath, PathSegment, Violation};

/// The field that is being looked at, and what was wrong so far.
///
/// Every check is a function over a `Checker` and the value at its current field, so that checks
/// nest as the object does. Steps cost no allocation until something is reported.
#[derive(Default)]
pub(super) struct Checker {
    path: Vec<Step>,
    violations: Vec<Violation>,
}

#[derive(Clone)]
enum Step {
    Field(Cow<'static, str>),
    Index(usize),
}

impl Checker {
    /// Everything that was reported.
    pub(super) fn finish(self) -> Vec<Violation> {
        self.violations
    }

    /// Reports the current field.
    pub(super) fn report(&mut self, message: impl Into<String>) {
        self.push(message.into(), None);
    }

    /// Reports the current field and says what to do about it.
    pub(super) fn report_with_help(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.push(message.into(), Some(help.into()));
    }

    fn push(&mut self, message: String, help: Option<String>) {
        let path = self
            .path
            .iter()
            .map(|step| match step {
                Step::Field(name) => PathSegment::Field(name.clone().into_owned()),
                Step::Index(index) => PathSegment::Index(*index),
            })
            .collect();
        self.violations.push(Violation { path: FieldPath(path), message, help });
    }

    fn step(&mut self, step: Step, check: impl FnOnce(&mut Self)) {
        self.path.push(step);
        check(self);
        self.path.pop();
    }

    /// Goes one field down.
    pub(super) fn field(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        check: impl FnOnce(&mut Self),
    ) {
        self.step(Step::Field(name.into()), check);
    }

    /// Goes one list position down.
    pub(super) fn index(&mut self, index: usize, check: impl FnOnce(&mut Self)) {
        self.step(Step::Index(index), check);
    }

    /// Checks a field where it is set.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        value: Option<&T>,
        check: impl FnOnce(&mut Self, &T),
    ) {
        if let Some(value) = value {
            self.field(name, |checker| check(checker, value));
        }
    }

    /// Checks the length of a list and each of its items.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        items: &[T],
        limits: RangeInclusive<usize>,
        mut check: impl FnMut(&mut Self, &T),
    ) {
        self.field(name, |checker| {
            if items.len() < *limits.start() {
                checker.report(format!("is empty: expected at least {}", limits.start()));
            }
            if items.len() > *limits.end() {
                checker.report(format!(
                    "has {} entries: expected at most {}",
                    items.len(),
                    limits.end()
                ));
            }
            for (index, item) in items.iter().enumerate() {
                checker.index(index, |checker| check(checker, item));
            }
        });
    }

    /// Reports every item whose key an earlier item has, at its field `at`; items without a key
    /// are left alone.
    pub(super) fn unique<'a, T, K: Hash + Eq>(
        &mut self,
        name: &'static str,
        items: &'a [T],
        at: Option<&'static str>,
        key: impl Fn(&'a T) -> Option<K>,
        message: impl Fn(&T) -> String,
    ) {
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            if key(item).is_some_and(|key| !seen.insert(key)) {
                self.field(name, |checker| {
                    checker.index(index, |checker| match at {
                        Some(field) => {
                            checker.field(field, |checker| checker.report(message(item)))
                        }
                        None => checker.report(message(item)),
                    });
                });
            }
        }
    }

    /// Reports repeated entries of a list that the API treats as a set.
    pub(super) fn set<T: Hash + Eq + std::fmt::Display>(
        &mut self,
        name: &'static str,
        items: &[T],
    ) {
        self.unique(name, items, None, Some, |item| format!("{} is listed twice", quote(item)));
    }

    /// Checks the size of a map, its keys and its values.
    pub(super) fn map(
        &mut self,
        name: &'static str,
        entries: &BTreeMap<String, String>,
        limit: usize,
        keys: &Grammar,
        values: &Grammar,
    ) {
        self.field(name, |checker| {
            if entries.len() > limit {
                checker.report(format!("has {} entries: expected at most {limit}", entries.len()));
            }
            for (key, value) in entries {
                checker.field(key.clone(), |checker| {
                    checker.value(key, keys);
                    checker.value(value, values);
                });
            }
        });
    }

    /// Checks a text field.
    pub(super) fn text(&mut self, name: &'static str, value: &str, grammar: &Grammar) {
        self.field(name, |checker| checker.value(value, grammar));
    }

    /// Checks a text field where it is set.
    pub(super) fn optional_text(
        &mut self,
        name: &'static str,
        value: Option<&impl AsRef<str>>,
        grammar: &Grammar,
    ) {
        self.optional(name, value, |checker, value| checker.value(value.as_ref(), grammar));
    }

    /// Checks the text at the current field.
    pub(super) fn value(&mut self, value: &str, grammar: &Grammar) {
        let length = value.chars().count();
        if length > grammar.limit {
            self.report(format!(
                "{} is {length} characters long: expected {} of at most {}",
                quote(value),
                grammar.what,
                grammar.limit
            ));
        } else if !(grammar.accepts)(value) {
            let problem =
                if value.is_empty() { "is empty".to_owned() } else { not(value, grammar) };
            self.push(format!("{problem}: expected {}", grammar.expected), (grammar.help)(value));
        }
    }

    /// Checks a text field that takes one of a few values.
    pub(super) fn one_of(&mut self, name: &'static str, value: &str, allowed: &[&str]) {
        self.field(name, |checker| checker.value_of(value, allowed));
    }

    /// Checks that the text at the current field is one of a few values.
    pub(super) fn value_of(&mut self, value: &str, allowed: &[&str]) {
        if !allowed.contains(&value) {
            let help = closest(value, allowed).map(|known| format!("did you mean {known}?"));
            self.push(
                format!("{} is not known here: expected {}", quote(value), either(allowed)),
                help,
            );
        }
    }

    /// Checks a number where it is set.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        value: Option<i64>,
        range: RangeInclusive<i64>,
    ) {
        self.optional(name, value.as_ref(), |checker, value| {
            checker.value_within(*value, range);
        });
    }

    /// Checks the number at the current field.
    pub(super) fn value_within(&mut self, value: i64, range: RangeInclusive<i64>) {
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            self.report(if *high >= i64::from(i32::MAX) {
                format!("{value} is too small: expected {low} or more")
            } else {
                format!("{value} is out of range: expected {low} to {high}")
            });
        }
    }

    /// Checks a union: the member that fits the type is set and no other. A type without a member
    /// in the list is reported where the type itself is checked.
    pub(super) fn union(&mut self, chosen: &str, members: &[Member]) {
        if !members.iter().any(|member| member.of_type == chosen) {
            return;
        }
        for &Member { of_type, field, is_set } in members {
            if of_type == chosen && !is_set {
                self.report(format!("`{field}` is missing: type {of_type} needs it"));
            }
            if of_type != chosen && is_set {
                self.field(field, |checker| {
                    checker.report_with_help(
                        format!("belongs to type {of_type}, but the type is {chosen}"),
                        format!("remove `{field}` or set the type to {of_type}"),
                    );
                });
            }
        }
    }
}

/// A member of a union: the type that it belongs to, its field, and whether it is set.
pub(super) struct Member {
    pub(super) of_type: &'static str,
    pub(super) field: &'static str,
    pub(super) is_set: bool,
}

fn not(value: &str, grammar: &Grammar) -> String {
    format!("{} is not {}", quote(value), grammar.what)
}

/// A user's value for a message: escaped, and cut where it is long.
pub(super) fn quote(value: impl std::fmt::Display) -> String {
    const SHOWN: usize = 80;
    let value = value.to_string();
    let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// `a`, `a or b`, `a, b or c`.
fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

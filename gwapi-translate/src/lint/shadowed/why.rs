//! Why one match comes before another one, in words.

use super::Contender;
use crate::table::PathRank;

/// Why one match comes before another one that takes no more than it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its hostname is more specific (HR-1).
    Hostname,
    /// It has a regular expression, and the other one a prefix (HR-3).
    RegexBeforePrefix,
    /// Its regular expression is longer (HR-3).
    LongerRegex,
    /// Its path, its method, its headers or its query parameters say more (HR-2).
    Specific,
    /// Its route is older (HR-2, 6).
    Older,
    /// Its route comes first by name (HR-2, 7).
    Name,
    /// It is of an HTTPRoute, and the other one of a GRPCRoute of the same name (GR-8).
    Kind,
    /// It comes first in the route (HR-2, 8).
    Position,
}

impl Why {
    /// Why `first` comes before `second` under one hostname.
    pub(super) fn of(first: Contender<'_>, second: Contender<'_>) -> Self {
        if let (Contender::Match(one, index), Contender::Match(other, other_index)) =
            (first, second)
        {
            let (one, other) = (&one.matches[index], &other.matches[other_index]);
            match (PathRank::of(&one.path), PathRank::of(&other.path)) {
                (one, other) if one == other => {}
                (PathRank::Regex(_), PathRank::Prefix(..)) => return Self::RegexBeforePrefix,
                (PathRank::Regex(_), PathRank::Regex(_)) => return Self::LongerRegex,
                _ => return Self::Specific,
            }
            let conditions = |it: &crate::ir::HttpMatch| {
                (it.method.is_some(), it.headers.len(), it.query_params.len())
            };
            if conditions(one) != conditions(other) {
                return Self::Specific;
            }
        }
        let (one, other) = (first.order(), second.order());
        if one.created != other.created {
            Self::Older
        } else if one.route != other.route {
            Self::Name
        } else if first.route().kind != second.route().kind {
            Self::Kind
        } else {
            Self::Position
        }
    }

    /// The reason as a sentence about the one that comes first.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Hostname => "its hostname is more specific",
            Self::RegexBeforePrefix => {
                "a regular expression comes before every prefix, however long that is"
            }
            Self::LongerRegex => "its regular expression is longer",
            Self::Specific => "it says more about its requests",
            Self::Older => "its route is older",
            Self::Name => "its route comes first by namespace and name",
            Self::Kind => "an HTTPRoute comes before a GRPCRoute of the same name",
            Self::Position => "it stands first in the route",
        }
    }

    /// What may be done for the one that comes second.
    pub(super) fn help(self, in_one_route: bool) -> &'static str {
        match self {
            Self::Position if in_one_route => {
                "remove it, or let it stand first or ask for something that the first one does not"
            }
            Self::RegexBeforePrefix => {
                "write it as a longer regular expression or as an exact path, or give the other one a prefix"
            }
            Self::LongerRegex => "make the other regular expression narrower, or this one longer",
            Self::Hostname => "give this route that hostname as well, or remove it",
            _ => {
                "remove it, or let it ask for more than the other one: a longer or an exact path, a \
                 method, headers, query parameters"
            }
        }
    }
}

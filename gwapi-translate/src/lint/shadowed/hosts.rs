//! Sets of hosts, as a hostname of a listener or a route means one; `None` means every host.

use std::cmp::Reverse;

use crate::ir::Hostname;

/// Whether every host that `narrow` means is meant by `wide`.
///
/// No union of hostnames has to be looked at: hosts under a wildcard are without number, and finitely many
/// narrower names leave some out.
pub(super) fn covers(wide: Option<&Hostname>, narrow: Option<&Hostname>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(Hostname::Exact(name))) => wide.matches(name),
        (Some(Hostname::Exact(_)), Some(Hostname::Wildcard(_))) => false,
        (Some(wide @ Hostname::Wildcard(suffix)), Some(Hostname::Wildcard(narrow))) => {
            suffix == narrow || wide.matches(narrow)
        }
    }
}

/// The hosts that both mean; `None` where there are none. Hostnames that meet lie one inside the other.
pub(super) fn meet<'h>(
    one: Option<&'h Hostname>,
    other: Option<&'h Hostname>,
) -> Option<Option<&'h Hostname>> {
    if covers(one, other) {
        Some(other)
    } else if covers(other, one) {
        Some(one)
    } else {
        None
    }
}

/// How specific a hostname is, the most specific least (LI-1, HR-1): of those that mean one host.
pub(super) fn rank(hostname: Option<&Hostname>) -> (u8, Reverse<usize>) {
    match hostname {
        Some(Hostname::Exact(name)) => (0, Reverse(name.len())),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

/// The hostnames that cover one, the most specific first: itself, the wildcards above it, none.
pub(super) fn covering(hostname: Option<&Hostname>) -> impl Iterator<Item = Option<Hostname>> {
    let labels = match hostname {
        Some(Hostname::Exact(name) | Hostname::Wildcard(name)) => Some(name.clone()),
        None => None,
    };
    let above = labels.into_iter().flat_map(|labels| {
        let dots: Vec<_> = labels.match_indices('.').map(|(dot, _)| dot).collect();
        let wildcards = dots.into_iter().filter(|dot| *dot > 0);
        wildcards.map(move |dot| Hostname::Wildcard(labels[dot + 1..].into())).collect::<Vec<_>>()
    });
    hostname.cloned().into_iter().chain(above).map(Some).chain([None])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostname(text: &str) -> Option<Hostname> {
        (!text.is_empty()).then(|| Hostname::parse(text))
    }

    #[test]
    fn a_hostname_covers_what_lies_inside_of_it() {
        for (wide, narrow, expected) in [
            ("", "", true),
            ("", "*.a", true),
            ("*.a", "", false),
            ("*.a", "*.a", true),
            ("*.a", "*.b.a", true),
            ("*.b.a", "*.a", false),
            ("*.a", "b.a", true),
            ("*.a", "a", false),
            ("b.a", "*.a", false),
            ("b.a", "b.a", true),
            ("*.a", "*.xa", false),
        ] {
            let (wide, narrow) = (hostname(wide), hostname(narrow));
            assert_eq!(covers(wide.as_ref(), narrow.as_ref()), expected, "{wide:?} {narrow:?}");
        }
    }

    #[test]
    fn what_covers_a_hostname_is_listed_from_the_most_specific_on() {
        for (of, expected) in [
            ("b.a.test", "b.a.test *.a.test *.test any"),
            ("*.a.test", "*.a.test *.test any"),
            ("test", "test any"),
            ("", "any"),
        ] {
            let of = hostname(of);
            let all: Vec<_> = covering(of.as_ref()).collect();
            let shown = all.iter().map(|it| it.as_ref().map_or("any".into(), ToString::to_string));
            assert_eq!(shown.collect::<Vec<String>>().join(" "), expected);
            assert!(all.iter().all(|it| covers(it.as_ref(), of.as_ref())));
            assert!(all.is_sorted_by_key(|it| rank(it.as_ref())));
        }
    }
}

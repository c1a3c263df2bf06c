//! How many lookups there are at one time, so that those which hang leave room for the others.

use std::collections::BTreeMap;

/// Lookups at one time in the whole process.
pub(super) const MAX_AT_ONCE: usize = 64;

/// Those among them for names of one domain.
pub(super) const MAX_OF_A_DOMAIN: usize = 16;

/// Those among them for names whose last lookup hung.
pub(super) const MAX_OF_HUNG_NAMES: usize = 16;

/// The places of lookups.
#[derive(Debug)]
pub(super) struct Places {
    taken: usize,
    of_hung_names: usize,
    /// None is zero.
    of_domains: BTreeMap<Box<str>, usize>,
}

impl Places {
    pub(super) const fn new() -> Self {
        Self { taken: 0, of_hung_names: 0, of_domains: BTreeMap::new() }
    }

    pub(super) fn are_all_taken(&self) -> bool {
        self.taken >= MAX_AT_ONCE
    }

    /// Takes a place, where there is one for such a name.
    pub(super) fn take(&mut self, name: &str, is_hung: bool) -> bool {
        let domain = domain(name);
        let of_domain = self.of_domains.get(domain).copied().unwrap_or_default();
        let has_room = !self.are_all_taken()
            && of_domain < MAX_OF_A_DOMAIN
            && !(is_hung && self.of_hung_names >= MAX_OF_HUNG_NAMES);
        if has_room {
            self.taken += 1;
            self.of_hung_names += usize::from(is_hung);
            self.of_domains.insert(domain.into(), of_domain + 1);
        }
        has_room
    }

    /// Gives back what was taken with the same words.
    pub(super) fn give_back(&mut self, name: &str, is_hung: bool) {
        let domain = domain(name);
        self.taken -= 1;
        self.of_hung_names -= usize::from(is_hung);
        if let Some(of_domain) = self.of_domains.get_mut(domain) {
            *of_domain -= 1;
            if *of_domain == 0 {
                self.of_domains.remove(domain);
            }
        }
    }

    /// Takes all of them.
    #[cfg(test)]
    pub(super) fn hold(&mut self) {
        self.taken += MAX_AT_ONCE;
    }

    #[cfg(test)]
    pub(super) fn let_go(&mut self) {
        self.taken -= MAX_AT_ONCE;
    }
}

/// The last two labels of a name: those below mostly have the same servers, which answer or hang together.
fn domain(name: &str) -> &str {
    let name = name.strip_suffix('.').unwrap_or(name);
    let dots = name.rmatch_indices('.');
    dots.map(|(at, _)| at + 1).nth(1).map_or(name, |at| &name[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_the_domain_of_their_last_two_labels() {
        for (name, its_domain) in [
            ("a.b.example.com", "example.com"),
            ("example.com", "example.com"),
            ("b.example.com.", "example.com"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(domain(name), its_domain, "{name}");
        }
    }

    #[test]
    fn a_domain_and_those_that_hung_leave_places_to_others_and_all_come_back() {
        let mut places = Places::new();
        let name = |domain: usize, host: usize| format!("h{host}.d{domain}.example.org.");
        let of_one = (0..MAX_AT_ONCE).filter(|host| places.take(&name(1, *host), false)).count();
        assert_eq!(of_one, MAX_OF_A_DOMAIN, "all of them are example.org");
        let hung = |host: usize| format!("h.d{host}.");
        let of_hung = (0..MAX_AT_ONCE).filter(|host| places.take(&hung(*host), true)).count();
        assert_eq!(of_hung, MAX_OF_HUNG_NAMES);
        let new = (0..MAX_AT_ONCE).filter(|host| places.take(&format!("n{host}"), false)).count();
        assert_eq!(new, MAX_AT_ONCE - MAX_OF_A_DOMAIN - MAX_OF_HUNG_NAMES);
        assert!(places.are_all_taken());
        (0..of_one).for_each(|host| places.give_back(&name(1, host), false));
        (0..of_hung).for_each(|host| places.give_back(&hung(host), true));
        (0..new).for_each(|host| places.give_back(&format!("n{host}"), false));
        assert_eq!((places.taken, places.of_hung_names), (0, 0));
        assert!(places.of_domains.is_empty());
    }
}

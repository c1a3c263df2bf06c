//! What the system says of a name: its hosts file, its DNS servers and search lists, whatever it is set up to
//! ask.

use dns_lookup::{AddrInfoHints, LookupErrorKind, SockType, getaddrinfo};

use super::names::{Found, Unfound};

/// Looks a name up, for as long as the system takes: nobody can call it off.
pub(super) fn look_up(name: &str) -> Found {
    // One entry for each address, and not one for each kind of socket.
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let entries =
        getaddrinfo(Some(name), None, Some(hints)).map_err(|error| match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => Unfound::NoAddress,
            _ => Unfound::failed(&error),
        })?;
    // What is no IP address leads nowhere.
    let addresses = entries.filter_map(|entry| Some(entry.ok()?.sockaddr)).collect::<Vec<_>>();
    if addresses.is_empty() { Err(Unfound::NoAddress) } else { Ok(addresses.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_comes_once() {
        let found = look_up("localhost").expect("it is known everywhere");
        let mut once = found.to_vec();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), found.len());
        assert!(found.iter().all(|it| it.ip().is_loopback()), "{found:?}");
    }

    #[test]
    fn what_is_no_name_at_all_is_a_failure() {
        assert!(matches!(look_up("a\0b"), Err(Unfound::Failed(_))));
    }
}

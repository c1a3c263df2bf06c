//! Who a client is: whoever opened the connection, or whom proxies in front of this one name,
//! where they are trusted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::headers::remove_where;
use super::present::Present;
use super::request;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Which proxies in front of this one are believed about clients.
///
/// What they are believed about is the address (`X-Forwarded-For`), and how the client reached them
/// (`X-Forwarded-Proto`, `-Host` and `-Port`). Of what others say, nothing is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrustedProxies {
    /// None: a client is who opened the connection.
    #[default]
    None,
    /// So many, one behind the other, whoever they are: the client is the entry of
    /// `X-Forwarded-For` that is as far from its right end. Where there are fewer, nothing of it is
    /// believed. Whoever can reach this proxy past them can be anybody.
    Hops(usize),
    /// Those with an address in one of these networks: the client is the first one from the right
    /// that is in none.
    Networks(Vec<IpNet>),
}

/// What the proxy knows of a connection's client, as fields of its requests.
#[derive(Debug)]
pub(super) struct ClientFields {
    peer: IpAddr,
    address: HeaderValue,
    scheme: HeaderValue,
    /// The fields that say so, as they are sent over HTTP/1.
    wire: Vec<u8>,
    /// Whether the other side of the connection may speak for a client.
    trusted: bool,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    /// The way from there to here, where trusted proxies spoke of one.
    way: Option<HeaderValue>,
}

impl ClientFields {
    pub(super) fn new(peer: IpAddr, tls: bool, proxies: &TrustedProxies) -> Self {
        let peer = peer.to_canonical();
        let address = text(peer);
        let scheme = if tls { "https" } else { "http" };
        let mut wire = String::with_capacity(128);
        let fields =
            [(X_FORWARDED_FOR, &*address), (X_REAL_IP, &*address), (X_FORWARDED_PROTO, scheme)];
        for (name, value) in &fields {
            [name.as_str(), ": ", value, "\r\n"].iter().for_each(|part| wire.push_str(part));
        }
        Self {
            peer,
            address: value(&address),
            scheme: HeaderValue::from_static(scheme),
            wire: wire.into_bytes(),
            trusted: match proxies {
                TrustedProxies::None => false,
                TrustedProxies::Hops(hops) => *hops > 0,
                TrustedProxies::Networks(networks) => contain(networks, peer),
            },
        }
    }

    /// The client as the connection knows it.
    pub(super) fn peer(&self) -> Client {
        Client { address: self.peer, way: None }
    }

    /// Who sent a request with these fields. Claims that are not believed are gone then, so that
    /// no route can match them.
    pub(super) fn admit(
        &self,
        headers: &mut HeaderMap,
        present: Present,
        proxies: &TrustedProxies,
    ) -> Client {
        if !present.any(Present::CLAIM) {
            return self.peer();
        }
        let way = self.trusted.then(|| way(headers, proxies)).flatten();
        let Some(way) = way else {
            remove_where(headers, |name| Present::named(name).any(Present::CLAIM));
            return self.peer();
        };
        // What proxies make of it is not known: they may have passed on whatever a client wrote.
        headers.remove(FORWARDED);
        let stations = way.iter().rev().chain([&self.peer]).map(ToString::to_string);
        Client {
            address: way.last().copied().unwrap_or(self.peer),
            way: Some(value(&stations.collect::<Vec<_>>().join(", "))),
        }
    }

    /// The fields of [`ClientFields::set`], but `X-Forwarded-Host`, as they are sent over HTTP/1. `None`
    /// where they depend on the request.
    pub(super) fn wire(&self, client: &Client) -> Option<&[u8]> {
        client.way.is_none().then_some(&*self.wire)
    }

    /// Sets every field by which a client could claim to be another one: to what the proxy saw, or
    /// to what trusted ones said.
    pub(super) fn set(&self, headers: &mut HeaderMap, authority: &HeaderValue, client: &Client) {
        let Some(way) = &client.way else {
            headers.insert(X_FORWARDED_FOR, self.address.clone());
            headers.insert(X_REAL_IP, self.address.clone());
            headers.insert(X_FORWARDED_PROTO, self.scheme.clone());
            headers.insert(X_FORWARDED_HOST, authority.clone());
            return;
        };
        headers.insert(X_FORWARDED_FOR, way.clone());
        headers.insert(X_REAL_IP, value(&client.address.to_string()));
        if !only(headers, &X_FORWARDED_PROTO).is_some_and(is_scheme) {
            headers.insert(X_FORWARDED_PROTO, self.scheme.clone());
        }
        if !only(headers, &X_FORWARDED_HOST).is_some_and(request::is_authority) {
            headers.insert(X_FORWARDED_HOST, authority.clone());
        }
        if !only(headers, &X_FORWARDED_PORT).is_some_and(is_port) {
            headers.remove(X_FORWARDED_PORT);
        }
    }
}

/// Addresses that trusted proxies spoke of, from the nearest to the client; `None` where what
/// there is cannot be believed.
fn way(headers: &HeaderMap, proxies: &TrustedProxies) -> Option<Vec<IpAddr>> {
    match proxies {
        TrustedProxies::None => None,
        TrustedProxies::Hops(hops) => {
            let way: Option<Vec<IpAddr>> = entries(headers).take(*hops).collect();
            way.filter(|way| way.len() == *hops)
        }
        TrustedProxies::Networks(networks) => {
            let mut way = Vec::new();
            // Past an entry that is none, nobody knows who wrote the rest.
            for address in entries(headers).map_while(|entry| entry) {
                way.push(address);
                if !contain(networks, address) {
                    break;
                }
            }
            Some(way)
        }
    }
}

/// The entries of `X-Forwarded-For` over all of its lines, from the right; one that is no address
/// is `None`.
fn entries(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    // RFC 9110 5.6.1: empty elements of a list do not count.
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()).map(address)
}

/// An address, in brackets or not, with a port or without.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(with_port).or_else(|| bare().map(IpAddr::from));
    address.map(|address| address.to_canonical())
}

/// An address as text. Each connection needs it once, and for most of them the general way would cost
/// more than all else that is known of a client.
fn text(address: IpAddr) -> String {
    let IpAddr::V4(v4) = address else { return address.to_string() };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (position, octet) in v4.octets().into_iter().enumerate() {
        if position > 0 {
            text.push('.');
        }
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let leading = if octet >= 100 {
            0
        } else if octet >= 10 {
            1
        } else {
            2
        };
        digits[leading..].iter().for_each(|digit| text.push(char::from(b'0' + digit)));
    }
    text
}

fn contain(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// The value of a field that is said once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

fn is_scheme(text: &str) -> bool {
    text == "http" || text == "https"
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("addresses are visible ASCII")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> TrustedProxies {
        TrustedProxies::Networks(texts.iter().map(|text| text.parse().expect("CIDR")).collect())
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    /// The fields that an endpoint gets of a request from `peer`, and the client.
    fn pass(peer: &str, proxies: &TrustedProxies, mut fields: HeaderMap) -> (HeaderMap, IpAddr) {
        let peer = peer.parse().expect("an address");
        let connection = ClientFields::new(peer, false, proxies);
        let present = Present::of(&fields);
        let client = connection.admit(&mut fields, present, proxies);
        connection.set(&mut fields, &HeaderValue::from_static("a.example"), &client);
        (fields, client.address)
    }

    /// `X-Forwarded-For` as an endpoint gets it, and the client.
    fn pass_for(peer: &str, proxies: &TrustedProxies, lines: &[&str]) -> (String, String) {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let (fields, client) = pass(peer, proxies, headers(&lines));
        assert_eq!(fields[X_REAL_IP], *client.to_string());
        let way = only(&fields, &X_FORWARDED_FOR).expect("one line");
        assert!(way == client.to_string() || way.starts_with(&format!("{client}, ")), "{way}");
        (way.to_owned(), client.to_string())
    }

    #[test]
    fn without_trust_every_claim_is_overwritten_or_dropped() {
        let spoofed = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "7.7.7.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-server", "evil"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        for proxies in [TrustedProxies::None, TrustedProxies::Hops(0), networks(&["192.0.2.0/24"])]
        {
            let (fields, client) = pass("10.0.0.1", &proxies, spoofed.clone());
            assert_eq!(client, IpAddr::from([10, 0, 0, 1]));
            let expected = headers(&[
                ("x-forwarded-for", "10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "a.example"),
            ]);
            assert_eq!(fields, expected, "{proxies:?}");
        }
    }

    #[test]
    fn hops_count_from_the_right() {
        for (hops, lines, way, client) in [
            (1, &["1.1.1.1"][..], "1.1.1.1, 10.0.0.1", "1.1.1.1"),
            (1, &["6.6.6.6, 1.1.1.1"], "1.1.1.1, 10.0.0.1", "1.1.1.1"),
            (2, &["6.6.6.6, 1.1.1.1, 2.2.2.2"], "1.1.1.1, 2.2.2.2, 10.0.0.1", "1.1.1.1"),
            (2, &["6.6.6.6, 1.1.1.1", "2.2.2.2"], "1.1.1.1, 2.2.2.2, 10.0.0.1", "1.1.1.1"),
            (1, &["unknown,1.1.1.1"], "1.1.1.1, 10.0.0.1", "1.1.1.1"),
            // Fewer entries than hops, or none that is an address: nothing is believed.
            (2, &["1.1.1.1"], "10.0.0.1", "10.0.0.1"),
            (1, &[], "10.0.0.1", "10.0.0.1"),
            (1, &["1.1.1.1, unknown"], "10.0.0.1", "10.0.0.1"),
            (2, &["1.1.1.1, unknown"], "10.0.0.1", "10.0.0.1"),
        ] {
            let seen = pass_for("10.0.0.1", &TrustedProxies::Hops(hops), lines);
            assert_eq!(seen, (way.to_owned(), client.to_owned()), "{hops} {lines:?}");
        }
    }

    #[test]
    fn networks_end_at_the_first_address_that_is_in_none() {
        let trusted = networks(&["10.0.0.0/8", "fd00::/8"]);
        for (lines, way, client) in [
            (&["1.1.1.1"][..], "1.1.1.1, 10.0.0.1", "1.1.1.1"),
            (&["6.6.6.6, 1.1.1.1, 10.2.2.2"], "1.1.1.1, 10.2.2.2, 10.0.0.1", "1.1.1.1"),
            (&["6.6.6.6", "1.1.1.1,fd00::1"], "1.1.1.1, fd00::1, 10.0.0.1", "1.1.1.1"),
            (&["10.3.3.3, 10.2.2.2"], "10.3.3.3, 10.2.2.2, 10.0.0.1", "10.3.3.3"),
            (&["1.1.1.1, unknown, 10.2.2.2"], "10.2.2.2, 10.0.0.1", "10.2.2.2"),
            (&["1.1.1.1, unknown"], "10.0.0.1", "10.0.0.1"),
            (&[], "10.0.0.1", "10.0.0.1"),
        ] {
            let seen = pass_for("10.0.0.1", &trusted, lines);
            assert_eq!(seen, (way.to_owned(), client.to_owned()), "{lines:?}");
        }
        assert_eq!(pass_for("192.0.2.1", &trusted, &["1.1.1.1"]).0, "192.0.2.1");
        let mapped = pass_for("::ffff:10.0.0.1", &trusted, &["1.1.1.1"]);
        assert_eq!(mapped.0, "1.1.1.1, 10.0.0.1", "an address is one in both its forms");
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, expected) in [
            ("1.2.3.4", Some("1.2.3.4")),
            ("1.2.3.4:80", Some("1.2.3.4")),
            ("2001:DB8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("::ffff:1.2.3.4", Some("1.2.3.4")),
            ("unknown", None),
            ("_hidden", None),
            ("1.2.3", None),
            ("1.2.3.4:x", None),
            ("1.2.3.4:99999", None),
            ("[1.2.3.4]", None),
            ("\"[::1]\"", None),
            ("1.2.3.4 5", None),
            ("\u{e4}", None),
        ] {
            let expected = expected.map(|text| text.parse().expect("an address"));
            assert_eq!(address(text.as_bytes()), expected, "{text:?}");
        }
        let spaced = pass_for("10.0.0.1", &TrustedProxies::Hops(2), &[" 1.1.1.1 ,,\t2.2.2.2 , "]);
        assert_eq!(spaced.0, "1.1.1.1, 2.2.2.2, 10.0.0.1");
    }

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        for octet in 0..=u8::MAX {
            let address = IpAddr::from([octet, 0, u8::MAX, octet]);
            assert_eq!(text(address), address.to_string());
        }
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        assert_eq!(text(v6), "2001:db8::1");
    }

    #[test]
    fn a_trusted_proxy_says_how_it_was_reached_if_it_makes_sense() {
        let said = |name: &'static str, value: &str| {
            let fields = headers(&[("x-forwarded-for", "1.1.1.1"), (name, value)]);
            let (fields, _) = pass("10.0.0.1", &TrustedProxies::Hops(1), fields);
            assert!(!fields.contains_key(FORWARDED));
            fields.get(name).map(|value| value.to_str().expect("text").to_owned())
        };
        for (name, value, seen) in [
            ("x-forwarded-proto", "https", Some("https")),
            ("x-forwarded-proto", "https, http", Some("http")),
            ("x-forwarded-proto", "javascript", Some("http")),
            ("x-forwarded-host", "b.example:8443", Some("b.example:8443")),
            ("x-forwarded-host", "b, c", Some("a.example")),
            ("x-forwarded-host", "u@b", Some("a.example")),
            ("x-forwarded-port", "443", Some("443")),
            ("x-forwarded-port", "+443", None),
            ("x-forwarded-port", "0", None),
            ("forwarded", "for=1.1.1.1", None),
        ] {
            assert_eq!(said(name, value).as_deref(), seen, "{name}: {value}");
        }
    }

    /// Lines of `X-Forwarded-For` as anybody might write them.
    fn any_lines() -> impl Strategy<Value = Vec<String>> {
        let entry = prop_oneof![
            Just("10.0.0.9".to_owned()),
            "[0-9.:a-f\\[\\], ]{0,20}",
            any::<[u8; 4]>().prop_map(|octets| IpAddr::from(octets).to_string()),
            "[ -~]{0,12}",
        ];
        let line = proptest::collection::vec(entry, 0..4).prop_map(|entries| entries.join(","));
        proptest::collection::vec(line, 0..4)
    }

    proptest! {
        /// Whatever a client writes: where nobody trusts it, an endpoint sees its address; and where
        /// trusted proxies add theirs, what it wrote before makes no difference.
        #[test]
        fn a_client_that_is_not_trusted_changes_nothing(
            spoofed in any_lines(),
            client in any::<[u8; 4]>().prop_filter("not trusted", |octets| octets[0] != 10),
        ) {
            let client = IpAddr::from(client).to_string();
            let mut lines: Vec<&str> = spoofed.iter().map(String::as_str).collect();
            for proxies in [TrustedProxies::None, networks(&["10.0.0.0/8"])] {
                prop_assert_eq!(&pass_for(&client, &proxies, &lines).0, &client);
            }
            let appended = format!("{client}, 10.0.0.2");
            lines.push(&appended);
            for proxies in [TrustedProxies::Hops(2), networks(&["10.0.0.0/8"])] {
                let way = pass_for("10.0.0.1", &proxies, &lines).0;
                prop_assert_eq!(way, format!("{client}, 10.0.0.2, 10.0.0.1"));
            }
        }
    }
}

//! String grammars that several fields share, as the CRDs' patterns and lengths define them.

use std::net::IpAddr;

/// What a text field takes.
pub(super) struct Grammar {
    /// What a text of it is: "a hostname".
    pub(super) what: &'static str,
    /// How such a text is built.
    pub(super) expected: &'static str,
    /// Length in characters.
    pub(super) limit: usize,
    /// Whether a text is one.
    pub(super) accepts: fn(&str) -> bool,
    /// What to do about a text that is none.
    pub(super) help: fn(&str) -> Option<String>,
}

impl Grammar {
    const fn new(
        what: &'static str,
        expected: &'static str,
        limit: usize,
        accepts: fn(&str) -> bool,
    ) -> Self {
        Self { what, expected, limit, accepts, help: no_help }
    }

    const fn with_help(mut self, help: fn(&str) -> Option<String>) -> Self {
        self.help = help;
        self
    }
}

/// Hostname of a listener or route: a DNS name, perhaps with a wildcard as first label (RT-14).
pub(super) const HOSTNAME: Grammar = Grammar::new(
    "a hostname",
    "lower-case labels of letters, digits and `-`, joined by dots, the first one possibly `*`",
    253,
    |text| is_subdomain(text.strip_prefix("*.").unwrap_or(text)) && !is_ip(text),
)
.with_help(hostname_help);

/// Hostname without wildcard, of a redirect or rewrite (HF-3, HF-5).
pub(super) const PRECISE_HOSTNAME: Grammar = Grammar::new(
    "a hostname",
    "lower-case labels of letters, digits and `-`, joined by dots, without wildcard",
    253,
    is_subdomain,
)
.with_help(precise_hostname_help);

/// Hostname of a Gateway's address (AD-1).
pub(super) const ADDRESS_HOSTNAME: Grammar =
    Grammar { accepts: |text| is_subdomain(text.strip_prefix("*.").unwrap_or(text)), ..HOSTNAME };

/// Name of an object of most kinds, of a listener, of a rule.
pub(super) const NAME: Grammar = Grammar::new(
    "a name",
    "lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of every label",
    253,
    is_subdomain,
)
.with_help(lower_case_help);

/// Name of a Namespace, Service or port.
pub(super) const LABEL_NAME: Grammar = Grammar::new(
    "a name",
    "lower-case letters, digits and `-`, with a letter or digit at both ends",
    63,
    is_label,
)
.with_help(lower_case_help);

/// Name of an object that is referred to: any text.
pub(super) const REFERRED_NAME: Grammar =
    Grammar::new("a name", "the name of an object", 253, |text| !text.is_empty());

/// API group; empty for core.
pub(super) const GROUP: Grammar = Grammar::new(
    "an API group",
    "lower-case labels joined by dots, or nothing for the core group",
    253,
    |text| text.is_empty() || is_subdomain(text),
)
.with_help(|text| {
    text.contains('/')
        .then(|| "leave the version out; a group is what stands before the `/`".into())
});

/// Kind.
pub(super) const KIND: Grammar =
    Grammar::new("a kind", "letters, digits and `-`, a letter first", 63, |text| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !text.ends_with('-')
    });

/// Name of a controller (GC-1).
pub(super) const CONTROLLER_NAME: Grammar = Grammar::new(
    "a controller name",
    "a domain and a path, such as example.com/gateway-controller",
    253,
    is_domain_path,
);

/// Protocol of a listener: known, or an implementation's with a domain prefix (GW-8).
pub(super) const PROTOCOL: Grammar = Grammar::new(
    "a protocol",
    "HTTP, HTTPS, TLS, TCP, UDP or a domain and a name, such as example.com/protocol",
    255,
    |text| match text.split_once('/') {
        Some((domain, name)) => {
            is_subdomain(domain)
                && !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
        None => is_label(&text.to_ascii_lowercase()),
    },
);

/// Type of an address: known, or an implementation's with a domain prefix (AD-1).
pub(super) const ADDRESS_TYPE: Grammar = Grammar::new(
    "an address type",
    "IPAddress, Hostname or a domain and a name, such as example.com/type",
    253,
    |text| matches!(text, "IPAddress" | "Hostname" | "NamedAddress") || is_domain_path(text),
)
.with_help(|text| {
    super::suggest::closest(text, crate::AddressType::KNOWN)
        .map(|known| format!("did you mean {known}?"))
});

/// Scope from which an address is reachable (AD-6).
pub(super) const ROUTABILITY: Grammar = Grammar::new(
    "a routability",
    "Cluster or a domain and a path outside of k8s.io, such as example.com/scope",
    253,
    |text| {
        let is_scope = text.split_once('/').is_some_and(|(domain, path)| {
            let is_reserved = domain == "k8s.io" || domain.ends_with(".k8s.io");
            is_subdomain(domain) && !is_reserved && !path.is_empty() && !path.contains('\n')
        });
        matches!(text, "" | "Cluster") || is_scope
    },
);

/// Key of a label or annotation.
pub(super) const QUALIFIED_NAME: Grammar = Grammar::new(
    "a key",
    "letters, digits, `-`, `_` and `.`, at most 63, possibly after a domain and `/`",
    317,
    is_qualified_name,
);

/// Key in `infrastructure` and of TLS options, where the whole is shorter (IN-1, TL-8).
pub(super) const SHORT_QUALIFIED_NAME: Grammar = Grammar { limit: 253, ..QUALIFIED_NAME };

/// Annotations to copy: a key, or all keys with a domain.
pub(super) const COPIED_ANNOTATION: Grammar = Grammar::new(
    "a key",
    "the key of an annotation, or a domain with `/*` for all of its keys",
    317,
    |text| match text.strip_suffix("/*") {
        Some(domain) => domain.len() <= 253 && is_subdomain(domain),
        None => is_qualified_name(text),
    },
);

/// Reference to an image.
pub(super) const IMAGE: Grammar = Grammar::new(
    "an image",
    "a registry, a path and a tag or digest, such as registry.example.com/gwapi-proxy:1.0",
    1024,
    |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()),
);

/// Value of a label.
pub(super) const LABEL_VALUE: Grammar = Grammar::new(
    "a label value",
    "letters, digits, `-`, `_` and `.`, with a letter or digit at both ends, or nothing",
    63,
    |text| text.is_empty() || is_loose_name(text),
);

/// Value of an annotation in `infrastructure`, or of a TLS option.
pub(super) const ANNOTATION_VALUE: Grammar = any("an annotation value", 4096);

/// Value of an annotation of an object, of which only the sum of all is limited.
pub(super) const ANY: Grammar = any("a value", usize::MAX);

/// Name of a header or query parameter (HM-5, HM-6, HF-1).
pub(super) const HEADER_NAME: Grammar =
    Grammar::new("a name", "letters, digits and any of !#$%&'*+-.^_`|~", 256, |text| {
        !text.is_empty() && text.bytes().all(is_token_byte)
    })
    .with_help(|text| {
        text.starts_with(':').then(|| {
            "pseudo-headers cannot be named; use the fields for path, method and hostname".into()
        })
    });

/// Value that a header is compared with (HM-5).
pub(super) const HEADER_MATCH_VALUE: Grammar =
    Grammar::new("a header value", "some text", 4096, |text| !text.is_empty());

/// Service that a call is for (GR-3).
pub(super) const GRPC_SERVICE: Grammar = Grammar::new(
    "a gRPC service",
    "names of letters, digits and `_`, joined by dots, such as package.Service",
    1024,
    crate::GrpcMethodMatch::is_service,
)
.with_help(|text| {
    text.contains('/').then(|| "leave slashes out; the method has a field of its own".to_owned())
});

/// Method that a call is for (GR-3).
pub(super) const GRPC_METHOD: Grammar = Grammar::new(
    "a gRPC method",
    "letters, digits and `_`, no digit first",
    1024,
    crate::GrpcMethodMatch::is_method,
);

/// Value that a query parameter is compared with (HM-6).
pub(super) const QUERY_PARAM_VALUE: Grammar =
    Grammar::new("a parameter value", "some text", 1024, |text| !text.is_empty());

/// What is put before a path (EA-2): the characters of a path, escapes among them.
pub(super) const AUTH_PATH: Grammar = Grammar::new(
    "a path",
    "the characters of a path, others escaped as in %20",
    1024,
    is_escaped_path,
);

/// Value that a header is given (HF-1). The CRD of the standard channel lets control characters
/// through; the experimental one does not, and no header can carry them.
pub(super) const HEADER_VALUE: Grammar =
    Grammar::new("a header value", "some text without control characters", 4096, |text| {
        !text.is_empty() && !text.chars().any(|char| char.is_control() && char != '\t')
    });

/// Name of an attribute of spans.
pub(super) const ATTRIBUTE_NAME: Grammar =
    Grammar::new("a name", "letters, digits, `-`, `_`, `.`, `:` and `/`", 256, is_attribute_name);

/// Name of a service that spans are of.
pub(super) const SERVICE_NAME: Grammar = Grammar { limit: 253, ..ATTRIBUTE_NAME };

/// Name of spans.
pub(super) const SPAN_NAME: Grammar = Grammar::new(
    "a name",
    "words of letters, digits, `-`, `_`, `.`, `:` and `/`, with one space between them",
    256,
    |text| text.split(' ').all(is_attribute_name),
);

/// Key of the semantic conventions.
pub(super) const ATTRIBUTE_KEY: Grammar =
    Grammar::new("a key", "lower-case letters, digits, `_`, `.` and `-`", 256, |text| {
        let known = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-')
        };
        !text.is_empty() && text.bytes().all(known)
    });

/// Value of an attribute.
pub(super) const LITERAL_VALUE: Grammar =
    Grammar::new("a value", "some text", 1024, |text| !text.is_empty());

/// An origin, or `*` (CO-1).
pub(super) const CORS_ORIGIN: Grammar = Grammar::new(
    "an origin",
    "`*`, or http:// or https:// with a host, whose first label may be `*`, and perhaps a port",
    253,
    is_cors_origin,
)
.with_help(|text| match text.split_once("://") {
    Some((_, host)) if host.contains('/') => Some("leave the path out".into()),
    None => Some(format!("write the scheme too, as in https://{text}")),
    _ => None,
});

/// URI in a certificate: absolute, such as a SPIFFE ID (BT-3).
pub(super) const URI: Grammar = Grammar::new(
    "a URI",
    "a scheme, `://` and what it leads to, as in spiffe://example.com/workload",
    253,
    |text| {
        text.split_once("://")
            .is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains(['/', '?', '#', ':']))
    },
);

/// A set of CA certificates that is known by name (BT-4).
pub(super) const CA_SET: Grammar = Grammar::new(
    "a set of CA certificates",
    "`System`, or a name with a domain in front, as in example.com/internal",
    253,
    |text| {
        text == "System"
            || text.split_once('/').is_some_and(|(domain, _)| is_subdomain(domain))
                && (SHORT_QUALIFIED_NAME.accepts)(text)
    },
);

/// Key of a Secret's or ConfigMap's data.
pub(super) const DATA_KEY: Grammar =
    Grammar::new("a key", "letters, digits, `-`, `_` and `.`", 253, |text| {
        !matches!(text, "" | ".") && !text.starts_with("..") && text.bytes().all(is_loose_byte)
    });

/// Name of a port of a container.
pub(super) const CONTAINER_PORT_NAME: Grammar = Grammar::new(
    "a port name",
    "lower-case letters, digits and single `-`, at least one letter, `-` at neither end",
    15,
    |text| {
        is_label(text) && !text.contains("--") && text.bytes().any(|byte| byte.is_ascii_lowercase())
    },
);

/// IPv4 or IPv6 address.
pub(super) const IP: Grammar = Grammar::new(
    "an IP address",
    "an IPv4 or IPv6 address, without port and prefix length",
    253,
    is_ip,
);

/// IPv4 address.
pub(super) const IPV4: Grammar =
    Grammar::new("an IPv4 address", "an address such as 192.0.2.1", 253, |text| {
        text.parse::<std::net::Ipv4Addr>().is_ok()
    });

/// IPv6 address.
pub(super) const IPV6: Grammar =
    Grammar::new("an IPv6 address", "an address such as 2001:db8::1", 253, |text| {
        text.parse::<std::net::Ipv6Addr>().is_ok()
    });

/// Any text up to a length.
pub(super) const fn any(what: &'static str, limit: usize) -> Grammar {
    Grammar::new(what, "text", limit, |_| true)
}

/// Letters, digits, `/`, what RFC 3986 lets stand in a path besides, and escapes.
fn is_escaped_path(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte);
    let mut pieces = text.split('%');
    let first = pieces.next().unwrap_or_default();
    let is_escape = |piece: &str| {
        let digits = piece.as_bytes().get(..2);
        digits.is_some_and(|it| it.iter().all(u8::is_ascii_hexdigit))
    };
    !text.is_empty()
        && first.bytes().all(plain)
        && pieces.all(|piece| is_escape(piece) && piece.bytes().skip(2).all(plain))
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// A DNS label in lower case (RFC 1123).
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_attribute_name(text: &str) -> bool {
    let known =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/');
    !text.is_empty() && text.bytes().all(known)
}

/// Labels joined by dots.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_loose_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_loose_name(text: &str) -> bool {
    let edge = |char: char| char.is_ascii_alphanumeric();
    text.bytes().all(is_loose_byte) && text.starts_with(edge) && text.ends_with(edge)
}

/// Whether a text is the key of a label: a name of at most 63 characters, perhaps after a domain.
pub(super) fn is_qualified_name(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    domain.is_none_or(|domain| domain.len() <= 253 && is_subdomain(domain))
        && name.len() <= 63
        && is_loose_name(name)
}

/// `domain/path`, the path of characters that a URL's path may hold.
fn is_domain_path(text: &str) -> bool {
    text.split_once('/').is_some_and(|(domain, path)| {
        is_subdomain(domain)
            && !path.is_empty()
            && path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte))
    })
}

/// A byte of a token (RFC 9110, 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_cors_origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some(authority) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))
    else {
        return false;
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let host_fits = host == "*"
        || host.strip_prefix("*.").unwrap_or(host).split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    let port_fits = port.is_none_or(|port| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    host_fits && port_fits
}

fn no_help(_: &str) -> Option<String> {
    None
}

fn lower_case_help(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    (lower != text && is_subdomain(&lower)).then(|| format!("write it in lower case: {lower}"))
}

fn hostname_help(text: &str) -> Option<String> {
    if text == "*" {
        return Some("leave the hostname out to match every host".into());
    }
    if is_ip(text) {
        return Some(
            "leave the hostname out: a host that is an IP address cannot be matched".into(),
        );
    }
    if text.contains('*') && !text.contains('/') {
        return Some("the wildcard is the whole first label, as in *.example.com".into());
    }
    if has_port(text) {
        return Some("leave the port out; it belongs to the listener".into());
    }
    precise_hostname_help(text)
}

fn precise_hostname_help(text: &str) -> Option<String> {
    if text.contains('/') {
        return Some("write the host alone, without scheme and path".into());
    }
    if has_port(text) {
        return Some("leave the port out".into());
    }
    if text.len() > 1 && text.ends_with('.') {
        return Some("leave out the final dot".into());
    }
    lower_case_help(text)
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

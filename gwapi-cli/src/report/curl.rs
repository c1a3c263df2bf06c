//! Commands to try: one that reaches a rule, as somebody would type it.

use std::collections::BTreeMap;

use gwapi_dataplane::TranslatedFolder;
use gwapi_model::RouteKind;
use gwapi_translate::ir::{
    GatewayId, Hostname, HttpMatch, HttpRule, Listener, ListenerProtocol, PathMatch, ValueMatch,
};

use crate::overlay::CommandLine;
use crate::report::view::{ListenerView, View, effective_hostnames};

/// Up to `limit` commands, each for another rule or listener, in the order of the routes.
pub(crate) fn commands(
    source: &TranslatedFolder<CommandLine>,
    view: &View,
    limit: usize,
) -> Vec<String> {
    let mut commands = Vec::new();
    for gateway in &view.gateways {
        let id = GatewayId::new(&*gateway.namespace, &*gateway.name);
        let Some(config) = source.translation().config.get(&id) else { continue };
        let listeners: BTreeMap<_, _> =
            config.listeners().map(|listener| (&listener.key, listener)).collect();
        let mut rules: Vec<_> = config.http_rules().collect();
        rules.sort_by(|a, b| a.order.cmp(&b.order));
        for rule in rules {
            for key in rule.listeners.iter() {
                let shown = gateway.listeners.iter().find(|shown| shown.label() == key.as_str());
                let (Some(listener), Some(shown)) = (listeners.get(key), shown) else { continue };
                commands.extend(
                    command(rule, listener, shown).filter(|command| !commands.contains(command)),
                );
                if commands.len() >= limit {
                    return commands;
                }
            }
        }
    }
    commands
}

/// A command that reaches a rule through a listener; `None` where it takes more than a guess.
fn command(rule: &HttpRule, listener: &Listener, shown: &ListenerView) -> Option<String> {
    if rule.route_kind == RouteKind::Grpc {
        return None; // Calls are in protocol buffers, which curl does not write.
    }
    let url = shown.urls.first()?;
    let (scheme, address) = url.split_once("://")?;
    let host =
        effective_hostnames(listener.hostname.as_ref(), &rule.hostnames).into_iter().next()?;
    let host = match Hostname::parse(&host) {
        _ if host == "*" => None,
        Hostname::Wildcard(suffix) => Some(format!("any.{suffix}")),
        Hostname::Exact(name) => Some(name.to_string()),
    };
    let (target, conditions) = rule.matches.iter().find_map(request)?;
    let mut words = vec!["curl".to_owned(), "-i".to_owned()];
    match (&listener.protocol, host) {
        (ListenerProtocol::Http, None) => words.extend(conditions),
        (ListenerProtocol::Http, Some(host)) => {
            words.extend(["-H".to_owned(), quoted(&format!("Host: {host}"))]);
            words.extend(conditions);
        }
        (ListenerProtocol::Https { .. }, host) => {
            // The certificate is for the name, so the name has to be asked for.
            let host = host.unwrap_or_else(|| "localhost".to_owned());
            let ip = match listener_ip(address) {
                ip if ip.contains(':') => format!("[{ip}]"),
                ip => ip,
            };
            words.push("-k".to_owned());
            words.push("--resolve".to_owned());
            words.push(format!("{host}:{}:{ip}", listener.port));
            words.extend(conditions);
            words.push(quoted(&format!("{scheme}://{host}:{}{target}", listener.port)));
            return Some(words.join(" "));
        }
        // No rule for requests is attached to any of these.
        (
            ListenerProtocol::TlsTerminate { .. }
            | ListenerProtocol::TlsPassthrough
            | ListenerProtocol::Tcp
            | ListenerProtocol::Udp,
            _,
        ) => return None,
    }
    words.push(quoted(&format!("{url}{target}")));
    Some(words.join(" "))
}

/// The address of `IP:PORT` or `IP`, without brackets.
fn listener_ip(address: &str) -> String {
    if let Ok(socket) = address.parse::<std::net::SocketAddr>() {
        return socket.ip().to_string();
    }
    address.trim_matches(['[', ']']).to_owned()
}

/// Request target and curl options that fulfil a match without regular expressions.
fn request(alternative: &HttpMatch) -> Option<(String, Vec<String>)> {
    let mut target = match &alternative.path {
        PathMatch::Exact(path) => path.to_string(),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "/".to_owned(),
        PathMatch::Prefix(prefix) => prefix.to_string(),
        PathMatch::Regex(_) | PathMatch::GrpcMethod(_) | PathMatch::GrpcRegex { .. } => {
            return None;
        }
    };
    for (index, query) in alternative.query_params.iter().enumerate() {
        let ValueMatch::Exact(value) = &query.value else { return None };
        let separator = if index == 0 { '?' } else { '&' };
        target.push_str(&format!("{separator}{}={value}", query.name));
    }
    let mut options = Vec::new();
    if let Some(method) = &alternative.method {
        if method == "HEAD" {
            options.push("--head".to_owned());
        } else if method != "GET" {
            options.extend(["-X".to_owned(), method.clone()]);
        }
    }
    for header in &alternative.headers {
        let ValueMatch::Exact(value) = &header.value else { return None };
        options.extend(["-H".to_owned(), quoted(&format!("{}: {value}", header.name))]);
    }
    Some((target, options))
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=%@,+[]".contains(c);
    if word.chars().all(plain) && !word.contains('[') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use gwapi_model::NamespacedName;
    use gwapi_translate::ir::{
        CertificateKey, HeaderMatch, ListenerKey, QueryParamMatch, RuleKey, RuleOrder,
    };

    use super::*;

    fn rule(hostnames: &[&str], alternative: HttpMatch) -> HttpRule {
        HttpRule {
            key: RuleKey::new("default/web/0"),
            route: NamespacedName::new("default", "web"),
            route_kind: gwapi_model::RouteKind::Http,
            name: None,
            order: RuleOrder { created: 0, route: "default/web".to_owned(), rule_index: 0 },
            listeners: [ListenerKey::new("http")].into(),
            hostnames: hostnames.iter().map(|name| Hostname::parse(name)).collect(),
            matches: vec![alternative],
            filters: Vec::new(),
            backends: Vec::new(),
            timeouts: None,
            retry: None,
            session: None,
        }
    }

    fn try_it(url: &str, listener_host: Option<&str>, https: bool, rule: &HttpRule) -> String {
        let protocol = if https {
            ListenerProtocol::Https {
                certificates: vec![CertificateKey::new("default/cert")],
                client_validation: None,
            }
        } else {
            ListenerProtocol::Http
        };
        let listener = Listener {
            key: ListenerKey::new("http"),
            addresses: Vec::new(),
            port: 8443,
            protocol,
            hostname: listener_host.map(Hostname::parse),
            filters: Vec::new(),
        };
        let shown = ListenerView {
            listener_set: None,
            name: "http".to_owned(),
            protocol: String::new(),
            port: 8443,
            served: true,
            reason: None,
            urls: vec![url.to_owned()],
            hostnames: Vec::new(),
            attached_routes: 1,
        };
        command(rule, &listener, &shown).expect("a command")
    }

    #[test]
    fn a_rule_for_every_host_needs_nothing_but_its_path() {
        let path = PathMatch::Prefix("/left".into());
        let rule = rule(&[], HttpMatch { path, ..HttpMatch::default() });
        assert_eq!(
            try_it("http://127.0.0.1:8080", None, false, &rule),
            "curl -i http://127.0.0.1:8080/left"
        );
    }

    #[test]
    fn hosts_headers_queries_and_methods_become_options() {
        let rule = rule(
            &["*.example.com"],
            HttpMatch {
                method: Some("POST".to_owned()),
                headers: vec![HeaderMatch {
                    name: "version".into(),
                    value: ValueMatch::Exact("it's two".into()),
                }],
                query_params: vec![QueryParamMatch {
                    name: "animal".into(),
                    value: ValueMatch::Exact("whale".into()),
                }],
                ..HttpMatch::default()
            },
        );
        assert_eq!(
            try_it("http://127.0.0.1", None, false, &rule),
            r"curl -i -H 'Host: any.example.com' -X POST -H 'version: it'\''s two' 'http://127.0.0.1/?animal=whale'"
        );
    }

    #[test]
    fn https_asks_for_the_name_of_the_certificate() {
        let rule = rule(&["www.example.com"], HttpMatch::default());
        assert_eq!(
            try_it("https://[::1]:8443", Some("*.example.com"), true, &rule),
            "curl -i -k --resolve www.example.com:8443:[::1] https://www.example.com:8443/"
        );
    }

    #[test]
    fn a_regular_expression_is_not_guessed_at() {
        let path = PathMatch::Regex("/a+".into());
        assert!(request(&HttpMatch { path, ..HttpMatch::default() }).is_none());
    }
}

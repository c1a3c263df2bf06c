//! The bytes themselves: today's, and those of every release that must still be read.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gwapi_model::{NamespacedName, RouteKind, SecretBytes};
use gwapi_translate::ir::{
    AttributeSource, Backend, BackendKey, BackendProtocol, BackendTarget, Certificate,
    CertificateKey, Endpoints, ExportHeader, ExternalAuth, ExternalAuthProtocol, HeaderChanges,
    HeaderMatch, HeaderNames, Hostname, HttpFilter, HttpMatch, HttpRetry, HttpRule, HttpTimeouts,
    IrResource, KnownAttribute, Listener, ListenerFilter, ListenerKey, ListenerProtocol, Mirror,
    PathMatch, PathRewrite, QueryParamMatch, Redirect, RetryBudget, RuleKey, RuleOrder,
    SamplingRate, SpanAttribute, Tracing, UrlRewrite, ValueMatch, WeightedBackend,
};
use gwapi_translate::wire::{decode, encode, name_of};
use serde_json::{Map, Value};

/// A resource of each kind, every field and variant in use at least once.
fn resources() -> Vec<IrResource> {
    let service = |name: &str| BackendKey::service("default", name, 8080);
    let certificate = CertificateKey::secret("default", "tls");
    let listener = |name: &str, protocol| {
        IrResource::Listener(Arc::new(Listener {
            key: ListenerKey::new(name),
            addresses: vec![IrAddr::V6.into(), IrAddr::V4.into()],
            port: 443,
            protocol,
            hostname: Some(Hostname::parse("*.example.com")),
            filters: Vec::new(),
        }))
    };
    vec![
        listener("http", ListenerProtocol::Http),
        listener(
            "https",
            ListenerProtocol::Https {
                certificates: vec![certificate.clone()],
                client_validation: None,
            },
        ),
        IrResource::Listener(Arc::new(filtered_listener())),
        IrResource::HttpRule(Arc::new(rule())),
        IrResource::Backend(Arc::new(Backend {
            key: service("shop"),
            protocol: BackendProtocol::Http1,
            tls: None,
            session: None,
            retry_budget: Some(RetryBudget {
                percent: 20,
                interval: Duration::from_secs(10),
                min_count: 10,
                min_interval: Duration::from_secs(1),
            }),
        })),
        IrResource::Backend(Arc::new(Backend {
            key: service("rpc"),
            protocol: BackendProtocol::H2c,
            tls: None,
            session: None,
            retry_budget: None,
        })),
        IrResource::Endpoints(Arc::new(Endpoints {
            key: service("shop"),
            addresses: vec![
                SocketAddr::from(([192, 0, 2, 1], 8080)),
                SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 8080)),
            ],
            hostnames: vec![("shop.example.com".to_owned(), 443)],
            external: Vec::new(),
        })),
        IrResource::Tracing(Arc::new(Tracing {
            collector: BackendKey::for_routes(RouteKind::Grpc, "default", "collector", 4317),
            headers: vec![ExportHeader { name: "x-token".into(), value: "t".into() }],
            sampling: SamplingRate { numerator: 5, denominator: 100 },
            parent_based: Some(SamplingRate::ALL),
            service_name: "shop".into(),
            span_name: Some("ingress".into()),
            attributes: vec![
                SpanAttribute {
                    name: "user".into(),
                    source: AttributeSource::Header("x-user".into()),
                },
                SpanAttribute {
                    name: "peer".into(),
                    source: AttributeSource::Known(KnownAttribute::PeerAddress),
                },
            ],
        })),
        IrResource::Certificate(Arc::new(Certificate {
            key: certificate,
            chain: "-----BEGIN CERTIFICATE-----\n".into(),
            private_key: SecretBytes::new(b"-----BEGIN PRIVATE KEY-----\n".to_vec()),
        })),
    ]
}

enum IrAddr {
    V4,
    V6,
}

impl From<IrAddr> for IpAddr {
    fn from(family: IrAddr) -> Self {
        match family {
            IrAddr::V4 => IpAddr::from([0, 0, 0, 0]),
            IrAddr::V6 => IpAddr::from([0_u16; 8]),
        }
    }
}

fn rule() -> HttpRule {
    let query = QueryParamMatch { name: "q".into(), value: ValueMatch::Exact("1".into()) };
    let header = HeaderMatch { name: "x-a".into(), value: ValueMatch::Regex("a+".into()) };
    let path = |path| HttpMatch { path, ..HttpMatch::default() };
    let changes = HeaderChanges {
        set: vec![("x-set".to_owned(), "1".to_owned())],
        add: vec![("x-add".to_owned(), "2".to_owned())],
        remove: vec!["x-remove".to_owned()],
    };
    let target = BackendTarget::Backend(BackendKey::service("default", "shop", 8080));
    HttpRule {
        key: RuleKey::new("default/shop/checkout"),
        route: NamespacedName::new("default", "shop"),
        route_kind: gwapi_model::RouteKind::Http,
        name: Some("checkout".into()),
        order: RuleOrder {
            created: 1_700_000_000,
            route: "default/shop".to_owned(),
            rule_index: 3,
        },
        listeners: [ListenerKey::new("http"), ListenerKey::new("https")].into(),
        hostnames: [Hostname::parse("shop.example.com"), Hostname::parse("*.example.com")].into(),
        matches: vec![
            HttpMatch {
                path: PathMatch::Exact("/checkout".into()),
                method: Some("POST".to_owned()),
                headers: vec![header],
                query_params: vec![query],
            },
            path(PathMatch::Prefix("/basket".into())),
            path(PathMatch::Regex("/v[0-9]+".into())),
            path(PathMatch::GrpcRegex { service: None, method: Some("Get.*".into()) }),
        ],
        filters: vec![
            HttpFilter::RequestHeaders(changes.clone()),
            HttpFilter::UrlRewrite(UrlRewrite {
                hostname: Some("internal.example.com".to_owned()),
                path: Some(PathRewrite::Prefix("/new".to_owned())),
            }),
            HttpFilter::Redirect(Redirect {
                scheme: Some("https".to_owned()),
                hostname: Some("www.example.com".to_owned()),
                port: Some(8443),
                path: Some(PathRewrite::Full("/".to_owned())),
                status: 308,
            }),
            HttpFilter::Mirror(Mirror {
                backend: BackendKey::service("default", "shadow", 8080),
                numerator: 1,
                denominator: 10,
            }),
            asks_by_http(),
        ],
        backends: vec![
            WeightedBackend {
                weight: 9,
                target,
                filters: vec![HttpFilter::ResponseHeaders(changes), asks_by_grpc()],
            },
            WeightedBackend {
                weight: 1,
                target: BackendTarget::Invalid("no such kind".to_owned()),
                filters: Vec::new(),
            },
        ],
        timeouts: Some(Box::new(HttpTimeouts {
            request: Some(Duration::from_millis(1_500)),
            backend_request: Some(Duration::ZERO),
        })),
        retry: Some(Box::new(HttpRetry {
            codes: vec![500, 503],
            attempts: 2,
            backoff: Some(Duration::from_millis(100)),
        })),
        session: None,
    }
}

fn filtered_listener() -> Listener {
    Listener {
        key: ListenerKey::new("guarded"),
        addresses: vec![IrAddr::V4.into()],
        port: 80,
        protocol: ListenerProtocol::Http,
        hostname: None,
        filters: vec![
            ListenerFilter::ExternalAuth(question_by_http()),
            ListenerFilter::Refuse("no such filter".to_owned()),
        ],
    }
}

fn asks_by_http() -> HttpFilter {
    HttpFilter::ExternalAuth(question_by_http())
}

fn question_by_http() -> ExternalAuth {
    ExternalAuth {
        target: BackendTarget::Backend(BackendKey::service("default", "auth", 80)),
        protocol: ExternalAuthProtocol::Http {
            path_prefix: "/check".to_owned(),
            request_headers: vec!["cookie".to_owned()],
            response_headers: HeaderNames::Only(vec!["x-user".to_owned()]),
        },
        max_body_bytes: 8192,
    }
}

fn asks_by_grpc() -> HttpFilter {
    HttpFilter::ExternalAuth(ExternalAuth {
        target: BackendTarget::Backend(BackendKey::for_authorization("default", "auth", 9000)),
        protocol: ExternalAuthProtocol::Grpc { request_headers: HeaderNames::All },
        max_body_bytes: 0,
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/encodings")
}

fn read(file: &Path) -> Map<String, Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("it was JSON before")
}

/// `UPDATE_GOLDEN=1` writes it anew. A difference is one that proxies of the release before will
/// read: a field more is ignored by them, a variant more rejects its resource.
#[test]
fn the_encoding_is_that_of_the_golden_file() {
    let encoded: Map<String, Value> = resources()
        .iter()
        .map(|resource| {
            let value = serde_json::from_slice(&encode(resource)).expect("JSON");
            (name_of(&resource.key()), value)
        })
        .collect();
    let file = folder().join("current.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&encoded).expect("JSON");
        fs::write(&file, text + "\n").expect("the folder is writable");
    }
    assert_eq!(encoded, read(&file), "UPDATE_GOLDEN=1 writes {} anew", file.display());
}

#[test]
fn what_is_encoded_is_decoded_to_the_same() {
    for resource in resources() {
        let name = name_of(&resource.key());
        assert_eq!(decode(&name, &encode(&resource)), Ok(resource), "{name}");
    }
}

/// `released-VERSION.json` is `current.json` as it was at that release, and never edited.
#[test]
fn encodings_of_every_release_are_still_read() {
    let files = fs::read_dir(folder()).expect("the folder is there");
    let released: Vec<PathBuf> = files
        .map(|file| file.expect("it is readable").path())
        .filter(|path| path.file_name().is_some_and(|it| it.as_encoded_bytes().starts_with(b"rel")))
        .collect();
    assert!(!released.is_empty());
    for file in released {
        for (name, value) in read(&file) {
            let decoded = decode(&name, &to_bytes(&value));
            assert!(decoded.is_ok(), "{}: {name}: {decoded:?}", file.display());
        }
    }
}

/// A release after this one adds a field to every object.
#[test]
fn fields_that_are_not_known_are_ignored() {
    for resource in resources() {
        let name = name_of(&resource.key());
        let mut value: Value = serde_json::from_slice(&encode(&resource)).expect("JSON");
        let variant = value.as_object_mut().and_then(|it| it.values_mut().next()).expect("one");
        add_field(variant);
        assert_eq!(decode(&name, &to_bytes(&value)), Ok(resource), "{name}: {value}");
    }
}

/// Adds a field to whatever is a struct of ours: its keys are in lower case, those of enums are not.
/// Durations are serde's.
fn add_field(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(add_field),
        Value::Object(fields) => {
            fields.values_mut().for_each(add_field);
            let lower = |key: &String| key.starts_with(|first: char| first.is_lowercase());
            if fields.keys().all(lower) && !fields.contains_key("nanos") {
                fields.insert("of_the_next_release".to_owned(), Value::from(1));
            }
        }
        _ => {}
    }
}

/// A release after this one has a new way to match, a new filter, a new protocol.
#[test]
fn a_variant_that_is_not_known_rejects_its_resource() {
    let replaced = [
        ("Prefix\":\"/basket", "Glob\":\"/basket"),
        ("\"Redirect\"", "\"OfTheNextRelease\""),
        ("\"H2c\"", "\"H3\""),
        ("\"Https\"", "\"Quic\""),
    ];
    for (known, unknown) in replaced {
        let mut rejected = 0;
        for resource in resources() {
            let text = String::from_utf8(encode(&resource).to_vec()).expect("JSON is text");
            if text.contains(known) {
                let name = name_of(&resource.key());
                let error = decode(&name, text.replace(known, unknown).as_bytes());
                let error = error.expect_err("not known");
                assert!(error.contains("unknown variant"), "{error}");
                rejected += 1;
            }
        }
        assert_eq!(rejected, 1, "{known}");
    }
}

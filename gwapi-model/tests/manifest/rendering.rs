//! Objects as text, and back.

use gwapi_model::manifest::{parse, render};
use gwapi_model::status::{
    Condition, ConditionReason, ConditionStatus, ConditionType, GatewayStatus, Status,
};

use super::{GATEWAY, check};

/// Every field that the gateway kinds have, and texts that need quotes.
const RICH: &str = r##"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: rich, labels: {a: "yes", b: "1", c: ""}, annotations: {note: "two\nlines\n", tab: "a\tb", colon: "a: b", hash: "a #b"}}
spec:
  controllerName: gwapi.dev/gateway-controller
  description: "- not a list"
  parametersRef: {group: example.com, kind: Config, name: c, namespace: infra}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: rich, namespace: infra, creationTimestamp: "2024-01-31T12:00:00Z", generation: 3}
spec:
  gatewayClassName: rich
  addresses:
  - {type: IPAddress, value: 127.0.0.1}
  - {value: "::1"}
  infrastructure:
    labels: {a: b}
    annotations: {c: "null"}
    parametersRef: {group: example.com, kind: Config, name: c}
  allowedListeners: {namespaces: {from: Same}}
  tls:
    backend: {clientCertificateRef: {name: client}}
    frontend:
      default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}], mode: AllowValidOnly}}
      perPort: [{port: 8443, tls: {}}]
  listeners:
  - {name: http, port: 80, protocol: HTTP, hostname: "*.example.com"}
  - name: https
    port: 443
    protocol: HTTPS
    tls: {mode: Terminate, certificateRefs: [{name: a}, {group: "", kind: Secret, name: b, namespace: certs}], options: {example.com/o: "on"}}
    allowedRoutes:
      kinds: [{kind: HTTPRoute}, {group: gateway.networking.k8s.io, kind: GRPCRoute}]
      namespaces:
        from: Selector
        selector:
          matchLabels: {team: "0x1F"}
          matchExpressions: [{key: tier, operator: In, values: ["1.5", b]}, {key: x, operator: Exists}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rich, namespace: shop}
spec:
  parentRefs:
  - {name: rich, namespace: infra, sectionName: https, port: 443, group: gateway.networking.k8s.io, kind: Gateway}
  - {name: other}
  hostnames: [shop.example.com, "*.shop.example.com"]
  rules:
  - name: all
    matches:
    - path: {type: Exact, value: "/a%20b'"}
      method: GET
      headers: [{name: X-A, value: "true"}, {type: RegularExpression, name: X-B, value: "^a.*[b]$"}]
      queryParams: [{name: q, value: "~"}, {type: RegularExpression, name: r, value: "!x"}]
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: a, value: " padded "}], add: [{name: b, value: "%1"}], remove: [c]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {remove: [server]}
    - type: URLRewrite
      urlRewrite: {hostname: new.example.com, path: {type: ReplaceFullPath, replaceFullPath: /}}
    - type: RequestMirror
      requestMirror: {backendRef: {name: mirror, port: 80}, fraction: {numerator: 1, denominator: 3}}
    - type: CORS
      cors: {allowOrigins: ["https://example.com"], allowCredentials: true, allowMethods: [GET], allowHeaders: [x], exposeHeaders: [y], maxAge: 5}
    - type: ExtensionRef
      extensionRef: {group: example.com, kind: F, name: f}
    backendRefs:
    - {name: a, port: 80, weight: 0}
    - name: b
      namespace: other
      port: 8080
      kind: Service
      group: ""
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: v, value: b}]}}]
    timeouts: {request: 1h30m, backendRequest: 500ms}
    retry: {codes: [500, 503], attempts: 2, backoff: 100ms}
    sessionPersistence: {type: Cookie, cookie: {name: s}, absoluteTimeout: 1h}
  - filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: h.example.com, port: 8443, statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /x}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: rich, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: rich, sectionName: http}]
  validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}], hostname: h.example.com, subjectAltNames: [{type: URI, uri: "spiffe://a/b"}]}
  options: {example.com/a: b}
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: rich, namespace: shop}
spec:
  type: ExternalHostname
  externalHostname: {hostname: api.example.com}
  port: {number: 443}
  protocol: WSS
  tls: {mode: ClientAndServer, clientCertificateRef: {name: c}, validation: {wellKnownCACertificates: System, hostname: h.example.com}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: rich, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}, {group: "", kind: Secret, name: s}]
---
apiVersion: v1
kind: Service
metadata: {name: rich}
spec:
  type: ClusterIP
  clusterIP: None
  selector: {app: "2"}
  ports: [{name: http, port: 80, targetPort: web, appProtocol: kubernetes.io/h2c}, {name: b, port: 81, targetPort: 8081, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: rich, labels: {kubernetes.io/service-name: rich}}
addressType: IPv6
endpoints: [{addresses: ["fe80::1"], conditions: {ready: true, serving: false}, targetRef: {name: pod}}]
ports: [{name: http, port: 8080, protocol: TCP}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: rich}
subsets: [{addresses: [{ip: 10.0.0.1}], notReadyAddresses: [{ip: 10.0.0.2}], ports: [{port: 80}]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: rich}
data: {ca.crt: "-----BEGIN\nabc\n-----END\n", empty: "", spaces: "  x  ", crlf: "a\r\nb"}
---
apiVersion: v1
kind: Namespace
metadata: {name: rich, labels: {a: b}}
"##;

#[test]
fn every_kind_comes_back_as_it_was() {
    let manifest = check(RICH, &[]);
    assert_eq!(manifest.objects.len(), 11);
    for object in manifest.objects {
        let yaml = render::to_yaml(&object.resource, None);
        let again = check(&yaml, &[]);
        assert_eq!(again.objects[0].resource, object.resource, "{yaml}");
        let json = render::to_json(&object.resource, None).to_string();
        let again = check(&json, &[]);
        assert_eq!(again.objects[0].resource, object.resource, "{json}");
    }
}

#[test]
fn an_object_prints_in_the_order_in_which_manifests_are_written() {
    let gateway = &parse("", GATEWAY).objects[0].resource;
    let condition = Condition::new(
        ConditionType::Accepted,
        ConditionStatus::True,
        ConditionReason::Accepted,
        "",
        1,
    );
    let status = GatewayStatus { conditions: vec![condition], ..GatewayStatus::default() };
    let yaml = render::to_yaml(gateway, Some(&Status::Gateway(Box::new(status))));
    assert_eq!(
        yaml,
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: edge
  namespace: default
  generation: 1
spec:
  gatewayClassName: gwapi
  listeners:
  - name: http
    port: 80
    protocol: HTTP
status:
  conditions:
  - type: Accepted
    status: \"True\"
    observedGeneration: 1
    reason: Accepted
    message: \"\"
"
    );
}

#[test]
fn secrets_print_their_keys_alone() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: Opaque\nstringData: {tls.key: geheim}\n";
    let secret = &check(text, &[]).objects[0].resource;
    let expected = "\
apiVersion: v1
kind: Secret
metadata:
  name: a
  namespace: default
  generation: 1
type: Opaque
data:
  tls.key: <redacted>
";
    assert_eq!(render::to_yaml(secret, None), expected);
    assert_eq!(render::to_json(secret, None)["data"]["tls.key"], "<redacted>");
}

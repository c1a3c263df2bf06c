//! Places of fields, asked for after reading.

use gwapi_model::manifest::{Places, locate, parse};
use gwapi_model::validate::FieldPath;
use gwapi_model::{Kind, ObjectId};

const TEXT: &str = "\
apiVersion: v1
kind: List
items:
- apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: {name: a, namespace: shop}
  spec:
    rules:
    - name: first
      matches:
      - path: {type: Exact, value: /x}
---
{\"apiVersion\": \"v1\", \"kind\": \"ServiceList\", \"items\": [{\"metadata\": {\"name\": \"s\"}}]}
---
broken: [
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: GatewayClass
metadata: {name: c, namespace: ignored}
";

fn rule() -> FieldPath {
    FieldPath::default().field("spec").field("rules").index(0)
}

#[track_caller]
fn found(id: &ObjectId, field: &FieldPath) -> (usize, usize, &'static str) {
    let (position, bytes) = locate(TEXT, id, field).expect("it is there");
    (position.line, position.column, &TEXT[bytes])
}

#[test]
fn fields_are_found_in_documents_lists_and_json() {
    let name = FieldPath::default().field("metadata").field("name");
    let route = ObjectId::new(Kind::HttpRoute, "shop", "a");
    let value = rule().field("matches").index(0).field("path").field("value");
    assert_eq!(found(&route, &value), (11, 36, "/x"));
    assert_eq!(found(&route, &rule()), (9, 7, "name: first"));
    assert_eq!(found(&ObjectId::new(Kind::Service, "default", "s"), &name), (13, 77, "\"s\""));
    assert_eq!(found(&ObjectId::new(Kind::GatewayClass, "", "c"), &name), (19, 18, "c"));
}

#[test]
fn of_a_field_that_is_not_there_the_nearest_value_is_found() {
    let route = ObjectId::new(Kind::HttpRoute, "shop", "a");
    let missing = rule().field("matches").index(0).field("headers").index(3);
    assert_eq!(found(&route, &missing), (11, 9, "path: {type: Exact, value: /x}"));
}

#[test]
fn an_object_that_is_not_there_has_no_place() {
    let other = ObjectId::new(Kind::HttpRoute, "default", "a");
    assert_eq!(locate(TEXT, &other, &FieldPath::default()), None);
    assert_eq!(locate("a: [", &other, &FieldPath::default()), None);
}

#[test]
fn every_object_that_is_read_has_a_place() {
    let places = Places::new(TEXT);
    let objects = parse("text", TEXT).objects;
    assert!(!objects.is_empty());
    for object in objects {
        let id = object.resource.id();
        let (position, _) = places.locate(&id, &FieldPath::default()).expect("a place");
        assert_eq!(position, object.position, "{id}");
    }
}

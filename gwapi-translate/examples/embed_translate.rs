//! Translation inside another program: resources in, configuration and status out.
//!
//! No runtime, no thread, no file, no clock: a function from values to values.
//!
//! ```text
//! cargo run --package gwapi-translate --example embed_translate
//! ```

use gwapi_model::{ObjectId, Resource, ResourceEvent, Resources, manifest};
use gwapi_translate::{Options, Translator, translate};

const MANIFESTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: embedded
spec:
  controllerName: gwapi.dev/gateway-controller
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: front
spec:
  gatewayClassName: embedded
  listeners:
    - name: http
      protocol: HTTP
      port: 8080
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: greeting
spec:
  parentRefs:
    - name: front
  rules:
    - backendRefs:
        - name: greeter
          port: 80
---
apiVersion: v1
kind: Service
metadata:
  name: greeter
spec:
  ports:
    - port: 80
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let resources = parse()?;

    // All at once: the definition of what translation means.
    let translation = translate(&resources, &Options::default());
    println!("What each Gateway serves:");
    for (gateway, config) in &translation.config {
        for (key, resource) in &config.0 {
            println!("  {gateway}: {key} {}", serde_json::to_string(resource)?);
        }
    }
    println!("The status of each object:");
    for (object, status) in &translation.status {
        println!("  {object}: {}", serde_json::to_string(status)?);
    }

    // Event by event: what changed, and nothing else. The Service goes, and with it the backend;
    // the route stays, answers 500 and says why.
    let mut translator = Translator::new(Options::default());
    translator.apply_all(resources.iter().map(ResourceEvent::Apply));
    let service = resources.services.keys().next().ok_or("the manifests hold a Service")?;
    let service = ObjectId::new(gwapi_model::Kind::Service, &*service.namespace, &*service.name);
    let delta = translator.apply(ResourceEvent::Delete(service));
    println!("After the Service is gone:");
    for (gateway, change) in &delta.config {
        for key in &change.removals {
            println!("  {gateway}: without {key}");
        }
    }
    for (object, status) in &delta.status {
        println!("  {object}: {}", serde_json::to_string(status)?);
    }

    // What both ways promise to agree on.
    let now = translate(translator.resources(), translator.options());
    assert_eq!(translator.translation(), &now, "incremental translation equals full translation");
    assert!(!delta.is_empty(), "the end of a Service changes something");
    Ok(())
}

/// An embedder may as well build the typed values itself, or convert its own.
fn parse() -> Result<Resources, String> {
    let manifest = manifest::parse("inline", MANIFESTS);
    if let Some(problem) = manifest.problems.first() {
        return Err(problem.to_string());
    }
    Ok(manifest.objects.into_iter().map(|located| -> Resource { located.resource }).collect())
}

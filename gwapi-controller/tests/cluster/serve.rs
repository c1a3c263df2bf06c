//! What the configuration server asks an API server: who holds a token, for its certificates, and where
//! proxies find it.

use std::time::Duration;

use gwapi_controller::provision::{ConfigService, keep_bootstrap};
use gwapi_controller::serve::{
    AuthenticationError, Authenticator, CertificateSettings, TOKEN_AUDIENCE, TokenReviewer,
    keep_certificates,
};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE};

impl Bench {
    async fn service_account(&self, name: &str) {
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..ServiceAccount::default()
        };
        let made = self.api::<ServiceAccount>().create(&PostParams::default(), &account).await;
        made.expect("it is made");
    }

    /// A token of a ServiceAccount for somebody.
    async fn token(&self, account: &str, audience: &str) -> String {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience.to_owned()]),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts = self.api::<ServiceAccount>();
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await;
        made.expect("it is made").status.and_then(|it| it.token).expect("a token")
    }

    /// Makes the Service of a configuration server, and tells its address.
    async fn config_service(&self, name: &str) -> String {
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 18000}]}});
        let service: Service = serde_json::from_value(service).expect("a Service");
        let made = self.api().create(&PostParams::default(), &service).await.expect("it is made");
        made.spec.and_then(|spec| spec.cluster_ip).expect("an address")
    }

    fn certificates(&self) -> CertificateSettings {
        CertificateSettings {
            namespace: self.namespace.clone(),
            secret: "config-tls".to_owned(),
            names: vec!["gwapi-controller.test.svc".to_owned()],
        }
    }
}

fn is_refused(answer: &Result<impl Sized, AuthenticationError>) -> bool {
    matches!(answer, Err(AuthenticationError::Refused(_)))
}

#[tokio::test]
async fn a_token_tells_whose_it_is_and_only_one_that_was_made_for_this() {
    let bench = Bench::new(&json!({})).await;
    bench.service_account("web-gwapi").await;
    let reviewer = TokenReviewer::new(bench.client.clone());

    let token = bench.token("web-gwapi", TOKEN_AUDIENCE).await;
    let identity = reviewer.authenticate(&token).await.expect("a good token");
    assert_eq!(identity.namespace, bench.namespace);
    assert_eq!(identity.service_account, "web-gwapi");
    assert_eq!(identity.owner, None, "it was made by hand");

    let other = bench.token("web-gwapi", "https://kubernetes.default.svc.cluster.local").await;
    assert!(is_refused(&reviewer.authenticate(&other).await), "it opens the API server");
    assert!(is_refused(&reviewer.authenticate("no token").await));
    let forged = token[..token.len() - 4].to_owned() + "AAAA";
    assert!(is_refused(&reviewer.authenticate(&forged).await));

    let accounts = bench.api::<ServiceAccount>();
    accounts.delete("web-gwapi", &DeleteParams::default()).await.expect("deleted");
    assert!(reviewer.authenticate(&token).await.is_ok(), "an answer counts for a while");
    // The API server, too, remembers what it found out, for some seconds.
    let forgotten = async {
        let mut turns = tokio::time::interval(Duration::from_millis(100));
        loop {
            turns.tick().await;
            let reviewer = TokenReviewer::new(bench.client.clone());
            if is_refused(&reviewer.authenticate(&token).await) {
                break;
            }
        }
    };
    timeout(PATIENCE, forgotten).await.expect("its account is gone");
    bench.clean().await;
}

#[tokio::test]
async fn replicas_share_their_certificates() {
    let bench = Bench::new(&json!({})).await;
    let keep = || keep_certificates(bench.client.clone(), bench.certificates());
    let (one, two, three) = tokio::join!(keep(), keep(), keep());
    for other in [two, three] {
        assert_eq!(*one.bundle.borrow(), *other.bundle.borrow());
        assert_eq!(**one.serving.borrow(), **other.serving.borrow());
    }
    let later = keep().await;
    assert_eq!(*one.bundle.borrow(), *later.bundle.borrow());
    bench.clean().await;
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone() {
    let bench = Bench::new(&json!({})).await;
    let secrets = bench.api::<Secret>();
    let theirs = Secret {
        metadata: ObjectMeta { name: Some("config-tls".to_owned()), ..ObjectMeta::default() },
        string_data: Some([("password".to_owned(), "theirs".to_owned())].into()),
        ..Secret::default()
    };
    let made = secrets.create(&PostParams::default(), &theirs).await.expect("it is made");
    let keep = tokio::spawn(keep_certificates(bench.client.clone(), bench.certificates()));
    // A replica that can do something does so within this time.
    let other = CertificateSettings { secret: "other".to_owned(), ..bench.certificates() };
    let _other = keep_certificates(bench.client.clone(), other).await;
    let found = secrets.get("config-tls").await.expect("it is there");
    assert_eq!(found.metadata.resource_version, made.metadata.resource_version);
    assert!(!keep.is_finished());

    secrets.delete("config-tls", &DeleteParams::default()).await.expect("deleted");
    let certificates = keep.await.expect("no panic");
    assert!(certificates.bundle.borrow().contains("BEGIN CERTIFICATE"));
    bench.clean().await;
}

#[tokio::test]
async fn a_service_that_is_deleted_sends_proxies_nowhere_until_it_is_made_again() {
    let bench = Bench::new(&json!({})).await;
    let config = ConfigService {
        namespace: bench.namespace.clone(),
        name: "gwapi-controller".to_owned(),
        port: 18000,
    };
    let address = bench.config_service(&config.name).await;
    let (_bundle, bundle) = watch::channel("a certificate".to_owned());
    let (bootstrap, mut told) = watch::channel(None);
    tokio::spawn(keep_bootstrap(bench.client.clone(), config.clone(), bundle, bootstrap));
    let (urls, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while told.changed().await.is_ok() {
            let url = told.borrow().as_ref().map(|it| it.url.clone());
            let _ = urls.send(url);
        }
    });
    let mut next = async || timeout(PATIENCE, seen.recv()).await.expect("it is told").flatten();
    assert_eq!(next().await, Some(format!("https://{address}:18000")));

    let deleted = bench.api::<Service>().delete(&config.name, &DeleteParams::default()).await;
    deleted.expect("it is there");
    bench.until::<Service>(&config.name, "it goes", |it| it.is_none()).await;
    let address = bench.config_service(&config.name).await;
    assert_eq!(next().await, Some(format!("https://{address}:18000")), "and nothing in between");
    bench.clean().await;
}

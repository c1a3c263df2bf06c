//! The server's certificates in a Secret that all replicas share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gwapi_translate::ir::SessionKeys;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;

use super::authority::{MakeError, Material};
use super::settings::ServingCertificate;
use crate::request::in_time;
use crate::trouble::Trouble;

/// How often a replica looks what the others have done, and whether it has become time for something.
const INTERVAL: Duration = Duration::from_secs(60);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Attempts against other replicas before it counts as a failure.
const ATTEMPTS: usize = 5;

/// The part of the Secret that we read; the rest is for people.
const STATE: &str = "state.json";

/// Where certificates are kept, and for which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSettings {
    /// Namespace of the Secret: the controller's own.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// DNS names of the server.
    pub names: Vec<String>,
}

/// Certificates that are renewed as time passes.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// What the server shows to proxies.
    pub serving: watch::Receiver<Arc<ServingCertificate>>,
    /// What proxies have to trust, PEM. An authority comes into it a day before it signs.
    pub bundle: watch::Receiver<String>,
    /// Keys of sessions. One comes into them a day before it seals.
    pub session_keys: watch::Receiver<SessionKeys>,
}

/// Keeps certificates on the current tokio runtime, as long as somebody holds what it returns. The
/// Secret is made where it is missing. Returns with the first certificates, and tries until then.
pub async fn keep_certificates(
    client: kube::Client,
    settings: CertificateSettings,
) -> Certificates {
    let mut keeper = Keeper {
        secrets: Api::namespaced(client, &settings.namespace),
        settings,
        current: None,
        trouble: Trouble::default(),
    };
    let first = keeper.next().await;
    let (serving, serving_receiver) = watch::channel(Arc::new(first.serving()));
    let (bundle, bundle_receiver) = watch::channel(first.bundle());
    let (keys, session_keys) = watch::channel(first.session_keys(Timestamp::now()));
    tokio::spawn(async move {
        let keep = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let material = keeper.next().await;
                replace(&bundle, material.bundle());
                replace(&keys, material.session_keys(Timestamp::now()));
                replace(&serving, Arc::new(material.serving()));
            }
        };
        tokio::select! {
            () = keep => {}
            () = async { tokio::join!(serving.closed(), bundle.closed(), keys.closed()); } => {}
        }
    });
    Certificates { serving: serving_receiver, bundle: bundle_receiver, session_keys }
}

fn replace<T: PartialEq>(sender: &watch::Sender<T>, new: T) {
    sender.send_if_modified(|current| {
        let changed = *current != new;
        *current = new;
        changed
    });
}

/// Why there are no certificates at present.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error(
        "the Secret {0} is there and not ours, because it has no `{STATE}`: delete it, or choose \
         another name for ours"
    )]
    NotOurs(String),
    #[error("other replicas were faster {ATTEMPTS} times")]
    Contention,
}

struct Keeper {
    secrets: Api<Secret>,
    settings: CertificateSettings,
    current: Option<Material>,
    trouble: Trouble,
}

impl Keeper {
    /// What is current; tries until that can be said.
    async fn next(&mut self) -> Material {
        loop {
            match self.attempt(Timestamp::now()).await {
                Ok(material) => {
                    self.current = Some(material.clone());
                    if self.trouble.is_over() {
                        tracing::info!(
                            "the certificates of the configuration server are kept again"
                        );
                    }
                    return material;
                }
                Err(error) => {
                    if self.trouble.is_news(&error) {
                        tracing::error!(
                            namespace = self.settings.namespace,
                            secret = self.settings.secret,
                            %error,
                            "cannot keep the certificates of the configuration server; trying again"
                        );
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn attempt(&self, now: Timestamp) -> Result<Material, KeepError> {
        let names = &self.settings.names;
        for _ in 0..ATTEMPTS {
            let found = in_time(self.secrets.get_opt(&self.settings.secret)).await?;
            let (material, metadata) = match found {
                None => (self.known_or_new(now)?, None),
                Some(secret) => match self.read(&secret)? {
                    Some(material) => match material.renewed(names, now)? {
                        None => return Ok(material),
                        Some(renewed) => (renewed, Some(secret.metadata)),
                    },
                    None => (self.known_or_new(now)?, Some(secret.metadata)),
                },
            };
            match self.write(&material, metadata).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                written => return written.map(|()| material).map_err(KeepError::from),
            }
        }
        Err(KeepError::Contention)
    }

    /// What takes the place of a Secret that somebody has deleted or damaged: proxies still trust what was in it,
    /// and clients have sessions that nothing else opens.
    fn known_or_new(&self, now: Timestamp) -> Result<Material, MakeError> {
        let known = self.current.clone().map(Ok);
        known.unwrap_or_else(|| Material::new(&self.settings.names, now))
    }

    /// What the Secret holds; `None` where it is ours and broken.
    fn read(&self, secret: &Secret) -> Result<Option<Material>, KeepError> {
        let data = secret.data.as_ref().and_then(|data| data.get(STATE));
        let Some(ByteString(state)) = data else {
            return Err(KeepError::NotOurs(self.settings.secret.clone()));
        };
        match serde_json::from_slice(state) {
            Ok(material) => Ok(Some(material)),
            Err(_) => {
                tracing::warn!(
                    secret = self.settings.secret,
                    "the certificates in the Secret cannot be read; it is written anew"
                );
                Ok(None)
            }
        }
    }

    /// Writes over what was read, or creates.
    async fn write(
        &self,
        material: &Material,
        metadata: Option<ObjectMeta>,
    ) -> Result<(), kube::Error> {
        let serving = material.serving();
        let state = serde_json::to_vec(material).map_err(kube::Error::SerdeError)?;
        let data = BTreeMap::from([
            (STATE.to_owned(), ByteString(state)),
            ("ca.crt".to_owned(), ByteString(material.bundle().into_bytes())),
            ("tls.crt".to_owned(), ByteString(serving.chain.into_bytes())),
        ]);
        let parameters = PostParams::default();
        let known = metadata.is_some();
        let metadata = metadata.unwrap_or_else(|| self.metadata());
        let secret = Secret { metadata, data: Some(data), ..Secret::default() };
        if known {
            in_time(self.secrets.replace(&self.settings.secret, &parameters, &secret)).await?;
        } else {
            in_time(self.secrets.create(&parameters, &secret)).await?;
        }
        tracing::info!(
            secret = self.settings.secret,
            "certificates of the configuration server were renewed"
        );
        Ok(())
    }

    fn metadata(&self) -> ObjectMeta {
        let label = ("app.kubernetes.io/part-of".to_owned(), "gwapi".to_owned());
        ObjectMeta {
            name: Some(self.settings.secret.clone()),
            namespace: Some(self.settings.namespace.clone()),
            labels: Some(BTreeMap::from([label])),
            ..ObjectMeta::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// An API server whose first answer never comes, and that has no Secret but takes one.
    fn client() -> kube::Client {
        let is_asked = Arc::new(AtomicBool::new(false));
        let service = service_fn(move |request: hyper::Request<Body>| {
            let is_lost = !is_asked.swap(true, Ordering::Relaxed);
            async move {
                if is_lost {
                    std::future::pending::<()>().await;
                }
                let (code, body) = if request.method() == "GET" {
                    let status = json!({"kind": "Status", "reason": "NotFound", "code": 404});
                    (404, status.to_string().into_bytes())
                } else {
                    (201, request.into_body().collect_bytes().await.expect("a body").to_vec())
                };
                let response = hyper::Response::builder().status(code).body(Body::from(body));
                Ok::<_, Infallible>(response.expect("a response"))
            }
        });
        kube::Client::new(service, "default")
    }

    fn settings() -> CertificateSettings {
        CertificateSettings {
            namespace: "gwapi-system".to_owned(),
            secret: "gwapi-config-tls".to_owned(),
            names: vec!["gwapi-controller.gwapi-system.svc".to_owned()],
        }
    }

    /// An API server with one Secret, or none, and what it has.
    fn storage() -> (kube::Client, Arc<Mutex<Option<Value>>>) {
        let stored = Arc::new(Mutex::new(None::<Value>));
        let theirs = Arc::clone(&stored);
        let service = service_fn(move |request: hyper::Request<Body>| {
            let stored = Arc::clone(&theirs);
            async move {
                let is_read = request.method() == "GET";
                let sent = request.into_body().collect_bytes().await.expect("a body");
                let mut stored = stored.lock().expect("no panic");
                if !is_read {
                    *stored = Some(serde_json::from_slice(&sent).expect("JSON"));
                }
                let missing = json!({"kind": "Status", "reason": "NotFound", "code": 404});
                let (code, body) = match &*stored {
                    Some(secret) => (200, secret.to_string()),
                    None => (404, missing.to_string()),
                };
                let body = Body::from(body.into_bytes());
                let response = hyper::Response::builder().status(code).body(body);
                Ok::<_, Infallible>(response.expect("a response"))
            }
        });
        (kube::Client::new(service, "default"), stored)
    }

    /// Proxies trust what was in it, and clients have sessions that nothing else opens.
    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_written_over_a_secret_that_was_damaged() {
        let (client, stored) = storage();
        let mut kept = keep_certificates(client, settings()).await;
        let bundle = kept.bundle.borrow_and_update().clone();
        let keys = kept.session_keys.borrow_and_update().clone();
        let sound = stored.lock().expect("no panic").clone().expect("a Secret");
        let mut damaged = sound.clone();
        damaged["data"][STATE] = json!("bm90IEpTT04=");
        *stored.lock().expect("no panic") = Some(damaged);
        tokio::time::sleep(2 * INTERVAL).await;
        let written = stored.lock().expect("no panic").clone().expect("a Secret");
        assert!(written["data"] == sound["data"], "the Secret is as it was");
        assert!(*kept.bundle.borrow() == bundle && *kept.session_keys.borrow() == keys);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_was_damaged_before_the_start_is_made_anew() {
        let (client, stored) = storage();
        let damaged = json!({"metadata": {"name": "gwapi-config-tls"}, "data": {STATE: "e30="}});
        *stored.lock().expect("no panic") = Some(damaged);
        let kept = keep_certificates(client, settings()).await;
        assert!(kept.bundle.borrow().contains("BEGIN CERTIFICATE"));
        let written = stored.lock().expect("no panic").clone().expect("a Secret");
        assert!(written["data"][STATE] != "e30=");
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_goes_silent_holds_up_the_start_for_moments() {
        let settings = settings();
        let kept = keep_certificates(client(), settings);
        let kept = tokio::time::timeout(Duration::from_secs(60), kept).await;
        assert!(kept.is_ok(), "there are certificates within a minute");
    }
}

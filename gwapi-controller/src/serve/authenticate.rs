//! Who a proxy is.

mod cache;

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use cache::Cache;

use crate::provision::owner;

/// Audience of the tokens that proxies show: they are good for nothing else, and no other token is
/// good for this.
pub const TOKEN_AUDIENCE: &str = "gwapi.dev/config";

/// How long an answer of the API server counts. A token that is revoked is refused after this, and a
/// stream that it opened goes on until its age ends it.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// How long a refusal counts, and an account without an owner: nobody is let in by that, and who
/// puts things right shall not wait for long.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// Tokens that are remembered.
const REMEMBERED: usize = 4096;

/// Questions to the API server at one time.
const REVIEWS: usize = 16;

/// Time for an answer of the API server.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a token; those of ServiceAccounts have one or two thousand.
pub(super) const MAX_TOKEN: usize = 16 * 1024;

/// A ServiceAccount, and the pod that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Namespace.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub service_account: String,
    /// The Gateway that the ServiceAccount was made for. A name alone is no proof: what is made for two
    /// Gateways may have to have the same one, and then it belongs to one of them.
    pub owner: Option<Owner>,
    /// Name of the pod, where the token is bound to one.
    pub pod: Option<String>,
}

/// A Gateway as an object that belongs to it names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Name, in the namespace of the object.
    pub gateway: String,
    /// Which of all Gateways that ever had this name it is.
    pub uid: String,
}

impl Identity {
    /// Name of the proxy: that of its pod, where it is known.
    pub(super) fn proxy(&self) -> String {
        self.pod.clone().unwrap_or_else(|| self.to_string())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system:serviceaccount:{}:{}", self.namespace, self.service_account)
    }
}

/// Why nobody can be told from a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The token is not good.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// Nobody can say whether it is; later it may be otherwise.
    #[error("tokens cannot be checked at present: {0}")]
    Unavailable(String),
}

/// Tells who holds a token.
pub trait Authenticator: Send + Sync + 'static {
    /// Who holds this token. It may be asked often, with whatever somebody sent.
    fn authenticate(
        &self,
        token: &str,
    ) -> impl Future<Output = Result<Identity, AuthenticationError>> + Send;
}

/// Asks the API server, by a TokenReview, and for the ServiceAccount; needs the right to create the
/// former and to get the latter.
pub struct TokenReviewer {
    client: Client,
    turns: Semaphore,
    known: Mutex<Cache<Result<Identity, AuthenticationError>>>,
}

impl TokenReviewer {
    /// Asks through this client.
    pub fn new(client: Client) -> Self {
        Self { client, turns: Semaphore::new(REVIEWS), known: Mutex::new(Cache::new(REMEMBERED)) }
    }

    fn known(&self, token: &str) -> Option<Result<Identity, AuthenticationError>> {
        let known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.find(token, Instant::now()).cloned()
    }

    async fn review(&self, token: &str) -> Result<Identity, AuthenticationError> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
            },
            ..TokenReview::default()
        };
        let unavailable = |error: kube::Error| AuthenticationError::Unavailable(error.to_string());
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = reviews.create(&PostParams::default(), &review).await.map_err(unavailable)?;
        let (identity, uid) = identity(&review.status.unwrap_or_default())?;
        let accounts: Api<ServiceAccount> =
            Api::namespaced(self.client.clone(), &identity.namespace);
        let account = accounts.get_metadata_opt(&identity.service_account).await;
        let account = account.map_err(unavailable)?;
        with_owner(identity, &uid, account.map(|account| account.metadata).as_ref())
    }
}

impl Authenticator for TokenReviewer {
    async fn authenticate(&self, token: &str) -> Result<Identity, AuthenticationError> {
        if let Some(known) = self.known(token) {
            return known;
        }
        let _turn = self.turns.acquire().await.expect("nobody closes the semaphore");
        // Whoever waited may find that the answer has come for another stream of the same proxy.
        if let Some(known) = self.known(token) {
            return known;
        }
        let answer = match tokio::time::timeout(REVIEW_TIMEOUT, self.review(token)).await {
            Ok(answer) => answer,
            Err(_) => Err(AuthenticationError::Unavailable(format!(
                "the API server took longer than {} seconds",
                REVIEW_TIMEOUT.as_secs()
            ))),
        };
        let Some(counts_for) = counts_for(&answer) else { return answer };
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.insert(token, answer.clone(), now, counts_for);
        answer
    }
}

impl fmt::Debug for TokenReviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReviewer").finish_non_exhaustive()
    }
}

/// How long an answer counts; not at all, if it may be another one at once.
fn counts_for(answer: &Result<Identity, AuthenticationError>) -> Option<Duration> {
    match answer {
        Ok(identity) if identity.owner.is_some() => Some(KNOWN_FOR),
        Ok(_) | Err(AuthenticationError::Refused(_)) => Some(REFUSED_FOR),
        Err(AuthenticationError::Unavailable(_)) => None,
    }
}

/// What an API server's answer says: who it is, and the uid of its ServiceAccount.
fn identity(status: &TokenReviewStatus) -> Result<(Identity, String), AuthenticationError> {
    let refused = |why: &str| Err(AuthenticationError::Refused(why.to_owned()));
    if status.authenticated != Some(true) {
        return refused(status.error.as_deref().unwrap_or("the API server does not know it"));
    }
    // An API server that does not know audiences says none, and would let any token pass.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|audience| audience == TOKEN_AUDIENCE) {
        return refused("it is for another audience");
    }
    let user = status.user.clone().unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|it| it.split_once(':'));
    let Some((namespace, service_account)) = account else {
        return refused("it is not that of a ServiceAccount");
    };
    let pods = user.extra.unwrap_or_default().remove("authentication.kubernetes.io/pod-name");
    let identity = Identity {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        owner: None,
        pod: pods.and_then(|pods| pods.into_iter().next()),
    };
    Ok((identity, user.uid.unwrap_or_default()))
}

/// Adds the Gateway that the ServiceAccount belongs to. `account` is the one that has the name now,
/// which may be another than the one with the `uid` that the token was made for.
fn with_owner(
    identity: Identity,
    uid: &str,
    account: Option<&ObjectMeta>,
) -> Result<Identity, AuthenticationError> {
    let is_meant = |account: &&ObjectMeta| account.uid.as_deref() == Some(uid);
    let Some(account) = account.filter(is_meant) else {
        let why = "it is that of a ServiceAccount that is not there any more";
        return Err(AuthenticationError::Refused(why.to_owned()));
    };
    let owner = owner(account);
    let owner = owner.map(|it| Owner { gateway: it.name.clone(), uid: it.uid.clone() });
    Ok(Identity { owner, ..identity })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;
    use serde_json::{Value, json};

    use super::*;

    fn status(username: &str, audience: &str) -> TokenReviewStatus {
        let extra = ("authentication.kubernetes.io/pod-name".to_owned(), vec!["web-1".to_owned()]);
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![audience.to_owned()]),
            user: Some(UserInfo {
                username: Some(username.to_owned()),
                extra: Some([extra].into()),
                uid: Some("of-account".to_owned()),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn a_service_account_is_told_with_its_pod() {
        let identity = identity(&status("system:serviceaccount:shop:web-gwapi", TOKEN_AUDIENCE));
        let (identity, uid) = identity.expect("a ServiceAccount");
        assert_eq!(identity.to_string(), "system:serviceaccount:shop:web-gwapi");
        assert_eq!(identity.pod.as_deref(), Some("web-1"));
        assert_eq!(uid, "of-account");
    }

    /// What is known of whoever has the token of an account, when this account has its name.
    fn owner_by(account: Option<&Value>) -> Result<Option<Owner>, AuthenticationError> {
        let (identity, uid) =
            identity(&status("system:serviceaccount:shop:web-gwapi", TOKEN_AUDIENCE))?;
        let account: Option<ObjectMeta> =
            account.map(|it| serde_json::from_value(it.clone()).expect("metadata"));
        with_owner(identity, &uid, account.as_ref()).map(|it| it.owner)
    }

    #[test]
    fn an_account_belongs_to_the_gateway_that_owns_it_whatever_its_name() {
        let owner = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "web",
            "uid": "of-gateway", "controller": true,
        });
        let account = json!({"uid": "of-account", "ownerReferences": [owner]});
        let expected = Owner { gateway: "web".to_owned(), uid: "of-gateway".to_owned() };
        assert_eq!(owner_by(Some(&account)), Ok(Some(expected)));
        let mut replica_set = account.clone();
        replica_set["ownerReferences"][0]["kind"] = json!("ReplicaSet");
        assert_eq!(owner_by(Some(&replica_set)), Ok(None));
        assert_eq!(owner_by(Some(&json!({"uid": "of-account"}))), Ok(None), "made by hand");
        let mut later = account;
        later["uid"] = json!("of-a-later-account");
        for account in [Some(&later), None] {
            let refused = owner_by(account).expect_err("gone");
            assert!(refused.to_string().contains("not there any more"), "{refused}");
        }
    }

    #[test]
    fn an_account_that_lost_its_owner_is_looked_at_again_as_soon_as_a_refusal() {
        let (stranger, _) =
            identity(&status("system:serviceaccount:shop:web-gwapi", TOKEN_AUDIENCE))
                .expect("a ServiceAccount");
        let owner = Owner { gateway: "web".to_owned(), uid: "of-gateway".to_owned() };
        let known = Identity { owner: Some(owner), ..stranger.clone() };
        let refused = AuthenticationError::Refused("expired".to_owned());
        let unavailable = AuthenticationError::Unavailable("gone".to_owned());
        assert_eq!(counts_for(&Ok(known)), Some(Duration::from_secs(60)));
        assert_eq!(counts_for(&Ok(stranger)), Some(Duration::from_secs(10)));
        assert_eq!(counts_for(&Err(refused)), Some(Duration::from_secs(10)));
        assert_eq!(counts_for(&Err(unavailable)), None);
    }

    #[test]
    fn nobody_else_is_let_in() {
        let account = "system:serviceaccount:shop:web-gwapi";
        let unknown = TokenReviewStatus {
            error: Some("expired".to_owned()),
            authenticated: Some(false),
            ..status(account, TOKEN_AUDIENCE)
        };
        let silent = TokenReviewStatus { audiences: None, ..status(account, TOKEN_AUDIENCE) };
        for (status, expected) in [
            (unknown, "the token is refused: expired"),
            (TokenReviewStatus::default(), "the token is refused: the API server does not know it"),
            (status(account, "api"), "the token is refused: it is for another audience"),
            (silent, "the token is refused: it is for another audience"),
            (
                status("system:node:a", TOKEN_AUDIENCE),
                "the token is refused: it is not that of a ServiceAccount",
            ),
        ] {
            assert_eq!(identity(&status).expect_err("refused").to_string(), expected);
        }
    }
}

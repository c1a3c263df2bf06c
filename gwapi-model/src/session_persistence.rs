//! Session persistence, of a rule or of a backend.

use serde::{Deserialize, Serialize};

use crate::GatewayDuration;
use crate::open_enum::open_enum;

/// Binds a client to an endpoint of a backend, by a token that it brings along (SP-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// Type; absent means `Cookie`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub persistence_type: Option<SessionPersistenceType>,
    /// Time after which a session is over, whatever happened in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<GatewayDuration>,
    /// Settings of type `Cookie`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<SessionCookie>,
    /// Settings of type `Header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<SessionHeader>,
}

open_enum! {
    /// Type of a [`SessionPersistence`].
    pub enum SessionPersistenceType {
        /// By a cookie.
        Cookie = "Cookie",
        /// By a header that clients have to send back by themselves.
        Header = "Header",
    }
}

/// The cookie of a session (SP-2, SP-3, SP-5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCookie {
    /// Name; absent means one that is made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The attribute `Path`; absent means `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How long clients keep it; absent means `Session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_type: Option<CookieLifetimeType>,
}

open_enum! {
    /// How long clients keep a cookie.
    pub enum CookieLifetimeType {
        /// Up to the time that the session has.
        Permanent = "Permanent",
        /// As long as the client runs.
        Session = "Session",
    }
}

/// The header of a session (SP-5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHeader {
    /// Name.
    pub name: String,
}

//! What routes of every kind have in common.

use serde::{Deserialize, Serialize};

use crate::{
    GrpcRoute, GrpcRouteRule, HttpBackendRef, HttpRoute, HttpRouteFilter, HttpRouteRule, Kind,
    NamespacedName, ObjectId, ObjectMeta, ParentReference, Resource, Resources,
};

/// The kinds of routes. Each has names of its own: an HTTPRoute and a GRPCRoute may be called the same.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum RouteKind {
    /// HTTPRoute.
    #[default]
    #[serde(rename = "HTTPRoute")]
    Http,
    /// GRPCRoute.
    #[serde(rename = "GRPCRoute")]
    Grpc,
}

impl RouteKind {
    /// Every kind, in listing order.
    pub const ALL: [RouteKind; 2] = [RouteKind::Http, RouteKind::Grpc];

    /// The kind among all kinds.
    pub fn kind(self) -> Kind {
        match self {
            Self::Http => Kind::HttpRoute,
            Self::Grpc => Kind::GrpcRoute,
        }
    }

    /// Whether this is an HTTPRoute.
    pub fn is_http(&self) -> bool {
        *self == Self::Http
    }
}

impl Kind {
    /// Which kind of route it is, if it is one.
    pub fn route_kind(self) -> Option<RouteKind> {
        RouteKind::ALL.into_iter().find(|route| route.kind() == self)
    }
}

/// A route of any kind.
#[derive(Clone, Copy, Debug)]
pub enum Route<'r> {
    /// An HTTPRoute.
    Http(&'r HttpRoute),
    /// A GRPCRoute.
    Grpc(&'r GrpcRoute),
}

impl<'r> Route<'r> {
    /// The route that a resource is, if it is one.
    pub fn of(resource: &'r Resource) -> Option<Self> {
        match resource {
            Resource::HttpRoute(route) => Some(Self::Http(route)),
            Resource::GrpcRoute(route) => Some(Self::Grpc(route)),
            _ => None,
        }
    }

    /// Its kind.
    pub fn kind(self) -> RouteKind {
        match self {
            Self::Http(_) => RouteKind::Http,
            Self::Grpc(_) => RouteKind::Grpc,
        }
    }

    /// Its metadata.
    pub fn metadata(self) -> &'r ObjectMeta {
        match self {
            Self::Http(route) => &route.metadata,
            Self::Grpc(route) => &route.metadata,
        }
    }

    /// What it attaches to.
    pub fn parent_refs(self) -> &'r [ParentReference] {
        match self {
            Self::Http(route) => &route.spec.parent_refs,
            Self::Grpc(route) => &route.spec.parent_refs,
        }
    }

    /// Its hostnames.
    pub fn hostnames(self) -> &'r [String] {
        match self {
            Self::Http(route) => &route.spec.hostnames,
            Self::Grpc(route) => &route.spec.hostnames,
        }
    }

    /// Scope of default Gateways (RT-16).
    pub fn use_default_gateways(self) -> Option<&'r str> {
        match self {
            Self::Http(route) => route.spec.use_default_gateways.as_deref(),
            Self::Grpc(route) => route.spec.use_default_gateways.as_deref(),
        }
    }

    /// Its rules as they are written.
    pub fn rules(self) -> impl Iterator<Item = RouteRule<'r>> {
        let (http, grpc) = match self {
            Self::Http(route) => (route.spec.rules.as_deref(), None),
            Self::Grpc(route) => (None, route.spec.rules.as_deref()),
        };
        let http = http.unwrap_or_default().iter().map(RouteRule::Http);
        http.chain(grpc.unwrap_or_default().iter().map(RouteRule::Grpc))
    }
}

/// A rule of a route of any kind.
#[derive(Clone, Copy, Debug)]
pub enum RouteRule<'r> {
    /// Of an HTTPRoute.
    Http(&'r HttpRouteRule),
    /// Of a GRPCRoute.
    Grpc(&'r GrpcRouteRule),
}

impl<'r> RouteRule<'r> {
    /// Its name.
    pub fn name(self) -> Option<&'r str> {
        match self {
            Self::Http(rule) => rule.name.as_deref(),
            Self::Grpc(rule) => rule.name.as_deref(),
        }
    }

    /// Its filters.
    pub fn filters(self) -> &'r [HttpRouteFilter] {
        match self {
            Self::Http(rule) => &rule.filters,
            Self::Grpc(rule) => &rule.filters,
        }
    }

    /// Its backends.
    pub fn backend_refs(self) -> &'r [HttpBackendRef] {
        match self {
            Self::Http(rule) => &rule.backend_refs,
            Self::Grpc(rule) => &rule.backend_refs,
        }
    }

    /// Session persistence.
    pub fn session_persistence(self) -> Option<&'r serde_json::Value> {
        match self {
            Self::Http(rule) => rule.session_persistence.as_deref(),
            Self::Grpc(rule) => rule.session_persistence.as_deref(),
        }
    }
}

impl Resources {
    /// The route of that kind and name.
    pub fn route(&self, kind: RouteKind, name: &NamespacedName) -> Option<Route<'_>> {
        match kind {
            RouteKind::Http => self.http_routes.get(name).map(|route| Route::Http(route)),
            RouteKind::Grpc => self.grpc_routes.get(name).map(|route| Route::Grpc(route)),
        }
    }

    /// The route that an object is, if it is one and is there.
    pub fn route_of(&self, id: &ObjectId) -> Option<Route<'_>> {
        self.route(id.kind.route_kind()?, &id.namespaced_name())
    }

    /// Every route, by kind and name.
    pub fn routes(&self) -> impl Iterator<Item = Route<'_>> {
        let http = self.http_routes.values().map(|route| Route::Http(route));
        http.chain(self.grpc_routes.values().map(|route| Route::Grpc(route)))
    }
}

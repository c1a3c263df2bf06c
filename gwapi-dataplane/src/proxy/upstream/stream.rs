//! The two halves of a connection to an endpoint, in the clear or inside TLS.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::client::TlsStream;

/// A session inside TLS, which both halves need: they never leave the core.
type Session = Rc<RefCell<TlsStream<TcpStream>>>;

/// What an endpoint sends.
pub(in crate::proxy) enum ReadHalf {
    Plain(OwnedReadHalf),
    Tls(Session),
}

/// What is sent to an endpoint.
pub(in crate::proxy) enum WriteHalf {
    Plain(OwnedWriteHalf),
    Tls(TlsWriteHalf),
}

/// The half that ends the session when it is dropped, unless that broke off.
pub(in crate::proxy) struct TlsWriteHalf {
    session: Session,
    broke_off: bool,
}

/// A connection in the clear.
pub(super) fn plain(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    (ReadHalf::Plain(read), WriteHalf::Plain(write))
}

/// A connection inside TLS, after its handshake.
pub(super) fn tls(stream: TlsStream<TcpStream>) -> (ReadHalf, WriteHalf) {
    let session = Rc::new(RefCell::new(stream));
    let read = ReadHalf::Tls(Rc::clone(&session));
    (read, WriteHalf::Tls(TlsWriteHalf { session, broke_off: false }))
}

impl ReadHalf {
    /// Whether nothing has come, the end included. Mostly this asks no one: the runtime knows whether
    /// there is something to read.
    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(stream) => {
                stream.try_read(&mut [0]).is_err_and(|error| would_block(&error))
            }
            Self::Tls(session) => is_quiet(&mut session.borrow_mut()),
        }
    }
}

impl WriteHalf {
    /// Ends the connection so that the endpoint does not take what it got for all there is.
    pub(in crate::proxy) fn abort(self) {
        // Where it cannot be reset it is closed all the same.
        match self {
            Self::Plain(stream) => {
                let _ = stream.as_ref().set_zero_linger();
                stream.forget();
            }
            Self::Tls(mut half) => {
                half.broke_off = true;
                let _ = half.session.borrow().get_ref().0.set_zero_linger();
            }
        }
    }
}

/// Looks at a TLS connection that find something to read: an endpoint that sends without end is not
/// listened to without end.
const LOOKS: usize = 4;

/// Inside TLS something may come that is for the session alone, such as tickets.
fn is_quiet(stream: &mut TlsStream<TcpStream>) -> bool {
    let (stream, session) = stream.get_mut();
    for _ in 0..LOOKS {
        let Ok(state) = session.process_new_packets() else { return false };
        if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() {
            return false;
        }
        match session.read_tls(&mut AtOnce(stream)) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return would_block(&error),
        }
    }
    false
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Reads and writes without waiting.
struct AtOnce<'a>(&'a TcpStream);

impl Read for AtOnce<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for TlsWriteHalf {
    /// Tells the endpoint that the end is meant (RFC 8446 6.1). What the kernel does not take at once is
    /// not waited for.
    fn drop(&mut self) {
        if self.broke_off {
            return;
        }
        let mut stream = self.session.borrow_mut();
        let (stream, session) = stream.get_mut();
        session.send_close_notify();
        while session.wants_write() {
            if !matches!(session.write_tls(&mut AtOnce(stream)), Ok(1..)) {
                break;
            }
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(session) => Pin::new(&mut *session.borrow_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(half) => Pin::new(&mut *half.session.borrow_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(half) => {
                Pin::new(&mut *half.session.borrow_mut()).poll_write_vectored(cx, slices)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(half) => half.session.borrow().is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(half) => Pin::new(&mut *half.session.borrow_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(half) => Pin::new(&mut *half.session.borrow_mut()).poll_shutdown(cx),
        }
    }
}

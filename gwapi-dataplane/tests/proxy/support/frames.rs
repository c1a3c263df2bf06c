//! An HTTP/2 client that sends frames as they are told: right ones, and those that no library would
//! send.

// Tests of other packages use a part of this.
#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PROTOCOL_ERROR: u32 = 1;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as HPACK writes those that no table holds.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter();
    fields.flat_map(|(name, value)| literal(0x00, name, value.as_bytes())).collect()
}

/// A field that goes into the table: index 62, until the next one does.
pub fn indexed(name: &str, value: &[u8]) -> Vec<u8> {
    literal(0x40, name, value)
}

fn literal(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for text in [name.as_bytes(), value] {
        // A number with 7 bits in front (RFC 7541 5.1).
        let mut rest = text.len();
        if rest < 0x7f {
            bytes.push(rest as u8);
        } else {
            bytes.push(0x7f);
            rest -= 0x7f;
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
        bytes.extend(text);
    }
    bytes
}

/// The fields of a request for `/` of the host `a`.
pub fn request(method: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", "/")];
    block(&fields)
}

/// A whole GET.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET"))
}

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Seen {
    /// The error code of RST_STREAM, or of GOAWAY.
    pub fn error(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4).map(|code| u32::from_be_bytes(code.try_into().expect("four")))
    }
}

/// A connection that has said hello.
pub struct RawHttp2(pub TcpStream);

impl RawHttp2 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    /// With settings of its own, as they are on the wire.
    pub async fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.expect("in time");
        let mut client = Self(stream.expect("it accepts"));
        client.send(PREFACE).await;
        client.send(&frame(SETTINGS, 0, 0, settings)).await;
        client
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        let written = timeout(PATIENCE, self.0.write_all(bytes)).await.expect("in time");
        written.expect("the proxy reads");
    }

    /// The next frame; none where the connection is over.
    pub async fn next(&mut self) -> Option<Seen> {
        timeout(PATIENCE, next(&mut self.0)).await.expect("in time")
    }

    /// The next frame that is as wanted.
    pub async fn find(&mut self, wanted: impl Fn(&Seen) -> bool) -> Option<Seen> {
        loop {
            let seen = self.next().await?;
            if wanted(&seen) {
                return Some(seen);
            }
        }
    }

    /// Sends a piece again and again, made for each number, and reads meanwhile. The code of the
    /// GOAWAY that ends it, and how many pieces were sent until then.
    pub async fn flood(
        self,
        pieces: usize,
        piece: impl Fn(usize) -> Vec<u8>,
    ) -> (Option<u32>, usize) {
        let (mut read, mut write) = self.0.into_split();
        let mut sent = 0;
        let send = async {
            for number in 0..pieces {
                if write.write_all(&piece(number)).await.is_err() {
                    break;
                }
                sent += 1;
            }
            // It stays open: what ends it is the proxy.
            std::future::pending::<()>().await;
        };
        let receive = async {
            let mut code = None;
            while let Some(seen) = next(&mut read).await {
                if seen.kind == GOAWAY {
                    code = seen.error();
                }
            }
            code
        };
        let code = tokio::select! {
            () = send => None,
            code = timeout(PATIENCE, receive) => code.expect("the proxy ends it"),
        };
        (code, sent)
    }
}

/// The next frame of a stream; none where it is over.
pub async fn next(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Seen> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [high, middle, low, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Seen { kind, flags, stream: u32::from_be_bytes(id), payload })
}

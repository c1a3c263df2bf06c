//! Responses of which as much as can be is handed over while their clients take nothing of them: the end
//! of some of them waits behind a full socket.

use std::io;
use std::net::{IpAddr, SocketAddr};

use gwapi_dataplane::{Limits, ProxyBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::clock::{pass, with_clock};
use super::upstream::read_head;
use super::{Proxy, Scripted, serve_built, simple, within};

/// A proxy of a backend whose responses are as long as the path says.
pub(crate) struct Brim {
    pub(crate) proxy: Proxy,
    _endpoints: [Scripted; 2],
}

/// A client whose response is handed over, whole.
pub(crate) struct Full {
    stream: TcpStream,
    /// Bytes of the response's body
    pub(crate) length: usize,
}

impl Brim {
    pub(crate) async fn serve(limits: Limits) -> Self {
        let silent = Scripted::silent().await;
        let endpoint = as_long_as_asked().await;
        let local = IpAddr::from([127, 0, 0, 1]);
        let builder = ProxyBuilder::new().limits(limits).admin(SocketAddr::new(local, 0));
        let proxy = serve_built(local, &builder, |port| {
            with_clock(simple(port, endpoint.address), &silent)
        });
        Self { proxy, _endpoints: [silent, endpoint] }
    }

    /// Looks for the longest response that is handed over whole. Those around it differ by less than
    /// what waits behind a full socket.
    pub(crate) async fn fill(&self, version: &str) -> Vec<Full> {
        let (mut whole, mut too_long) = (0_usize, 16 << 20);
        let mut full = Vec::new();
        while too_long - whole > 8 * 1024 {
            let length = whole.midpoint(too_long);
            let before = self.answered().await;
            let stream = self.ask(length, version).await;
            for _ in 0..3 {
                pass(&self.proxy).await;
            }
            if self.answered().await > before {
                whole = length;
                full.push(Full { stream, length });
            } else {
                too_long = length;
            }
        }
        full
    }

    async fn ask(&self, length: usize, version: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("small");
        let mut client = within(socket.connect(self.proxy.address)).await.expect("it accepts");
        let request = format!("GET /{length} {version}\r\nhost: a\r\n\r\n");
        within(client.write_all(request.as_bytes())).await.expect("it reads");
        client
    }

    /// Requests that are over, and were answered in full.
    async fn answered(&self) -> usize {
        let metrics = self.proxy.metrics().await;
        let count = |name: &str| -> usize {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            // Those that tell the time are no part of it.
            let lines = lines.filter(|line| !line.contains("silent"));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
        };
        count("gwapi_http_requests_total{") - count("gwapi_http_requests_incomplete_total{")
    }
}

impl Full {
    /// Reads to the end; the bytes of the body that came.
    pub(crate) async fn read(mut self) -> io::Result<usize> {
        let mut read = Vec::new();
        within(self.stream.read_to_end(&mut read)).await?;
        let head = read.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        Ok(read.len() - head - 4)
    }
}

async fn as_long_as_asked() -> Scripted {
    Scripted::start(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let length = head.split(['/', ' ']).nth(2).and_then(|length| length.parse().ok());
        let Some(length) = length else { return };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&vec![b'x'; length]).await;
        read_head(&mut stream).await;
    })
    .await
}

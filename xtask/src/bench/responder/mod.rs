//! The backends of every benchmark: they answer each request with a fixed response and name
//! themselves, so that a proxy's answer can be told from one that the proxy made up.

mod grpc;
mod http1;
mod tls;

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::site::Certificate;

/// The header by which a backend names itself.
pub(crate) const NAME_HEADER: &str = "x-backend";

/// The longest body that a request may ask for.
const MAX_BODY: usize = 1 << 20;

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speech {
    /// HTTP/1.1
    Http1,
    /// HTTP/1.1 over TLS
    Http1Tls,
    /// gRPC over HTTP/2 without TLS
    Grpc,
}

impl Speech {
    /// All that backends are started for.
    pub(crate) const ALL: [Self; 3] = [Self::Http1, Self::Http1Tls, Self::Grpc];

    /// As it stands on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http1Tls => "http1-tls",
            Self::Grpc => "grpc",
        }
    }
}

#[derive(Args)]
pub(crate) struct ResponderArgs {
    /// The name that it answers with
    name: String,
    /// What it speaks
    #[arg(long, value_enum)]
    speaks: Speech,
    /// The certificate that it shows where it speaks TLS, in PEM
    #[arg(long, value_name = "PATH")]
    chain: PathBuf,
    /// The key of the certificate, in PEM
    #[arg(long, value_name = "PATH")]
    key: PathBuf,
}

/// The command that serves; `xtask` is this program.
pub(crate) fn command(
    xtask: &Path,
    name: &str,
    speech: Speech,
    certificate: &Certificate,
) -> Command {
    let mut command = Command::new(xtask);
    command.args(["bench-responder", name, "--speaks", speech.name()]);
    command.arg("--chain").arg(&certificate.chain).arg("--key").arg(&certificate.key);
    command
}

/// Serves until it is killed. Prints its address as the only line on standard output.
pub(crate) fn run(arguments: &ResponderArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    let name: Rc<str> = arguments.name.as_str().into();
    let server = match arguments.speaks {
        Speech::Http1 => Server::Http1,
        Speech::Http1Tls => Server::Tls(tls::acceptor(&arguments.chain, &arguments.key)?),
        Speech::Grpc => Server::Grpc,
    };
    let server = Rc::new(server);
    local.block_on(&runtime, async move {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen")?;
        let address = listener.local_addr().context("cannot tell the address")?;
        println!("{address}");
        io::stdout().flush().context("nobody reads the address")?;
        loop {
            let (stream, _) = listener.accept().await.context("cannot accept")?;
            let (name, server) = (Rc::clone(&name), Rc::clone(&server));
            tokio::task::spawn_local(async move {
                // A connection that breaks is seen by the proxy, and so by the load generator.
                let _ = server.serve(stream, name).await;
            });
        }
    })
}

/// The body that a request asks for: every proxy has to bring these bytes and no others.
pub(crate) fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + ((at + at / 26) % 26) as u8).collect()
}

enum Server {
    Http1,
    Tls(TlsAcceptor),
    Grpc,
}

impl Server {
    /// Answers on a connection until it ends.
    async fn serve(&self, stream: TcpStream, name: Rc<str>) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        match self {
            Self::Http1 => http1::serve(stream, &name).await?,
            Self::Tls(acceptor) => http1::serve(acceptor.accept(stream).await?, &name).await?,
            Self::Grpc => grpc::serve(stream, &name).await?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_speaks_is_named_as_the_command_line_reads_it() {
        for speech in Speech::ALL {
            assert_eq!(Speech::from_str(speech.name(), false), Ok(speech));
        }
    }
}

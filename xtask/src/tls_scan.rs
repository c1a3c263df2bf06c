//! `cargo xtask tls-scan`: what sslscan finds that an HTTPS listener of `gwapi` offers.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::gateway::Gateway;

/// Protocols that a client may speak.
const PROTOCOLS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    if Command::new("sslscan").arg("--version").output().is_err() {
        bail!("sslscan is missing. Install the Debian package sslscan");
    }
    let gateway = Gateway::start_with_tls(root, "tls-scan")?;
    let output = Command::new("sslscan")
        .args(["--no-colour", "--sni-name=a.example", &gateway.address.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("cannot start sslscan")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = Found::read(&text);
    for (protocol, cipher) in &found.ciphers {
        eprintln!("{protocol}  {cipher}");
    }
    let complaints = found.complaints();
    if !complaints.is_empty() {
        bail!("{}\n\nsslscan says:\n{text}", complaints.join("\n"));
    }
    Ok(())
}

/// What sslscan tells.
#[derive(Debug, Default)]
struct Found {
    enabled: Vec<String>,
    /// Protocol and cipher suite.
    ciphers: Vec<(String, String)>,
    /// Lines that tell of something bad.
    bad: Vec<String>,
}

impl Found {
    fn read(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match *words.as_slice() {
                [protocol, "enabled"] => found.enabled.push(protocol.to_owned()),
                ["Preferred" | "Accepted", protocol, _, "bits", cipher, ..] => {
                    found.ciphers.push((protocol.to_owned(), cipher.to_owned()));
                }
                [_, "vulnerable", ..] => found.bad.push(line.to_owned()),
                _ if line.starts_with("Insecure") || line.starts_with("Compression enabled") => {
                    found.bad.push(line.to_owned());
                }
                _ => {}
            }
        }
        found
    }

    fn complaints(&self) -> Vec<String> {
        let mut complaints = self.bad.clone();
        if self.enabled != PROTOCOLS {
            complaints.push(format!("enabled are {:?}", self.enabled));
        }
        // Forward secret, with authenticated encryption.
        let is_good = |cipher: &str| {
            let has_secrecy = cipher.starts_with("ECDHE-") || cipher.starts_with("TLS_");
            has_secrecy && (cipher.contains("GCM") || cipher.contains("CHACHA20"))
        };
        let weak = self.ciphers.iter().filter(|(_, cipher)| !is_good(cipher));
        complaints.extend(weak.map(|(protocol, cipher)| format!("{protocol} takes {cipher}")));
        if self.ciphers.is_empty() {
            complaints.push("no cipher suite is taken".to_owned());
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_weak_is_told() {
        let good = "TLSv1.0   disabled\nTLSv1.2   enabled\nTLSv1.3   enabled\n\
                    TLSv1.3 not vulnerable to heartbleed\n\
                    Preferred TLSv1.3  256 bits  TLS_AES_256_GCM_SHA384  Curve 25519 DHE 253\n";
        assert_eq!(Found::read(good).complaints(), [""; 0]);
        let bad = "TLSv1.1   enabled\nTLSv1.2   enabled\nTLSv1.2 vulnerable to heartbleed\n\
                   Insecure session renegotiation supported\n\
                   Accepted  TLSv1.2  128 bits  AES128-SHA\n";
        assert_eq!(
            Found::read(bad).complaints(),
            [
                "TLSv1.2 vulnerable to heartbleed",
                "Insecure session renegotiation supported",
                "enabled are [\"TLSv1.1\", \"TLSv1.2\"]",
                "TLSv1.2 takes AES128-SHA",
            ]
        );
    }
}

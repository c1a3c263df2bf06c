//! Certificates that sign themselves, by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// Files of a certificate and its key, in PEM.
pub(crate) struct SelfSigned {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// Makes a certificate for DNS names, ECDSA on P-256, in a folder; the first name is its subject.
pub(crate) fn self_signed(folder: &Path, names: &[&str]) -> anyhow::Result<SelfSigned> {
    let made = SelfSigned { chain: folder.join("cert.pem"), key: folder.join("key.pem") };
    let subject = names.first().context("a certificate is for a name")?;
    let alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    command.args(["-nodes", "-days", "30", "-subj", &format!("/CN={subject}")]);
    command.args(["-addext", &format!("subjectAltName={}", alternatives.join(","))]);
    command.arg("-keyout").arg(&made.key).arg("-out").arg(&made.chain);
    let output = command.output().context("cannot start openssl")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl makes no certificate: {complaint}");
    Ok(made)
}

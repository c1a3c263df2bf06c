//! Keys and certificates of a cluster, made anew for each by openssl.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::components::{API_SERVER, NODE, NODE_ADDRESS};

/// Who has a certificate: file, subject, and the names of a server.
struct Identity {
    file: &'static str,
    subject: &'static str,
    /// A server's names; none for a client.
    names: Option<String>,
}

/// Makes the authority, a certificate for each program, and the keys of service accounts.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).context("cannot lock keys")?;
    let keys = Keys(folder.to_owned());
    fs::write(keys.path("openssl.cnf"), CONFIGURATION).context("cannot write openssl.cnf")?;
    keys.authority()?;
    for identity in identities() {
        keys.issue(&identity)?;
    }
    keys.service_accounts()
}

/// With Kubernetes, the subject of a client says who it is and in which groups.
fn identities() -> Vec<Identity> {
    let client = |file, subject| Identity { file, subject, names: None };
    let services = "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,\
                    DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1";
    vec![
        Identity {
            file: "apiserver",
            subject: "/CN=kube-apiserver",
            names: Some(format!("{services},IP:{NODE_ADDRESS}")),
        },
        Identity {
            file: "kubelet-server",
            subject: "/CN=kubelet",
            names: Some(format!("DNS:{NODE},IP:{NODE_ADDRESS}")),
        },
        client("admin", "/O=system:masters/CN=admin"),
        client("apiserver-kubelet", "/O=system:masters/CN=kube-apiserver"),
        client("kube-controller-manager", "/CN=system:kube-controller-manager"),
        client("kube-scheduler", "/CN=system:kube-scheduler"),
        client("kube-proxy", "/CN=system:kube-proxy"),
        client("kubelet", "/O=system:nodes/CN=system:node:node"),
        client("loadbalancer", "/CN=loadbalancer"),
    ]
}

struct Keys(PathBuf);

impl Keys {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn authority(&self) -> anyhow::Result<()> {
        self.certificate(
            "ca",
            "/CN=gwapi-cluster",
            &[],
            &[
                "basicConstraints=critical,CA:TRUE",
                "keyUsage=critical,digitalSignature,keyCertSign,cRLSign",
            ],
        )
    }

    fn issue(&self, identity: &Identity) -> anyhow::Result<()> {
        let authority = ["-CA", "ca.crt", "-CAkey", "ca.key"];
        let usage = "keyUsage=critical,digitalSignature";
        let (purpose, names) = match &identity.names {
            Some(names) => ("extendedKeyUsage=serverAuth", format!("subjectAltName={names}")),
            None => ("extendedKeyUsage=clientAuth", String::new()),
        };
        let mut extensions = vec!["basicConstraints=critical,CA:FALSE", usage, purpose];
        if !names.is_empty() {
            extensions.push(&names);
        }
        self.certificate(identity.file, identity.subject, &authority, &extensions)
    }

    fn certificate(
        &self,
        file: &str,
        subject: &str,
        authority: &[&str],
        extensions: &[&str],
    ) -> anyhow::Result<()> {
        let mut openssl = self.openssl();
        openssl.args(["req", "-x509", "-config", "openssl.cnf", "-nodes", "-days", "3650"]);
        openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", subject]);
        openssl.args(["-keyout", &format!("{file}.key"), "-out", &format!("{file}.crt")]);
        openssl.args(authority);
        for extension in extensions {
            openssl.args(["-addext", extension]);
        }
        run(openssl)
    }

    /// Tokens of service accounts are signed with one key and checked with the other.
    fn service_accounts(&self) -> anyhow::Result<()> {
        let mut openssl = self.openssl();
        openssl.args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-out", "service-accounts.key"]);
        run(openssl)?;
        let mut openssl = self.openssl();
        openssl.args(["pkey", "-in", "service-accounts.key", "-pubout"]);
        openssl.args(["-out", "service-accounts.pub"]);
        run(openssl)
    }

    fn openssl(&self) -> Command {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&self.0).stdin(Stdio::null());
        openssl
    }
}

fn run(mut openssl: Command) -> anyhow::Result<()> {
    let output = openssl.output().context("cannot start openssl")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("openssl failed with {} (it has to be version 3): {said}", output.status);
    }
    Ok(())
}

/// Access for one of the identities; `folder` is where its reader finds the keys.
pub(crate) fn kubeconfig(folder: &Path, identity: &str) -> String {
    let folder = folder.display();
    format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: gwapi
    cluster: {{server: \"{API_SERVER}\", certificate-authority: \"{folder}/ca.crt\"}}
users:
  - name: {identity}
    user:
      client-certificate: \"{folder}/{identity}.crt\"
      client-key: \"{folder}/{identity}.key\"
contexts:
  - name: gwapi
    context: {{cluster: gwapi, user: {identity}}}
current-context: gwapi
"
    )
}

/// Nothing but what the command line says: distributions add extensions of their own.
const CONFIGURATION: &str = "\
[req]
distinguished_name = names
prompt = no
[names]
CN = gwapi
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_certificate_of_the_authority() {
        let folder = std::env::temp_dir().join(format!("gwapi-keys-{}", std::process::id()));
        make(&folder).unwrap();
        for identity in identities() {
            let certificate = folder.join(format!("{}.crt", identity.file));
            let mut openssl = Command::new("openssl");
            openssl.args(["verify", "-CAfile"]).arg(folder.join("ca.crt")).arg(&certificate);
            let output = openssl.output().unwrap();
            assert!(output.status.success(), "{}: {output:?}", identity.file);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}

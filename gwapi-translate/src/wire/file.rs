//! What a client has, as bytes for a file: it can start from there when no server answers.
//!
//! ```text
//! {"format":"gwapi-snapshot/1","gateway":"default/web","mark":{...}}
//! {"name":"Backend/default/shop:80","version":"...","resource":{"Backend":{...}}}
//! ...
//! sha256:...
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::client::{Client, Held};
use super::encoding::{Incoming, Outgoing, checksum};
use super::name_of;
use super::snapshot::SnapshotMark;
use crate::ir::{GatewayId, IrResource};

const FORMAT: &str = "gwapi-snapshot/1";
const CHECKSUM: &str = "sha256:";

/// Why a client cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The bytes were cut or changed.
    #[error("the snapshot is not whole")]
    Damaged,
    /// Another release wrote it.
    #[error("the snapshot is in the format {0:?}, which this version does not read")]
    Format(String),
    /// It is of another Gateway.
    #[error("the snapshot is that of the Gateway {0}")]
    Gateway(String),
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    gateway: String,
    mark: SnapshotMark,
}

#[derive(Serialize)]
struct OutgoingLine<'a> {
    name: &'a str,
    version: &'a str,
    resource: Outgoing<'a>,
}

#[derive(Deserialize)]
struct IncomingLine {
    name: String,
    version: String,
    resource: Incoming,
}

impl Client {
    /// The last good version of everything, private keys included; `None` before the first complete
    /// state.
    pub fn save(&self, gateway: &GatewayId) -> Option<Vec<u8>> {
        let mark = self.mark.clone()?;
        let head = Head { format: FORMAT.to_owned(), gateway: gateway.to_string(), mark };
        let mut bytes = Vec::new();
        line(&mut bytes, &head);
        for (name, held) in &self.held {
            if let Some((version, resource)) = &held.good {
                let resource = Outgoing::from(resource);
                line(&mut bytes, &OutgoingLine { name, version, resource });
            }
        }
        let checksum = checksum(&bytes);
        bytes.extend(CHECKSUM.bytes());
        bytes.extend(checksum.bytes());
        bytes.push(b'\n');
        Some(bytes)
    }

    /// A client that has what was saved. A resource that this release cannot read is left out: the
    /// server will send it again.
    pub fn restore(gateway: &GatewayId, bytes: &[u8]) -> Result<Self, RestoreError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RestoreError::Damaged)?;
        let (body, end) = text.rsplit_once(CHECKSUM).ok_or(RestoreError::Damaged)?;
        if end.trim_end() != checksum(body.as_bytes()) {
            return Err(RestoreError::Damaged);
        }
        let mut lines = body.lines();
        let head = head(lines.next().unwrap_or_default())?;
        if head.gateway != gateway.to_string() {
            return Err(RestoreError::Gateway(head.gateway));
        }
        let mut held = BTreeMap::new();
        for line in lines {
            let Ok(line) = serde_json::from_str::<IncomingLine>(line) else { continue };
            let resource = IrResource::from(line.resource);
            if name_of(&resource.key()) == line.name {
                let good = Some((line.version.clone(), resource));
                let entry = Held { sent: Some(line.version), good, unreadable: None };
                held.insert(line.name.into(), entry);
            }
        }
        Ok(Self::holding(held, head.mark))
    }
}

fn head(line: &str) -> Result<Head, RestoreError> {
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    let format: Format = serde_json::from_str(line).map_err(|_| RestoreError::Damaged)?;
    if format.format != FORMAT {
        return Err(RestoreError::Format(format.format));
    }
    serde_json::from_str(line).map_err(|_| RestoreError::Damaged)
}

fn line(bytes: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(&mut *bytes, value)
        .expect("snapshots have text as keys of maps, and writing to memory does not fail");
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gwapi_model::{NamespacedName, SecretBytes};

    use super::*;
    use crate::ir::{Certificate, CertificateKey};

    fn gateway() -> GatewayId {
        NamespacedName::new("default", "web")
    }

    fn client() -> Client {
        let certificate = IrResource::Certificate(Arc::new(Certificate {
            key: CertificateKey::secret("default", "tls"),
            chain: "CHAIN".into(),
            private_key: SecretBytes::new(b"key".to_vec()),
        }));
        let good = Some(("1".to_owned(), certificate));
        let held = Held { sent: Some("2".to_owned()), good, unreadable: Some("why".to_owned()) };
        let mark = SnapshotMark { generation: 7, ..SnapshotMark::default() };
        Client::holding([("Certificate/default/tls".into(), held)].into(), mark)
    }

    #[test]
    fn a_client_is_restored_with_the_last_good_versions() {
        let bytes = client().save(&gateway()).expect("a complete state");
        let restored = Client::restore(&gateway(), &bytes).expect("readable");
        assert_eq!(restored.config(), client().config());
        assert_eq!(restored.mark(), client().mark());
        let request = restored.clone().connect(Default::default());
        assert_eq!(request.initial_resource_versions["Certificate/default/tls"], "1");
    }

    #[test]
    fn nothing_is_saved_before_the_first_complete_state() {
        assert_eq!(Client::default().save(&gateway()), None);
    }

    #[test]
    fn a_damaged_snapshot_is_refused() {
        let bytes = client().save(&gateway()).expect("a complete state");
        let refused = |bytes: &[u8]| Client::restore(&gateway(), bytes).expect_err("refused");
        for end in 0..bytes.len() - 1 {
            assert_eq!(refused(&bytes[..end]), RestoreError::Damaged, "{end} bytes");
        }
        let mut changed = bytes.clone();
        changed[40] ^= 1;
        assert_eq!(refused(&changed), RestoreError::Damaged);
    }

    #[test]
    fn a_snapshot_of_another_gateway_or_format_is_refused() {
        let bytes = client().save(&gateway()).expect("a complete state");
        let other = NamespacedName::new("default", "other");
        let error = Client::restore(&other, &bytes).expect_err("refused");
        assert_eq!(error, RestoreError::Gateway("default/web".to_owned()));

        let body = "{\"format\":\"gwapi-snapshot/2\"}\n";
        let bytes = format!("{body}sha256:{}\n", checksum(body.as_bytes()));
        let error = Client::restore(&gateway(), bytes.as_bytes()).expect_err("refused");
        assert_eq!(error, RestoreError::Format("gwapi-snapshot/2".to_owned()));
    }

    #[test]
    fn a_resource_of_another_release_is_left_out() {
        let bytes = client().save(&gateway()).expect("a complete state");
        let text = String::from_utf8(bytes).expect("text");
        let (body, _) = text.rsplit_once(CHECKSUM).expect("an end");
        let body = format!(
            "{body}{{\"name\":\"UdpRule/a\",\"version\":\"1\",\"resource\":{{\"UdpRule\":{{}}}}}}\n"
        );
        let bytes = format!("{body}{CHECKSUM}{}\n", checksum(body.as_bytes()));
        let restored = Client::restore(&gateway(), bytes.as_bytes()).expect("readable");
        assert_eq!(restored.config(), client().config());
    }
}

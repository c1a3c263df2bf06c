//! Configuration files of the components.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::components::{NODE, NODE_ADDRESS, PODS};
use super::images::PAUSE_IMAGE;
use super::keys;
use super::state::INSIDE;

/// Who has access to the API server by a file of its own.
const CLIENTS: [&str; 5] =
    ["kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "loadbalancer"];

/// Writes all of them into the folder of a cluster. `snapshotter` says how containerd makes the
/// root of a container, `plugins` where the network plugins are.
pub(crate) fn write(folder: &Path, snapshotter: &str, plugins: &str) -> anyhow::Result<()> {
    let configs = folder.join("config");
    fs::create_dir_all(configs.join("cni"))
        .context("cannot create the folder of configurations")?;
    let inside = Path::new(INSIDE).join("pki");
    let mut files = vec![
        ("kubelet.yaml".to_owned(), kubelet()),
        ("kube-proxy.yaml".to_owned(), kube_proxy()),
        ("containerd.toml".to_owned(), containerd(snapshotter, plugins)),
        ("cni/10-gwapi.conflist".to_owned(), network()),
    ];
    for client in CLIENTS {
        files.push((format!("{client}.kubeconfig"), keys::kubeconfig(&inside, client)));
    }
    for (name, text) in files {
        fs::write(configs.join(&name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Thresholds are those of a machine that does other things as well: pods are not evicted because
/// its disk is nearly full.
fn kubelet() -> String {
    format!(
        "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {NODE_ADDRESS}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: /run/gwapi/pki/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: /run/gwapi/pki/kubelet-server.crt
tlsPrivateKeyFile: /run/gwapi/pki/kubelet-server.key
featureGates: {{ClusterTrustBundle: true, ClusterTrustBundleProjection: true}}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
# There is no way out, so no name server of the machine can be asked.
resolvConf: \"\"
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
# The values that kubelet wants are shown to it; those of the machine stay as they are.
protectKernelDefaults: true
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 50Mi}}
maxPods: 250
podLogsDir: /run/gwapi/logs/pods
oomScoreAdj: 0
kubeAPIQPS: 500
kubeAPIBurst: 1000
eventRecordQPS: 100
eventBurst: 200
"
    )
}

/// A change of a Service is in force after a tenth of a second. The machine's tables of connections
/// are not resized.
fn kube_proxy() -> String {
    format!(
        "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {NODE}
bindAddress: {NODE_ADDRESS}
clusterCIDR: {PODS}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection:
  kubeconfig: /run/gwapi/config/kube-proxy.kubeconfig
  qps: 200
  burst: 400
nftables: {{minSyncPeriod: 100ms}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"
    )
}

/// `restrict_oom_score_adj`: root of a container or of a machine's sandbox may lack
/// `CAP_SYS_RESOURCE`, and no pod would start. Unprivileged processes get no low ports: a pod that
/// wants them says so, as it has to elsewhere.
fn containerd(snapshotter: &str, plugins: &str) -> String {
    format!(
        "\
version = 3
root = '/run/gwapi/containerd'
state = '/run/containerd'

[grpc]
address = '/run/containerd/containerd.sock'

[plugins.'io.containerd.cri.v1.images']
snapshotter = '{snapshotter}'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
enable_unprivileged_ports = false
enable_unprivileged_icmp = false

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{plugins}']
conf_dir = '/run/gwapi/config/cni'

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'runc'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
"
    )
}

/// Each pod hangs on a link of its own and is routed. On a bridge, the answer of a pod to its
/// neighbour would bypass the translation of addresses wherever the kernel does not filter bridges.
fn network() -> String {
    format!(
        r#"{{
  "cniVersion": "1.0.0",
  "name": "gwapi",
  "plugins": [
    {{
      "type": "ptp",
      "ipam": {{
        "type": "host-local",
        "ranges": [[{{"subnet": "{PODS}"}}]],
        "routes": [{{"dst": "0.0.0.0/0"}}]
      }}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#
    )
}

//! The programs of a cluster and their command lines. Paths are those inside of the cluster.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The name of the only node.
pub(crate) const NODE: &str = "node";
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 240, 0, 1);
pub(crate) const API_SERVER: &str = "https://10.240.0.1:6443";

/// Addresses of pods, of Services, and those that the load balancer hands out.
pub(crate) const PODS: &str = "10.244.0.0/16";
pub(crate) const SERVICES: &str = "10.96.0.0/16";
pub(crate) const LOAD_BALANCERS: &str = "10.245.0.0/16";

/// The half of them that is handed out to Services which ask for none.
const AUTOMATIC: &str = "10.245.0.0/17";

const ETCD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2379);
const API_SERVER_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(NODE_ADDRESS), 6443);

/// What the first process of a cluster starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) components: Vec<Component>,
    pub(crate) programs: Programs,
    /// Where programs are looked for.
    pub(crate) path: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// It is started when somebody listens here.
    pub(crate) after: Option<SocketAddr>,
}

/// The folders that programs were built into, by the module that they are of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Programs(pub(crate) BTreeMap<String, PathBuf>);

impl Programs {
    /// The program of a name.
    pub(crate) fn path(&self, module: &str, program: &str) -> anyhow::Result<PathBuf> {
        let folder = self.0.get(module).with_context(|| format!("{module} was not built"))?;
        Ok(folder.join(program))
    }

    /// All folders, for `PATH`.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        self.0.values().cloned().collect()
    }
}

/// All components, in the order in which they are started.
pub(crate) fn all(programs: &Programs) -> anyhow::Result<Vec<Component>> {
    let component = |name: &str, module, program, after, arguments: String| {
        let program = programs.path(module, program)?;
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        anyhow::Ok(Component { name: name.to_owned(), program, arguments, after })
    };
    let kubernetes = |name, after, arguments| component(name, "kubernetes", name, after, arguments);
    let api = Some(API_SERVER_PORT);
    Ok(vec![
        component("etcd", "etcd", "etcd", None, etcd())?,
        component("containerd", "containerd", "containerd", None, containerd())?,
        kubernetes("kube-apiserver", Some(ETCD), api_server())?,
        kubernetes("kube-controller-manager", api, controller_manager())?,
        kubernetes("kube-scheduler", api, scheduler())?,
        kubernetes("kubelet", api, kubelet())?,
        kubernetes("kube-proxy", api, "--config=/run/gwapi/config/kube-proxy.yaml".to_owned())?,
        kubernetes("loadbalancer", api, load_balancer())?,
    ])
}

/// What is in it is thrown away with the cluster, so nothing has to reach the disk.
fn etcd() -> String {
    "--data-dir=/run/gwapi/etcd --unsafe-no-fsync --log-level=warn \
     --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
     --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
     --initial-cluster=default=http://127.0.0.1:2380"
        .to_owned()
}

fn containerd() -> String {
    "--config=/run/gwapi/config/containerd.toml".to_owned()
}

fn api_server() -> String {
    format!(
        "--bind-address={NODE_ADDRESS} --advertise-address={NODE_ADDRESS} --secure-port=6443 \
         --etcd-servers=http://127.0.0.1:2379 \
         --service-cluster-ip-range={SERVICES} \
         --allow-privileged=true \
         --authorization-mode=Node,RBAC \
         --enable-admission-plugins=NodeRestriction \
         --client-ca-file=/run/gwapi/pki/ca.crt \
         --tls-cert-file=/run/gwapi/pki/apiserver.crt \
         --tls-private-key-file=/run/gwapi/pki/apiserver.key \
         --kubelet-certificate-authority=/run/gwapi/pki/ca.crt \
         --kubelet-client-certificate=/run/gwapi/pki/apiserver-kubelet.crt \
         --kubelet-client-key=/run/gwapi/pki/apiserver-kubelet.key \
         --kubelet-preferred-address-types=InternalIP \
         --service-account-issuer=https://kubernetes.default.svc.cluster.local \
         --service-account-key-file=/run/gwapi/pki/service-accounts.pub \
         --service-account-signing-key-file=/run/gwapi/pki/service-accounts.key \
         --feature-gates=ClusterTrustBundle=true,ClusterTrustBundleProjection=true \
         --runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true \
         --profiling=false"
    )
}

fn controller_manager() -> String {
    "--kubeconfig=/run/gwapi/config/kube-controller-manager.kubeconfig \
     --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
     --root-ca-file=/run/gwapi/pki/ca.crt \
     --service-account-private-key-file=/run/gwapi/pki/service-accounts.key \
     --cluster-signing-cert-file=/run/gwapi/pki/ca.crt \
     --cluster-signing-key-file=/run/gwapi/pki/ca.key \
     --feature-gates=ClusterTrustBundle=true \
     --kube-api-qps=500 --kube-api-burst=1000 --profiling=false"
        .to_owned()
}

fn scheduler() -> String {
    "--kubeconfig=/run/gwapi/config/kube-scheduler.kubeconfig \
     --bind-address=127.0.0.1 --leader-elect=false \
     --kube-api-qps=500 --kube-api-burst=1000 --profiling=false"
        .to_owned()
}

fn kubelet() -> String {
    format!(
        "--config=/run/gwapi/config/kubelet.yaml \
         --kubeconfig=/run/gwapi/config/kubelet.kubeconfig \
         --root-dir=/run/gwapi/kubelet --cert-dir=/run/gwapi/kubelet/pki \
         --hostname-override={NODE} --node-ip={NODE_ADDRESS}"
    )
}

fn load_balancer() -> String {
    format!(
        "--kubeconfig=/run/gwapi/config/loadbalancer.kubeconfig \
         --pool={LOAD_BALANCERS} --automatic={AUTOMATIC}"
    )
}

/// Where the plan of a cluster is.
pub(crate) fn plan_file(folder: &Path) -> PathBuf {
    folder.join("plan.json")
}

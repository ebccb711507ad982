"""The programs of the node: their configuration, command lines and health."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from settings import (
    API_PORT,
    BRIDGE,
    CGROUP,
    ETCD_PEER_PORT,
    ETCD_PORT,
    NODE,
    NODE_ADDRESS,
    NODE_CLASS,
    POD_RANGE,
    SERVICE_RANGE,
    Paths,
)

ETCD = f"http://127.0.0.1:{ETCD_PORT}"
CNI_PROGRAMS = "/usr/lib/cni"


@dataclass(frozen=True)
class Component:
    """One program that runs until it is stopped."""

    name: str
    command: tuple[str, ...]
    healthy: Callable[[], bool]
    ports: tuple[tuple[str, int], ...] = ()
    """The addresses at which it listens, which must be free before it starts."""


def answers(url: str, certificates: Path | None = None) -> bool:
    """Return whether an HTTP health endpoint reports that all is well."""
    context = None
    if url.startswith("https"):
        context = ssl.create_default_context()
        # Health endpoints on loopback use certificates that are made at each start.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificates is not None:
            context.load_cert_chain(certificates / "admin.crt", certificates / "admin.key")
    try:
        with _direct(context).open(url, timeout=2) as reply:
            return bool(reply.status == HTTPStatus.OK)
    except OSError:
        return False


def _direct(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Return an opener that uses no proxy."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def components(paths: Paths) -> list[Component]:
    """Return all components, in the order in which they start."""
    return [
        _etcd(paths),
        _apiserver(paths),
        _controller_manager(paths),
        _scheduler(paths),
        _containerd(paths),
        _kubelet(paths),
        _kube_proxy(paths),
    ]


def _program(paths: Paths, name: str) -> str:
    return str(paths.programs / name)


def _etcd(paths: Paths) -> Component:
    peer = f"http://127.0.0.1:{ETCD_PEER_PORT}"
    return Component(
        "etcd",
        (
            _program(paths, "etcd"),
            f"--name={NODE}",
            f"--data-dir={paths.state / 'etcd'}",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={NODE}={peer}",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=1h",
            "--log-level=warn",
            # The cluster is for tests: data lost in a power cut are made again.
            "--unsafe-no-fsync",
        ),
        lambda: answers(f"{ETCD}/health"),
        (("127.0.0.1", ETCD_PORT), ("127.0.0.1", ETCD_PEER_PORT)),
    )


def _apiserver(paths: Paths) -> Component:
    pki = paths.certificates
    return Component(
        "apiserver",
        (
            _program(paths, "kube-apiserver"),
            f"--bind-address={NODE_ADDRESS}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--etcd-servers={ETCD}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'kube-apiserver.crt'}",
            f"--tls-private-key-file={pki / 'kube-apiserver.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            "--profiling=false",
        ),
        lambda: answers(f"https://{NODE_ADDRESS}:{API_PORT}/readyz"),
        ((NODE_ADDRESS, API_PORT),),
    )


def _controller_manager(paths: Paths) -> Component:
    pki = paths.certificates
    kubeconfig = pki / "kube-controller-manager.kubeconfig"
    return Component(
        "controller-manager",
        (
            _program(paths, "kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            # One controller manager needs no election, and an election writes every two seconds.
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'service-accounts.key'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--profiling=false",
        ),
        lambda: answers("https://127.0.0.1:10257/healthz"),
        (("127.0.0.1", 10257),),
    )


def _scheduler(paths: Paths) -> Component:
    kubeconfig = paths.certificates / "kube-scheduler.kubeconfig"
    return Component(
        "scheduler",
        (
            _program(paths, "kube-scheduler"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
        ),
        lambda: answers("https://127.0.0.1:10259/healthz"),
        (("127.0.0.1", 10259),),
    )


def _containerd(paths: Paths) -> Component:
    return Component(
        "containerd",
        ("/usr/bin/containerd", f"--config={paths.configuration / 'containerd.toml'}"),
        paths.socket.is_socket,
    )


def _kubelet(paths: Paths) -> Component:
    return Component(
        "kubelet",
        (
            _program(paths, "kubelet"),
            f"--config={paths.configuration / 'kubelet.json'}",
            f"--kubeconfig={paths.certificates / 'kubelet.kubeconfig'}",
            f"--root-dir={paths.state / 'kubelet'}",
            f"--hostname-override={NODE}",
            f"--node-ip={NODE_ADDRESS}",
            f"--node-labels=comptroller.dev/node-class={NODE_CLASS}",
        ),
        lambda: answers("http://127.0.0.1:10248/healthz"),
        ((NODE_ADDRESS, 10250), ("127.0.0.1", 10248)),
    )


def _kube_proxy(paths: Paths) -> Component:
    return Component(
        "kube-proxy",
        (_program(paths, "kube-proxy"), f"--config={paths.configuration / 'kube-proxy.json'}"),
        lambda: answers("http://127.0.0.1:10256/healthz"),
        (("127.0.0.1", 10256),),
    )


def configure(paths: Paths, pause_image: str) -> set[str]:
    """Write the configuration files that differ from the desired ones, as JSON, which is valid YAML.

    Returns:
        The components whose configuration changed.
    """
    where = paths.configuration
    (where / "cni").mkdir(parents=True, exist_ok=True)
    files = {
        "containerd.toml": ("containerd", _containerd_toml(paths, pause_image)),
        "kubelet.json": ("kubelet", json.dumps(_kubelet_configuration(paths), indent=1)),
        "kube-proxy.json": ("kube-proxy", json.dumps(_kube_proxy_configuration(paths), indent=1)),
        "cni/10-comptroller.conflist": ("containerd", json.dumps(_network(paths), indent=1)),
    }
    changed = set()
    for name, (component, content) in files.items():
        # kube-proxy exits when its file is written, even with the same content.
        if not (where / name).exists() or (where / name).read_text() != content:
            (where / name).write_text(content)
            changed.add(component)
    return changed


def _containerd_toml(paths: Paths, pause_image: str) -> str:
    return f"""\
version = 2
root = "{paths.state / "containerd"}"
state = "{paths.run / "containerd"}"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "{paths.socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  # A root without CAP_SYS_RESOURCE (in a container, in some VMs) may not lower the score.
  restrict_oom_score_adj = true
  # So that `down` finds them.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PROGRAMS}"
    conf_dir = "{paths.configuration / "cni"}"
"""


def _kubelet_configuration(paths: Paths) -> dict[str, object]:
    pki = paths.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-server.key"),
        "containerRuntimeEndpoint": f"unix://{paths.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failSwapOn": False,
        "podLogsDir": str(paths.state / "pod-logs"),
        # `cluster images` loads the images, and nothing could pull them again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "nodeStatusUpdateFrequency": "10s",
        "shutdownGracePeriod": "0s",
    }


def _kube_proxy_configuration(paths: Paths) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(paths.certificates / "kube-proxy.kubeconfig")},
        "hostnameOverride": NODE,
        "mode": "iptables",
        "nodePortAddresses": ["primary"],
        "clusterCIDR": POD_RANGE,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Zero keeps the kernel's settings, which a container or a small VM may not change.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _network(paths: Paths) -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": "comptroller",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_RANGE, "gateway": NODE_ADDRESS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(paths.run / "addresses"),
                },
            }
        ],
    }

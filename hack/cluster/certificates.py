"""The cluster's keys, certificates and kubeconfigs, made once with openssl."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from console import run
from settings import API_ADDRESS, API_PORT, NODE, NODE_ADDRESS, Paths

DAYS = "3650"


@dataclass(frozen=True)
class Certificate:
    """The subject of a certificate, and the names for which it is valid."""

    name: str
    subject: str
    alternatives: str = ""


CERTIFICATES = (
    Certificate(
        "kube-apiserver",
        "/CN=kube-apiserver",
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
        f"DNS:kubernetes.default.svc.cluster.local,DNS:localhost,IP:{API_ADDRESS},IP:{NODE_ADDRESS},IP:127.0.0.1",
    ),
    Certificate("kubelet-server", f"/O=system:nodes/CN=system:node:{NODE}", f"DNS:{NODE},IP:{NODE_ADDRESS}"),
    Certificate("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    Certificate("admin", "/O=system:masters/CN=kubernetes-admin"),
    Certificate("kube-controller-manager", "/CN=system:kube-controller-manager"),
    Certificate("kube-scheduler", "/CN=system:kube-scheduler"),
    Certificate("kube-proxy", "/CN=system:kube-proxy"),
    Certificate("kubelet", f"/O=system:nodes/CN=system:node:{NODE}"),
)
KUBECONFIGS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")


def make(paths: Paths) -> None:
    """Make the missing keys, certificates and kubeconfigs."""
    where = paths.certificates
    where.mkdir(parents=True, exist_ok=True)
    where.chmod(0o700)
    ca, ca_key = where / "ca.crt", where / "ca.key"
    if not ca.exists():
        _key(ca_key)
        _openssl(
            f"req -x509 -new -subj /CN=comptroller-cluster -days {DAYS} "
            "-addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign,cRLSign",
            key=ca_key,
            out=ca,
        )
        for certificate in CERTIFICATES:
            (where / f"{certificate.name}.crt").unlink(missing_ok=True)
    if not (where / "service-accounts.pub").exists():
        key = where / "service-accounts.key"
        _key(key)
        _openssl("pkey -pubout", **{"in": key, "out": where / "service-accounts.pub"})
    for certificate in CERTIFICATES:
        if not (where / f"{certificate.name}.crt").exists():
            _sign(where, certificate)
    for name in KUBECONFIGS:
        _kubeconfig(paths, name)


def _key(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.close(descriptor)
    _openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256", out=path)


def _openssl(words: str, **files: Path) -> None:
    run(["openssl", *words.split(), *(part for name, path in files.items() for part in (f"-{name}", path))])


def _sign(where: Path, certificate: Certificate) -> None:
    key = where / f"{certificate.name}.key"
    request = where / f"{certificate.name}.csr"
    extensions = where / f"{certificate.name}.ext"
    partial = where / f"{certificate.name}.partial"
    _key(key)
    _openssl(f"req -new -subj {certificate.subject}", key=key, out=request)
    lines = ["keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth,clientAuth"]
    if certificate.alternatives:
        lines.append(f"subjectAltName={certificate.alternatives}")
    extensions.write_text("\n".join(lines))
    authority = {"CA": where / "ca.crt", "CAkey": where / "ca.key"}
    files = {"in": request, "extfile": extensions, "out": partial}
    _openssl(f"x509 -req -CAcreateserial -days {DAYS}", **authority, **files)
    partial.rename(where / f"{certificate.name}.crt")
    request.unlink()
    extensions.unlink()


def _kubeconfig(paths: Paths, name: str) -> None:
    """Return a kubeconfig that contains its keys, so that it can be copied elsewhere on this machine."""
    where = paths.certificates
    path = paths.kubeconfig if name == "admin" else where / f"{name}.kubeconfig"
    # JSON is valid YAML.
    text = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "comptroller",
                    "cluster": {
                        "server": f"https://{NODE_ADDRESS}:{API_PORT}",
                        "certificate-authority-data": _base64(where / "ca.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": _base64(where / f"{name}.crt"),
                        "client-key-data": _base64(where / f"{name}.key"),
                    },
                }
            ],
            "contexts": [{"name": "comptroller", "context": {"cluster": "comptroller", "user": name}}],
            "current-context": "comptroller",
        },
        indent=1,
    )
    if path.exists() and path.read_text() == text:
        return
    path.touch(mode=0o600)
    path.write_text(text)


def _base64(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()

"""`GET /heartbeat` for the operator and `GET /metrics` for Prometheus, in a thread of their own."""

import json
import os
import socket
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import structlog

from comptroller_api.contract import Heartbeat
from comptroller_trainer.runtime.progress import AttemptProgress

if TYPE_CHECKING:
    from prometheus_client import Metric

PORT_FILE_ENV = "COMPTROLLER_HEARTBEAT_PORT_FILE"
"""Variable with the file for the port once it is open, for callers that requested any free port."""
_log = structlog.get_logger("heartbeat")


class HeartbeatServer:
    """Serves one attempt's progress until closed.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, progress: AttemptProgress, port: int) -> None:
        class Handler(_Handler):
            source = progress

        class DualStackServer(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

            def server_bind(self) -> None:
                if self.address_family == socket.AF_INET6:
                    self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                super().server_bind()

        self._server = DualStackServer(("", port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="heartbeat", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        _log.info("serving", port=self.port)
        named = os.environ.get(PORT_FILE_ENV)
        if named:
            partial = Path(f"{named}.partial")
            partial.write_text(str(self.port), encoding="ascii")
            partial.replace(named)  # a reader sees the whole number or no file

    def close(self) -> None:
        """Stop answering."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    source: ClassVar[AttemptProgress]
    timeout = 10  # a peer that says nothing does not keep a thread

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/heartbeat":
            self._answer("application/json", json.dumps(self.source.heartbeat().to_json()).encode())
        elif path == "/metrics":
            from prometheus_client import CONTENT_TYPE_LATEST  # noqa: PLC0415 - not every pod is scraped

            self._answer(CONTENT_TYPE_LATEST, _exposition(self.source.heartbeat()))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Log nothing: a scrape each few seconds is no news."""


def _exposition(heartbeat: Heartbeat) -> bytes:
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - not every pod is scraped

    class Collected:
        def collect(self) -> Iterable["Metric"]:
            return _families(heartbeat)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected())
    return generate_latest(registry)


def _families(heartbeat: Heartbeat) -> Iterable["Metric"]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - not every pod is scraped

    prefix = "comptroller_trainer_"
    gauges = {
        "epoch": ("Whole epochs behind.", heartbeat.epoch),
        "step": ("Steps behind in all.", heartbeat.step),
        "lease_seconds": ("Granted so far, since the container began.", heartbeat.lease_seconds),
        "utilization_ratio": ("Of what was requested, recent.", heartbeat.utilization.percent / 100),
        "peak_memory_bytes": ("Most that was resident.", heartbeat.peak_memory_bytes),
        "loader_share_ratio": ("Of step time, spent on input.", heartbeat.loader_share),
    }
    for name, (text, value) in gauges.items():
        if value is not None:
            yield GaugeMetricFamily(prefix + name, text, value=value)
    yield CounterMetricFamily(prefix + "seconds", "Since the container began.", value=heartbeat.seconds)
    if heartbeat.energy_joules is not None:
        energy = CounterMetricFamily(prefix + "energy_joules", "Used so far.", labels=["source"])
        energy.add_metric([heartbeat.energy_source], heartbeat.energy_joules)
        yield energy
    latest = GaugeMetricFamily(prefix + "metric", "The latest validation.", labels=["metric"])
    for name, value in heartbeat.metrics.items():
        latest.add_metric([name], value)
    yield latest

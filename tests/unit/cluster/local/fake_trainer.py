"""A trainer without training: an epoch is a nap, and accuracy depends on the width.

`recipe.nap` is the seconds of an epoch (0.2); `recipe.mode` is `fine`, `error`, `lost` (exits 0 without a
report), `deaf` (ignores SIGTERM), `idle` (reports no utilization) or `wrong` (exit 64).
"""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

WORK = json.loads(os.environ["COMPTROLLER_ASSIGNMENT"])
PARAMETERS = WORK["parameters"]
MODE = PARAMETERS.get("recipe.mode", "fine")
ROOT = Path(WORK["artifacts"].removeprefix("file://"))
CHECKPOINT = ROOT / "checkpoints" / "epoch"
SUSPENDED, WRONG = 75, 64
stopped = False


class Heartbeat(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        percent = 0.0 if MODE == "idle" else 90.0
        heartbeat = {
            "name": WORK["name"],
            "phase": "fit",
            "seconds": 1.0,
            "utilization": {"percent": percent, "source": "process"},
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(heartbeat).encode())

    def log_message(self, *_: object) -> None:
        pass


def stop(*_: object) -> None:
    global stopped  # noqa: PLW0603 - a signal handler has no other way
    stopped = True


def main() -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if MODE == "deaf" else stop)
    server = HTTPServer(("127.0.0.1", WORK["heartbeatPort"]), Heartbeat)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("cores", sorted(os.sched_getaffinity(0)), flush=True)  # noqa: T201 - a test reads this from the log
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    if MODE in {"wrong", "error"}:
        Path(os.environ["COMPTROLLER_TERMINATION_LOG"]).write_text(f"mode {MODE}")
        return WRONG if MODE == "wrong" else 1
    epoch = int(CHECKPOINT.read_text()) if CHECKPOINT.exists() else 0
    while epoch < WORK["epochs"]:
        until = time.monotonic() + float(PARAMETERS.get("recipe.nap", "0.2"))
        while time.monotonic() < until:
            if stopped:
                return SUSPENDED
            time.sleep(0.02)
        epoch += 1
        CHECKPOINT.write_text(str(epoch))
    if MODE == "lost":
        return 0
    width = float(PARAMETERS.get("model.width", "16"))
    report = {
        "name": WORK["name"], "trial": WORK["trial"], "attempt": WORK["attempt"], "rung": WORK["rung"],
        "epochs": epoch, "seconds": 1.0,
        "metrics": {
            "accuracy": 1 - 1 / (width * epoch), "artifact_bytes": 1000 * width, "latency_p95_ms": width / 10,
        },
    }  # fmt: skip
    path = ROOT / "attempts" / str(WORK["attempt"]) / "report.json"
    path.parent.mkdir(parents=True)
    data = json.dumps(report).encode()
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    Path(os.environ["COMPTROLLER_TERMINATION_LOG"]).write_text(f"report sha256:{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

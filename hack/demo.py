"""`make demo`: start a real cluster, install the chart, and run a real study.

With `CONTEXT=name`, an existing cluster is used. Then `IMAGE` and `TRAINER_IMAGE` must name images that its
nodes can pull, and `AWS_ENDPOINT_URL_S3`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_REGION` an
object store that both the cluster and this machine reach. `TRAINER_AWS_ACCESS_KEY_ID` and
`TRAINER_AWS_SECRET_ACCESS_KEY` belong to a second identity, which may read and write the bucket `comptroller`
and nothing in `comptroller-ledger`.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = ROOT / "hack" / "cluster" / "cluster"
DATA = Path("/usr/share/datasets/fashion-mnist")
SYSTEM, NAMESPACE, STUDY = "comptroller-system", "demo", "fashion-mnist"
ARTIFACTS, LEDGER = "comptroller", "comptroller-ledger"
"""The buckets. Trainers have no key to the second one: an account that can write the ledger can forge it."""
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
PATIENCE = 20 * 60
"""The seconds that the study may take."""


def say(text: str) -> None:
    """Print one line at once, with the time since the start."""
    print(f"[{time.monotonic() - BEGAN:6.1f} s] {text}", flush=True)


BEGAN = time.monotonic()


def run(*command: str | Path, stdin: str | None = None, quiet: bool = False) -> str:
    """Run a program and return its output, if `quiet`.

    Raises:
        SystemExit: the program failed.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, input=stdin, text=True, check=False, stdout=subprocess.PIPE if quiet else None
    )
    if done.returncode:
        sys.exit(f"failed ({done.returncode}): {shlex.join(words)}")
    return done.stdout or ""


def context(option: str) -> list[str]:
    """Return the option of kubectl, helm or comptroller that names the demo's cluster, if needed."""
    return [option, os.environ["CONTEXT"]] if os.environ.get("CONTEXT") else []


def kubectl(*words: str, stdin: str | None = None, quiet: bool = False) -> str:
    """Run kubectl against the demo's cluster."""
    return run("kubectl", *context("--context"), *words, stdin=stdin, quiet=quiet)


def own_cluster() -> dict[str, str]:
    """Start the cluster of this machine with the project's images; return the images by name."""
    run(CLUSTER, "up", "--images")
    for line in run(CLUSTER, "env", quiet=True).splitlines():
        name, value = line.removeprefix("export ").split("=", 1)
        os.environ[name] = os.path.expandvars(shlex.split(value)[0])
    state = Path(os.environ["KUBECONFIG"]).parent
    return dict(json.loads((state / "images.json").read_text()))


def other_cluster() -> dict[str, str]:
    """Return the images for a cluster that already exists."""
    needed = ("IMAGE", "TRAINER_IMAGE", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    if missing := [name for name in needed if not os.environ.get(name)]:
        sys.exit(f"CONTEXT={os.environ['CONTEXT']} needs these variables too: {', '.join(missing)}")
    return {"comptroller-operator": os.environ["IMAGE"], "comptroller-trainer": os.environ["TRAINER_IMAGE"]}


def keys(who: str) -> dict[str, str]:
    """Return the keys of the `OPERATOR` or the `TRAINER`; without separate keys, this process's own."""
    return {key: os.environ.get(f"{who}_{key}") or os.environ[key] for key in KEYS}


def apart() -> bool:
    """Return whether trainers have keys of their own."""
    return keys("TRAINER") != keys("OPERATOR")


def make_buckets(*, own: bool) -> None:
    """Make one bucket for data and artifacts and one for the ledger, with policies on our own server."""
    store = boto3.client("s3")
    for bucket in (ARTIFACTS, LEDGER):
        try:
            store.create_bucket(Bucket=bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
    if own:
        reads, writes = ("s3:GetObject", "s3:ListBucket"), ("s3:GetObject", "s3:ListBucket", "s3:PutObject")
        allow(ARTIFACTS, {"TRAINER": writes, "OPERATOR": reads})
        allow(LEDGER, {"OPERATOR": (*writes, "s3:DeleteObject")})


def allow(bucket: str, rights: dict[str, tuple[str, ...]]) -> None:
    """Set the bucket's policy: the rights of each identity, and none for others."""
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [keys(who)["AWS_ACCESS_KEY_ID"]]},
            "Action": list(actions),
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        for who, actions in rights.items()
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    boto3.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def try_to_forge() -> None:
    """Use a trainer's keys against the ledger, as a hostile image would; all requests must fail.

    Raises:
        SystemExit: a request succeeded.
    """
    if not apart():
        say("trainers have the operator's keys here, and could forge the ledger: set TRAINER_AWS_*")
        return
    access, secret = keys("TRAINER").values()
    store = boto3.client("s3", aws_access_key_id=access, aws_secret_access_key=secret)
    batch = f"ledger/{NAMESPACE}/journal/{0:012d}.json"
    forged = f"{batch}.forged"
    attempts: dict[str, Callable[[], object]] = {
        "write": lambda: store.put_object(Bucket=LEDGER, Key=forged, Body=b""),
        "read": lambda: store.get_object(Bucket=LEDGER, Key=batch),
        "list": lambda: store.list_objects_v2(Bucket=LEDGER),
        "delete": lambda: store.delete_object(Bucket=LEDGER, Key=forged),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDenied":
                continue
            raise
        sys.exit(f"a trainer's keys can {what} the ledger")
    say("a trainer's keys can neither read nor write the ledger")


def upload_data() -> None:
    """Upload the four files of Fashion-MNIST to the study's data address."""
    if not DATA.exists():
        run("apt-get", "install", "-y", "-qq", "dataset-fashion-mnist")
    store = boto3.client("s3")
    for file in sorted(DATA.glob("*ubyte.gz")):
        store.upload_file(str(file), ARTIFACTS, f"datasets/fashion-mnist/{file.name}")
        say(f"uploaded {file.name}")


def apply(manifest: dict[str, object]) -> None:
    """Apply one object with `kubectl apply`."""
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def credentials(namespace: str, who: str) -> None:
    """Return a Secret with one identity's keys of the object store."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    secret: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3", "namespace": namespace},
        "stringData": keys(who),
    }
    apply(secret)


def install(images: dict[str, str]) -> None:
    """Install the operator with its chart and wait until it is ready."""
    credentials(SYSTEM, "OPERATOR")
    operator, trainer = (images[f"comptroller-{name}"].rpartition(":") for name in ("operator", "trainer"))
    values = {
        "image.repository": operator[0],
        "image.tag": operator[2],
        "trainer.image.repository": trainer[0],
        "trainer.image.tag": trainer[2],
        "ledger.uri": f"s3://{LEDGER}",
        "s3.endpoint": os.environ["AWS_ENDPOINT_URL_S3"],
        "s3.region": os.environ.get("AWS_REGION", "us-east-1"),
        "s3.credentialsSecret": "s3",
    }
    settings = [word for name, value in values.items() for word in ("--set-string", f"{name}={value}")]
    run(
        "helm", *context("--kube-context"), "upgrade", "--install",
        "comptroller", ROOT / "charts" / "comptroller",
        "--take-ownership", "--namespace", SYSTEM, "--wait", "--timeout", "3m", *settings, quiet=True,
    )  # fmt: skip
    kubectl("-n", SYSTEM, "get", "deployments")


def watch() -> None:
    """Show the study until it has ended."""
    shown = ""
    while time.monotonic() - BEGAN < PATIENCE + INSTALLED:
        table = kubectl("-n", NAMESPACE, "get", "studies,trials", "--no-headers", quiet=True)
        now = "\n".join(" ".join(line.split()[:-1]) for line in table.splitlines())
        if now != shown:
            shown = now
            say("\n" + kubectl("-n", NAMESPACE, "get", "studies,trials", quiet=True))
        status = json.loads(kubectl("-n", NAMESPACE, "get", "study", STUDY, "-o", "json", quiet=True)).get(
            "status", {}
        )
        truth = {c["type"]: c for c in status.get("conditions", [])}
        if truth.get("Failed", {}).get("status") == "True":
            sys.exit(f"the study failed: {truth['Failed']['message']}")
        if truth.get("Complete", {}).get("status") == "True":
            return
        time.sleep(3)
    sys.exit("the study took too long")


INSTALLED = 0.0


def show() -> None:
    """Print the last screen: trials, front, spending, ledger."""
    study = json.loads(kubectl("-n", NAMESPACE, "get", "study", STUDY, "-o", "json", quiet=True))
    comptroller = Path(sys.executable).parent / "comptroller"
    where = ["-n", NAMESPACE, *context("--context")]
    for command in ("trials", "front", "status"):
        run(comptroller, command, STUDY, *where)
    run(comptroller, "ledger", "balance", f"s3://{LEDGER}", "--namespace", NAMESPACE)
    run(comptroller, "ledger", "verify", f"s3://{LEDGER}", "--namespace", NAMESPACE)
    spent, ceiling = study["status"]["spent"], study["spec"]["ceilings"]["spend"]
    complete = next(c for c in study["status"]["conditions"] if c["type"] == "Complete")
    money = f"{spent} of {ceiling['amount']} {ceiling['currency']}"
    say(f"spent {money}: {complete['reason']}: {complete['message']}")


def main() -> None:
    """Run the demo."""
    global INSTALLED  # noqa: PLW0603  (the one clock of a script)
    images = other_cluster() if os.environ.get("CONTEXT") else own_cluster()
    say("the cluster is up")
    make_buckets(own=not os.environ.get("CONTEXT"))
    upload_data()
    install(images)
    say("the operator is installed")
    credentials(NAMESPACE, "TRAINER")
    kubectl("-n", NAMESPACE, "delete", "study", STUDY, "--ignore-not-found")
    kubectl("apply", "-n", NAMESPACE, "-f", str(ROOT / "examples" / "fashion-mnist.yaml"))
    INSTALLED = time.monotonic() - BEGAN
    watch()
    show()
    try_to_forge()
    say("done; `make demo-down` removes the cluster")


if __name__ == "__main__":
    main()

"""Compare samples per second with a bare PyTorch loop: same model, batch, precision and data.

Both run in one process, one after the other in every round, so that other load on the machine affects both.
The bare loop has its tensors in memory. With `--shards`, ours are WebDataset shards of PNG files in an S3
server on this machine, which are fetched and decoded before the first epoch; the time for this is printed
too.

    python benchmarks/throughput.py --families cnn mlp resnet --rounds 7 --log benchmarks/logs/throughput.log
"""

import argparse
import io
import math
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import boto3
import structlog
import torch
from inside import CLOCKS, Clock, context_of, fit_of, model_of
from PIL import Image
from server import versitygw
from torch import Tensor, nn
from torch.nn import functional

from comptroller_api.data import Data
from comptroller_trainer.data.load import load
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.learning import precision, schedule
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context

CLASSES, SHAPE = 10, (1, 28, 28)
_SHARDS = 32
_EPOCHS = (1, 5, 20)
"""The numbers of epochs over which the time of fetching is spread."""


def samples(count: int, device: torch.device) -> Samples:
    """Return images of Fashion-MNIST's shape."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Samples(inputs.to(device), torch.randint(CLASSES, (count,), generator=generator).to(device))


@contextmanager
def sharded(data: Samples) -> Iterator[tuple[Dataset, float]]:
    """Yield the same samples as a trial reads them from shards in S3, and the seconds for reading."""
    with tempfile.TemporaryDirectory() as directory, versitygw(Path(directory), "shards") as endpoint:
        os.environ["AWS_ENDPOINT_URL_S3"] = endpoint
        client, each = boto3.client("s3"), math.ceil(len(data) / _SHARDS)
        for number, indices in enumerate(torch.split(torch.arange(len(data)), each)):
            client.put_object(Bucket="shards", Key=f"data-{number:03d}.tar", Body=shard(data, indices))
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            found = load(Data(uri="s3://shards", format="WebDataset", validation="0.01"), Path(cache))
            yield found, time.perf_counter() - began


def shard(data: Samples, indices: Tensor) -> bytes:
    """Return a tar file of PNG images and their classes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as out:
        for index in indices.tolist():
            encoded = io.BytesIO()
            Image.fromarray(data.inputs[index, 0].numpy()).save(encoded, "PNG")
            for kind, content in (("png", encoded.getvalue()), ("cls", b"%d" % int(data.labels[index]))):
                member = tarfile.TarInfo(f"{index:06d}.{kind}")
                member.size = len(content)
                out.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def bare(model: nn.Module, data: Samples, batch: int, device: torch.device, clock: Clock) -> float:
    """Return the seconds of an epoch of a loop as in a tutorial."""
    kind = precision.resolve("auto", device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=5e-4)
    count = len(data) // batch
    model.train()
    wait(device)
    began = clock()
    order = torch.randperm(len(data)).to(device)
    for step in range(count):
        index = order[step * batch : (step + 1) * batch]
        inputs, labels = data.inputs[index].float(), data.labels[index]
        for group in optimizer.param_groups:
            group["lr"] = 0.2 * schedule.rate("one_cycle", step / count)
        with precision.autocast(kind, device):
            outputs = model(inputs)
        loss = functional.cross_entropy(outputs.float(), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    wait(device)
    return clock() - began


def ours(
    model: Classifier, dataset: Dataset, parameters: dict[str, str], context: Context, clock: Clock
) -> float:
    """Return the seconds of an epoch of the trainer's loop, with a small validation and the checkpoint."""
    parsed = parse(parameters)
    parsed.selector.fit(dataset.train, context)
    with fit_of(model, dataset, parsed, context) as fit:
        wait(context.device)
        began = clock()
        fit.run(1)
        wait(context.device)
        return clock() - began


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rounds(
    options: argparse.Namespace, family: str, memory: Dataset, data: Dataset, device: torch.device
) -> Iterator[tuple[float, float]]:
    """Yield the seconds of an epoch of the bare loop and of ours, in turn, on the same number of samples."""
    clock = CLOCKS[options.clock]
    parameters = {"model.family": family, "recipe.batch_size": str(options.batch)}
    context = context_of(memory, 0, 1, Path(tempfile.gettempdir()))
    model = model_of(parse({"model.family": family}), memory, context)
    same = memory.train.take(torch.arange(len(data.train)))
    run = {
        "bare": partial(bare, model, same, options.batch, device, clock),
        "ours": partial(ours, model, data, parameters, context, clock),
    }
    for warm in run.values():
        warm()
    for number in range(options.rounds):
        seconds = {name: run[name]() for name in sorted(run, reverse=number % 2 == 1)}
        yield seconds["bare"], seconds["ours"]


def figures(options: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each round, and the ratios."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {options.threads} threads"
    size = f"{options.samples} samples, batches of {options.batch}"
    yield f"torch {torch.__version__}, {where}, {size}, {options.clock} clock"
    train, held = samples(options.samples, device), samples(128, device)
    memory = Dataset(train, held, CLASSES, torch.arange(options.samples))
    with sharded(train) if options.shards else nullcontext((memory, 0.0)) as (data, loading):
        if options.shards:
            yield f"fetched from S3 and decoded in {loading:.1f} s, {options.samples / loading:.0f}/s"
        for family in options.families:
            found = []
            for theirs, mine in rounds(options, family, memory, data, device):
                found.append((theirs, mine))
                speeds = [len(data.train) / seconds for seconds in found[-1]]
                yield f"{family}: bare {speeds[0]:.0f}/s, ours {speeds[1]:.0f}/s, {theirs / mine:.3f}"
            ratios = [theirs / mine for theirs, mine in found]
            best = min(theirs for theirs, _ in found) / min(mine for _, mine in found)
            yield (
                f"{family}: ratio of the best rounds {best:.3f}; of each, median"
                f" {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
            )
            if options.shards:
                theirs, mine = (statistics.median(one) for one in zip(*found, strict=True))
                loaded = [f"{n * theirs / (loading + n * mine):.2f} over {n} epochs" for n in _EPOCHS]
                yield f"{family}: with fetching and decoding {', '.join(loaded)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", default=["cnn", "mlp"])
    parser.add_argument("--samples", type=int, default=51_200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--shards", action="store_true", help="our samples come from shards in S3")
    parser.add_argument("--log", type=Path, help="also add what is printed to this file")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    torch.set_num_threads(options.threads)
    for line in figures(options):
        print(line, flush=True)
        if options.log is not None:
            with options.log.open("a", encoding="utf-8") as log:
                log.write(line + "\n")


if __name__ == "__main__":
    main()

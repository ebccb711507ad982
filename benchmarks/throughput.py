"""Samples per second of the training loop beside a bare PyTorch loop: same model, batch, precision and data.

Both run in one process, one after the other in every round, so that what else the machine does falls on both.

    python benchmarks/throughput.py --families cnn mlp resnet --rounds 7
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
import torch
from torch import nn
from torch.nn import functional

from comptroller_trainer import precision, recipe, schedule
from comptroller_trainer.checkpoint import Checkpoints
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.fit import Fit
from comptroller_trainer.meter import Meter
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.progress import Progress
from comptroller_trainer.stages import Context
from comptroller_trainer.stop import Stop
from comptroller_trainer.store import open_store

CLASSES, SHAPE = 10, (1, 28, 28)
Clock = Callable[[], float]
LOG = Path(__file__).parent / "logs" / "throughput.log"


def samples(count: int, device: torch.device) -> Samples:
    """Images of Fashion-MNIST's shape."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return Samples(inputs.to(device), torch.randint(CLASSES, (count,), generator=generator).to(device))


def model_of(family: str, dataset: Dataset, device: torch.device) -> Classifier:
    """Untrained, laid out as the trial line does it."""
    torch.manual_seed(0)
    body = recipe.parse({"model.family": family}).family.build(SHAPE, CLASSES)
    model = Classifier(body, *(m.to(device) for m in dataset.moments()), SHAPE).to(device)
    model.to(memory_format=torch.channels_last)
    return model


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""cpu, for one thread on a machine with neighbours: what they take does not count."""


def bare(model: nn.Module, data: Samples, batch: int, device: torch.device, clock: Clock) -> float:
    """Seconds of an epoch as a tutorial writes it."""
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
        loss.backward()
        optimizer.step()
    wait(device)
    return clock() - began


def ours(
    model: Classifier, dataset: Dataset, parameters: dict[str, str], device: torch.device, clock: Clock
) -> float:
    """Seconds of an epoch of the trainer's loop, a small validation and the checkpoint included."""
    parsed = recipe.parse(parameters)
    with tempfile.TemporaryDirectory() as directory:
        context = Context(0, 1, CLASSES, SHAPE, device, Path(directory))
        meter = Meter(1.0)
        parsed.selector.fit(dataset.train, context)
        checkpoints = Checkpoints(open_store(f"file://{directory}"), "f", 0)
        progress = Progress("throughput", 0.0, 600, meter)
        fit = Fit(model, dataset, parsed, context, checkpoints, Stop(), progress)
        wait(device)
        began = clock()
        fit.run(1)
        wait(device)
        seconds = clock() - began
        meter.close()
    return seconds


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Print a line a round, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=["cnn", "mlp"])
    parser.add_argument("--samples", type=int, default=51_200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    asked = parser.parse_args()
    clock = CLOCKS[asked.clock]
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    torch.set_num_threads(asked.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {asked.threads} threads"
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("w", encoding="utf-8") as log:

        def say(line: str) -> None:
            print(line)
            log.write(line + "\n")
            sys.stdout.flush()

        size = f"{asked.samples} samples, batches of {asked.batch}"
        say(f"torch {torch.__version__}, {where}, {size}, {asked.clock} clock")
        train, held = samples(asked.samples, device), samples(128, device)
        data = Dataset(train, held, CLASSES, torch.arange(asked.samples))
        for family in asked.families:
            parameters = {"model.family": family, "recipe.batch_size": str(asked.batch)}
            model = model_of(family, data, device)
            run = {
                "bare": partial(bare, model, data.train, asked.batch, device, clock),
                "ours": partial(ours, model, data, parameters, device, clock),
            }
            run["bare"]()  # warm
            speed: dict[str, list[float]] = {name: [] for name in run}
            for number in range(asked.rounds):
                for name in sorted(run, reverse=number % 2 == 1):
                    speed[name].append(asked.samples / run[name]())
                theirs, mine = speed["bare"][-1], speed["ours"][-1]
                say(f"{family} round {number}: bare {theirs:.0f}/s, ours {mine:.0f}/s, {mine / theirs:.3f}")
            ratios = [mine / theirs for theirs, mine in zip(speed["bare"], speed["ours"], strict=True)]
            best = max(speed["ours"]) / max(speed["bare"])
            say(
                f"{family}: ratio of the best rounds {best:.3f}; of each, median"
                f" {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"
            )


if __name__ == "__main__":
    main()

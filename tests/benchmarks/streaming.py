"""Trains on a folder of large images and tells whether the data keeps up, and whether memory stays flat.

    python tests/benchmarks/streaming.py                 # 2,000 images of 1024x2048, 3 epochs
    python tests/benchmarks/streaming.py --images 24 --size 128 256 --crop 64 128 --workers 1      # a trial

The images (JPEG) and their masks (PNG) are made in a temporary folder and deleted at the end;
``--folder`` keeps and reuses them. Each training step takes a batch, which workers read, scale and crop
at random, and trains a network of the zoo. A step's time is what passes between two batches; what of it
the loop waited for the next batch is input. After each epoch the validation images are read as well, by
workers that are started anew. The first epoch holds the start of the workers and the compiler: the shares
are those of the others, the memory that of the process and of its workers together.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR

CLASSES = 19


class Pass(NamedTuple):
    """One pass over the data.

    Attributes:
      kind: of the pass.
      batches: number of them.
      waited: seconds that the loop waited for data.
      total: seconds in all.
      memory: MiB of the process and its workers at the end.
    """

    kind: str
    batches: int
    waited: float
    total: float
    memory: float


def make_image(path: Path, index: int, size: tuple[int, int]) -> None:
    """Writes ``images/<index>.jpg`` and ``masks/<index>.png``: textured regions."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(index)
    height, width = size
    coarse = rng.integers(0, CLASSES, (max(1, height // 64), max(1, width // 64)), dtype=np.uint8)
    mask = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)).copy()
    mask[rng.random(mask.shape) < 0.01] = 255
    colours = rng.integers(0, 200, (256, 3), dtype=np.uint8)
    grain = rng.integers(0, 56, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    texture = np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BILINEAR))
    Image.fromarray(colours[mask] + texture).save(path / "images" / f"{index:05d}.jpg", quality=90)
    Image.fromarray(mask).save(path / "masks" / f"{index:05d}.png")


def make_folder(path: Path, number: int, size: tuple[int, int]) -> None:
    """Makes what is missing of the images."""
    for name in ("images", "masks"):
        (path / name).mkdir(parents=True, exist_ok=True)
    (path / "classes.txt").write_text("\n".join(f"class {index}" for index in range(CLASSES)))
    for index in range(number):
        if not (path / "masks" / f"{index:05d}.png").exists():
            make_image(path, index, size)
        if (index + 1) % max(1, number // 10) == 0:
            print(f"{index + 1} of {number} images are there", flush=True)


def memory() -> float:
    """MiB of resident memory of this process and of its children (Linux)."""
    children: dict[int, list[int]] = {}
    pages: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            pages[int(entry.name)] = int((entry / "statm").read_text().split()[1])
        except OSError:  # it has just ended
            continue
        children.setdefault(parent, []).append(int(entry.name))
    family, seen = [os.getpid()], 0
    while seen < len(family):
        family += children.get(family[seen], [])
        seen += 1
    return sum(pages.get(process, 0) for process in family) * os.sysconf("SC_PAGE_SIZE") / 2**20


def timed(kind: str, batches: Iterable[Any], limit: int | None, step: Any) -> Pass:
    """Runs a function on batches, and tells waiting from working."""
    iterator: Iterator[Any] = iter(batches)
    waited, number = 0.0, 0
    started = time.perf_counter()
    while limit is None or number < limit:
        asked = time.perf_counter()
        batch = next(iterator, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        step(batch)
        number += 1
    return Pass(kind, number, waited, time.perf_counter() - started, memory())


def run(folder: Path, options: argparse.Namespace) -> list[Pass]:
    """Trains and validates, epoch by epoch."""
    import jax
    import optax

    from jaxvision import zoo
    from jaxvision.data import prefetch_to_device
    from jaxvision.tasks import SegmentationData, segmentation_loss, segmentation_task
    from jaxvision.training import compile_step, create_train_state, make_count_step, make_placement

    crop = tuple(options.crop)
    data = SegmentationData(
        source="folder",
        root=folder,
        size=crop,
        scale=(0.75, 1.5),
        batch_size=options.batch,
        workers=options.workers,
    )
    train, validation, _ = data.open_sources()
    fields = {"features": tuple(options.features)} if options.features else {}
    model = zoo.create(options.network, num_classes=CLASSES, **fields)
    task = segmentation_task(
        model, segmentation_loss({"cross_entropy": 1.0}), num_classes=CLASSES, image_size=crop
    )
    placement = make_placement("jit", devices=jax.devices()[:1])
    optimizer = optax.sgd(1e-3, momentum=0.9)
    held = [placement.place(create_train_state(task, optimizer, seed=0))]
    step, count = compile_step(task, optimizer, placement), placement.compile_count(make_count_step(task))

    def train_step(batch: Any) -> None:
        held[0], metrics = step(held[0], batch)
        jax.block_until_ready(metrics)

    def look(batch: Any) -> None:
        placed = placement.shard({name: array for name, array in batch.items() if name != "index"})
        jax.block_until_ready(count(held[0].variables(), placed))

    passes = []
    batches = data.batches(train, seed=0)
    ahead = prefetch_to_device(batches, placement.shard)
    for _ in range(options.epochs):
        passes.append(timed("train", ahead, batches.batches_per_epoch, train_step))
        passes.append(timed("validate", data.ordered_batches(validation), None, look))
        show(len(passes) // 2, passes[-2:])
    batches.close()
    return passes


def show(epoch: int, passes: list[Pass]) -> None:
    """Prints lines of the table."""
    for one in passes:
        row = [str(epoch), one.kind, str(one.batches), f"{one.total:.1f}"]
        row += [f"{1e3 * one.total / max(one.batches, 1):.0f}", f"{one.waited / one.total:.1%}"]
        print(f"| {' | '.join(row)} | {one.memory:.0f} |", flush=True)


def main() -> None:
    """Makes the images, trains, prints a markdown table and the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, nargs=2, default=[1024, 2048], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--crop", type=int, nargs=2, default=[512, 1024], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--network", default="unet_bn")
    parser.add_argument("--features", type=int, nargs="*", default=[16, 32, 64, 128], help="of a U-Net")
    parser.add_argument("--folder", type=Path, help="keep the images here, and use those that are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        make_folder(folder, options.images, tuple(options.size))
        print("\n| epoch | pass | batches | s | ms a batch | waiting for data | MiB |")
        print("|---:|---|---:|---:|---:|---:|---:|")
        passes = run(folder, options)
    for kind in ("train", "validate"):
        warm = [one for one in passes if one.kind == kind][1:]
        if warm:
            share = sum(one.waited for one in warm) / sum(one.total for one in warm)
            print(f"\n{kind}: once warm {share:.1%} of the time is spent waiting for data.")
            growth = warm[-1].memory / warm[0].memory - 1
            print(f"{kind}: from epoch 2 to {options.epochs} memory grows by {growth:.1%}.")


if __name__ == "__main__":
    if not ALLOCATOR.items() <= os.environ.items():  # glibc reads them when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    main()

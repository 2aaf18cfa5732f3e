"""Times the confusion matrix beside the forward pass of a segmentation network: it may cost at most 5 %.

    python tests/benchmarks/confusion.py                     # 40 of 1,000 images of 512x1024, 19 classes
    python tests/benchmarks/confusion.py --measured 1000     # all of them
    python tests/benchmarks/confusion.py --network unet_bn --size 128 256 --measured 8

The matrix is counted from labels and predictions that lie on the device, in each formulation that the
library has or might have; "library" is what it chooses on this platform, and all must be equal. The
forward pass ends in the class of every pixel. The formulations and the network take turns; a figure is
the median over turns of the fastest batch in a turn, for other work on the machine only ever adds time.
Figures for more images than were measured are extrapolated, and a line says so.
"""

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR


def label_maps(number: int, size: tuple[int, int], classes: int) -> tuple[Any, Any]:
    """Regions of 32 x 32 with a twentieth of void, and predictions of which nine in ten pixels are right."""
    import numpy as np

    rng = np.random.default_rng(0)
    height, width = size
    coarse = rng.integers(0, classes, (number, -(-height // 32), -(-width // 32)))
    labels = np.repeat(np.repeat(coarse, 32, 1), 32, 2)[:, :height, :width].astype(np.int32)
    wrong = rng.random(labels.shape) < 0.1
    predictions = np.where(wrong, rng.integers(0, classes, labels.shape), labels).astype(np.int32)
    labels[rng.random(labels.shape) < 0.05] = 255
    return labels, predictions


def formulations(classes: int) -> dict[str, Callable[[Any, Any], Any]]:
    """Ways to count ``(labels, predictions) -> int32 [K, K]``, none of them compiled."""
    import jax.numpy as jnp

    from jaxvision.metrics import confusion_matrix
    from jaxvision.metrics.confusion import product_counts, scatter_counts

    def flat(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        def count(labels: Any, predictions: Any) -> Any:
            known = labels != 255
            pairs = (jnp.where(known, array, classes).ravel() for array in (labels, predictions))
            return function(*pairs, num_classes=classes)

        return count

    def sort_counts(truth: Any, guess: Any, *, num_classes: int) -> Any:
        cells = jnp.sort(truth * num_classes + guess)
        ends = jnp.searchsorted(cells, jnp.arange(num_classes**2 + 1))
        return jnp.diff(ends).astype(jnp.int32).reshape(num_classes, num_classes)

    def wide_product_counts(truth: Any, guess: Any, *, num_classes: int) -> Any:
        one_hot = [
            (array[:, None] == jnp.arange(num_classes)).astype(jnp.float32) for array in (truth, guess)
        ]
        return jnp.matmul(one_hot[0].T, one_hot[1], precision="highest").astype(jnp.int32)

    return {
        "library": lambda y, p: confusion_matrix(y, p, classes, ignore_index=255),
        "scatter": flat(scatter_counts),
        "product, bfloat16 in blocks": flat(product_counts),
        "product, float32": flat(wide_product_counts),
        "sort": flat(sort_counts),
    }


def programs(options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Compiled functions that do one batch and wait for it: the network first."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxvision import zoo
    from jaxvision.metrics import boundary_counts

    size, batch = tuple(options.size), options.batch
    model = zoo.create(options.network, num_classes=options.classes)
    images = jnp.asarray(np.random.default_rng(1).standard_normal((batch, *size, 3)), jnp.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0, impl="rbg"), images[:1])
    labels, predictions = map(jnp.asarray, label_maps(batch, size, options.classes))
    segment = jax.jit(lambda v, x: jnp.argmax(model.apply(v, x, train=False), axis=-1))
    calls = {f"{options.network}, forward": lambda: segment(variables, images).block_until_ready()}
    found = {}
    for name, function in formulations(options.classes).items():
        count = jax.jit(function)
        calls[name] = functools.partial(lambda count: count(labels, predictions).block_until_ready(), count)
        found[name] = np.asarray(calls[name]())
    if any((matrix != found["library"]).any() for matrix in found.values()):
        raise SystemExit("the formulations differ")
    outlines = jax.jit(functools.partial(boundary_counts, num_classes=options.classes, ignore_index=255))
    calls["boundary counts (at the end only)"] = lambda: outlines(labels, predictions).block_until_ready()
    return calls


def measure(calls: dict[str, Callable[[], Any]], batches: int, rounds: int) -> dict[str, float]:
    """Median over rounds of the seconds of the fastest batch."""
    turns: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # wakes the caches after the others' turn
            times = []
            for _ in range(max(1, batches // rounds)):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
            turns[name].append(min(times))
    return {name: statistics.median(times) for name, times in turns.items()}


def main() -> None:
    """Measures and prints a markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="fcn8s_vgg16", help="any segmentation network of the zoo")
    parser.add_argument("--size", type=int, nargs=2, default=[512, 1024], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--images", type=int, default=1000, help="that the table speaks of")
    parser.add_argument("--measured", type=int, default=40, help="that are really run")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    options = parser.parse_args()
    import jax

    calls = programs(options)
    seconds = measure(calls, max(1, options.measured // options.batch), options.rounds)
    forward = next(iter(seconds.values()))
    print(f"{jax.devices()[0].device_kind}, {options.size[0]}x{options.size[1]}, K = {options.classes}\n")
    print(
        f"| | ms an image | s for {options.images} images | share of the forward pass |\n|---|---:|---:|---:|"
    )
    for name, value in seconds.items():
        each = value / options.batch
        print(f"| {name} | {1e3 * each:.2f} | {options.images * each:.1f} | {value / forward:.2%} |")
    if options.measured < options.images:
        print(f"\n{options.images} images are extrapolated from {options.measured}.")
    verdict = "within" if seconds["library"] < 0.05 * forward else "ABOVE"
    print(f"\nThe confusion matrix is {verdict} 5 % of the forward pass.")


if __name__ == "__main__":
    if not ALLOCATOR.items() <= os.environ.items():  # glibc reads them when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    main()

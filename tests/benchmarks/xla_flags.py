"""Times some programs under each flag of XLA's CPU compiler, and prints each time over that without flags.

    python tests/benchmarks/xla_flags.py                       # all flags below
    python tests/benchmarks/xla_flags.py --xla_cpu_ftz=true    # those given

XLA reads its flags once, so every set of flags has a process of its own; the last line repeats the run
without flags and shows how far two equal runs are apart. A figure is the fastest call of a second. A release
that does not know a flag ends the process, which the table says.
"""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR

FLAGS = (
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_prefer_vector_width=512",
    "--xla_cpu_enable_fast_math=true",
    "--xla_cpu_enable_fast_min_max=true",
    "--xla_cpu_ftz=true",
    "--xla_cpu_use_onednn=true",
    "--xla_cpu_use_xnnpack=true",
    "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT",
    "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    "--xla_cpu_use_fusion_emitters=false",
)
SECONDS = 1.0


def gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    """From a cotangent and the arguments to all gradients."""
    import jax

    return lambda cotangent, *arguments: jax.vjp(function, *arguments)[1](cotangent)


def programs() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Functions and their arguments."""
    import jax
    import numpy as np

    from jaxvision import ops, zoo

    rng = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jax.numpy.asarray(rng.standard_normal(shape), "float32")

    conv = functools.partial(ops.convolution, padding=1)
    images, tokens = normal(4, 32, 32, 128), normal(8, 196, 384)
    net, small = zoo.create("resnet18", num_classes=10), normal(8, 64, 64, 3)
    variables = jax.jit(functools.partial(net.init, train=False))(jax.random.key(0), small)

    def loss(params: Any, images: jax.Array) -> jax.Array:
        logits, _ = net.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])
        return (logits**2).mean()

    square = normal(2048, 2048)
    return {
        "product 2048": (lambda a, b: a @ b, (square, square)),
        "conv 3x3": (gradients(conv), (images, images, normal(3, 3, 128, 128))),
        "depthwise": (gradients(functools.partial(conv, groups=128)), (images, images, normal(3, 3, 1, 128))),
        "grouped": (gradients(functools.partial(conv, groups=32)), (images, images, normal(3, 3, 4, 128))),
        "layer norm": (gradients(ops.layer_norm), (tokens, tokens, normal(384), normal(384))),
        "gelu": (gradients(ops.gelu), (tokens, tokens)),
        "ResNet-18": (jax.grad(loss), (variables["params"], small)),
    }


def serve() -> None:
    """Prints the milliseconds of each program, and the seconds that ResNet-18 took to compile."""
    import jax

    times = {}
    for name, (function, arguments) in programs().items():
        run = jax.jit(function)
        start = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        times[f"{name} compiles"] = time.perf_counter() - start
        fastest, stop = float("inf"), time.perf_counter() + SECONDS
        while time.perf_counter() < stop:
            start = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            fastest = min(fastest, time.perf_counter() - start)
        times[name] = 1e3 * fastest
    shown = [name for name in times if not name.endswith("compiles")] + ["ResNet-18 compiles"]
    print(json.dumps({name: times[name] for name in shown}))


def measure(flags: str) -> Mapping[str, float] | None:
    """The times under some flags; None if XLA does not know them."""
    environment = {**os.environ, **ALLOCATOR, "XLA_FLAGS": flags}
    command = [sys.executable, __file__, "--serve"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    return None if result.returncode else json.loads(result.stdout.splitlines()[-1])


def main() -> None:
    """Measures each set of flags and prints a markdown table."""
    base = measure("")
    assert base is not None, "the programs do not run without flags either"
    print("| flags | " + " | ".join(base) + " |\n|---|" + "---:|" * len(base))
    print("| none (ms; compiling in s) | " + " | ".join(f"{value:.2f}" for value in base.values()) + " |")
    for flags in [*(sys.argv[1:] or FLAGS), ""]:
        times = measure(flags)
        row = ["unknown"] if times is None else [f"{times[name] / base[name]:.2f}" for name in base]
        print(f"| {flags or 'none, again'} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()

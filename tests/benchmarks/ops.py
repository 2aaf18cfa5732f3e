"""Times each op in JAX and in PyTorch, forward and forward + all gradients, and prints the ratios.

    python tests/benchmarks/ops.py                       # where jax and torch are both installed
    python tests/benchmarks/ops.py --torch-python PATH   # torch in another environment

Each peer runs in a process of its own (in one process they halve each other's speed) and the peers take
turns. The figure is the median over turns of the fastest call in a turn, for other work on the machine only
ever adds time. PyTorch is timed in NCHW and in channels_last, and the faster of the two counts. ``--native``
adds XLA's own formulation of each op as a third column. All peers run with the allocator settings of
:func:`jaxvision.training.keep_freed_memory`, which help each of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


class Case(NamedTuple):
    """One op at one size; shapes are NHWC and, for kernels, as :mod:`jaxvision.ops` has them."""

    name: str
    op: str
    x: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    options: Mapping[str, int] = MappingProxyType({})


def cases(size: int, batch: int) -> list[Case]:
    """The ops of the networks, at images of ``size`` pixels (a multiple of 32)."""
    half, quarter, eighth, last = size // 2, size // 4, size // 8, size // 16
    full, same, up, down = (batch, size, size), {"padding": 1}, {"strides": 2}, {"padding": 1, "strides": 2}
    return [
        Case("conv 3x3, 3 to 64", "conv", (*full, 3), (3, 3, 3, 64), same),
        Case("conv 3x3, 64 to 64", "conv", (*full, 64), (3, 3, 64, 64), same),
        Case("conv 3x3, 128 to 128", "conv", (batch, half, half, 128), (3, 3, 128, 128), same),
        Case("conv 3x3, 512 to 512", "conv", (batch, eighth, eighth, 512), (3, 3, 512, 512), same),
        Case("conv 3x3 s2, 64 to 128", "conv", (batch, half, half, 64), (3, 3, 64, 128), down),
        Case("conv 7x7 s2, 3 to 64", "conv", (*full, 3), (7, 7, 3, 64), {"padding": 3, **up}),
        Case("conv 7x7, 512 to 1024 (fc6)", "conv", (batch, 7, 7, 512), (7, 7, 512, 1024), {"padding": 3}),
        Case("conv 1x1, 64 to 12", "conv", (*full, 64), (1, 1, 64, 12)),
        Case("conv 1x1, 512 to 256", "conv", (batch, eighth, eighth, 512), (1, 1, 512, 256)),
        Case(
            "conv 3x3 dilated 2, 64",
            "conv",
            (batch, half, half, 64),
            (3, 3, 64, 64),
            {"padding": 2, "dilation": 2},
        ),
        Case(
            "conv 3x3 dilated 4, 256",
            "conv",
            (batch, eighth, eighth, 256),
            (3, 3, 256, 256),
            {"padding": 4, "dilation": 4},
        ),
        Case("depthwise 3x3, 32", "conv", (batch, half, half, 32), (3, 3, 1, 32), {**same, "groups": 32}),
        Case("depthwise 3x3 s2, 96", "conv", (batch, half, half, 96), (3, 3, 1, 96), {**down, "groups": 96}),
        Case("depthwise 3x3, 384", "conv", (batch, last, last, 384), (3, 3, 1, 384), {**same, "groups": 384}),
        Case(
            "depthwise 5x5, 192",
            "conv",
            (batch, eighth, eighth, 192),
            (5, 5, 1, 192),
            {"padding": 2, "groups": 192},
        ),
        Case(
            "depthwise 7x7, 96",
            "conv",
            (batch, quarter, quarter, 96),
            (7, 7, 1, 96),
            {"padding": 3, "groups": 96},
        ),
        Case(
            "grouped 32 of 4", "conv", (batch, quarter, quarter, 128), (3, 3, 4, 128), {**same, "groups": 32}
        ),
        Case("grouped 32 of 16", "conv", (batch, last, last, 512), (3, 3, 16, 512), {**same, "groups": 32}),
        Case("conv1d 5, 64 to 64", "conv", (4 * batch, 2 * size, 64), (5, 64, 64), {"padding": 2}),
        Case("conv3d 3x3x3, 3 to 64", "conv", (1, 8, half, half, 3), (3, 3, 3, 3, 64), same),
        Case("conv3d 3x3x3, 64 to 64", "conv", (1, 8, quarter, quarter, 64), (3, 3, 3, 64, 64), same),
        Case("transposed 2x2 s2, 128 to 64", "transposed", (batch, half, half, 128), (2, 2, 128, 64), up),
        Case(
            "transposed 2x2 s2, 512 to 256", "transposed", (batch, eighth, eighth, 512), (2, 2, 512, 256), up
        ),
        Case("transposed 4x4 s2, 21", "transposed", (batch, eighth, eighth, 21), (4, 4, 21, 21), down),
        Case(
            "transposed 4x4 s2, 128 to 64", "transposed", (batch, eighth, eighth, 128), (4, 4, 128, 64), down
        ),
        Case(
            "transposed 16x16 s8, 21",
            "transposed",
            (batch, eighth, eighth, 21),
            (16, 16, 21, 21),
            {"padding": 4, "strides": 8},
        ),
        Case("max pool 2x2 s2, 64", "max_pool", (*full, 64), (), {"window": 2, **up}),
        Case("max pool 2x2 s2, 256", "max_pool", (batch, half, half, 256), (), {"window": 2, **up}),
        Case("max pool 3x3 s2, 64", "max_pool", (batch, half, half, 64), (), {"window": 3, **down}),
        Case("average pool 2x2 s2, 64", "average_pool", (batch, half, half, 64), (), {"window": 2, **up}),
        Case("global average pool, 512", "global", (batch, eighth, eighth, 512)),
        Case("batch norm, 64", "batch_norm", (*full, 64)),
        Case("batch norm + relu, 256", "batch_norm_relu", (batch, quarter, quarter, 256)),
        Case("group norm 32, 256", "group_norm", (batch, quarter, quarter, 256)),
        Case("layer norm, 384", "layer_norm", (batch, eighth * eighth, 384)),
        Case("bilinear resize x2, 64", "resize", (batch, quarter, quarter, 64)),
    ]


def jax_calls(case: Case, native: bool) -> dict[str, Callable[[], Any]]:
    """Zero-argument functions that run the case in JAX and wait for it."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import lax

    from jaxvision import layers, ops

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        variables = {
            "params": {"scale": scale[0], "bias": scale[1]},
            "batch_stats": {"mean": jnp.zeros(x.shape[-1]), "var": jnp.ones(x.shape[-1])},
        }
        return layers.BatchNorm().apply(variables, x, train=True, mutable=["batch_stats"])[0]

    def native_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        mean = x.mean((0, 1, 2))
        var = jnp.square(x - mean).mean((0, 1, 2))
        return (x - mean) * lax.rsqrt(var + 1e-5) * scale[0] + scale[1]

    def native_conv(x: jax.Array, kernel: jax.Array, **options: int) -> jax.Array:
        rank = x.ndim - 2
        axes = "THW"[-rank:]
        return lax.conv_general_dilated(
            x,
            kernel,
            (options.get("strides", 1),) * rank,
            [(options.get("padding", 0),) * 2] * rank,
            rhs_dilation=(options.get("dilation", 1),) * rank,
            feature_group_count=options.get("groups", 1),
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        )

    def native_transposed(x: jax.Array, kernel: jax.Array, *, strides: int, padding: int = 0) -> jax.Array:
        pads = [(k - 1 - padding,) * 2 for k in kernel.shape[:2]]
        return lax.conv_general_dilated(
            x,
            kernel[::-1, ::-1],
            (1, 1),
            pads,
            lhs_dilation=(strides,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def native_max_pool(x: jax.Array, *, window: int, strides: int, padding: int = 0) -> jax.Array:
        return lax.reduce_window(
            x,
            -jnp.inf,
            lax.max,
            (1, window, window, 1),
            (1, strides, strides, 1),
            [(0, 0), (padding,) * 2, (padding,) * 2, (0, 0)],
        )

    table: dict[str, Callable[..., jax.Array]] = {
        "conv": native_conv if native else ops.convolution,
        "transposed": native_transposed if native else ops.transposed_convolution,
        "max_pool": native_max_pool if native else ops.max_pool,
        "average_pool": ops.average_pool,
        "global": ops.global_average_pool,
        "batch_norm": native_norm if native else norm,
        "group_norm": lambda x, s: ops.group_norm(x, s[0], s[1], num_groups=32),
        "layer_norm": lambda x, s: ops.layer_norm(x, s[0], s[1]),
        "resize": lambda x: ops.resize(x, (2 * x.shape[1], 2 * x.shape[2]), method="bilinear"),
        "batch_norm_relu": lambda x, s: jax.nn.relu((native_norm if native else norm)(x, s)),
    }

    def forward(*arrays: jax.Array) -> jax.Array:
        return table[case.op](*arrays, **case.options)

    def training(cotangent: jax.Array, *arrays: jax.Array) -> Any:
        y, pull = jax.vjp(forward, *arrays)
        return y, pull(cotangent)

    arrays = [jnp.asarray(array) for array in inputs(case)]
    cotangent = jnp.asarray(
        np.random.default_rng(1).normal(size=jax.eval_shape(forward, *arrays).shape), jnp.float32
    )
    run, train = jax.jit(forward), jax.jit(training)
    return {
        "forward": lambda: jax.block_until_ready(run(*arrays)),
        "training": lambda: jax.block_until_ready(train(cotangent, *arrays)),
    }


def torch_calls(case: Case, channels_last: bool) -> dict[str, Callable[[], Any]]:
    """Zero-argument functions that run the case in PyTorch, eager, in one memory format."""
    import numpy as np
    import torch
    from torch.nn import functional

    layout = torch.channels_last if channels_last else torch.contiguous_format

    rank = len(case.x) - 2
    layout = layout if rank == 2 else torch.contiguous_format  # torch has channels last for images only
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]

    def images(array: Any) -> Any:
        if case.op == "layer_norm":  # over the last axis, in torch too
            return torch.from_numpy(array)
        return torch.from_numpy(np.moveaxis(array, -1, 1).copy()).contiguous(memory_format=layout)

    def forward(x: Any, kernel: Any = None) -> Any:
        options = {{"strides": "stride"}.get(key, key): value for key, value in case.options.items()}
        if case.op == "conv":
            return conv(x, kernel, **options)
        if case.op == "transposed":
            return functional.conv_transpose2d(x, kernel, **options)
        if case.op in ("max_pool", "average_pool"):
            window = options.pop("window")
            pool = functional.max_pool2d if case.op == "max_pool" else functional.avg_pool2d
            return pool(x, window, **options)
        if case.op == "global":
            return x.mean((2, 3))
        if case.op == "resize":
            return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        if case.op == "group_norm":
            return functional.group_norm(x, 32, kernel[0], kernel[1])
        if case.op == "layer_norm":
            return functional.layer_norm(x, x.shape[-1:], kernel[0], kernel[1])
        y = functional.batch_norm(x, zeros, ones, kernel[0], kernel[1], training=True)
        return functional.relu(y) if case.op == "batch_norm_relu" else y

    x, *rest = inputs(case)
    zeros, ones = torch.zeros(case.x[-1]), torch.ones(case.x[-1])
    arrays = [images(x)]
    for array in rest:
        spatial = range(rank)
        order = {"conv": (rank + 1, rank, *spatial), "transposed": (rank, rank + 1, *spatial)}.get(case.op)
        weight = torch.from_numpy(array.transpose(order).copy() if order else array)
        arrays.append(weight.contiguous(memory_format=layout) if order else weight)
    for array in arrays:
        array.requires_grad_(True)
    with torch.no_grad():
        y = forward(*arrays)
    cotangent = torch.from_numpy(np.random.default_rng(1).normal(size=y.shape).astype("float32"))
    if y.ndim == rank + 2 and case.op != "layer_norm":
        cotangent = cotangent.contiguous(memory_format=layout)

    def run() -> None:
        with torch.inference_mode():
            forward(*arrays)

    return {"forward": run, "training": lambda: torch.autograd.grad(forward(*arrays), arrays, cotangent)}


def inputs(case: Case) -> list[Any]:
    """The same random arrays for every peer: the image and, where the op has one, its parameter."""
    import numpy as np

    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=case.x).astype("float32")]
    if case.kernel:
        arrays.append((rng.normal(size=case.kernel) / 10).astype("float32"))
    elif "norm" in case.op:
        arrays.append(rng.normal(size=(2, case.x[-1])).astype("float32"))
    return arrays


def serve(peer: str, threads: int, sizes: Sequence[int], batch: int) -> None:
    """A peer's process: reads ``[case index, seconds]`` a line, answers with the times of each mode."""
    if peer.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
    built: dict[int, dict[str, Callable[[], Any]]] = {}
    table = [case for size in sizes for case in cases(size, batch)]
    for line in sys.stdin:
        index, seconds = json.loads(line)
        if index not in built:
            case = table[index]
            built = {
                index: torch_calls(case, peer == "torch-last")
                if "torch" in peer
                else jax_calls(case, peer == "native")
            }
            for call in built[index].values():
                call()
        times: dict[str, list[float]] = {}
        for mode, call in built[index].items():
            stop = time.perf_counter() + seconds
            while time.perf_counter() < stop or len(times.get(mode, ())) < 3:
                start = time.perf_counter()
                call()
                times.setdefault(mode, []).append(time.perf_counter() - start)
        print(json.dumps(times), flush=True)


def main() -> None:
    """Starts the peers, lets them take turns case by case, prints and saves the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax-python", default=sys.executable, help="interpreter with jax and jaxvision")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[64, 128], help="height of the largest images"
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer at each case")
    parser.add_argument("--seconds", type=float, default=0.15, help="time of one mode in one turn")
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of PyTorch; JAX takes every core it sees"
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--native", action="store_true", help="also time XLA's own formulation")
    parser.add_argument("--output", help="write the figures to this JSON file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads, options.sizes, options.batch)
        return
    names = ["jax", "torch-last", "torch-first"] + (["native"] if options.native else [])
    peers = {name: start(name, options) for name in names}
    rows = []
    print(
        f"{'ms (median)':34}{'jax':>9}{'torch':>9}{'ratio':>7}"
        + (f"{'native':>10}{'ratio':>7}" if options.native else "")
    )
    table = [(size, case) for size in options.sizes for case in cases(size, options.batch)]
    for index, (size, case) in enumerate(table):
        if options.only not in case.name:
            continue
        times: dict[str, dict[str, list[float]]] = {name: {} for name in names}
        for _ in range(options.rounds):
            for name, peer in peers.items():
                for mode, values in ask(peer, index, options.seconds).items():
                    times[name].setdefault(mode, []).append(min(values))
        for mode in ("forward", "training"):
            median = {name: 1e3 * statistics.median(times[name][mode]) for name in names}
            torch = min(median["torch-last"], median["torch-first"])
            rows.append({"case": case.name, "size": size, "mode": mode, "torch": torch, **median})
            label = f"{case.name} @{size}" if mode == "forward" else "    + gradients"
            line = f"{label:34}{median['jax']:9.2f}{torch:9.2f}{median['jax'] / torch:7.2f}"
            print(
                line + (f"{median['native']:10.2f}{median['native'] / torch:7.2f}" if options.native else ""),
                flush=True,
            )
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()
    worst = max(rows, key=lambda row: row["jax"] / row["torch"])
    slow = sum(row["jax"] > 1.5 * row["torch"] for row in rows)
    print(
        f"{slow} of {len(rows)} rows above 1.5; the worst: {worst['case']} @{worst['size']}, {worst['mode']}"
    )
    if options.output:
        with open(options.output, "w") as file:
            json.dump(rows, file, indent=1)


def start(name: str, options: argparse.Namespace) -> Any:
    """Starts the process of one peer."""
    python = options.torch_python if name.startswith("torch") else options.jax_python
    command = [
        python,
        __file__,
        "--serve",
        name,
        "--threads",
        options.threads,
        "--sizes",
        *options.sizes,
        "--batch",
        options.batch,
    ]
    return subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ALLOCATOR},
    )


def ask(peer: Any, index: int, seconds: float) -> dict[str, list[float]]:
    """One turn of one peer at one case."""
    peer.stdin.write(json.dumps([index, seconds]) + "\n")
    peer.stdin.flush()
    line = peer.stdout.readline()
    if not line:
        raise SystemExit("a peer stopped; its own message is above")
    return json.loads(line)


if __name__ == "__main__":
    main()

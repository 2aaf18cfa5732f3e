"""Times a network of the zoo as it is, as StableHLO read from a file, and as ONNX, and prints milliseconds.

    python tests/benchmarks/export.py resnet50 mobilenet_v2      # with the extra "export" installed

All three run on the CPU in one process and take turns; a figure is the median over turns of the fastest call
in a turn. Weights are random. The sizes are those of the files.
"""

import argparse
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR


def programs(name: str, batch: int, threads: int, folder: Path) -> dict[str, tuple[Callable[[], Any], float]]:
    """For each form of the network a function that runs it, and the MiB of its file."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import onnxruntime

    from jaxvision import zoo
    from jaxvision.export import export_onnx, export_stablehlo, load_stablehlo

    model, shape = zoo.create(name), zoo.ENTRIES[name].preprocessing.input_shape
    images = np.random.default_rng(0).standard_normal((batch, *shape)).astype(np.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0, impl="rbg"), images[:1])
    stablehlo, onnx = folder / "net.stablehlo.zip", folder / "net.onnx"
    export_stablehlo(stablehlo, model, variables, input_shape=shape)
    export_onnx(onnx, model, variables, input_shape=shape)
    apply = jax.jit(functools.partial(model.apply, train=False))
    call = jax.jit(load_stablehlo(stablehlo).call)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images}
    device = jnp.asarray(images)
    return {
        "jit": (lambda: apply(variables, device).block_until_ready(), 0.0),
        "StableHLO": (lambda: call(device).block_until_ready(), stablehlo.stat().st_size / 2**20),
        "ONNX Runtime": (lambda: session.run(None, feed), onnx.stat().st_size / 2**20),
    }


def fastest(call: Callable[[], Any], calls: int) -> float:
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measures the networks and prints a markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=5, help="in each turn")
    parser.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    options = parser.parse_args()
    print("| network | form | ms | MiB |\n|---|---|---:|---:|")
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            forms = programs(name, options.batch, options.threads, Path(folder))
        for call, _ in forms.values():
            call()
        turns: dict[str, list[float]] = {form: [] for form in forms}
        for _ in range(options.rounds):
            for form, (call, _) in forms.items():
                turns[form].append(fastest(call, options.calls))
        for form, (_, size) in forms.items():
            ms = 1e3 * statistics.median(turns[form])
            print(f"| {name} | {form} | {ms:.1f} | {size or '':.4} |", flush=True)


if __name__ == "__main__":
    if not ALLOCATOR.items() <= os.environ.items():  # glibc reads them when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    main()

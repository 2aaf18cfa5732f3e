"""Times recurrent layers in JAX, in PyTorch and as ``flax.linen.RNN``, forward and in training.

    python tests/benchmarks/recurrent.py                       # where jax, flax and torch are installed
    python tests/benchmarks/recurrent.py --torch-python PATH   # torch in another environment
    python tests/benchmarks/recurrent.py --scaling             # time and memory over the length, ours alone

A training step is forward, the sum of the squared outputs, the gradients of input and parameters, and an SGD
update. Each peer has a process of its own (in one process they halve each other's speed), the peers take
turns, and a figure is the median over turns of the fastest call in a turn: other work on the machine only
ever adds time. All run with the allocator settings of :func:`jaxvision.training.keep_freed_memory`.

``--scaling`` times the training step of an LSTM over sequences of growing length and asks XLA for the memory
that it reserves, with all steps kept and with chunks computed again (``remat_chunk``), and draws both.
"""

import argparse
import functools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR


class Case(NamedTuple):
    """One layer at one size."""

    kind: str
    channels: int = 256
    features: int = 512
    steps: int = 100
    batch: int = 32
    bidirectional: bool = False

    @property
    def label(self) -> str:
        both = ", both directions" if self.bidirectional else ""
        return f"{self.kind.upper()} {self.channels} to {self.features}, T {self.steps}, N {self.batch}{both}"


CASES = (
    Case("lstm"),
    Case("gru"),
    Case("rnn"),
    Case("lstm", bidirectional=True),
    Case("lstm", channels=64, features=64, batch=16),
    Case("gru", channels=650, features=650, steps=35, batch=20),
)
MODES = ("forward", "training step")
Calls = dict[str, Callable[[], Any]]


def sequences(case: Case) -> Any:
    """``[N, T, C]``, the same for all peers."""
    import numpy as np

    shape = (case.batch, case.steps, case.channels)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def our_layer(case: Case, remat_chunk: int | None = None) -> Any:
    """Outputs as a function of variables and input, and the initialisation."""
    from jaxvision import layers

    kind = {"lstm": layers.LSTM, "gru": layers.GRU, "rnn": layers.RNN}[case.kind]
    net = kind(case.features, bidirectional=case.bidirectional, remat_chunk=remat_chunk)
    apply = functools.partial(net.apply, train=False)
    return lambda variables, x: apply(variables, x)[0], functools.partial(net.init, train=False)


def linen_layer(case: Case) -> Any:
    """The same of ``flax.linen.RNN``."""
    import flax.linen as nn

    cell = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "rnn": nn.SimpleCell}[case.kind]

    def make() -> Any:
        return nn.RNN(cell(case.features))

    net = nn.Bidirectional(make(), make()) if case.bidirectional else make()
    return net.apply, net.init


def jax_step(apply: Callable[..., Any]) -> Callable[..., Any]:
    """A training step: variables and input to new variables and the input's gradient."""
    import jax
    import jax.numpy as jnp

    def step(variables: Any, x: Any) -> Any:
        def loss(variables: Any, x: Any) -> Any:
            return jnp.square(apply(variables, x)).sum()

        gradients, of_x = jax.grad(loss, (0, 1))(variables, x)
        return jax.tree.map(lambda value, gradient: value - 1e-6 * gradient, variables, gradients), of_x

    return step


def jax_calls(case: Case, peer: str) -> Calls:
    """Functions that run the case and wait for it."""
    import jax
    import jax.numpy as jnp

    apply, init = our_layer(case) if peer == "jax" else linen_layer(case)
    x = jnp.asarray(sequences(case))
    variables = jax.jit(init)(jax.random.key(0), x)
    forward, step = jax.jit(apply), jax.jit(jax_step(apply), donate_argnums=0)
    state = [jax.tree.map(jnp.copy, variables)]

    def train() -> None:
        state[0], of_x = step(state[0], x)
        jax.block_until_ready((state[0], of_x))

    return {"forward": lambda: forward(variables, x).block_until_ready(), "training step": train}


def torch_calls(case: Case, threads: int) -> Calls:
    """Functions that run the case in PyTorch."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[case.kind]
    net = kind(case.channels, case.features, batch_first=True, bidirectional=case.bidirectional)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)
    x = torch.from_numpy(sequences(case))

    def forward() -> None:
        with torch.inference_mode():
            net(x)

    def train() -> None:
        inputs = x.detach().requires_grad_()
        optimizer.zero_grad()
        net(inputs)[0].square().sum().backward()
        optimizer.step()

    return {"forward": forward, "training step": train}


def serve(peer: str, case: Case, threads: int) -> None:
    """A peer's process: answers each line with the times of each mode."""
    calls = torch_calls(case, threads) if peer == "torch" else jax_calls(case, peer)
    for call in calls.values():
        call()
    print("{}", flush=True)
    for line in sys.stdin:
        times = {}
        for mode, call in calls.items():
            call()  # wakes the caches after the other peers' turns
            times[mode] = min(_timed(call) for _ in range(int(line)))
        print(json.dumps(times), flush=True)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(index: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds of each mode, by peer; the peers take turns."""
    peers: dict[str, Any] = {}
    for name in ("jax", "torch", "linen"):
        python = options.torch_python if name == "torch" else options.jax_python
        command = [python, __file__, "--serve", name, "--case", str(index), "--threads", str(options.threads)]
        peers[name] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ALLOCATOR},
        )
        _answer(peers[name])
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, peer in peers.items():
            peer.stdin.write(f"{options.calls}\n")
            peer.stdin.flush()
            turns[name].append(_answer(peer))
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()
    return {
        name: {mode: statistics.median(turn[mode] for turn in all_turns) for mode in MODES}
        for name, all_turns in turns.items()
    }


def _answer(peer: Any) -> dict[str, float]:
    line = peer.stdout.readline()
    if not line:
        raise SystemExit("a peer stopped; its own message is above")
    return json.loads(line)


def compare(options: argparse.Namespace) -> None:
    """Measures the cases and prints a markdown table."""
    print("| layer | mode | JAX ms | torch ms | linen ms | JAX / torch | JAX / linen |")
    print("|---|---|---:|---:|---:|---:|---:|")
    figures = {}
    for index, case in enumerate(CASES):
        if options.only not in case.label:
            continue
        figures[case.label] = result = measure(index, options)
        for mode in MODES:
            ours, theirs, linen = (result[name][mode] for name in ("jax", "torch", "linen"))
            times = " | ".join(f"{1e3 * seconds:.1f}" for seconds in (ours, theirs, linen))
            print(
                f"| {case.label} | {mode} | {times} | {ours / theirs:.2f} | {ours / linen:.2f} |", flush=True
            )
    if options.output:
        Path(options.output).write_text(json.dumps(figures, indent=1))


def scaling(options: argparse.Namespace) -> None:
    """Time and memory of the LSTM's training step over the length; prints a table and draws it."""
    import jax
    import jax.numpy as jnp

    lengths = [50 * 2**power for power in range(options.doublings)]
    kept: dict[str, list[tuple[float, float]]] = {"all steps kept": [], "chunks of sqrt(T)": []}
    print("| T | kept ms | kept MiB | chunks ms | chunks MiB |\n|---:|---:|---:|---:|---:|")
    for steps in lengths:
        case = Case("lstm", steps=steps)
        x = jnp.asarray(sequences(case))
        for name, chunk in zip(kept, (None, math.isqrt(steps)), strict=True):
            apply, init = our_layer(case, chunk)
            variables = jax.jit(init)(jax.random.key(0), x)
            compiled = jax.jit(jax_step(apply)).lower(variables, x).compile()
            memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
            calls = [
                _timed(lambda run=compiled, v=variables, x=x: jax.block_until_ready(run(v, x)))
                for _ in range(options.rounds)
            ]
            kept[name].append((1e3 * min(calls), memory))
        row = [f"{value:.0f}" for entries in kept.values() for value in entries[-1]]
        print(f"| {steps} | " + " | ".join(row) + " |", flush=True)
    _draw(lengths, kept, Path(options.picture))


def _draw(lengths: list[int], kept: dict[str, list[tuple[float, float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for index, (axes, unit) in enumerate(
        zip(figure.subplots(1, 2), ("ms a training step", "MiB beside the arguments"), strict=True)
    ):
        for name, entries in kept.items():
            axes.plot(lengths, [entry[index] for entry in entries], marker="o", markersize=3, label=name)
        axes.set(xlabel="steps T", ylabel=unit, xlim=(0, None), ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle("LSTM, 256 to 512, batch of 32")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"drew {path}")


def main() -> None:
    """Compares the peers, or measures the scaling."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax-python", default=sys.executable, help="interpreter with jax and jaxvision")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each peer at each case")
    parser.add_argument("--calls", type=int, default=3, help="timed calls in a turn")
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of PyTorch; JAX takes every core it sees"
    )
    parser.add_argument("--only", default="", help="cases whose label contains this")
    parser.add_argument("--output", help="write the figures, in seconds, to this JSON file")
    parser.add_argument("--scaling", action="store_true", help="measure time and memory over the length")
    parser.add_argument("--doublings", type=int, default=5, help="lengths of the scaling, from 50 on")
    parser.add_argument("--picture", default="recurrent_scaling.png", help="where the scaling is drawn")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, CASES[options.case], options.threads)
    elif options.scaling:
        scaling(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()

"""Times the training step of the language models of Zaremba et al. in JAX and in PyTorch.

    python tests/benchmarks/language_model.py                       # where jax and torch are installed
    python tests/benchmarks/language_model.py --torch-python PATH   # torch in another environment

A step is the one that ``train/language_model.py --recipe`` runs: a window of 20 rows, cross entropy over
10,000 words, gradients clipped by their norm, SGD; the state goes on from step to step. Each peer has a
process of its own, the peers take turns, and a figure is the median over turns of the fastest call in a turn.
All run with the allocator settings of :func:`jaxvision.training.keep_freed_memory`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR

ROWS, VOCABULARY = 20, 10_000
WINDOWS = {"small": 20, "medium": 35, "large": 35}
WIDTHS = {"small": 200, "medium": 650, "large": 1500}
CLIP = 0.25


def windows(variant: str) -> Any:
    """Tokens and targets, int32 ``[ROWS, T]``, the same for both peers."""
    import numpy as np

    text = np.random.default_rng(0).integers(0, VOCABULARY, (ROWS, WINDOWS[variant] + 1), np.int32)
    return text[:, :-1], text[:, 1:]


def jax_call(variant: str) -> Callable[[], Any]:
    """A function that runs a step and waits for it."""
    import jax
    import numpy as np

    from jaxvision.optimizers import OptimizerOptions
    from jaxvision.sequence import language_model
    from jaxvision.tasks import language_model_task
    from jaxvision.training import create_train_state, make_train_step

    task = language_model_task(language_model(variant, vocab_size=VOCABULARY), batch_size=ROWS)
    params = jax.eval_shape(task.init, jax.random.key(0))["params"]
    options = OptimizerOptions(name="sgd", learning_rate=1e-3, schedule="constant", clip_norm=CLIP)
    optimizer, _ = options.build(params, steps=1)
    tokens, targets = windows(variant)
    batch = {
        "tokens": tokens,
        "targets": targets,
        "where": np.ones(tokens.shape, bool),
        "starts": np.zeros(ROWS, bool),
    }
    batch = jax.device_put(batch)
    step = jax.jit(make_train_step(task, optimizer), donate_argnums=0)
    state = [create_train_state(task, optimizer, seed=0)]

    def call() -> None:
        state[0], metrics = step(state[0], batch)
        jax.block_until_ready((state[0], metrics))

    return call


def torch_call(variant: str, threads: int) -> Callable[[], Any]:
    """The same in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    width, rate = WIDTHS[variant], {"small": 0.0, "medium": 0.5, "large": 0.65}[variant]
    embedding, head = nn.Embedding(VOCABULARY, width), nn.Linear(width, VOCABULARY)
    net, dropout = nn.LSTM(width, width, 2, batch_first=True, dropout=rate), nn.Dropout(rate)
    parameters = [p for part in (embedding, net, head) for p in part.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    tokens, targets = (torch.from_numpy(array).long() for array in windows(variant))
    state = [tuple(torch.zeros(2, ROWS, width) for _ in range(2))]

    def call() -> None:
        optimizer.zero_grad()
        x, after = net(dropout(embedding(tokens)), state[0])
        F.cross_entropy(head(dropout(x)).flatten(0, 1), targets.flatten()).backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        state[0] = tuple(part.detach() for part in after)

    return call


def serve(peer: str, variant: str, threads: int) -> None:
    """A peer's process: answers each line with the seconds of the fastest of so many calls."""
    call = torch_call(variant, threads) if peer == "torch" else jax_call(variant)
    call()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line) + 1):  # the first wakes the caches after the other peer's turn
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        print(min(times[1:]), flush=True)


def measure(variant: str, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds by peer."""
    peers: dict[str, Any] = {}
    for name, python in (("jax", options.jax_python), ("torch", options.torch_python)):
        command = [python, __file__, "--serve", name, "--only", variant, "--threads", str(options.threads)]
        peers[name] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ALLOCATOR},
        )
        _answer(peers[name])
    turns: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, peer in peers.items():
            peer.stdin.write(f"{options.calls}\n")
            peer.stdin.flush()
            turns[name].append(float(_answer(peer)))
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()
    return {name: statistics.median(times) for name, times in turns.items()}


def _answer(peer: Any) -> str:
    line = peer.stdout.readline()
    if not line:
        raise SystemExit("a peer stopped; its own message is above")
    return line


def main() -> None:
    """Compares the peers and prints a markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax-python", default=sys.executable, help="interpreter with jax and jaxvision")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter with torch")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each peer at each network")
    parser.add_argument("--calls", type=int, default=5, help="timed calls in a turn")
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of PyTorch; JAX takes every core it sees"
    )
    parser.add_argument("--only", choices=list(WINDOWS), help="one network; by default all")
    parser.add_argument("--output", help="write the figures, in seconds, to this JSON file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.only, options.threads)
        return
    print("| network | window | JAX ms | torch ms | JAX / torch |\n|---|---:|---:|---:|---:|")
    figures = {}
    for variant in [options.only] if options.only else list(WINDOWS):
        figures[variant] = result = measure(variant, options)
        ours, theirs = (1e3 * result[name] for name in ("jax", "torch"))
        print(
            f"| {variant} | {WINDOWS[variant]} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} |",
            flush=True,
        )
    if options.output:
        Path(options.output).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

"""A run that is small enough to be killed often: a line fitted by least squares, a few milliseconds a step.

It takes the options of a run, its folder and ``--pause`` (seconds a step) on its command line, and is all
that a script is: options, devices, folder, loop, report, exit code. ``test_killed_runs.py`` starts it.
``--report`` is how many seconds the first process is busy at the end, ``--fail KIND --failing N`` how process
N ends early.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvision import training
from jaxvision.core import Term, write_atomically

BATCH, FEATURES = 8, 3
FAILURES = {"mistake": ValueError("no such word"), "exit": SystemExit(3), "defect": KeyError("a defect")}


def _init(key):
    return {"params": {"slope": jnp.zeros(FEATURES)}}


def _loss(params, model_state, batch, key):
    errors = (batch["x"] @ params["slope"] - batch["y"]) ** 2  # [N]
    noise = jax.random.uniform(key, errors.shape)  # so that a resumed run must draw the same numbers
    weights = batch["where"].astype(jnp.float32) * (1.0 + noise)
    return {"l2": Term((errors * weights).sum(), weights.sum())}, model_state


TASK = training.Task(_init, _loss, lambda variables, x: x, lambda variables, batch: {}, lambda counts: {})


class Batches:
    """Batch k is a function of k; of several processes each makes its rows, and one may fail."""

    def __init__(self, placement, given):
        self._placement = placement
        self._pause = given.pause
        self._failure = FAILURES.get(given.fail) if given.failing == jax.process_index() else None
        self._taken = 0

    def __iter__(self):
        share = training.process_share(BATCH)
        rows = slice(share["shard_index"] * share["batch_size"], None)
        while True:
            time.sleep(self._pause)
            if self._failure is not None and self._taken == 12:
                raise self._failure
            rng = np.random.default_rng(self._taken)
            x = rng.normal(size=(BATCH, FEATURES)).astype(np.float32)
            batch = {"x": x, "y": x @ np.float32([1, -2, 3]), "where": np.ones(BATCH, bool)}
            self._taken += 1
            yield self._placement.shard({n: a[rows][: share["batch_size"]] for n, a in batch.items()})

    def get_state(self):
        return self._taken

    def set_state(self, state):
        self._taken = state


def train(options, given):
    placement = training.open_placement(options)
    folder, batches = given.folder, Batches(placement, given)
    progress = training.train(
        TASK,
        optax.adam(0.1),
        batches,
        placement,
        options,
        folder,
        resumed=True,
        batch_size=BATCH,
        metric="none",
        evaluate=None,
    )
    slope = placement.fetch(progress.state).params["slope"]
    if training.is_first_process():
        time.sleep(given.report)
        write_atomically(folder / "slope.npy", lambda file: np.save(file, slope))
    print(progress.stop, flush=True)
    return training.exit_code(progress)


def main(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--heartbeat", type=int, default=10)
    parser.add_argument("--parallel", default="jit")
    parser.add_argument("--report", type=float, default=0.0)
    parser.add_argument("--fail", choices=list(FAILURES))
    parser.add_argument("--failing", type=int, default=0)
    given = parser.parse_args(arguments)
    options = training.RunOptions(
        steps=given.steps,
        log_every=1,
        checkpoint_every=given.every,
        heartbeat=given.heartbeat,
        parallel=given.parallel,
        compilation_cache=False,
    )
    given.folder.mkdir(parents=True, exist_ok=True)
    return train(options, given)


if __name__ == "__main__":
    training.run_script(main, (ValueError, training.CheckpointError))

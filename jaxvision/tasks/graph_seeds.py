"""Many runs of one small full-graph training, from different seeds: a whole run is one compiled program."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvision.core import write_atomically
from jaxvision.training import Batch, Task, TrainState, create_train_state, make_train_step, read_json_lines

Parts = dict[str, Batch]
"""Batches of the parts ``"train"``, ``"val"`` and ``"test"``."""


class SeedResult(NamedTuple):
    """What came of one run.

    Attributes:
      seed: of the run.
      epochs: epochs trained; with patience, those until the end.
      best_epoch: the epoch whose network is scored.
      val_loss: of that network.
      val: its score on the nodes to validate on.
      test: its score on the nodes to test on.
    """

    seed: int
    epochs: int
    best_epoch: int
    val_loss: float
    val: float
    test: float


class Best(NamedTuple):
    """The best network so far, and how long ago it was.

    Attributes:
      variables: of the network.
      loss: least loss on the nodes to validate on, of all evaluations.
      score: highest score on them, of all evaluations.
      epoch: the epoch of the network.
      waited: evaluations since either was reached again.
    """

    variables: Any
    loss: jax.Array
    score: jax.Array
    epoch: jax.Array
    waited: jax.Array


def make_seed_run(
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    epochs: int,
    patience: int | None,
    eval_every: int = 1,
    measure: Callable[[Any], tuple[jax.Array, jax.Array]],
) -> Callable[[TrainState, Parts], dict[str, Any]]:
    """Makes the pure function ``(state, parts) -> result`` of a whole training, one step an epoch.

    Without patience, the network after the last epoch is scored. With it, the training ends once neither loss
    nor score on the validation nodes has been as good as ever for more than so many evaluations, and the
    network that is scored is that of the last evaluation in which both were.

    Args:
      task: what is trained.
      optimizer: any Optax transformation.
      epochs: steps at most.
      patience: evaluations without an improvement that are borne, or None.
      eval_every: epochs between evaluations; the last epoch is evaluated in any case.
      measure: ``counts -> (loss, score)``, of the task's counts; more is better of the score.

    Returns:
      A function that goes through ``jit`` and ``vmap``; its result holds the counts of ``val`` and ``test``,
      ``epochs`` and ``best_epoch``.

    References:
      Velickovic et al. 2018, "Graph Attention Networks", section 3.3: patience of 100 epochs on both, which
      is 99 here: the 100th evaluation in a row without an improvement ends the training. In the paper's code
      the network is kept when both are at their best, and the wait starts anew when either is.
    """
    step = make_train_step(task, optimizer)

    def result(variables: Any, epochs: jax.Array, best: jax.Array, parts: Parts) -> dict[str, Any]:
        counts = {part: task.counts(variables, parts[part]) for part in ("val", "test")}
        return {**counts, "epochs": epochs, "best_epoch": best}

    def to_the_end(state: TrainState, parts: Parts) -> dict[str, Any]:
        state = jax.lax.fori_loop(0, epochs, lambda _, state: step(state, parts["train"])[0], state)
        return result(state.variables(), state.step, state.step, parts)

    def while_it_improves(state: TrainState, parts: Parts) -> dict[str, Any]:
        assert patience is not None

        def goes_on(carried: tuple[TrainState, Best]) -> jax.Array:
            state, best = carried
            return (state.step < epochs) & (best.waited <= patience)

        def evaluated(carried: tuple[TrainState, Best]) -> tuple[TrainState, Best]:
            state, best = carried
            count = jnp.minimum(eval_every, epochs - state.step)
            state = jax.lax.fori_loop(0, count, lambda _, state: step(state, parts["train"])[0], state)
            loss, score = measure(task.counts(state.variables(), parts["val"]))
            return state, keep_best(best, state, loss, score)

        zero = jnp.int32(0)
        first = Best(state.variables(), jnp.float32(jnp.inf), jnp.float32(-jnp.inf), zero, zero)
        state, best = jax.lax.while_loop(goes_on, evaluated, (state, first))
        return result(best.variables, state.step, best.epoch, parts)

    return to_the_end if patience is None else while_it_improves


def keep_best(best: Best, state: TrainState, loss: jax.Array, score: jax.Array) -> Best:
    """The best network after one more evaluation."""
    lower, higher = loss <= best.loss, score >= best.score
    kept = jax.tree.map(
        lambda new, old: jnp.where(lower & higher, new, old), state.variables(), best.variables
    )
    return Best(
        kept,
        jnp.minimum(loss, best.loss),
        jnp.maximum(score, best.score),
        jnp.where(lower & higher, state.step, best.epoch),
        jnp.where(lower | higher, 0, best.waited + 1),
    )


def run_seeds(
    run: Callable[[TrainState, Parts], dict[str, Any]],
    task: Task,
    optimizer: optax.GradientTransformation,
    parts: Parts,
    seeds: Sequence[int],
    *,
    at_once: int,
    score: str,
) -> Iterator[SeedResult]:
    """Runs a training from each seed, compiled once.

    Args:
      run: of :func:`make_seed_run`.
      task: what is trained.
      optimizer: that of the run.
      parts: batches on the device.
      seeds: of the runs; a run from a seed is the same whatever others there are.
      at_once: how many runs share the device; what is left of them is run along and thrown away. On a CPU, 1.
      score: the name among the task's scores that counts.

    Yields:
      Results in the order of the seeds.
    """
    many = jax.jit(run if at_once == 1 else jax.vmap(run, in_axes=(0, None)))
    for start in range(0, len(seeds), at_once):
        chosen = list(seeds[start : start + at_once])
        filled = chosen + chosen[-1:] * (at_once - len(chosen))
        states = [create_train_state(task, optimizer, seed=seed) for seed in filled]
        state = states[0] if at_once == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        found = jax.device_get(many(state, parts))
        for index, seed in enumerate(chosen):
            one = found if at_once == 1 else jax.tree.map(lambda x, index=index: x[index], found)
            val, test = task.score(one["val"]), task.score(one["test"])
            yield SeedResult(
                seed, int(one["epochs"]), int(one["best_epoch"]), val["loss"], val[score], test[score]
            )


def finish_seeds(results: Iterator[SeedResult], path: Path, *, total: int) -> list[SeedResult]:
    """Takes the results as they come: writes each to a file at once, and says how it goes.

    Args:
      results: of :func:`run_seeds`, those that the file does not hold yet.
      path: JSON lines; what it holds already counts.
      total: how many there will be.

    Returns:
      All results.
    """
    done = read_seeds(path)
    # Anew: a line that a kill cut off would run into the next one.
    text = "".join(json.dumps(found._asdict()) + "\n" for found in done)
    write_atomically(path, lambda file: file.write(text.encode()))
    started, before = time.perf_counter(), len(done)
    for found in results:
        done.append(found)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found._asdict()) + "\n")
        mean, spread = seed_statistics(done)
        left = (time.perf_counter() - started) / (len(done) - before) * (total - len(done))
        print(
            f"seed {found.seed} ({len(done)}/{total}, {left:.0f} s left): {found.test:.4f} after "
            f"{found.epochs} epochs; mean {mean:.4f} +- {spread:.4f}",
            flush=True,
        )
    return done


def read_seeds(path: Path) -> list[SeedResult]:
    """The results that a file of :func:`finish_seeds` holds; none if there is no file."""
    return [SeedResult(**record) for record in read_json_lines(path)] if path.exists() else []


def seed_statistics(results: Sequence[SeedResult]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample; 0 for one) of the scores on the test nodes.

    >>> seed_statistics([SeedResult(0, 1, 1, 0.0, 0.0, 0.5), SeedResult(1, 1, 1, 0.0, 0.0, 0.7)])[0]
    0.6
    """
    scores = np.array([found.test for found in results])
    return float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def check_seed_parts(parts: Parts, *, patience: int | None) -> None:
    """Checks that there is something to score, before anything is trained.

    Raises:
      ValueError: if there is no node to test on, or with patience none to validate on.
    """
    if not np.any(parts["test"]["where"]):
        raise ValueError(
            "--seeds: the data has no nodes to test on, whose accuracy is what runs from many seeds are "
            "compared by; name some (split test in a CSV file, or test_mask), or train once"
        )
    if patience is not None and not np.any(parts["val"]["where"]):
        raise ValueError(
            "--run.patience: the data has no nodes to validate on, which patience looks at; name some, or "
            "give --run.patience None"
        )


def write_seed_scores(folder: Path, results: Sequence[SeedResult], *, title: str) -> None:
    """Writes mean and standard deviation of the scores into ``scores.json``, and prints them.

    Args:
      folder: of the runs.
      results: of all runs.
      title: of the network and the data, for the line.
    """
    mean, spread = seed_statistics(results)
    scores = {"accuracy_mean": mean, "accuracy_std": spread, "seeds": len(results)}
    write_atomically(folder / "scores.json", lambda file: file.write(json.dumps(scores, indent=2).encode()))
    print(
        f"{title}: test accuracy {100 * mean:.2f} +- {100 * spread:.2f} % over {len(results)} seeds; {folder}"
    )


def node_measure(counts: Any) -> tuple[jax.Array, jax.Array]:
    """Cross entropy and accuracy of a part's counts, inside of a compiled run."""
    total = jnp.maximum(counts["confusion"].sum(), 1)
    return counts["calibration"].nll / total, jnp.trace(counts["confusion"]) / total

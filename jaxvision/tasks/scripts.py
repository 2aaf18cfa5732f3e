"""What the scripts of all tasks share: the run of a task on its devices, and the file of its weights."""

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from jaxvision import training, weights
from jaxvision.data import prefetch_to_device
from jaxvision.optimizers import OptimizerOptions, ema_params

Config = TypeVar("Config")


class EndlessBatches(Protocol):
    """Batches without end that know where they stand."""

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """The batches from the position on."""

    def close(self) -> None:
        """Ends what reads ahead."""


class DataOptions(Protocol):
    """The data of a script, as options."""

    @property
    def batch_size(self) -> int:
        """Images a step, over all devices."""

    def batches(self, source: Any, *, seed: int) -> EndlessBatches:
        """Shuffled, varied batches without end."""

    def ordered_batches(self, source: Any) -> Iterable[Any]:
        """Every image once, in order."""


class Trainer:
    """A task, its optimizer and its devices: trains and evaluates, each compiled once.

    Args:
      task: what is trained.
      placement: the devices.
      data: the images.
      optimizer: the optimizer.
      run: the run.
      metric: the score that decides which checkpoint is best, and the plateau; more is better.
      layers: of the network, for a learning rate that falls with depth; see ``layer_order``.
      inputs: what of a batch the task predicts from.

    Raises:
      ValueError: if the optimizer's options do not fit.
    """

    def __init__(
        self,
        task: training.Task,
        placement: training.Placement,
        *,
        data: DataOptions,
        optimizer: OptimizerOptions,
        run: training.RunOptions,
        metric: str,
        layers: Sequence[Sequence[str]] = (),
        inputs: Callable[[Any], Any] = operator.itemgetter("images"),
    ) -> None:
        params = jax.eval_shape(task.init, jax.random.key(0))["params"]
        self._data = data
        self._options = optimizer
        self._run = run
        self._task = task
        self._placement = placement
        self._metric = metric
        self._optimizer, self._learning_rate = optimizer.build(params, steps=run.steps, layers=layers)
        self._step = training.compile_step(task, self._optimizer, placement)
        self._count = placement.compile_count(training.make_count_step(task, axis_name=placement.axis_name))
        self._predict = placement.compile_count(
            lambda variables, batch: task.predict(variables, inputs(batch))
        )

    def initialise(self, seed: int) -> Any:
        """The variables that a run of that seed starts from, as numpy arrays."""
        return jax.device_get(jax.jit(self._task.init)(jax.random.key(seed, impl="rbg")))

    def fit(
        self,
        batches: EndlessBatches,
        folder: Path,
        *,
        resumed: bool,
        validation: Any | None,
        variables: Any | None = None,
    ) -> training.Progress:
        """Trains in a folder: logs, evaluates, saves, resumes, stops in order.

        Args:
          batches: of the training part, closed at the end.
          folder: of the run.
          resumed: whether to go on from the newest checkpoint in the folder, if there is one.
          validation: source that is evaluated on the way; None where there is none.
          variables: to start from instead of random ones.
        """
        metric = self._metric
        try:
            return training.train(
                self._task,
                self._optimizer,
                prefetch_to_device(batches, self._placement.shard),
                self._placement,
                self._run,
                folder,
                resumed=resumed,
                batch_size=self._data.batch_size,
                metric=metric,
                evaluate=None if validation is None else lambda state: self.evaluate(state, validation)[0],
                observe=lambda opt_state, scores: self._options.observe(opt_state, scores[metric]),
                learning_rate=self._learning_rate,
                variables=variables,
                step=self._step,
            )
        finally:
            batches.close()

    def evaluate(self, state: training.TrainState, source: Any) -> tuple[dict[str, float], Any]:
        """Scores and counts over every image of a source once."""
        batches = (self._sharded(batch) for batch in self._data.ordered_batches(source))
        variables = self._variables(state)
        return training.evaluate(self._count, self._task.score, variables, batches, self._placement)

    def predict(self, state: training.TrainState, source: Any) -> Any:
        """What the task predicts for every image of a source, in order: numpy, [N, ...]."""
        variables = self._variables(state)
        parts = []
        for batch in self._data.ordered_batches(source):
            predicted = {"predictions": self._predict(variables, self._sharded(batch))}
            parts.append(self._placement.unshard(predicted)["predictions"][batch["where"]])
        return np.concatenate(parts)

    def host_variables(self, state: training.TrainState) -> dict[str, Any]:
        """The variables that count as numpy arrays: with the averaged parameters, if an average is kept."""
        return self._placement.fetch(self._variables(state))

    def _variables(self, state: training.TrainState) -> dict[str, Any]:
        if self._options.ema is None:
            return state.variables()
        return {**state.variables(), "params": ema_params(state.opt_state, state.params)}

    def _sharded(self, batch: dict[str, Any]) -> Any:
        return self._placement.shard({name: array for name, array in batch.items() if name != "index"})


def explain_end(progress: training.Progress, folder: Path, *, program: str) -> int:
    """Says why the training ended, and how it goes on if it was stopped; returns the exit code so far."""
    print(f"{folder}: {progress.stop}")
    code = training.exit_code(progress)
    if code:
        print(f"go on with: python {program} --resume {folder}")
    return code


def write_run_weights(
    folder: Path, config: Any, variables: Any, class_names: Sequence[str], **metadata: Any
) -> None:
    """Writes ``weights.safetensors`` with what using it needs, as JSON: options, class names and more."""
    texts = {"config": training.config_to_dict(config), "class_names": list(class_names), **metadata}
    weights.write_safetensors(
        folder / "weights.safetensors",
        variables,
        metadata={name: json.dumps(value) for name, value in texts.items()},
    )


def is_run_weights(path: Path) -> bool:
    """Whether a file is the ``weights.safetensors`` of a run; other weights have other readers.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is truncated.
    """
    return path.suffix == ".safetensors" and "config" in weights.read_metadata(path)


def read_run_metadata(path: Path, kind: type[Config]) -> tuple[Config, dict[str, Any]]:
    """Reads the text that :func:`write_run_weights` put beside the weights.

    Args:
      path: ``weights.safetensors`` of a run.
      kind: the configuration of the script that wrote it.

    Returns:
      The configuration, and all else by name.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is truncated, or not written by that script.
    """
    if not is_run_weights(path):
        raise ValueError(
            f"{path}: not the weights.safetensors of a run of this script; for other weights "
            "name the network by --model.name"
        )
    values = {name: json.loads(text) for name, text in weights.read_metadata(path).items()}
    try:
        return training.config_from_dict(kind, values.pop("config")), values
    except ValueError as error:
        raise ValueError(f"{path}: of another script, or of another version of it ({error})") from error

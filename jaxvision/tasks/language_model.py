"""Language models in the training loop: their loss over windows of a long text, their perplexity.

The state that goes on from window to window is part of the model state, as ``carry``: a tree of arrays whose
first axis is that of *all* rows of the batch. So it is in every checkpoint, and a resumed run may use other
devices. Each device reads and writes the rows of its own part of the batch: under ``jit`` the compiler sees
to that, under ``pmap`` the task takes its part by the device's number and gathers the parts at the end.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision import training
from jaxvision.core import Term
from jaxvision.data import TextWindows, ordered_windows
from jaxvision.losses import cross_entropy_loss, sum_term
from jaxvision.ops import detach_state
from jaxvision.optimizers import OptimizerOptions
from jaxvision.tasks.scripts import Trainer
from jaxvision.training import Batch, Task, Variables

CARRY = "carry"
"""Name of the recurrent state in the model state."""

METRIC = "log_likelihood"
"""The score that decides which checkpoint is best; more is better."""


def language_model_task(
    model: nn.Module, *, batch_size: int, characters: bool = False, axis_name: str | None = None
) -> Task:
    """Makes a language model into a :class:`jaxvision.training.Task` of truncated back-propagation.

    A batch is one of :class:`jaxvision.data.TextWindows`: ``tokens`` and ``targets`` int32 ``[N, T]``,
    ``where`` bool ``[N, T]`` and ``starts`` bool ``[N]``, true where a row begins anew. The loss is the mean
    cross entropy of a token.

    Args:
      model: a :class:`jaxvision.sequence.LanguageModel`.
      batch_size: rows of a training batch, over all devices.
      characters: whether tokens are characters: scores then tell the bits of one.
      axis_name: the device axis under ``pmap``; None under ``jit``.

    References:
      Mikolov et al. 2010, *Recurrent neural network based language model*, for perplexity on this corpus;
      Williams and Peng 1990, as :func:`jaxvision.ops.detach_state`.
    """

    def init(key: jax.Array) -> Variables:
        variables = model.init(key, jnp.zeros((1, 1), jnp.int32), train=False)
        return {**variables, CARRY: model.initial_states(batch_size)}

    def loss(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> tuple[dict[str, Term], Any]:
        variables = {"params": params, **model_state}
        term, carry = _read_window(model, variables, batch, axis_name, key=key)
        return {"cross_entropy": term}, {**model_state, CARRY: carry}

    def predict(variables: Variables, tokens: jax.Array) -> jax.Array:
        return model.apply({"params": variables["params"]}, tokens, train=False)[0]

    def counts(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        return _window_counts(_read_window(model, variables, batch, axis_name)[0])

    def score(counts: Mapping[str, Any]) -> dict[str, float]:
        return language_model_scores(counts, characters=characters)

    return Task(init, loss, predict, counts, score)


def make_window_counts(
    model: nn.Module, *, axis_name: str | None = None
) -> Callable[[Any, Batch], tuple[dict[str, jax.Array], Any]]:
    """Makes ``(variables, batch) -> (counts, carry)``, the counts summed over devices, to evaluate a text.

    The variables hold the ``carry`` that the window before gave; see :func:`language_model_task`.
    """

    def step(variables: Variables, batch: Batch) -> tuple[dict[str, jax.Array], Any]:
        term, carry = _read_window(model, variables, batch, axis_name)
        counts = _window_counts(term)
        return (counts if axis_name is None else lax.psum(counts, axis_name)), carry

    return step


def language_model_scores(counts: Mapping[str, Any], *, characters: bool = False) -> dict[str, float]:
    """Scores of summed counts.

    Args:
      counts: ``loss``, the sum over the tokens in nats, and ``tokens``, their number.
      characters: whether tokens are characters.

    Returns:
      ``loss`` (nats a token), ``perplexity`` (its exponential), ``log_likelihood`` (minus the loss, so that
      more is better), and ``bits_per_character`` of characters.

    >>> language_model_scores({"loss": 2 * math.log(8), "tokens": 2}, characters=True)["bits_per_character"]
    3.0
    """
    loss = float(counts["loss"]) / max(int(counts["tokens"]), 1)
    scores = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), METRIC: -loss}
    if characters:
        scores["bits_per_character"] = loss / math.log(2)
    return scores


def _read_window(
    model: nn.Module, variables: Any, batch: Batch, axis_name: str | None, *, key: jax.Array | None = None
) -> tuple[Term, Any]:
    """The loss of this device's rows, and the state of all rows behind the window; a key trains."""
    count = len(batch["starts"])
    states = detach_state(_own_rows(variables[CARRY], count, axis_name))
    states = jax.tree.map(lambda x: jnp.where(batch["starts"][:, None], 0.0, x), states)
    logits, states = model.apply(
        {"params": variables["params"]},
        batch["tokens"],
        states=states,
        train=key is not None,
        rngs=None if key is None else {"dropout": key},
    )
    losses = cross_entropy_loss(logits, batch["targets"], where=batch["where"])
    carry = detach_state(states)
    if axis_name is not None:
        carry = jax.tree.map(lambda x: lax.all_gather(x, axis_name, tiled=True), carry)
    return sum_term(losses, where=batch["where"]), carry


def _own_rows(carry: Any, count: int, axis_name: str | None) -> Any:
    if axis_name is None:
        return carry
    first = lax.axis_index(axis_name) * count
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, count), carry)


def _window_counts(term: Term) -> dict[str, jax.Array]:
    return {"loss": term.total, "tokens": term.weight.astype(jnp.int32)}


class TextBatches:
    """How a script's texts are cut into batches, for :class:`jaxvision.tasks.scripts.Trainer`.

    Args:
      rows: of a training batch.
      window: tokens of a row in a batch.
      eval_rows: of a batch in evaluation.

    Raises:
      ValueError: if a number is below 1.
    """

    def __init__(self, *, rows: int, window: int, eval_rows: int) -> None:
        if min(rows, window, eval_rows) < 1:
            raise ValueError(
                f"batch size {rows}, window {window}, batch size in evaluation {eval_rows}: expected 1 or "
                "more of each"
            )
        self.rows = rows
        self.window = window
        self.eval_rows = eval_rows

    @property
    def batch_size(self) -> int:
        """Tokens a step."""
        return self.rows * self.window

    def batches(self, source: np.ndarray, *, seed: int) -> TextWindows:
        """Batches without end of a text int32 ``[L]``; they come in the order of the text, whatever the seed.

        Of each batch, the rows of this process.

        Raises:
          ValueError: if the text is shorter than a batch.
        """
        del seed
        return TextWindows(source, window=self.window, **training.process_share(self.rows))

    def ordered_batches(self, source: np.ndarray) -> Iterable[Any]:
        """Every token but the first as a target once; of each batch, the rows of this process.

        Raises:
          ValueError: if there are fewer than two tokens.
        """
        return ordered_windows(source, window=self.window, **training.process_share(self.eval_rows))


class LanguageModelTrainer(Trainer):
    """Trains a language model, and evaluates it with a state of its own that goes through the whole text.

    Args:
      task: of the model.
      model: a :class:`jaxvision.sequence.LanguageModel`.
      placement: the devices.
      data: how texts become batches.
      optimizer: the optimizer.
      run: the run.

    Raises:
      ValueError: if the optimizer's options do not fit.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        placement: training.Placement,
        *,
        data: TextBatches,
        optimizer: OptimizerOptions,
        run: training.RunOptions,
    ) -> None:
        super().__init__(
            task, placement, data=data, optimizer=optimizer, run=run, metric=METRIC, unit="tokens"
        )
        self._model: Any = model
        self._rows = data.eval_rows
        counts = make_window_counts(model, axis_name=placement.axis_name)
        self._count_window: Any = placement.compile_count(counts)

    def evaluate(self, state: training.TrainState, source: np.ndarray) -> tuple[dict[str, float], Any]:
        """Scores and counts over a text int32 ``[L]``, read in rows that each begin with a state of zeros."""
        params = self._variables(state)["params"]
        carry = self._placement.place(self._model.initial_states(self._rows))

        def count(_: Any, batch: Batch) -> Any:
            nonlocal carry
            counts, carry = self._count_window({"params": params, CARRY: carry}, batch)
            return counts

        batches = (self._sharded(batch) for batch in self._data.ordered_batches(source))
        return training.evaluate(count, self._task.score, None, batches, self._placement)

"""What a training loop needs to know of a model: five pure functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax

from jaxvision.core import Term

Batch: TypeAlias = Mapping[str, Any]
"""Arrays by name; the first axis of each is N."""
Variables: TypeAlias = Mapping[str, Any]
"""The collections of a network: ``params`` and the others, by name."""


class Task(NamedTuple):
    """A model together with its losses and metrics, as pure functions.

    A batch is a mapping of arrays whose first axis is N; ``where`` bool ``[N]`` marks the real examples.

    Attributes:
      init: ``key -> variables``: ``{"params": ..., "batch_stats": ...}``; all but ``params`` is model state.
      loss: ``(params, model_state, batch, key) -> (terms, model_state)``. The loss is the sum over the
        terms of total / weight; both are summed over devices before the division.
      predict: ``(variables, inputs) -> predictions``, in evaluation mode; inputs are images, or what else the
        model takes.
      counts: ``(variables, batch) -> counts``: arrays that add up over batches, devices and hosts.
      score: ``counts -> scores``: numpy counts, added over the whole data set, to plain numbers.
    """

    init: Callable[[jax.Array], Variables]
    loss: Callable[[Any, Any, Batch, jax.Array], tuple[Mapping[str, Term], Any]]
    predict: Callable[[Variables, Any], Any]
    counts: Callable[[Variables, Batch], Any]
    score: Callable[[Any], dict[str, float]]

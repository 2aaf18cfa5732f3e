"""Text classification: a network of token sequences meets its loss and its counts."""

import typing
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import Term
from jaxvision.tasks.classification import (
    ClassificationLoss,
    classification_counts,
    classification_scores,
    cross_entropy_term,
)
from jaxvision.tasks.networks import apply_in_training
from jaxvision.training import Batch, Task, Variables


def text_classification_task(model: nn.Module, loss: ClassificationLoss, *, length: int) -> Task:
    """Makes a network of texts into a :class:`jaxvision.training.Task`.

    A batch holds ``tokens`` int32 ``[N, T]``, ``labels`` int32 ``[N]`` and ``where`` bool ``[N]``.
    Predictions are logits, float32 ``[N, K]``.

    Args:
      model: called as ``model.apply(variables, tokens, train=...)``, gives logits ``[N, K]``.
      loss: of training: label smoothing and class weights; mixtures of images do not count. Evaluations
        report the plain cross entropy.
      length: T of the sequences that the parameters are initialised with; any other works later.
    """

    def init(key: jax.Array) -> Variables:
        return typing.cast(Variables, model.init(key, jnp.zeros((1, length), jnp.int32), train=False))

    def train_loss(
        params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, Term], Any]:
        logits, _, model_state = apply_in_training(model, params, model_state, batch["tokens"], key)
        return {
            "cross_entropy": cross_entropy_term(loss, logits, batch["labels"], batch["where"])
        }, model_state

    def predict(variables: Variables, tokens: jax.Array) -> jax.Array:
        return typing.cast(jax.Array, model.apply(variables, tokens, train=False))

    def counts(variables: Variables, batch: Batch) -> dict[str, Any]:
        logits = predict(variables, batch["tokens"])
        return classification_counts(logits, batch["labels"], where=batch["where"])

    return Task(init, train_loss, predict, counts, classification_scores)

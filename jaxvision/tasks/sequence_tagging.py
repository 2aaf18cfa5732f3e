"""Sequence tagging: a network of token sequences meets its loss, and its counts of tags and spans."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import Term
from jaxvision.losses import cross_entropy_loss, sum_term
from jaxvision.metrics import (
    SpanCounts,
    SpanTags,
    confusion_matrix,
    span_counts,
    span_scores,
)
from jaxvision.ops import crf_log_likelihood
from jaxvision.sequence import TagScores
from jaxvision.tasks.networks import apply_in_training
from jaxvision.training import Batch, Task, Variables


def tagger_inputs(batch: Batch) -> dict[str, Any]:
    """What of a batch a tagger sees: ``tokens`` and, where there are any, ``characters``."""
    return {name: batch[name] for name in ("tokens", "characters") if name in batch}


def sequence_tagging_task(
    model: nn.Module, *, num_tags: int, spans: SpanTags | None, length: int, letters: int | None
) -> Task:
    """Makes a tagger into a :class:`jaxvision.training.Task`.

    A batch holds ``tokens`` int32 ``[N, T]``, ``characters`` int32 ``[N, T, L]`` where the tagger sees them,
    ``labels`` int32 ``[N, T]`` and ``where`` bool ``[N]``. Predictions are tags, int32 ``[N, T]``, -1 in the
    padding.

    Args:
      model: a :class:`jaxvision.sequence.SequenceTagger`.
      num_tags: K.
      spans: what the tags say of spans; None for tags that have none.
      length: T of the sequences that the parameters are initialised with.
      letters: L of the characters; None without.
    """

    def init(key: jax.Array) -> Variables:
        inputs = {"tokens": jnp.zeros((1, length), jnp.int32)}
        if letters is not None:
            inputs["characters"] = jnp.zeros((1, length, letters), jnp.int32)
        return typing.cast(Variables, model.init(key, inputs, train=False))

    def train_loss(
        params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, Term], Any]:
        found, _, model_state = apply_in_training(model, params, model_state, tagger_inputs(batch), key)
        return {"tags": tagging_loss(found, batch["labels"], where=batch["where"])}, model_state

    def predict(variables: Variables, inputs: Mapping[str, jax.Array]) -> jax.Array:
        return apply(variables, inputs).decode()

    def apply(variables: Variables, inputs: Mapping[str, jax.Array]) -> TagScores:
        return typing.cast(TagScores, model.apply(variables, inputs, train=False))

    def counts(variables: Variables, batch: Batch) -> dict[str, Any]:
        found = apply(variables, tagger_inputs(batch))
        where = found.where & batch["where"][:, None]
        tags, labels = found.decode(), batch["labels"]
        counted: dict[str, Any] = {
            "loss": tagging_loss(found, labels, where=batch["where"]),
            "confusion": confusion_matrix(labels, tags, num_tags, where=where),
        }
        if spans is not None:
            counted["spans"] = span_counts(labels, tags, spans, where=where)
        return counted

    return Task(init, train_loss, predict, counts, tagging_scores)


def tagging_loss(found: TagScores, labels: jax.Array, *, where: jax.Array) -> Term:
    """Negative log likelihood of the true tags, of the path with a CRF and else of each tag; a mean a token.

    Args:
      found: scores of a batch.
      labels: int32 ``[N, T]``.
      where: bool ``[N]``; sequences that are False are not counted.
    """
    tokens = (found.where & where[:, None]).sum(1).astype(jnp.float32)  # [N]
    if found.crf is not None:
        losses = -crf_log_likelihood(found.scores, labels, found.crf, where=found.where)
    else:
        losses = cross_entropy_loss(found.scores, labels, where=found.where).sum(1)
    return sum_term(losses, weights=tokens, where=where)


def tagging_scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """Scores of summed counts: ``loss`` a token, ``accuracy`` of tokens, and of spans, where tags have them,
    ``span_precision``, ``span_recall`` and ``span_f1`` over all types.
    """
    matrix, loss = np.asarray(counts["confusion"]), counts["loss"]
    scores = {
        "loss": float(loss.total) / max(float(loss.weight), 1.0),
        "accuracy": float(np.trace(matrix) / max(matrix.sum(), 1)),
    }
    if "spans" in counts:
        every = SpanCounts(*(np.asarray(field).sum(keepdims=True) for field in counts["spans"]))
        found = span_scores(every)
        scores |= {
            "span_precision": float(found.precision[0]),
            "span_recall": float(found.recall[0]),
            "span_f1": float(found.f1[0]),
        }
    return scores


def span_rows(counts: SpanCounts, types: Sequence[str]) -> list[dict[str, Any]]:
    """One row a type of span: name, precision, recall, F1, spans of the truth and of the prediction."""
    found = span_scores(counts)
    return [
        {
            "class": name,
            "precision": float(found.precision[index]),
            "recall": float(found.recall[index]),
            "f1": float(found.f1[index]),
            "true_spans": int(counts.true[index]),
            "predicted_spans": int(counts.predicted[index]),
        }
        for index, name in enumerate(types)
    ]

"""Text recognition: a network of columns meets CTC, and its counts of wrong characters and words."""

import typing
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxvision.core import Term
from jaxvision.losses import sum_term
from jaxvision.metrics import TranscriptCounts, label_error_rate, sequence_accuracy, transcript_counts
from jaxvision.ops import Transcripts, ctc_greedy_decode
from jaxvision.tasks.networks import apply_in_training
from jaxvision.training import Batch, Task, Variables

BLANK = 0
"""The label that stands for no character."""
NO_CHARACTER = -1
"""What fills a row of labels behind its end."""


def text_recognition_task(model: nn.Module, *, image_size: tuple[int, int]) -> Task:
    """Makes a network that scores labels in columns into a :class:`jaxvision.training.Task`.

    A batch holds ``images`` float ``[N, H, W, 1]``, ``labels`` int32 ``[N, L]`` (1 and more, behind the end
    :data:`NO_CHARACTER`) and ``where`` bool ``[N]``. Predictions are logits, float32 ``[N, T, K]``.

    Args:
      model: called as ``model.apply(variables, images, train=...)``; the blank is label 0.
      image_size: (H, W) of the images.
    """

    def init(key: jax.Array) -> Variables:
        images = jnp.zeros((1, *image_size, 1))
        return typing.cast(Variables, model.init(key, images, train=False))

    def train_loss(
        params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[dict[str, Term], Any]:
        logits, _, model_state = apply_in_training(model, params, model_state, batch["images"], key)
        return {"ctc": sum_term(ctc_losses(logits, batch["labels"]), where=batch["where"])}, model_state

    def predict(variables: Variables, images: jax.Array) -> jax.Array:
        return typing.cast(jax.Array, model.apply(variables, images, train=False))

    def counts(variables: Variables, batch: Batch) -> dict[str, Any]:
        logits, labels, where = predict(variables, batch["images"]), batch["labels"], batch["where"]
        return {
            "loss": sum_term(ctc_losses(logits, labels), where=where),
            "transcripts": count_readings(ctc_greedy_decode(logits, blank=BLANK), labels, where=where),
        }

    return Task(init, train_loss, predict, counts, recognition_scores)


def ctc_losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Connectionist temporal classification of each row, in nats.

    Args:
      logits: floating ``[N, T, K]``, the blank at 0.
      labels: int32 ``[N, L]``, :data:`NO_CHARACTER` behind the end. A row that needs more columns than ``T``
        (one a label, and one between equal neighbours) costs about 1e5, as in Optax: see
        :func:`needed_steps`.

    Returns:
      float32 ``[N]``.
    """
    known = (labels > 0) & (labels < logits.shape[-1])  # a row of padding has none
    return optax.ctc_loss(
        logits.astype(jnp.float32),
        jnp.zeros(logits.shape[:2], jnp.float32),
        jnp.where(known, labels, 0),
        1.0 - known.astype(jnp.float32),
        blank_id=BLANK,
    )


def needed_steps(labels: np.ndarray) -> int:
    """The fewest columns that CTC can write labels in: one each, and one between equal neighbours.

    >>> needed_steps(np.array([3, 3, 5]))
    4
    """
    return len(labels) + int((labels[1:] == labels[:-1]).sum())


def count_readings(found: Transcripts, labels: jax.Array, *, where: jax.Array) -> TranscriptCounts:
    """Counts what was read against the truth.

    Args:
      found: labels ``[N, L']`` and lengths ``[N]``.
      labels: int32 ``[N, L]``, :data:`NO_CHARACTER` behind the end.
      where: bool ``[N]``.
    """
    lengths = (labels != NO_CHARACTER).sum(1, dtype=jnp.int32)
    return transcript_counts(found.labels, found.lengths, labels, lengths, where=where)


def recognition_scores(counts: Mapping[str, Any]) -> dict[str, float]:
    """``loss`` a word, ``accuracy`` (words without an error), ``character_error_rate`` of summed counts."""
    loss = counts["loss"]
    return {
        "loss": float(loss.total) / max(float(loss.weight), 1.0),
        "accuracy": float(sequence_accuracy(counts["transcripts"])),
        "character_error_rate": float(label_error_rate(counts["transcripts"])),
    }

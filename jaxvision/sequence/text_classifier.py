"""A text as one class: embedded tokens, a recurrent network over them or none, a vector, a linear layer."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_integer, check_layout
from jaxvision.layers import GRU, LSTM, RNN, AttentionPooling, Dropout, Embed
from jaxvision.ops import sequence_max, sequence_mean

PADDING_INDEX = 0
"""The token behind the end of a sequence; its vector is zero and stays so."""

CELLS = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
"""Recurrent networks by name."""

Cell = Literal["rnn", "gru", "lstm"]
Pooling = Literal["last", "mean", "max", "attention"]


class TextClassifier(nn.Module):
    """Scores of each class for token sequences that are padded with :data:`PADDING_INDEX`.

    Submodules: ``embedding``, ``rnn`` (with a ``cell``), ``attention`` (with that pooling), ``head``.

    Without a cell it is a bag of words: the mean of the embeddings and a linear layer, as fastText without
    n-grams, which is what a classifier of longer texts has to beat. With one it is the usual recurrent
    classifier, whose vector is the last state of each direction or a pooling of all steps.

    Attributes:
      vocabulary_size: number of tokens, padding among them.
      num_classes: number of classes K.
      embedding_features: width of the embeddings.
      cell: ``"rnn"``, ``"gru"`` or ``"lstm"``; None for none.
      features: units of a layer and direction.
      num_layers: recurrent layers.
      bidirectional: whether each layer goes both ways.
      pooling: how the steps become one vector: ``"last"`` (state at the end of the text, of the reverse
        direction that at its begin; needs a cell), ``"mean"``, ``"max"`` or ``"attention"``
        (:class:`jaxvision.layers.AttentionPooling`).
      dropout_rate: in training, of the embeddings, between layers and of the vector in front of the head.
      dtype: dtype of the computation; parameters and logits are float32.

    References:
      Joulin et al. 2016, *Bag of Tricks for Efficient Text Classification*, section 2, without its
      hierarchical softmax and n-grams. Graves and Schmidhuber 2005, *Framewise Phoneme Classification with
      Bidirectional LSTM and Other Neural Network Architectures*, for the two directions.
    """

    vocabulary_size: int
    num_classes: int
    embedding_features: int = 100
    cell: Cell | None = "lstm"
    features: int = 128
    num_layers: int = 1
    bidirectional: bool = True
    pooling: Pooling = "last"
    dropout_rate: float = 0.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool) -> jax.Array:
        """Maps tokens ``[N, T]`` to logits ``[N, K]``, float32.

        A sequence without a token has the vector zero, and the scores of the head's bias.

        Args:
          tokens: integers from 0 to ``vocabulary_size - 1``; :data:`PADDING_INDEX` behind each end.
          train: whether to drop out (rng ``"dropout"``).

        Raises:
          ValueError: for another shape or dtype, an unknown cell or pooling, or ``"last"`` without a cell.
        """
        check_layout("tokens", tokens, "N T", remedy="add a batch axis")
        check_integer(tokens=tokens)
        self._check_fields()
        where = tokens != PADDING_INDEX  # [N, T]
        x = Embed(
            self.vocabulary_size,
            self.embedding_features,
            padding_index=PADDING_INDEX,
            dtype=self.dtype,
            name="embedding",
        )(tokens)  # [N, T, C]
        x = Dropout(self.dropout_rate)(x, train=train)
        states = ()
        if self.cell is not None:
            net = CELLS[self.cell](
                self.features,
                num_layers=self.num_layers,
                bidirectional=self.bidirectional,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                name="rnn",
            )
            x, states = net(x, where=where, train=train)  # [N, T, D]
        pooled = self._pool(x, states, where)  # [N, D]
        pooled = Dropout(self.dropout_rate)(pooled, train=train)
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(pooled)  # [N, K]
        return logits.astype(jnp.float32)

    def _pool(self, x: jax.Array, states: tuple, where: jax.Array) -> jax.Array:
        if self.pooling == "attention":
            return AttentionPooling(dtype=self.dtype, name="attention")(x, where=where)
        if self.pooling == "mean":
            return sequence_mean(x, where=where)
        if self.pooling == "max":
            return sequence_max(x, where=where)
        last = states[-2:] if self.bidirectional else states[-1:]
        hidden = [state[0] if self.cell == "lstm" else state for state in last]
        return jnp.concatenate(hidden, -1).astype(x.dtype)

    def _check_fields(self) -> None:
        if self.cell is not None and self.cell not in CELLS:
            raise ValueError(f"cell: expected None or one of {', '.join(CELLS)}, got {self.cell!r}")
        if self.pooling not in ("last", "mean", "max", "attention"):
            raise ValueError(f"pooling: expected last, mean, max or attention, got {self.pooling!r}")
        if self.pooling == "last" and self.cell is None:
            raise ValueError(
                "pooling: 'last' is the last state of a recurrent network, and there is no cell; take mean, "
                "max or attention"
            )

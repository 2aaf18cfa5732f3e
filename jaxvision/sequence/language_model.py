"""Recurrent language models: scores of the token that follows, at every place of a text."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_integer, check_layout, find_variant
from jaxvision.layers import GRU, LSTM, RNN, Dropout, Embed, SpatialDropout
from jaxvision.layers.initializers import Initializer
from jaxvision.ops.recurrence import multiply_dense

CELLS: Mapping[str, Any] = MappingProxyType({"rnn": RNN, "gru": GRU, "lstm": LSTM})
"""Recurrent networks by the name of their cell."""

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "small": MappingProxyType({"features": 200, "num_layers": 2, "dropout_rate": 0.0, "init_scale": 0.1}),
        "medium": MappingProxyType(
            {"features": 650, "num_layers": 2, "dropout_rate": 0.5, "init_scale": 0.05}
        ),
        "large": MappingProxyType(
            {"features": 1500, "num_layers": 2, "dropout_rate": 0.65, "init_scale": 0.04}
        ),
    }
)
"""The networks of Zaremba et al. 2014, section 4.1: small is their "non-regularized" one."""


class LanguageModel(nn.Module):
    """Embedding, recurrent layers and a linear layer onto the vocabulary.

    Submodules: ``embedding``, ``recurrent`` (a :class:`jaxvision.layers.LSTM`, ``GRU`` or ``RNN``) and
    ``head``: ``kernel`` ``[C, V]``, absent with tied weights, and ``bias`` ``[V]``.

    Attributes:
      vocab_size: V, number of tokens.
      features: width of the recurrent layers.
      num_layers: number of recurrent layers.
      cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
      embedding_features: width of the vectors of tokens; None for ``features``.
      tied: whether the embedding is the kernel of the head as well; its width is then ``features``.
      dropout_rate: probability that an element is zeroed in training on the way into the first layer, from
        layer to layer, and out of the last; never from step to step.
      variational: whether all steps of a window share one mask of this dropout. Word types are not dropped.
      recurrent_dropout_rate: probability that a unit of the hidden state is zeroed in training on the way
        into the next step, one mask a window.
      init_scale: all parameters, biases too, start uniform in ± this.
      remat_chunk: steps that are computed again at a time for the gradient; see :func:`jaxvision.ops.rnn`.
      dtype: dtype of products; states, logits and the sums of products are float32.

    References:
      Zaremba et al. 2014, *Recurrent Neural Network Regularization*, sections 3.2 and 4.1. Tied weights:
      Press and Wolf 2017, *Using the Output Embedding to Improve Language Models*. Variational dropout: Gal
      and Ghahramani 2016, *A Theoretically Grounded Application of Dropout in Recurrent Neural Networks*.
    """

    vocab_size: int
    features: int = 200
    num_layers: int = 2
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    embedding_features: int | None = None
    tied: bool = False
    dropout_rate: float = 0.0
    variational: bool = False
    recurrent_dropout_rate: float = 0.0
    init_scale: float = 0.1
    remat_chunk: int | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, tokens: jax.Array, *, states: Sequence[Any] | None = None, train: bool
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """Scores what follows each token.

        Args:
          tokens: integers ``[N, T]`` from 0 to ``vocab_size - 1``; another gives logits of nan.
          states: first state of each layer, such as those of the window before; None for zeros.
          train: whether to drop out (rng ``"dropout"``).

        Returns:
          Logits, float32 ``[N, T, V]``, and the last state of each layer.

        Raises:
          ValueError: if ``tokens`` are not integers ``[N, T]``, there are not as many states as layers, or
            a field is out of its range.
        """
        check_layout("tokens", tokens, "N T", remedy="add a batch axis")
        check_integer(tokens=tokens)
        width = self.features if self.embedding_features is None else self.embedding_features
        if self.tied and width != self.features:
            raise ValueError(
                f"embedding_features: tied weights score the {self.features} features against the embedding, "
                f"whose width is {width}; make them equal, or do not tie"
            )
        init = _uniform(self.init_scale)
        embedding = Embed(self.vocab_size, width, embedding_init=init, dtype=self.dtype, name="embedding")
        drop = SpatialDropout if self.variational else Dropout
        x = drop(self.dropout_rate, name="dropout_in")(embedding(tokens), train=train)
        x, last = self._recurrent(name="recurrent")(x, states=states, train=train)  # [N, T, C]
        x = drop(self.dropout_rate, name="dropout_out")(x, train=train)
        head = _Head(self.vocab_size, self.tied, init, self.dtype, name="head")
        return head(x, embedding.attend if self.tied else None), last

    def initial_states(self, batch_size: int) -> tuple[Any, ...]:
        """States of zeros, float32, for a batch of this size."""
        states: tuple[Any, ...] = self._recurrent(parent=None).initial_states(batch_size)
        return states

    def _recurrent(self, **options: Any) -> Any:
        if self.cell not in CELLS:
            raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {self.cell!r}")
        init = _uniform(self.init_scale)
        return CELLS[self.cell](
            self.features,
            self.num_layers,
            dropout_rate=self.dropout_rate,
            variational=self.variational,
            recurrent_dropout_rate=self.recurrent_dropout_rate,
            kernel_init=init,
            recurrent_init=init,
            bias_init=init,
            remat_chunk=self.remat_chunk,
            dtype=self.dtype,
            **options,
        )


class _Head(nn.Module):
    """A linear layer, or with tied weights the bias alone; logits are float32 whatever is multiplied."""

    vocab_size: int
    tied: bool
    initializer: Initializer
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: jax.Array, attend: Any) -> jax.Array:
        bias = self.param("bias", self.initializer, (self.vocab_size,), jnp.float32)
        if self.tied:
            logits = attend(x)
        else:
            kernel = self.param("kernel", self.initializer, (x.shape[-1], self.vocab_size), jnp.float32)
            logits = multiply_dense(*promote_dtype(x, kernel, dtype=self.dtype))
        return logits + jnp.broadcast_to(bias, logits.shape)  # [N, T, V]


def language_model(variant: str, *, vocab_size: int, **overrides: Any) -> LanguageModel:
    """A language model of the paper.

    Args:
      variant: a key of :data:`VARIANTS`.
      vocab_size: number of tokens.
      **overrides: fields of :class:`LanguageModel` that differ.

    Raises:
      ValueError: for an unknown variant.

    >>> language_model("medium", vocab_size=10_000, tied=True).features
    650
    """
    fields = find_variant("language model", variant, VARIANTS)
    return LanguageModel(vocab_size=vocab_size, **{**fields, **overrides})


def _uniform(bound: float) -> Initializer:
    def init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init

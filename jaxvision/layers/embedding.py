"""Learned tables of vectors for tokens, classes and categorical columns."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_integer, check_layout
from jaxvision.layers.initializers import Initializer
from jaxvision.ops.embedding import embedding_lookup


class Embed(nn.Module):
    """Table of one vector a token, as ``torch.nn.Embedding``. Parameter ``embedding`` ``[V, C]``, float32.

    Attributes:
      num_embeddings: number of rows, ``V``.
      features: length of the vectors, ``C``.
      padding_index: a row that starts as zeros and gets no gradient.
      max_norm: longer rows are shortened to this Euclidean norm when looked up; the table itself stays as
        it is, see :func:`jaxvision.ops.embedding_lookup`.
      embedding_init: initialiser of the table; PyTorch's is the standard normal distribution.
      dtype: dtype of the result; by default that of the table.
    """

    num_embeddings: int
    features: int
    padding_index: int | None = None
    max_norm: float | None = None
    embedding_init: Initializer = nn.initializers.normal(1.0)
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Makes the table, which look-up and :meth:`attend` share."""
        self.embedding = self.param("embedding", self._init_table)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Looks up integers of any shape: ``[...]`` to ``[..., features]``. Outside the table: rows of nan.

        Raises:
          ValueError: as :func:`jaxvision.ops.embedding_lookup`.
        """
        rows = embedding_lookup(self.embedding, ids, padding_index=self.padding_index, max_norm=self.max_norm)
        return rows if self.dtype is None else rows.astype(self.dtype)

    def attend(self, x: jax.Array) -> jax.Array:
        """Scores vectors against every row of the table: the output layer of tied weights.

        Args:
          x: ``[..., features]``, floating.

        Returns:
          Logits ``[..., V]``, ``x @ embedding.T``, of the table as it is, without ``max_norm``; float32 at
          least, whatever ``dtype`` the product is of.

        Raises:
          ValueError: if ``x`` is not floating or of another width.

        References:
          Press and Wolf 2017, *Using the Output Embedding to Improve Language Models*.
        """
        check_layout("x", x, f"... {self.features}")
        check_floating(x=x)
        x, table = promote_dtype(x, self.embedding, dtype=self.dtype)
        return jnp.matmul(x, table.T, preferred_element_type=jnp.promote_types(x.dtype, jnp.float32))

    def _init_table(self, key: jax.Array) -> jax.Array:
        table = self.embedding_init(key, (self.num_embeddings, self.features), jnp.float32)
        return table if self.padding_index is None else table.at[self.padding_index].set(0)


def entity_widths(vocabularies: Sequence[int]) -> tuple[int, ...]:
    """Width of each column's vectors for its number of categories, ``min(50, (n + 1) // 2)``.

    The paper searches the widths by hand between 1 and ``n - 1``; this rule, fastai's first, lies there.

    >>> entity_widths((2, 7, 1000))
    (1, 4, 50)
    """
    return tuple(min(50, (size + 1) // 2) for size in vocabularies)


class EntityEmbedding(nn.Module):
    """One table for each categorical column, their vectors side by side.

    Submodules ``column0``, ``column1`` and so on, each an :class:`Embed`.

    Attributes:
      vocabularies: number of categories of each column.
      features: width of each column's vectors; None takes :func:`entity_widths`.
      embedding_init: initialiser of the tables.
      dtype: dtype of the result.

    References:
      Guo and Berkhahn 2016, *Entity Embeddings of Categorical Variables*, section 4: a linear layer on each
      column's one-hot vector, looked up instead of multiplied. Tables start uniform in ±0.05, the default of
      the layer in its authors' code.
    """

    vocabularies: Sequence[int]
    features: Sequence[int] | None = None
    embedding_init: Initializer | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, columns: jax.Array) -> jax.Array:
        """Maps integers ``[..., F]``, one column a variable, to ``[..., sum of the widths]``.

        Raises:
          ValueError: if ``columns`` are not integers, or the numbers of columns, vocabularies and widths
            differ.
        """
        check_integer(columns=columns)
        check_layout("columns", columns, f"... {len(self.vocabularies)}", remedy="one column a vocabulary")
        widths = entity_widths(self.vocabularies) if self.features is None else tuple(self.features)
        if len(widths) != len(self.vocabularies):
            raise ValueError(
                f"features: expected {len(self.vocabularies)} widths, one a vocabulary, got {list(widths)}"
            )
        init = self.embedding_init or _uniform
        vectors = [
            Embed(size, width, embedding_init=init, dtype=self.dtype, name=f"column{index}")(
                columns[..., index]
            )
            for index, (size, width) in enumerate(zip(self.vocabularies, widths, strict=True))
        ]
        return jnp.concatenate(vectors, -1)


def _uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -0.05, 0.05)

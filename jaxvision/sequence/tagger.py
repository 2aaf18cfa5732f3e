"""A tag for each token: embeddings of words and their characters, a bidirectional network, scores, a CRF."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_integer, check_layout
from jaxvision.layers import Dropout, Embed
from jaxvision.ops import CRFParams, crf_decode
from jaxvision.sequence.text_classifier import CELLS, PADDING_INDEX, Cell


class TagScores(NamedTuple):
    """What a :class:`SequenceTagger` says of a batch.

    Attributes:
      scores: float32 ``[N, T, K]``, of each tag at each token.
      where: bool ``[N, T]``, true where there is a token.
      crf: scores of neighbouring tags; None without a CRF.
    """

    scores: jax.Array
    where: jax.Array
    crf: CRFParams | None

    def decode(self) -> jax.Array:
        """The best tags, int32 ``[N, T]``, -1 in the padding: by Viterbi's algorithm with a CRF."""
        if self.crf is not None:
            return crf_decode(self.scores, self.crf, where=self.where).tags
        return jnp.where(self.where, self.scores.argmax(-1).astype(jnp.int32), -1)


class SequenceTagger(nn.Module):
    """Scores of each tag for each token of sequences that are padded with 0 behind their end.

    Submodules: ``embedding``, ``character_embedding`` and ``character_rnn`` (with characters), ``rnn``,
    ``head``; with a CRF the parameters ``transitions`` ``[K, K]``, ``start`` and ``end`` ``[K]``.

    Attributes:
      vocabulary_size: number of tokens, padding among them.
      num_tags: number of tags K.
      character_vocabulary_size: number of characters, padding among them; None for no characters.
      embedding_features: width of the tokens' embeddings.
      character_features: width of the characters' embeddings, and units of their LSTM in each direction.
      cell: ``"rnn"``, ``"gru"`` or ``"lstm"``, over the tokens.
      features: units of a layer and direction.
      num_layers: recurrent layers.
      dropout_rate: in training, of what goes into the recurrent network, between layers and out of it.
      use_crf: whether the tags of neighbours are scored too.
      dtype: dtype of the computation; parameters, scores and the CRF are float32.

    References:
      Huang, Xu and Yu 2015, *Bidirectional LSTM-CRF Models for Sequence Tagging*. Lample et al. 2016, *Neural
      Architectures for Named Entity Recognition*, sections 2 and 4.1: characters by a bidirectional LSTM of
      25 units, whose last states go beside the word's vector; dropout 0.5 in front of the recurrent network.
      Tokens start as the standard normal as all embeddings here, not uniform.
    """

    vocabulary_size: int
    num_tags: int
    character_vocabulary_size: int | None = None
    embedding_features: int = 100
    character_features: int = 25
    cell: Cell = "lstm"
    features: int = 100
    num_layers: int = 1
    dropout_rate: float = 0.5
    use_crf: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], *, train: bool) -> TagScores:
        """Scores tokens.

        Args:
          inputs: ``tokens``, integers ``[N, T]`` from 0 to ``vocabulary_size - 1``, 0 behind each end; and
            where the tagger sees them ``characters`` of each token, integers ``[N, T, L]``, likewise.
          train: whether to drop out (rng ``"dropout"``).

        Raises:
          ValueError: for another shape or dtype, an unknown cell, or characters that are missing or too many.
        """
        tokens, characters = inputs["tokens"], inputs.get("characters")
        check_layout("tokens", tokens, "N T", remedy="add a batch axis")
        check_integer(tokens=tokens)
        if self.cell not in CELLS:
            raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {self.cell!r}")
        where = tokens != PADDING_INDEX
        x = Embed(
            self.vocabulary_size,
            self.embedding_features,
            padding_index=PADDING_INDEX,
            dtype=self.dtype,
            name="embedding",
        )(tokens)  # [N, T, C]
        if (characters is None) != (self.character_vocabulary_size is None):
            raise ValueError(
                "characters: expected them where the tagger has a character_vocabulary_size alone"
            )
        if characters is not None:
            x = jnp.concatenate([x, self._spell(characters, train)], -1)
        x = Dropout(self.dropout_rate)(x, train=train)
        net = CELLS[self.cell](
            self.features,
            num_layers=self.num_layers,
            bidirectional=True,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            name="rnn",
        )
        x, _ = net(x, where=where, train=train)  # [N, T, 2 features]
        x = Dropout(self.dropout_rate)(x, train=train)
        scores = nn.Dense(self.num_tags, dtype=self.dtype, name="head")(x).astype(jnp.float32)  # [N, T, K]
        return TagScores(scores, where, self._transitions() if self.use_crf else None)

    def _spell(self, characters: jax.Array, train: bool) -> jax.Array:
        """A vector of each token's characters, ``[N, T, 2 character_features]``."""
        check_layout("characters", characters, "N T L")
        check_integer(characters=characters)
        count, length, letters = characters.shape
        flat = characters.reshape(count * length, letters)
        x = Embed(
            self.character_vocabulary_size or 1,
            self.character_features,
            padding_index=PADDING_INDEX,
            dtype=self.dtype,
            name="character_embedding",
        )(flat)  # [N T, L, C]
        net = CELLS["lstm"](
            self.character_features, bidirectional=True, dtype=self.dtype, name="character_rnn"
        )
        _, states = net(x, where=flat != PADDING_INDEX, train=train)
        last = jnp.concatenate([state.hidden for state in states], -1).astype(x.dtype)
        return last.reshape(count, length, last.shape[-1])

    def _transitions(self) -> CRFParams:
        init, size = nn.initializers.uniform(0.1), self.num_tags

        def draw(name: str, shape: tuple[int, ...]) -> jax.Array:
            return self.param(name, lambda key: init(key, shape, jnp.float32) - 0.05)

        return CRFParams(draw("transitions", (size, size)), draw("start", (size,)), draw("end", (size,)))

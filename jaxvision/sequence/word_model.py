"""What a word2vec model is: which words are learned from which, and the tables that it starts from."""

import dataclasses
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp

__all__ = ["Word2Vec"]

Kind = Literal["skipgram", "cbow", "pv_dm", "pv_dbow"]
Loss = Literal["negative", "hierarchical"]
Combine = Literal["mean", "concatenate"]

_BLOCK = 32


@dataclasses.dataclass(frozen=True)
class Word2Vec:
    """Which words are learned from which, and how.

    Attributes:
      vocabulary_size: V.
      kind: ``"skipgram"``: a word predicts each word of its window. ``"cbow"``: the mean of a window's
        words predicts the word in its middle. ``"pv_dm"``: their mean with the document's vector does.
        ``"pv_dbow"``: the document's vector alone does, and words have no input vectors.
      loss: ``"negative"`` for negative sampling, ``"hierarchical"`` for the hierarchical softmax.
      features: D.
      window: words to either side, at most.
      shrink: whether each window reaches a random distance from 1 to ``window``, so that near words weigh
        more. Not for baskets.
      shuffle: whether the order of a sentence's words means nothing: for baskets.
      negatives: noise words a pair.
      shared_negatives: noise words that are drawn for a batch, and weighed as ``negatives`` for each pair;
        by default as many as words for skip-gram, and half as many for the others, which have fewer pairs.
        Each block of ``block_size`` words has a part of them, of equal size, to itself.
      batch_size: words a batch.
      num_documents: M, for paragraph vectors.
      combine: for ``pv_dm``, ``"mean"`` of the words and the document; or ``"concatenate"``: the document and
        the 2 W words around a target, each at its place, are one input of (1 + 2 W) D numbers. What is
        beyond the sentence is zero, and ``shrink`` does not apply, for each place has its own weights.

    Raises:
      ValueError: if a number is out of its range.

    References:
      Mikolov et al. 2013a, sections 3.1 (CBOW) and 3.2 (skip-gram); Mikolov et al. 2013b; Le and Mikolov
      2014, *Distributed Representations of Sentences and Documents*, sections 2.2 (PV-DM, mean or
      concatenation; here as in gensim the window lies to both sides of the target, not before it alone) and
      2.3 (PV-DBOW); Barkan and Koenigstein 2016, *Item2Vec*, section 3: skip-gram with ``shrink=False``,
      ``shuffle=True`` and a window as long as a basket.
    """

    vocabulary_size: int
    kind: Kind = "skipgram"
    loss: Loss = "negative"
    features: int = 100
    window: int = 5
    shrink: bool = True
    shuffle: bool = False
    negatives: int = 5
    shared_negatives: int | None = None
    batch_size: int = 256
    num_documents: int = 0
    combine: Combine = "mean"

    def __post_init__(self) -> None:
        choices = {"kind": Kind, "loss": Loss, "combine": Combine}
        for name, words in ((name, get_args(choice)) for name, choice in choices.items()):
            if getattr(self, name) not in words:
                raise ValueError(f"{name}: expected one of {', '.join(words)}, got {getattr(self, name)!r}")
        numbers = ("features", "window", "negatives", "shared_negatives", "batch_size")
        for name in numbers:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, expected 1 or more")
        if self.vocabulary_size < 2:
            raise ValueError(f"vocabulary_size: got {self.vocabulary_size}, expected 2 or more words")
        if self.has_documents and self.num_documents < 1:
            raise ValueError(f"num_documents: got {self.num_documents}, expected 1 or more for {self.kind}")
        if self.combine == "concatenate" and self.kind != "pv_dm":
            raise ValueError(f"combine: only pv_dm can concatenate its inputs, got {self.kind}")

    @property
    def has_documents(self) -> bool:
        """Whether documents have vectors."""
        return self.kind in ("pv_dm", "pv_dbow")

    @property
    def num_noise(self) -> int:
        """Noise words that are drawn for a batch."""
        share = 1 if self.kind == "skipgram" else 2
        blocks = self.batch_size // self.block_size
        return blocks * -(-(self.shared_negatives or self.batch_size // share) // blocks)

    @property
    def block_size(self) -> int:
        """Words whose windows are one product of matrices: a divisor of the batch.

        The more, the larger the product, and the more of it is thrown away. As many as there are words
        around them, at least, so that few rows come in several blocks.
        """
        return math.gcd(self.batch_size, max(_BLOCK, 1 << (2 * self.window - 1).bit_length()))

    @property
    def num_inputs(self) -> int:
        """Vectors that are one input together."""
        return 1 + 2 * self.window if self.combine == "concatenate" else 1

    def init(self, key: jax.Array) -> dict[str, jax.Array]:
        """The tables to start from: inputs uniform in ±1/(2 D), outputs 0, as in the authors' program."""
        word_key, document_key = jax.random.split(key)
        bound = 0.5 / self.features
        outputs = self.vocabulary_size - (self.loss == "hierarchical")
        tables = {"output": jnp.zeros((outputs, self.num_inputs * self.features))}
        if self.kind != "pv_dbow":
            shape = (self.vocabulary_size, self.features)
            tables["input"] = jax.random.uniform(word_key, shape, minval=-bound, maxval=bound)
        if self.has_documents:
            shape = (self.num_documents, self.features)
            tables["documents"] = jax.random.uniform(document_key, shape, minval=-bound, maxval=bound)
        return tables

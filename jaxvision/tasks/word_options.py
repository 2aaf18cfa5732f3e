"""A word2vec model, its training and its report as a script's options."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

import numpy as np
import optax

from jaxvision.optimizers import poly_schedule
from jaxvision.sequence import Word2Vec

__all__ = ["WordModelOptions", "WordReportOptions", "WordTrainOptions"]

_LONGEST_BASKET = 50  # longer ones are in a window that far; their order is drawn anew each time


@dataclasses.dataclass(frozen=True)
class WordModelOptions:
    """What is learned from what."""

    kind: Literal["skipgram", "cbow", "pv-dm", "pv-dbow", "item2vec"] = "skipgram"
    """skipgram and cbow: vectors of words. pv-dm and pv-dbow: vectors of documents as well. item2vec: vectors
    of the items of baskets."""
    loss: Literal["negative", "hierarchical"] = "negative"
    """Negative sampling, or the hierarchical softmax."""
    features: int = 100
    """Numbers in a vector."""
    window: int | None = None
    """Words to either side, at most; by default 5, and for item2vec the whole basket."""
    combine: Literal["mean", "concatenate"] = "mean"
    """For pv-dm: what predicts a word is the mean of the words around it and the document, or all of them one
    behind the other, which takes more time and memory."""
    negatives: int = 5
    """Noise words a pair."""
    shared_negatives: int | None = None
    """Noise words that are drawn for a batch and shared by its pairs; by default as many as it has words for
    skipgram and item2vec, else half as many."""

    @property
    def has_baskets(self) -> bool:
        """Whether documents are baskets."""
        return self.kind == "item2vec"

    @property
    def has_documents(self) -> bool:
        """Whether documents have vectors."""
        return self.kind in ("pv-dm", "pv-dbow")

    def build(self, num_words: int, document_lengths: np.ndarray, *, batch_size: int) -> Word2Vec:
        """The model.

        Args:
          num_words: in the vocabulary.
          document_lengths: words of each document.
          batch_size: words a batch.

        Raises:
          ValueError: if a number is out of its range.
        """
        window = self.window
        if window is None:
            longest = int(max(document_lengths, default=2))
            window = min(max(longest - 1, 1), _LONGEST_BASKET) if self.has_baskets else 5
        if num_words < 2:
            raise ValueError(
                f"the text has {num_words} different word(s) often enough, expected 2 or more: a word is "
                "learned by telling it from others; lower --data.min-count or give more text"
            )
        return Word2Vec(
            num_words,
            "skipgram" if self.has_baskets else self.kind.replace("-", "_"),  # type: ignore[arg-type]
            self.loss,
            features=self.features,
            window=window,
            shrink=not self.has_baskets,
            shuffle=self.has_baskets,
            negatives=self.negatives,
            shared_negatives=self.shared_negatives,
            batch_size=batch_size,
            num_documents=len(document_lengths) if self.has_documents else 0,
            combine=self.combine,
        )


@dataclasses.dataclass(frozen=True)
class WordTrainOptions:
    """How it is learned."""

    epochs: int = 20
    """Passes over the text, where --run.steps does not say otherwise."""
    learning_rate: float | None = None
    """At the start; it falls linearly to 0. By default 0.025, and 0.05 for cbow, as in the authors' code."""
    subsample: float | None = 1e-3
    """Share of the text above which a word is thinned out; None keeps every occurrence."""
    batch_size: int = 256
    """Words a batch, over all devices; a thousand and more pay on a GPU, with a large vocabulary."""
    chunk_size: int = 32768
    """Words a step: what is drawn and learned in one call, batch by batch."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "chunk_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"--train.{name.replace('_', '-')}: got {getattr(self, name)}, expected 1 or more"
                )
        rate = self.learning_rate
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"--train.learning-rate: got {rate}, expected a number above 0")

    def rate(self, kind: str) -> float:
        """The learning rate at the start."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.05 if kind == "cbow" else 0.025

    def schedule(self, kind: str, *, steps: int) -> optax.Schedule:
        """``step -> learning rate``: linear to 0 at ``steps``."""
        return poly_schedule(self.rate(kind), steps=steps, power=1.0)


@dataclasses.dataclass(frozen=True)
class WordReportOptions:
    """How the vectors are looked at."""

    words: tuple[str, ...] = ()
    """Words whose neighbours are listed; by default the most frequent ones that are not thinned out much."""
    neighbours: int = 8
    """Neighbours of each word."""
    map: Literal["pca", "tsne"] = "pca"
    """How the map is laid: by principal components, or by t-SNE, which needs scikit-learn and some time."""
    map_words: int = 300
    """Words on the map."""
    similarity: Path | None = None
    """Pairs of words with people's scores, as WordSim-353, to evaluate with on the way and at the end."""
    analogies: Path | None = None
    """Analogies, as questions-words.txt, to evaluate with at the end."""

    def __post_init__(self) -> None:
        for name in ("neighbours", "map_words"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"--report.{name.replace('_', '-')}: got {getattr(self, name)}, expected 1 or more"
                )

"""A whole text as flat arrays of numbers: the token, the sentence and the document of each place."""

import array
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.text_files import Document
from jaxvision.data.vocabulary import UNKNOWN, Vocabulary

__all__ = ["IndexedText", "PackedText", "index_text"]


class PackedText(NamedTuple):
    """N tokens in the order of the text.

    Attributes:
      tokens: int32 ``[N]``, indices in a vocabulary.
      sentences: int32 ``[N]``, the sentence of each token; rising, not without gaps.
      documents: int32 ``[N]``, the document of each token; rising, not without gaps.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray


class IndexedText(NamedTuple):
    """A text that was read once: its different tokens, and where they stand.

    Attributes:
      types: the different tokens, in the order in which they first come.
      tokens: int32 ``[N]``, indices in ``types``.
      sentence_lengths: int64 ``[S]``, tokens of each sentence.
      document_lengths: int64 ``[M]``, tokens of each document.
      document_names: M names.
    """

    types: tuple[str, ...]
    tokens: np.ndarray
    sentence_lengths: np.ndarray
    document_lengths: np.ndarray
    document_names: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """How often each token comes, for :meth:`jaxvision.data.Vocabulary.build`."""
        counts = np.bincount(self.tokens, minlength=len(self.types))
        return dict(zip(self.types, counts.tolist(), strict=True))

    def part(self, start: int, stop: int) -> "IndexedText":
        """The tokens from one place to another, such as a held-out end; a sentence that is cut is two.

        Args:
          start: first token, from 0.
          stop: behind the last token.
        """

        def cut(lengths: np.ndarray) -> np.ndarray:
            return np.diff(np.clip(np.cumsum(lengths), start, stop), prepend=start)

        sentences, documents = cut(self.sentence_lengths), cut(self.document_lengths)
        names = [name for name, length in zip(self.document_names, documents, strict=True) if length]
        return IndexedText(
            self.types,
            self.tokens[start:stop],
            sentences[sentences > 0],
            documents[documents > 0],
            tuple(names),
        )

    def pack(self, vocabulary: Vocabulary, *, end: str | None = None) -> PackedText:
        """The text in the numbers of a vocabulary.

        A token that is not in it becomes :data:`jaxvision.data.UNKNOWN`, or is left out if the vocabulary has
        none, as if it had not been in the text.

        Args:
          vocabulary: the tokens to keep.
          end: a token of the vocabulary that is put at the end of each sentence; None for nothing.

        Raises:
          ValueError: if no token is left, or ``end`` is not in the vocabulary.
        """
        absent = vocabulary.index(UNKNOWN) if UNKNOWN in vocabulary else -1
        lookup = np.array([vocabulary.index(t) if t in vocabulary else absent for t in self.types], np.int32)
        tokens = lookup[self.tokens]  # [N]
        sentences = _owners(self.sentence_lengths)
        documents = _owners(self.document_lengths)
        if end is not None:
            last = np.cumsum(self.sentence_lengths)  # ends go in front of what follows these
            first = np.maximum(last - 1, 0)
            owner = documents[first] if len(documents) else np.zeros(len(last), np.int32)
            tokens = np.insert(tokens, last, np.int32(vocabulary.index(end)))
            documents = np.insert(documents, last, owner)
            sentences = np.insert(sentences, last, np.arange(len(last), dtype=np.int32))
        kept = tokens >= 0
        if not kept.any():
            raise ValueError(
                f"text: none of its {len(self.tokens)} tokens ({name_some(self.types)}) is in the vocabulary "
                f"({name_some(vocabulary.tokens)}); build the vocabulary from this text, or of another one "
                "give the same tokenizer"
            )
        return PackedText(tokens[kept], sentences[kept], documents[kept])


def index_text(
    documents: Iterable[Document],
    tokenize: Callable[[str], list[str]],
    *,
    sentences: Callable[[str], list[str]] | None = None,
) -> IndexedText:
    """Reads documents once and keeps their tokens as numbers, 4 bytes a token.

    Args:
      documents: such as :class:`jaxvision.data.TextFiles`.
      tokenize: text to tokens.
      sentences: document to sentences, such as ``str.splitlines`` or
        :func:`jaxvision.data.split_sentences`; None takes each document as one sentence. Sentences without a
        token are left out.

    Raises:
      ValueError: if there is no token in any document.

    >>> text = index_text([Document("d", "a b\\n\\nb")], str.split, sentences=str.splitlines)
    >>> text.types, text.tokens, text.sentence_lengths
    (('a', 'b'), array([0, 1, 1], dtype=int32), array([2, 1]))
    """
    indices: dict[str, int] = {}
    found, sentence_lengths = array.array("i"), array.array("q")
    document_lengths, names = array.array("q"), []
    for document in documents:
        before = len(found)
        for sentence in [document.text] if sentences is None else sentences(document.text):
            tokens = tokenize(sentence)
            found.extend([indices.setdefault(token, len(indices)) for token in tokens])
            if tokens:
                sentence_lengths.append(len(tokens))
        document_lengths.append(len(found) - before)
        names.append(document.name)
    if not found:
        raise ValueError(
            f"text: no token in {len(names)} document(s) ({name_some(names)}); give files that hold text"
        )
    return IndexedText(
        tuple(indices),
        np.array(found, np.int32),
        np.array(sentence_lengths, np.int64),
        np.array(document_lengths, np.int64),
        tuple(names),
    )


def _owners(lengths: np.ndarray) -> np.ndarray:
    """Lengths -> the number of the part that each place belongs to."""
    return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)

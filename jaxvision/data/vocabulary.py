"""A vocabulary: tokens as numbers, built from counts, saved as a text file."""

import collections
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxvision.core import name_some, write_atomically
from jaxvision.data.text_files import read_text

__all__ = ["END", "PADDING", "UNKNOWN", "Vocabulary", "check_same_vocabulary"]

UNKNOWN = "<unk>"
"""The token that stands for all that are not in a vocabulary."""
END = "<eos>"
"""The token at the end of a line or sentence."""
PADDING = "<pad>"
"""The token of places without a word."""

# A token may be any text, a line end or a tab among characters too: the file has one token a line.
_ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"))


class Vocabulary:
    """Tokens by index, with their counts in the text they come from.

    Args:
      tokens: by index, each once.
      counts: how often each was seen; by default 0, where that is not known.

    Attributes:
      tokens: tuple of V tokens.
      counts: int64 ``[V]``.

    Raises:
      ValueError: if a token comes twice, or there is not one count a token.

    >>> vocabulary = Vocabulary.build({"b": 2, "a": 5, "rare": 1}, min_count=2, specials=("<unk>",))
    >>> vocabulary.tokens
    ('<unk>', 'a', 'b')
    >>> vocabulary.encode(["a", "rare"])
    array([1, 0], dtype=int32)
    """

    def __init__(self, tokens: Iterable[str], *, counts: Iterable[int] | None = None) -> None:
        self.tokens = tuple(tokens)
        self.counts = (
            np.zeros(len(self.tokens), np.int64) if counts is None else np.array([*counts], np.int64)
        )
        self._indices = {token: index for index, token in enumerate(self.tokens)}
        if len(self._indices) != len(self.tokens):
            twice = [token for token, n in collections.Counter(self.tokens).items() if n > 1]
            raise ValueError(f"vocabulary: {name_some(twice)} twice, expected each token once")
        if len(self.counts) != len(self.tokens):
            raise ValueError(f"vocabulary: got {len(self.counts)} counts for {len(self.tokens)} tokens")

    @classmethod
    def build(
        cls,
        counts: Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        specials: Sequence[str] = (),
    ) -> "Vocabulary":
        """The most frequent tokens, after the special ones.

        Args:
          counts: of each token.
          min_count: rarer tokens are left out.
          max_size: tokens in all, special ones among them; by default no limit.
          specials: tokens that come first whatever their counts, such as :data:`UNKNOWN`, which then counts
            the tokens that were left out as well, and those that read as :data:`PADDING`. Others follow by
            falling count, and by name where counts are equal.

        Raises:
          ValueError: if no token is left, or a number is below 1.
        """
        if min_count < 1:
            raise ValueError(f"min_count: got {min_count}, expected 1 or more")
        if max_size is not None and max_size < max(len(specials), 1):
            raise ValueError(f"max_size: got {max_size}, expected at least {max(len(specials), 1)}")
        chosen = [token for token in counts if counts[token] >= min_count and token not in specials]
        chosen.sort(key=lambda token: (-counts[token], token))
        tokens = [*specials, *chosen][:max_size]
        if not chosen:
            most = max(counts.values(), default=0)
            raise ValueError(
                f"vocabulary: none of {len(counts)} different tokens comes min_count = {min_count} times or "
                f"more (the most frequent comes {most} times); lower min_count or give more text"
            )
        found = {token: 0 if token == PADDING else counts.get(token, 0) for token in tokens}
        if UNKNOWN in found:
            found[UNKNOWN] += sum(counts.values()) - sum(found.values())
        return cls(found, counts=found.values())

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._indices

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens: {name_some(self.tokens)})"

    def index(self, token: str) -> int:
        """The index of a token that is in the vocabulary; others are not taken for :data:`UNKNOWN` here.

        Raises:
          ValueError: for a token that is not, with those that look alike.
        """
        if token not in self._indices:
            raise ValueError(f"{token!r} is not in the vocabulary of {len(self)} tokens{self._close(token)}")
        return self._indices[token]

    def encode(self, tokens: Iterable[str]) -> np.ndarray:
        """Tokens as indices, int32 ``[N]``; a token that is not in the vocabulary becomes :data:`UNKNOWN`.

        So does one that reads as :data:`PADDING`: it would look like the end of the text.

        Raises:
          ValueError: for such a token, if the vocabulary has no :data:`UNKNOWN`.
        """
        unknown = self._indices.get(UNKNOWN)
        if unknown is not None:
            known = self._indices
            return np.array(
                [unknown if token == PADDING else known.get(token, unknown) for token in tokens], np.int32
            )
        indices = []
        for place, token in enumerate(tokens):
            if token not in self._indices or token == PADDING:
                raise ValueError(
                    f"token {place}, {token!r}, is not in the vocabulary, which has no {UNKNOWN}"
                    f"{self._close(token)}; build it with specials=({UNKNOWN!r},), or leave such tokens out"
                )
            indices.append(self._indices[token])
        return np.array(indices, np.int32)

    def decode(self, indices: Iterable[int]) -> list[str]:
        """Indices as tokens.

        Raises:
          ValueError: for an index outside the vocabulary.
        """
        array = np.asarray([*indices], np.int64)
        outside = array[(array < 0) | (array >= len(self))]
        if len(outside):
            raise ValueError(f"index {outside[0]}: expected 0 to {len(self) - 1}")
        return [self.tokens[index] for index in array]

    def save(self, path: str | Path) -> None:
        """Writes one line a token, ``token<TAB>count``; tabs and line ends in a token as ``\\t``, ``\\n``."""
        lines = [
            f"{_escape(token)}\t{count}\n" for token, count in zip(self.tokens, self.counts, strict=True)
        ]
        write_atomically(path, lambda file: file.write("".join(lines).encode()))

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Reads what :meth:`save` wrote, or any file of one token a line, with or without a count.

        Raises:
          FileNotFoundError: if there is no such file.
          ValueError: if it is empty, a token comes twice, or a count is no number.
        """
        tokens, counts = [], []
        for number, line in enumerate(read_text(path).removesuffix("\n").split("\n"), start=1):
            token, tab, count = line.removesuffix("\r").partition("\t")
            if not token or (tab and not count.isdigit()):
                raise ValueError(
                    f"{path}: line {number} is {line[:80]!r}, expected a token, a tab and its count"
                )
            tokens.append(_unescape(token))
            counts.append(int(count or 0))
        try:
            return cls(tokens, counts=counts)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _close(self, token: str) -> str:
        close = difflib.get_close_matches(token, self.tokens)
        return f"; did you mean {name_some([repr(name) for name in close])}?" if close else ""


def check_same_vocabulary(found: Vocabulary, expected: Vocabulary, *, name: str) -> None:
    """Checks that a text was encoded with the vocabulary that a model was trained with.

    Args:
      found: the one at hand.
      expected: the model's.
      name: where the model's comes from, for the message.

    Raises:
      ValueError: that names the first difference.
    """
    if found == expected:
        return
    pairs = zip(found.tokens, expected.tokens, strict=False)
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(expected)))
    here, there = (repr(v.tokens[place]) if place < len(v) else "nothing" for v in (found, expected))
    raise ValueError(
        f"{name}: the vocabulary of another model: {len(expected)} tokens there, {len(found)} here; index "
        f"{place} is {there} there and {here} here. Go on with the text and the options of that run, or "
        "start a new one"
    )


def _escape(token: str) -> str:
    for plain, escaped in _ESCAPES:
        token = token.replace(plain, escaped)
    return token


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    plain = {escaped[1]: original for original, escaped in _ESCAPES}
    found, place = [], 0
    while place < len(text):
        pair = text[place] == "\\" and text[place + 1 : place + 2] in plain
        found.append(plain[text[place + 1]] if pair else text[place])
        place += 2 if pair else 1
    return "".join(found)

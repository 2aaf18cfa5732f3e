"""Text -> tokens: words, blanks as they are, or characters; and text -> sentences."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = [
    "TOKENIZERS",
    "create_tokenizer",
    "split_sentences",
    "tokenize_characters",
    "tokenize_whitespace",
    "tokenize_words",
]

Tokenizer = Callable[[str], list[str]]

# Letters and digits of any script, joined by single apostrophes: don't, o'clock.
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"')\]”’»]*\s+|\n[ \t]*\n\s*")


def tokenize_words(text: str, *, lower: bool = True) -> list[str]:
    """Words without punctuation: runs of letters and digits of any script, joined by apostrophes.

    Args:
      text: anything.
      lower: whether capitals count as small letters.

    >>> tokenize_words("Don't stop_at 3.14, Zoë!")
    ["don't", 'stop', 'at', '3', '14', 'zoë']
    """
    return _WORD.findall(text.lower() if lower else text)


def tokenize_whitespace(text: str) -> list[str]:
    """What stands between blanks, as it is: for text that is tokenized already.

    >>> tokenize_whitespace("the <unk> did n't")
    ['the', '<unk>', 'did', "n't"]
    """
    return text.split()


def tokenize_characters(text: str) -> list[str]:
    """Each character, blanks and line ends too.

    >>> tokenize_characters("a b")
    ['a', ' ', 'b']
    """
    return list(text)


TOKENIZERS: Mapping[str, Tokenizer] = MappingProxyType(
    {"words": tokenize_words, "whitespace": tokenize_whitespace, "characters": tokenize_characters}
)
"""The tokenizers by name."""


def create_tokenizer(name: str) -> Tokenizer:
    """A tokenizer by name.

    Raises:
      ValueError: for a name that is not in :data:`TOKENIZERS`.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"tokens: expected one of {', '.join(TOKENIZERS)}, got {name!r}")
    return TOKENIZERS[name]


def split_sentences(text: str) -> list[str]:
    """Cuts text behind ``.``, ``!`` or ``?`` with a blank after it, and at blank lines.

    It knows no abbreviations: "Dr. Who" is cut. For word vectors that costs a few pairs.

    >>> split_sentences('He said "no." She left.\\n\\nA heading\\n\\nEnd')
    ['He said "no.', 'She left.', 'A heading', 'End']
    """
    return [piece for piece in (part.strip() for part in _SENTENCE_END.split(text)) if piece]

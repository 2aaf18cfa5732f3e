"""Published weights in a script: which network they are of, and what its classes are called."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """The network of weights that no run of this script wrote; those of a run need none of these."""

    name: str | None = None
    """Any network of jaxvision.zoo.names() that the weights are of."""
    num_classes: int | None = None
    """Classes of the weights; by default as many as the file has, or else as the network's own."""
    set: tuple[str, ...] = ()
    """Other fields of the network as FIELD=VALUE, such as hidden=512; images come before these."""
    class_names: Path | None = None
    """A text file with the name of a class on each line."""

    def check_left_out(self) -> None:
        """Checks that nothing is said of the weights of a run, which say all themselves.

        Raises:
          ValueError: if there is no name, but another option.
        """
        if self != PublishedModel(self.name):
            raise ValueError(
                "--model.num-classes, --model.set and --model.class-names are of weights that no run wrote: "
                "give --model.name with them, or leave them out"
            )


def check_filled(weights: str, initialised: Sequence[str]) -> None:
    """Checks that all of a network came from its file.

    Args:
      weights: the file, for the message.
      initialised: paths of the leaves that did not.

    Raises:
      ValueError: if there is one: what it would predict is chance.
    """
    if initialised:
        raise ValueError(
            f"{weights}: has another number of classes than was asked for, and would leave {initialised[0]} "
            "untrained; leave out the number of classes"
        )


def names_of_classes(count: int, file: Path | None, known: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The names of a network's classes.

    Args:
      count: of classes.
      file: a text file with a name on each line, or None.
      known: lists of names, of which the first that is as long is taken without a file.

    Returns:
      ``count`` names; ``"class 0"``, ... if nothing else is known.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if it has another number of names, or is no text.

    >>> names_of_classes(2, None, [("cat", "dog")]), names_of_classes(1, None, [])
    (('cat', 'dog'), ('class 0',))
    """
    if file is None:
        numbers = [f"class {index}" for index in range(count)]
        return tuple(next((names for names in known if len(names) == count), numbers))
    try:
        names = file.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not a text file in UTF-8 ({error})") from error
    names = [name.strip() for name in names if name.strip()]
    if len(names) != count:
        raise ValueError(
            f"{file}: got {len(names)} names, expected {count}, one a line, as the network has classes"
        )
    return tuple(names)

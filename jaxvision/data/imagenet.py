"""The 1000 classes of ImageNet, in the order of the scores of published weights."""

import functools
from importlib import resources

__all__ = ["imagenet_classes", "imagenet_synsets"]


def imagenet_classes() -> tuple[str, ...]:
    """English names by class index: the first word of WordNet for it.

    Where two classes have the same first word, the name tells them apart: the cranes, the maillots, the
    cardigans.

    References:
      Russakovsky et al. 2015, *ImageNet Large Scale Visual Recognition Challenge*; Fellbaum 1998, *WordNet*.

    >>> imagenet_classes()[281]
    'tabby'
    """
    return tuple(name for _, name in _lines())


def imagenet_synsets() -> tuple[str, ...]:
    """WordNet's identifiers by class index; they are the names of ImageNet's folders, and sorted.

    >>> imagenet_synsets()[281]
    'n02123045'
    """
    return tuple(synset for synset, _ in _lines())


@functools.cache
def _lines() -> tuple[tuple[str, str], ...]:
    text = resources.files("jaxvision.data").joinpath("imagenet_classes.txt").read_text("utf-8")
    pairs = (line.split(" ", 1) for line in text.splitlines())
    return tuple((synset, name) for synset, name in pairs)

"""chex assertions that answer in the words of the domain.

Each check runs while a function is traced, costs nothing in the compiled program, and turns chex's
``AssertionError`` into a ``ValueError`` that says what came, what was expected and what to do.
"""

from collections.abc import Sequence

import chex
import jax


def check_layout(name: str, array: jax.Array, layout: str, *, remedy: str = "") -> None:
    """Checks the rank of an array, and its fixed sizes, against a layout such as ``"N H W 3"``.

    Args:
      name: what the caller calls the array.
      array: any shape and dtype.
      layout: one word an axis, separated by blanks. A number fixes the size of that axis; a letter or
        a word leaves it free, but the same word twice means the same size. A leading ``...`` stands
        for any number of axes.
      remedy: what to do about it, appended to the message.

    Raises:
      ValueError: if the shape does not fit.

    >>> import jax.numpy as jnp
    >>> check_layout("images", jnp.zeros((2, 8, 8, 3)), "N H W 3")
    >>> check_layout("images", jnp.zeros((8, 8, 3)), "N H W 3", remedy="add a batch axis")
    Traceback (most recent call last):
    ValueError: images: expected [N, H, W, 3], got [8, 8, 3]; add a batch axis
    """
    words = layout.split()
    expected = [int(word) if word.isdigit() else (... if word == "..." else None) for word in words]
    sizes: dict[str, int] = {}
    try:
        chex.assert_shape(array, expected)
        axes = words[1:] if words and words[0] == "..." else words
        for word, size in zip(reversed(axes), reversed(array.shape), strict=False):
            chex.assert_equal(sizes.setdefault(word, size), size)
    except AssertionError as error:
        wanted = ", ".join(words)
        raise ValueError(
            f"{name}: expected [{wanted}], got {list(array.shape)}" + (f"; {remedy}" if remedy else "")
        ) from error


def check_same_shape(**arrays: jax.Array) -> None:
    """Checks that all named arrays have one shape.

    Raises:
      ValueError: naming each array and its shape.

    >>> import jax.numpy as jnp
    >>> check_same_shape(predictions=jnp.zeros(3), targets=jnp.zeros(4))
    Traceback (most recent call last):
    ValueError: expected equal shapes, got predictions [3], targets [4]
    """
    try:
        chex.assert_equal_shape(list(arrays.values()))
    except AssertionError as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise ValueError(f"expected equal shapes, got {shapes}") from error


def check_floating(**arrays: jax.Array) -> None:
    """Checks that all named arrays are floating point.

    Raises:
      ValueError: naming the first array that is not, with its dtype.
    """
    for name, array in arrays.items():
        try:
            chex.assert_type(array, float)
        except AssertionError as error:
            raise ValueError(
                f"{name}: expected a floating dtype, got {array.dtype}; cast it first"
            ) from error


def check_integer(**arrays: jax.Array) -> None:
    """Checks that all named arrays are integers (class indices, not one-hot vectors or booleans).

    Raises:
      ValueError: naming the first array that is not, with its dtype.
    """
    for name, array in arrays.items():
        try:
            chex.assert_type(array, int)
        except AssertionError as error:
            raise ValueError(
                f"{name}: expected an integer dtype (class indices), got {array.dtype}; cast it first"
            ) from error


def check_stages(**fields: Sequence[int]) -> None:
    """Checks that fields of a network hold one number a stage each.

    Raises:
      ValueError: if they are not equally long.

    >>> check_stages(blocks=(1,), features=(4, 8))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: blocks and features: expected one number a stage in each, got (1,) and (4, 8); make ...
    """
    if len({len(numbers) for numbers in fields.values()}) > 1:
        given = " and ".join(map(str, fields.values()))
        raise ValueError(
            f"{' and '.join(fields)}: expected one number a stage in each, got {given}; "
            "make them equally long"
        )

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from jaxvision.ops import label_edges

edges = jax.jit(label_edges, static_argnames=("width", "border"))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.sampled_from([1, 2, 5]),
    border=st.booleans(),
    block=st.sampled_from([1, 4, 9]),
)
def test_what_erosions_take_away(seed: int, width: int, border: bool, block: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 3, (2, 3, 3))
    labels = np.kron(coarse, np.ones((1, block, block), int))[:, :11, :17]
    found = np.asarray(edges(jnp.asarray(labels), width=width, border=border))
    square = np.ones((3, 3), bool)
    for image, marked in zip(labels, found, strict=True):
        expected = np.zeros_like(image, bool)
        for k in range(3):
            mask = image == k
            left = ndimage.binary_erosion(mask, square, iterations=width, border_value=not border)
            expected |= mask & ~left
        np.testing.assert_array_equal(marked, expected)


def test_sizes_and_types() -> None:
    assert edges(jnp.zeros((0, 4, 5), int), width=2, border=True).shape == (0, 4, 5)
    assert not edges(jnp.arange(6).reshape(2, 3), width=0, border=True).any()
    assert edges(jnp.zeros((3, 4), jnp.uint8), width=9, border=True).all()
    assert not edges(jnp.zeros((3, 4), jnp.uint8), width=9, border=False).any()
    assert edges(jnp.array([[255, 0]], jnp.uint8), width=1, border=False).all()


def test_wrong_arguments_raise() -> None:
    with pytest.raises(ValueError, match="integer"):
        label_edges(jnp.zeros((3, 3)), width=1, border=True)
    with pytest.raises(ValueError, match="width"):
        label_edges(jnp.zeros((3, 3), int), width=-1, border=True)
    with pytest.raises(ValueError, match="expected"):
        label_edges(jnp.zeros(3, int), width=1, border=True)

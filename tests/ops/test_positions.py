"""Sinusoidal positions against the papers' equations, written as loops, and their shift property."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops


def test_sequence_is_the_papers_equation():
    ours = ops.sinusoidal_positions(7, 10)
    for position in range(7):
        for i in range(5):
            angle = position / 10000 ** (2 * i / 10)
            np.testing.assert_allclose(ours[position, 2 * i], math.sin(angle), atol=1e-7)
            np.testing.assert_allclose(ours[position, 2 * i + 1], math.cos(angle), atol=1e-7)


def test_grid_is_that_of_masked_autoencoders():
    ours = ops.sinusoidal_grid_positions(3, 5, 12)
    assert ours.shape == (3, 5, 12)
    for row in range(3):
        for column in range(5):
            frequencies = [10000 ** (-k / 3) for k in range(3)]
            expected = [
                wave(place * frequency)
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for frequency in frequencies
            ]
            np.testing.assert_allclose(ours[row, column], expected, atol=1e-7)


def test_products_depend_on_the_distance_only():
    codes = np.asarray(ops.sinusoidal_positions(50, 32))
    products = codes @ codes.T
    for distance in (0, 1, 7):
        np.testing.assert_allclose(np.diagonal(products, distance), products[0, distance], atol=1e-4)


def test_exact_at_large_positions_and_in_other_dtypes():
    ours = ops.sinusoidal_positions(100_001, 2)[-1]  # float32 angles would be off by 0.004
    np.testing.assert_allclose(ours, [math.sin(100_000), math.cos(100_000)], atol=1e-6)
    assert ops.sinusoidal_positions(3, 2, dtype=jnp.bfloat16).dtype == jnp.bfloat16
    assert ops.sinusoidal_positions(0, 4).shape == (0, 4)
    assert float(ops.sinusoidal_positions(2, 4, base=100.0)[1, 2]) == pytest.approx(math.sin(0.1))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="features: expected a positive multiple of 2, got 3"):
        ops.sinusoidal_positions(4, 3)
    with pytest.raises(ValueError, match="features: expected a positive multiple of 4, got 6"):
        ops.sinusoidal_grid_positions(2, 2, 6)
    with pytest.raises(ValueError, match="expected a size of at least 0, got -1"):
        ops.sinusoidal_grid_positions(2, -1, 8)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.graph import EDGE_OPERATORS, edge_features


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [("hadamard", [3.0, -8.0]), ("average", [2.0, 1.0]), ("l1", [2.0, 6.0]), ("l2", [4.0, 36.0])],
)
def test_operators_are_those_of_the_paper(operator, wanted):
    first, second = jnp.array([[1.0, -2.0]]), jnp.array([[3.0, 4.0]])
    assert edge_features(first, second, operator=operator)[0].tolist() == wanted
    assert np.array_equal(
        edge_features(first, second, operator=operator), edge_features(second, first, operator=operator)
    )


def test_they_go_through_jit_grad_and_vmap_and_empty_sets():
    for operator in EDGE_OPERATORS:
        features = jax.jit(jax.vmap(lambda u, v, operator=operator: edge_features(u, v, operator=operator)))
        assert features(jnp.ones((3, 2)), jnp.zeros((3, 2))).shape == (3, 2)
        assert features(jnp.ones((0, 2)), jnp.zeros((0, 2))).shape == (0, 2)
    gradient = jax.grad(lambda u: edge_features(u, jnp.array([3.0]), operator="l2").sum())(jnp.array([1.0]))
    assert gradient.tolist() == [-4.0]


def test_another_operator_or_shape_is_named():
    with pytest.raises(ValueError, match="operator: expected one of hadamard, average, l1, l2, got 'dot'"):
        edge_features(jnp.ones(2), jnp.ones(2), operator="dot")
    with pytest.raises(ValueError, match="expected equal shapes"):
        edge_features(jnp.ones(2), jnp.ones(3), operator="l1")

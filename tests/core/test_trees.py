import jax
import jax.numpy as jnp
import pytest

from jaxvision.core import count_parameters, flatten_paths, map_paths, unflatten_paths


def test_flatten_and_unflatten_are_inverse():
    tree = {"a": {"b": 1, "c": {"d": 2}}, "e": 3}
    assert flatten_paths(tree) == {"a/b": 1, "a/c/d": 2, "e": 3}
    assert unflatten_paths(flatten_paths(tree)) == tree


@pytest.mark.parametrize("flat", [{"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}])
def test_a_leaf_that_is_also_a_prefix_raises(flat):
    with pytest.raises(ValueError, match="'a"):
        unflatten_paths(flat)


def test_map_paths_keeps_the_structure():
    tree = {"a": [jnp.ones(2), jnp.zeros(3)]}
    assert map_paths(lambda path, leaf: (path, leaf.size), tree) == {"a": [("a/0", 2), ("a/1", 3)]}


def test_count_parameters_of_abstract_shapes():
    shapes = jax.eval_shape(lambda: {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)})
    assert count_parameters(shapes) == 16

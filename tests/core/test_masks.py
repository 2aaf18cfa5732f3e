import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core import VOID, expand_where


def test_a_mask_of_leading_axes_counts_for_all_behind_them():
    where = np.array([[True, False], [False, True], [True, True]])
    expected = np.broadcast_to(where[:, :, None], (3, 2, 4))
    np.testing.assert_array_equal(jax.jit(expand_where, static_argnums=1)(where, (3, 2, 4)), expected)
    np.testing.assert_array_equal(expand_where(jnp.asarray(where), (3, 2)), where)
    assert expand_where(None, (2, 3)).all()
    assert expand_where(jnp.ones(0, bool), (0, 4)).shape == (0, 4)
    assert expand_where(jnp.asarray(False), (2,)).tolist() == [False, False]
    assert np.iinfo(np.uint8).max == VOID


def test_another_mask_is_refused():
    with pytest.raises(ValueError, match="where: expected a boolean mask, got int32"):
        expand_where(jnp.ones(3, jnp.int32), (3,))
    with pytest.raises(ValueError, match=r"where: expected \[2, 3\] or its leading axes, got \[3\]"):
        expand_where(jnp.ones(3, bool), (2, 3))

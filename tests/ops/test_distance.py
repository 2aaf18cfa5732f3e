import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from jaxvision.ops import distance_transform, signed_class_distances

transform = jax.jit(distance_transform)
signed = jax.jit(signed_class_distances, static_argnums=1, static_argnames="ignore_index")


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.003, 0.02, 0.3, 0.97]))
def test_equals_scipy(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((2, 13, 37)) < share
    mask[:, 4, 5] = True  # SciPy has no answer for an empty mask
    expected = [ndimage.distance_transform_edt(~image) for image in mask]
    np.testing.assert_allclose(transform(mask), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (64, 31)])
def test_any_size(shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, bool)
    mask[-1, 0] = True
    np.testing.assert_allclose(transform(mask), ndimage.distance_transform_edt(~mask), rtol=1e-6)


def test_an_empty_mask_is_infinitely_far_and_no_image_is_none() -> None:
    assert np.isinf(transform(np.zeros((3, 4), bool))).all()
    assert transform(np.zeros((0, 3, 4), bool)).shape == (0, 3, 4)
    assert transform(np.zeros((2, 0, 4), bool)).shape == (2, 0, 4)
    assert signed(jnp.zeros((0, 3, 4), int), 2).shape == (0, 3, 4, 2)


def test_long_rows_are_exact() -> None:
    mask = np.zeros((1, 20_000), bool)
    mask[0, 0] = True
    np.testing.assert_array_equal(transform(mask)[0], np.arange(20_000, dtype=np.float32))


def test_vmap_and_no_second_trace() -> None:
    mask = np.random.default_rng(0).random((3, 6, 7)) < 0.2
    np.testing.assert_array_equal(jax.vmap(distance_transform)(jnp.asarray(mask)), transform(mask))
    traces = []
    counted = jax.jit(lambda mask: (traces.append(None), distance_transform(mask))[1])
    counted(mask), counted(~mask)
    assert len(traces) == 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_signed_distances_with_void_by_search(seed: int) -> None:
    """By looking at all pairs of pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 255], (5, 6), p=[0.6, 0.2, 0.1, 0.1]).astype(np.int32)
    found = np.asarray(signed(jnp.asarray(labels), 4, ignore_index=255))
    places = np.argwhere(np.ones_like(labels, bool))
    apart = np.sqrt(((places[:, None] - places[None]) ** 2).sum(-1))
    flat = labels.ravel()
    for k in range(4):
        inside, others = flat == k, (flat != k) & (flat != 255)
        expected = np.zeros(flat.size)
        if inside.any() and others.any():
            expected = np.where(inside, 1 - apart[:, others].min(1), apart[:, inside].min(1))
        elif inside.any():  # alone, so that only void is beside it
            expected = np.where(inside, 0, apart[:, inside].min(1))
        np.testing.assert_allclose(found[..., k].ravel(), expected, rtol=1e-6, err_msg=str(k))


def test_a_label_that_is_void_by_name_may_be_a_class_index() -> None:
    labels = jnp.array([[0, 1, 1, 2]])
    found = signed(labels, 3, ignore_index=1)
    assert found[0, :, 1].tolist() == [0.0] * 4
    assert found[0, :, 0].tolist() == [-2.0, 1.0, 2.0, 3.0]


def test_wrong_arguments_raise() -> None:
    with pytest.raises(ValueError, match="boolean"):
        distance_transform(jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"expected \[\.\.\., H, W\]"):
        distance_transform(jnp.zeros(3, bool))
    with pytest.raises(ValueError, match="at most 23169"):
        jax.eval_shape(distance_transform, jax.ShapeDtypeStruct((1, 40_000), bool))
    with pytest.raises(ValueError, match="integer"):
        signed_class_distances(jnp.zeros((3, 3)), 2)
    with pytest.raises(ValueError, match="num_classes"):
        signed_class_distances(jnp.zeros((3, 3), int), 0)

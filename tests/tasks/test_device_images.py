"""Flips, colours and normalisation on the device against the host's own transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core import Term
from jaxvision.data import ColourJitter, Normalize, RandomHorizontalFlip, Resize, compose, train_batches
from jaxvision.tasks.device_images import DeviceImages, jitter_colours, prepare_on_device, split_transform
from jaxvision.training import Task

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3)).astype(np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, (6, 5, 7)).astype(np.int32)


class Drawn:
    """A generator whose draws are given."""

    def __init__(self, values):
        self._values = iter(values)

    def uniform(self, low, high):
        return next(self._values)


def test_colours_are_the_hosts_for_the_same_factors():
    factors = np.random.default_rng(2).uniform(0.6, 1.4, (6, 3)).astype(np.float32)
    jitter = ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4)
    expected = [jitter({"image": x}, Drawn(f))["image"] for x, f in zip(IMAGES, factors, strict=True)]
    found = np.asarray(jitter_colours(jnp.float32(IMAGES), jnp.asarray(factors)))
    difference = np.abs(found - np.stack(expected))
    assert difference.max() <= 1, "rounding at a half"
    assert (difference > 0).mean() < 0.01


def test_normalisation_is_the_hosts():
    normalize = Normalize(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    images = DeviceImages(0.0, None, normalize)
    found, labels = jax.jit(images.prepare)(jax.random.key(0), IMAGES, LABELS)
    expected = np.stack([normalize({"image": x}, np.random.default_rng(0))["image"] for x in IMAGES])
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)


def test_image_and_mask_are_flipped_together_and_each_by_its_own_draw():
    images = DeviceImages(0.5, None, Normalize(mean=(0, 0, 0), std=(1 / 255,) * 3))
    seen = set()
    for seed in range(3):
        found, labels = jax.jit(images.prepare)(jax.random.key(seed), IMAGES, LABELS)
        for index in range(6):
            flipped = not np.allclose(found[index], IMAGES[index], atol=1e-2)
            seen.add(flipped)
            expected = (
                (IMAGES[index, :, ::-1], LABELS[index, :, ::-1])
                if flipped
                else (IMAGES[index], LABELS[index])
            )
            np.testing.assert_allclose(found[index], expected[0], atol=1e-2)
            np.testing.assert_array_equal(labels[index], expected[1])
    assert seen == {True, False}
    always = images._replace(flip=1.0)
    found, labels = always.prepare(jax.random.key(0), jnp.asarray(IMAGES), jnp.arange(6))
    np.testing.assert_allclose(found, IMAGES[:, :, ::-1], atol=1e-2)
    np.testing.assert_array_equal(labels, np.arange(6))


def test_an_empty_batch_and_floats():
    images = DeviceImages(0.5, ColourJitter(), Normalize())
    found, labels = images.prepare(
        jax.random.key(0), jnp.zeros((0, 4, 4, 3), jnp.uint8), jnp.zeros((0,), int)
    )
    assert found.shape == (0, 4, 4, 3) and labels.shape == (0,)
    with pytest.raises(ValueError, match="expected uint8 that the device is to prepare, got float32"):
        images.prepare(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), jnp.zeros((1,), int))


def test_the_steps_that_come_last_go_to_the_device():
    flip, jitter, normalize = RandomHorizontalFlip(probability=0.3), ColourJitter(), Normalize()
    resize = Resize((4, 4))
    host, device = split_transform(compose(resize, flip, jitter, normalize))
    assert (host.steps, device) == ((resize,), DeviceImages(0.3, jitter, normalize))
    host, device = split_transform(compose(flip, jitter, resize, normalize))
    assert (host.steps, device) == ((flip, jitter, resize), DeviceImages(0.0, None, normalize))
    with pytest.raises(ValueError, match="ends with Normalize, got Resize"):
        split_transform(compose(normalize, resize))


def test_a_task_prepares_its_training_images():
    def loss(params, model_state, batch, key):
        assert batch["images"].dtype == jnp.float32
        return {"l": Term(batch["images"].sum(), jnp.float32(1.0))}, model_state

    images = DeviceImages(0.0, None, Normalize())
    task = prepare_on_device(Task(lambda key: {}, loss, None, None, None), images)
    batch = {"images": IMAGES, "labels": LABELS, "where": np.ones(6, bool)}
    terms, _ = jax.jit(task.loss)({}, {}, batch, jax.random.key(0))
    expected = images.prepare(jax.random.key(0), jnp.asarray(IMAGES), jnp.asarray(LABELS))[0].sum()
    np.testing.assert_allclose(terms["l"].mean(), expected, rtol=1e-4)


class Pictures:
    """Records that say which they are."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"image": IMAGES[index], "label": index}


def test_batches_of_bytes():
    batches = train_batches(Pictures(), compose(), batch_size=3, seed=0, num_threads=0, as_bytes=True)
    batch = next(batches)
    assert batch["images"].dtype == np.uint8
    np.testing.assert_array_equal(batch["images"], IMAGES[batch["labels"]])
    wrong = train_batches(
        Pictures(), compose(Normalize()), batch_size=3, seed=0, num_threads=0, as_bytes=True
    )
    with pytest.raises(
        ValueError, match="got float32 after the transform, expected uint8; leave out Normalize"
    ):
        next(wrong)

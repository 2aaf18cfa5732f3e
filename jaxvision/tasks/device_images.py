"""The last steps of a transform, done on the device: images travel as bytes, a quarter of what floats
take."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.data import ColourJitter, Compose, Normalize, RandomHorizontalFlip
from jaxvision.training import Batch, Task

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as jaxvision.data.ColourJitter


class DeviceImages(NamedTuple):
    """Steps of a transform for a whole batch on the device, each image with draws of its own.

    Attributes:
      flip: probability of a horizontal flip.
      jitter: the change of colours, or None.
      normalize: comes last.
    """

    flip: float
    jitter: ColourJitter | None
    normalize: Normalize

    def prepare(self, key: jax.Array, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Flips, changes colours, normalises.

        Args:
          key: of all draws.
          images: uint8 [N, H, W, 3].
          labels: integer [N, H, W], flipped with the images, or [N].

        Returns:
          Images float32 [N, H, W, 3], and the labels.
        """
        if images.dtype != jnp.uint8:
            raise ValueError(f"images: expected uint8 that the device is to prepare, got {images.dtype}")
        count = len(images)
        flip_key, jitter_key = jax.random.split(key)
        if self.flip > 0:
            flipped = jax.random.bernoulli(flip_key, self.flip, (count,))
            images = jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)
            if labels.ndim == 3:
                labels = jnp.where(flipped[:, None, None], labels[:, :, ::-1], labels)
        values = images.astype(jnp.float32)
        if self.jitter is not None:
            spread = jnp.array([self.jitter.brightness, self.jitter.contrast, self.jitter.saturation])  # [3]
            drawn = jax.random.uniform(jitter_key, (count, 3), minval=-1.0, maxval=1.0)
            values = jitter_colours(values, 1 + drawn * spread[None])
        return self.normalized(values), labels

    def normalized(self, images: jax.Array) -> jax.Array:
        """``(image / 255 - mean) / std`` of each channel, as :class:`jaxvision.data.Normalize`."""
        std = np.asarray(self.normalize.std)
        scale, shift = (1 / (255 * std)).astype(np.float32), np.asarray(self.normalize.mean) / std
        return images * scale[None, None, None] - shift.astype(np.float32)[None, None, None]


def jitter_colours(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Brightness, contrast and saturation of each image by its factors, as
    :class:`jaxvision.data.ColourJitter`.

    Args:
      images: float32 [N, H, W, 3], 0 to 255.
      factors: float32 [N, 3].

    Returns:
      Whole numbers from 0 to 255, float32.
    """
    luma = jnp.array(_LUMA)[None, None, None]
    brightness, contrast, saturation = (factors[:, n, None, None, None] for n in range(3))  # [N, 1, 1, 1]
    images = images * brightness
    mean = (images * luma).sum(axis=-1, keepdims=True).mean(axis=(1, 2), keepdims=True)  # [N, 1, 1, 1]
    images = mean + contrast * (images - mean)
    grey = (images * luma).sum(axis=-1, keepdims=True)  # [N, H, W, 1]
    return jnp.clip(jnp.rint(grey + saturation * (images - grey)), 0, 255)


def split_transform(transform: Compose) -> tuple[Compose, DeviceImages]:
    """The steps for the host, whose images stay uint8, and those for the device.

    To the device go :class:`jaxvision.data.Normalize`, the last step, and of what comes before it a change of
    colours and a flip, as far as no step between needs the host.

    Raises:
      ValueError: if the last step is another.
    """
    *steps, last = transform.steps
    if not isinstance(last, Normalize):
        raise ValueError(f"expected a transform that ends with Normalize, got {type(last).__name__}")
    jitter = steps.pop() if steps and isinstance(steps[-1], ColourJitter) else None
    flip = steps.pop() if steps and isinstance(steps[-1], RandomHorizontalFlip) else None
    assert jitter is None or isinstance(jitter, ColourJitter)  # what a type checker does not see
    assert flip is None or isinstance(flip, RandomHorizontalFlip)
    probability = 0.0 if flip is None else flip.probability
    return Compose(tuple(steps)), DeviceImages(probability, jitter, last)


def prepare_on_device(task: Task, images: DeviceImages) -> Task:
    """The same task, whose training batches hold uint8 images that the step itself prepares."""

    def loss(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> tuple[Any, Any]:
        key, own = jax.random.split(key)
        prepared, labels = images.prepare(own, batch["images"], batch["labels"])
        return task.loss(params, model_state, {**batch, "images": prepared, "labels": labels}, key)

    return task._replace(loss=loss)

"""Where in an image a network sees a class: Grad-CAM, Grad-CAM++ and gradients of the pixels."""

from typing import Any, Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import check_integer, check_layout
from jaxvision.inspect.capture import layer_gradients

CamMethod: TypeAlias = Literal["grad_cam", "grad_cam++"]

CAM_METHODS: tuple[CamMethod, ...] = ("grad_cam", "grad_cam++")
"""What :func:`grad_cam` knows."""


def grad_cam(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    *,
    layer: str,
    classes: jax.Array,
    where: jax.Array | None = None,
    method: CamMethod = "grad_cam",
    **options: Any,
) -> tuple[jax.Array, jax.Array]:
    r"""Where a layer speaks for a class.

    .. math:: L = \operatorname{relu}\Big(\sum_k \alpha_k A^k\Big), \qquad
       \alpha_k = \frac{1}{Z} \sum_{ij} \frac{\partial y}{\partial A^k_{ij}}

    :math:`A^k` is channel k of the layer and y the logit of the class. With ``"grad_cam++"`` the gradients
    are weighted, so that several things of a class in an image each count:

    .. math:: \alpha_k = \sum_{ij} \frac{g_{ij}^2}{2 g_{ij}^2 + g_{ij}^3 \sum_{ab} A^k_{ab}}
       \operatorname{relu}(g_{ij}), \qquad g = \frac{\partial y}{\partial A^k}

    A network that gives logits a pixel is taken as Seg-Grad-CAM does: y is the sum of the class's logits over
    the pixels ``where``. Pure, for ``jit``; of the images each is seen by itself.

    Args:
      model: any Linen network of logits ``[N, K]`` or ``[N, H, W, K]``.
      variables: of it.
      images: ``[N, H, W, C]`` or ``[N, T, H, W, C]``.
      layer: a layer of maps ``[N, ..., C]``, as in :func:`jaxvision.inspect.feature_maps`: the last one, such
        as ``"c5"``, sees the most.
      classes: integer ``[N]``, one an image.
      where: bool ``[N, H, W]`` of a segmentation network: the pixels whose class is explained; by default
        all.
      method: ``"grad_cam"`` or ``"grad_cam++"``.
      **options: of the model's call, such as ``train=False``.

    Returns:
      The map ``[N, h, w]``, float32 and never negative, of the layer's size (of tokens ``[N, T]``), and the
      logits. It is not scaled: divide by its maximum to show it.

    Raises:
      ValueError: for an unknown layer or method, a layer without a map, a class that is none, or logits of
        another rank.

    References:
      Selvaraju et al. 2017, *Grad-CAM*, equations 1 and 2. Chattopadhay et al. 2018, *Grad-CAM++*, equations
      10 and 19; their score is the exponential of the logit, which scales a map and is left out. Vinogradova,
      Dibrov and Myers 2020, *Towards Interpretable Semantic Segmentation via Gradient-weighted Class
      Activation Mapping*, equation 1.
    """
    if method not in CAM_METHODS:
        raise ValueError(f"method: got {method!r}, expected one of {', '.join(map(repr, CAM_METHODS))}")
    _check_classes(classes, images)
    activation, gradient, logits = layer_gradients(
        model,
        variables,
        images,
        layer=layer,
        score=lambda outputs: _class_scores(outputs, classes, where),
        **options,
    )
    if activation.ndim < 3:
        raise ValueError(f"layer {layer!r} gives {list(activation.shape)}, expected a map [N, ..., C]")
    maps, g = activation.astype(jnp.float32), gradient.astype(jnp.float32)
    places = tuple(range(1, maps.ndim - 1))
    if method == "grad_cam":
        weights = g.mean(places, keepdims=True)  # [N, 1, 1, C]
    else:
        sums = maps.sum(places, keepdims=True)
        divisor = 2 * g**2 + sums * g**3
        share = jnp.where(divisor == 0, 0, g**2 / jnp.where(divisor == 0, 1, divisor))
        weights = (share * nn.relu(g)).sum(places, keepdims=True)  # [N, 1, 1, C]
    return nn.relu((weights * maps).sum(-1)), logits  # [N, h, w]


def saliency(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    *,
    classes: jax.Array,
    where: jax.Array | None = None,
    **options: Any,
) -> tuple[jax.Array, jax.Array]:
    """How much the score of a class changes with each pixel: the largest absolute gradient of its channels.

    Args:
      model: as for :func:`grad_cam`.
      variables: of it.
      images: ``[N, H, W, C]`` or ``[N, T, H, W, C]``, floating.
      classes: integer ``[N]``, one an image.
      where: as for :func:`grad_cam`.
      **options: of the model's call, such as ``train=False``.

    Returns:
      ``[N, H, W]``, float32 and never negative, and the logits.

    Raises:
      ValueError: for a class that is none, or logits of another rank.

    References:
      Simonyan, Vedaldi and Zisserman 2014, *Deep Inside Convolutional Networks*, section 3.1.
    """
    _check_classes(classes, images)

    def score(images: jax.Array) -> tuple[jax.Array, Any]:
        logits = model.apply(variables, images, **options)
        return _class_scores(logits, classes, where).sum(), logits

    gradient, logits = jax.grad(score, has_aux=True)(images)
    return jnp.abs(gradient.astype(jnp.float32)).max(-1), logits


def _check_classes(classes: jax.Array, images: jax.Array) -> None:
    check_layout("classes", classes, "N", remedy="give one class an image")
    check_integer(classes=classes)
    if classes.shape[0] != images.shape[0]:
        raise ValueError(
            f"classes: got {classes.shape[0]} for {images.shape[0]} images, expected one an image"
        )


def _class_scores(logits: Any, classes: jax.Array, where: jax.Array | None) -> jax.Array:
    """The logit of each image's class, summed over pixels, ``[N]``."""
    if not isinstance(logits, jax.Array) or logits.ndim not in (2, 4):
        shown = list(logits.shape) if isinstance(logits, jax.Array) else type(logits).__name__
        raise ValueError(f"the network gives {shown}, expected logits [N, K] or [N, H, W, K]")
    _check_range(classes, logits.shape[-1])
    if where is not None and where.shape != logits.shape[:-1]:
        raise ValueError(
            f"where: got {list(where.shape)} for logits {list(logits.shape)}, expected the pixels [N, H, W] "
            "of a segmentation network"
        )
    index = classes.reshape(-1, *[1] * (logits.ndim - 1))
    chosen = jnp.take_along_axis(logits, index, -1)[..., 0]  # [N] or [N, H, W]
    if where is not None:
        chosen = jnp.where(where, chosen, 0)
    return chosen.sum(tuple(range(1, chosen.ndim)))


def _check_range(classes: jax.Array, count: int) -> None:
    """Checks classes whose values are known; those of a traced program are not."""
    if isinstance(classes, jax.core.Tracer):
        return
    wrong = sorted({int(index) for index in np.asarray(classes) if not 0 <= index < count})
    if wrong:
        raise ValueError(f"classes: got {wrong[0]}, expected 0..{count - 1}; the network has {count} classes")

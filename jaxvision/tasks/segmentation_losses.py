"""The loss of a segmentation run: a weighted sum of losses, each averaged over what it counts."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import losses
from jaxvision.core import VOID, Term, expand_where, name_some
from jaxvision.data import ClassCounts, count_classes
from jaxvision.losses import present_classes, sum_term
from jaxvision.losses.soft_counts import check_not_negative
from jaxvision.ops import signed_class_distances

SegmentationLoss: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], dict[str, Term]]
"""``(logits [N, H, W, K], labels [N, H, W], where [N]) -> terms``."""

WeightRule: TypeAlias = Literal["median", "inverse", "log", "effective"]

LOSS_NAMES = (
    *("cross_entropy", "dice", "focal", "ohem", "generalised_dice", "log_cosh_dice", "jaccard", "tversky"),
    *("focal_tversky", "lovasz", "boundary"),
)
"""The losses that :func:`segmentation_loss` adds."""

_TermFunction: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], Term]


def segmentation_loss(
    weights: Mapping[str, float],
    *,
    class_weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 2.0,
    ohem_threshold: float = 0.7,
    ohem_share: float = 1 / 16,
    tversky_alpha: float = 0.3,
    tversky_beta: float = 0.7,
    focal_tversky_gamma: float = 4 / 3,
    over_batch: bool = False,
    classes: Literal["present", "all"] = "present",
) -> SegmentationLoss:
    """A weighted sum of losses, each averaged over what it counts.

    Args:
      weights: factor of each loss by name (:data:`LOSS_NAMES`), e.g. ``{"cross_entropy": 1.0, "dice": 0.5}``.
        Cross entropy and focal loss are averaged over the pixels that are not void, "ohem" (cross entropy of
        hard pixels) over the hard ones, "boundary" over pixels and classes, "generalised_dice" over images;
        the others over classes of images.
      class_weights: float ``[K]`` for cross entropy, focal loss and "ohem".
      label_smoothing: for cross entropy.
      focal_gamma: exponent of the focal loss.
      ohem_threshold: a pixel whose own class has less probability is hard.
      ohem_share: this share of the pixels is hard at least.
      tversky_alpha: price of what is wrongly found, for both Tversky losses.
      tversky_beta: price of what is missed.
      focal_tversky_gamma: inverse of the exponent of the focal Tversky loss.
      over_batch: takes the images of a batch as one in the losses of regions.
      classes: which count in the mean of those: ``"present"`` in the truth, or ``"all"``.

    Raises:
      ValueError: for an unknown name, or none, a negative factor, or an option out of its range.

    >>> loss = segmentation_loss({"cross_entropy": 1.0})
    >>> terms = loss(jnp.zeros((1, 2, 2, 4)), jnp.zeros((1, 2, 2), jnp.int32), jnp.ones(1, bool))
    >>> round(float(terms["cross_entropy"].mean()), 4)  # the logarithm of 4
    1.3863
    """
    _check_factors(weights)
    _check_options(label_smoothing, ohem_threshold, ohem_share, classes)
    check_not_negative(focal_gamma=focal_gamma, tversky_alpha=tversky_alpha, tversky_beta=tversky_beta)
    if focal_tversky_gamma <= 0:
        raise ValueError(f"focal_tversky_gamma: expected a number > 0, got {focal_tversky_gamma}")
    region = functools.partial(_region_term, over_batch=over_batch, classes=classes)
    prices: dict[str, Any] = {"alpha": tversky_alpha, "beta": tversky_beta}
    functions: dict[str, _TermFunction] = {
        **_pixel_terms(class_weights, label_smoothing, focal_gamma, ohem_threshold, ohem_share),
        "dice": functools.partial(region, losses.dice_loss),
        "log_cosh_dice": functools.partial(region, losses.log_cosh_dice_loss),
        "jaccard": functools.partial(region, losses.jaccard_loss),
        "tversky": functools.partial(region, functools.partial(losses.tversky_loss, **prices)),
        "focal_tversky": functools.partial(
            region, functools.partial(losses.focal_tversky_loss, gamma=focal_tversky_gamma, **prices)
        ),
        "lovasz": functools.partial(region, losses.lovasz_softmax_loss),
        "generalised_dice": functools.partial(_generalised_dice_term, over_batch=over_batch),
        "boundary": _boundary_term,
    }

    def loss(logits: jax.Array, labels: jax.Array, where: jax.Array) -> dict[str, Term]:
        terms = {}
        for name, factor in weights.items():
            term = functions[name](logits, labels, where)
            terms[name] = Term(factor * term.total, term.weight)
        return terms

    return loss


def _pixel_terms(
    class_weights: jax.Array | None,
    label_smoothing: float,
    focal_gamma: float,
    ohem_threshold: float,
    ohem_share: float,
) -> dict[str, _TermFunction]:
    """The losses that are means over pixels, by class weights."""

    def mean(values: jax.Array, labels: jax.Array, where: jax.Array, hard: jax.Array | None = None) -> Term:
        counted = losses.cross_entropy_weights(
            labels, ignore_index=VOID, class_weights=class_weights, where=where
        )
        return sum_term(values, weights=counted, where=hard)

    entropy = functools.partial(losses.cross_entropy_loss, ignore_index=VOID, class_weights=class_weights)

    def cross_entropy(logits: jax.Array, labels: jax.Array, where: jax.Array) -> Term:
        values = entropy(logits, labels, label_smoothing=label_smoothing, where=where)
        return mean(values, labels, where)

    def focal(logits: jax.Array, labels: jax.Array, where: jax.Array) -> Term:
        values = losses.focal_loss(
            logits, labels, gamma=focal_gamma, ignore_index=VOID, class_weights=class_weights, where=where
        )
        return mean(values, labels, where)

    def ohem(logits: jax.Array, labels: jax.Array, where: jax.Array) -> Term:
        hard = losses.hard_pixels(
            logits,
            labels,
            threshold=ohem_threshold,
            min_kept=math.ceil(ohem_share * math.prod(labels.shape[1:])),
            ignore_index=VOID,
            where=where,
        )
        return mean(entropy(logits, labels, where=where), labels, where, hard)

    return {"cross_entropy": cross_entropy, "focal": focal, "ohem": ohem}


def _region_term(
    function: Callable[..., jax.Array],
    logits: jax.Array,
    labels: jax.Array,
    where: jax.Array,
    *,
    over_batch: bool,
    classes: str,
) -> Term:
    values = function(logits, labels, ignore_index=VOID, over_batch=over_batch, where=where)  # [N, K] or [K]
    present = present_classes(labels, logits.shape[-1], ignore_index=VOID, over_batch=over_batch, where=where)
    if classes == "all":  # but for an image of nothing but void, which says nothing
        present = jnp.broadcast_to(jnp.any(present, axis=-1, keepdims=True), present.shape)
    return sum_term(values, where=present)


def _generalised_dice_term(
    logits: jax.Array, labels: jax.Array, where: jax.Array, *, over_batch: bool
) -> Term:
    values = losses.generalised_dice_loss(
        logits, labels, ignore_index=VOID, over_batch=over_batch, where=where
    )
    present = present_classes(labels, logits.shape[-1], ignore_index=VOID, over_batch=over_batch, where=where)
    return sum_term(values, where=jnp.any(present, axis=-1))


def _boundary_term(logits: jax.Array, labels: jax.Array, where: jax.Array) -> Term:
    counted = expand_where(where, labels.shape) & (labels != VOID)
    distances = signed_class_distances(labels, logits.shape[-1], ignore_index=VOID)
    return sum_term(losses.boundary_loss(logits, distances, where=counted), where=counted)


def _check_factors(weights: Mapping[str, float]) -> None:
    """Here and not only when the loss is traced: a script has made the folder of its run by then."""
    unknown = sorted(set(weights) - set(LOSS_NAMES))
    if unknown or not weights:
        raise ValueError(
            f"losses: got {', '.join(unknown) or 'none'}, expected some of {', '.join(LOSS_NAMES)}"
        )
    for name, factor in weights.items():
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"{name}: expected a factor >= 0, got {factor}")


def _check_options(label_smoothing: float, ohem_threshold: float, ohem_share: float, classes: str) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: expected a number in [0, 1], got {label_smoothing}")
    if not 0.0 < ohem_threshold <= 1.0:
        raise ValueError(f"ohem_threshold: expected a probability in (0, 1], got {ohem_threshold}")
    if not 0.0 <= ohem_share <= 1.0:
        raise ValueError(f"ohem_share: expected a share in [0, 1], got {ohem_share}")
    if classes not in ("present", "all"):
        raise ValueError(f"classes: expected 'present' or 'all', got {classes!r}")


def weigh_classes(rule: WeightRule, counts: ClassCounts) -> np.ndarray:
    """Class weights by a rule: float64 [K]; 0 for a class that never occurs.

    Args:
      rule: "median" frequency (SegNet), "inverse" frequency, "log" (ENet), "effective" number (Cui et al.),
        the last of images that hold the class.
      counts: of the training images.

    Raises:
      ValueError: if no class occurs.
    """
    if rule == "median":
        return losses.median_frequency_weights(counts.pixels, counts.image_pixels)
    if rule == "inverse":
        return losses.inverse_frequency_weights(counts.pixels)
    if rule == "log":
        return losses.log_frequency_weights(counts.pixels)
    return losses.effective_number_weights(counts.images)


@dataclasses.dataclass(frozen=True)
class SegmentationLossOptions:
    """The loss: a sum of these, each times its factor."""

    cross_entropy: float = 1.0
    """Factor of the cross entropy."""
    dice: float = 0.0
    """Factor of the soft Dice loss."""
    focal: float = 0.0
    """Factor of the focal loss."""
    ohem: float = 0.0
    """Factor of the cross entropy of hard pixels alone; give --loss.cross-entropy 0 beside it."""
    generalised_dice: float = 0.0
    """Factor of the generalised Dice loss, which weighs classes by their size in an image."""
    log_cosh_dice: float = 0.0
    """Factor of the log-cosh Dice loss."""
    jaccard: float = 0.0
    """Factor of the soft Jaccard (IoU) loss."""
    tversky: float = 0.0
    """Factor of the Tversky loss."""
    focal_tversky: float = 0.0
    """Factor of the focal Tversky loss."""
    lovasz: float = 0.0
    """Factor of the Lovasz-softmax loss."""
    boundary: float = 0.0
    """Factor of the boundary loss, in pixels: 0.01, and beside a loss of regions."""
    class_weights: tuple[float, ...] | WeightRule | None = None
    """A weight for each class, for cross entropy, focal loss and ohem; or a rule that makes them of how often
    each class is in the training masks, counted anew for every run but a resumed one."""
    class_weight_images: int | None = None
    """Training images that a rule counts, spread evenly; by default all."""
    counted_weights: tuple[float, ...] | None = None
    """What the rule gave for the data of the run, which --resume and evaluate keep; not to be given."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross entropy."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss."""
    ohem_threshold: float = 0.7
    """A pixel is hard if its own class has less probability."""
    ohem_share: float = 1 / 16
    """Least share of the pixels that are hard."""
    tversky_alpha: float = 0.3
    """Price of what is wrongly found."""
    tversky_beta: float = 0.7
    """Price of what is missed."""
    focal_tversky_gamma: float = 4 / 3
    """The focal Tversky loss is the Tversky loss to the power of 1 / gamma."""
    over_batch: bool = False
    """Take the images of a batch as one in the losses of regions."""
    classes: Literal["present", "all"] = "present"
    """Classes that count in the mean of the losses of regions: those in the truth, or all."""
    auxiliary: float = 0.5
    """Factor of an auxiliary head's losses, where the network is trained with one."""

    def resolved(
        self, source: Any, *, progress: Callable[[int, int], None] | None = None
    ) -> "SegmentationLossOptions":
        """The options with the numbers of a rule for class weights, counted anew, in ``counted_weights``.

        Args:
          source: of the training images, with ``num_classes``.
          progress: called as ``progress(done, total)`` as masks are read.

        Raises:
          ValueError: if a mask is broken, or no class occurs.
        """
        if not isinstance(self.class_weights, str):
            return dataclasses.replace(self, counted_weights=None)
        counts = count_classes(source, source.num_classes, limit=self.class_weight_images, progress=progress)
        weights = weigh_classes(self.class_weights, counts)
        return dataclasses.replace(self, counted_weights=tuple(round(float(w), 6) for w in weights))

    def build(self, num_classes: int) -> SegmentationLoss:
        """The loss.

        Raises:
          ValueError: if all factors are 0, there is not one weight a class, a rule for the weights is not
            resolved, or an option is out of its range.
        """
        if not self.auxiliary >= 0:
            raise ValueError(f"--loss.auxiliary: expected 0 or more, got {self.auxiliary}")
        return segmentation_loss(
            {name: getattr(self, name) for name in LOSS_NAMES if getattr(self, name) != 0},
            class_weights=self._weights(num_classes),
            **{
                name: getattr(self, name)
                for name in (
                    *("label_smoothing", "focal_gamma", "ohem_threshold", "ohem_share", "tversky_alpha"),
                    *("tversky_beta", "focal_tversky_gamma", "over_batch", "classes"),
                )
            },
        )

    def _weights(self, num_classes: int) -> jax.Array | None:
        weights = self.counted_weights if isinstance(self.class_weights, str) else self.class_weights
        if weights is None and self.class_weights is not None:
            raise ValueError(
                f"--loss.class-weights {self.class_weights}: call resolved() first, which counts the classes"
            )
        if weights is None:
            return None
        check_class_weights(weights, num_classes)
        return jnp.array(weights)


def resolve_class_weights(
    options: SegmentationLossOptions, source: Any, *, resumed: bool
) -> SegmentationLossOptions:
    """The loss with the numbers of its class weights, for which the masks may have to be counted.

    Args:
      options: of the run.
      source: of the training images, with ``num_classes`` and ``class_names``.
      resumed: whether numbers that are there are those of this very run, whose data may have grown.
    """
    if resumed and options.counted_weights is not None:
        return options
    if not isinstance(options.class_weights, str):
        return options.resolved(source)

    def show(done: int, total: int) -> None:
        if done == total or done % max(1, total // 10) == 0:
            print(f"class weights: {done} of {total} masks counted", flush=True)

    resolved = options.resolved(source, progress=show)
    found = dict(zip(source.class_names, resolved.counted_weights or (), strict=True))
    print(f"class weights ({options.class_weights}): {', '.join(f'{n} {w:.4g}' for n, w in found.items())}")
    if absent := [name for name, weight in found.items() if weight == 0]:
        print(f"no pixel of {name_some(absent)} was counted: their weight is 0")
    return resolved


def check_class_weights(weights: Sequence[float], num_classes: int) -> None:
    """Raises a ValueError unless there is one weight a class, none below 0, and one above."""
    if len(weights) != num_classes:
        raise ValueError(f"--loss.class-weights: got {len(weights)} weights for {num_classes} classes")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError(f"--loss.class-weights: got {list(weights)}, expected numbers >= 0, and one above 0")

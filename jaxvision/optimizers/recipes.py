"""Named optimizers over Optax, each equal to the ``torch.optim`` class of the same hyper-parameters.

Where Optax's defaults differ, torch's are taken; each recipe says where. All recipes share two things:

* ``learning_rate`` is a number or an Optax schedule, and multiplies the direction last, momentum included:
  a buffer filled under a large rate does not keep it (torch's way).
* ``weight_decay`` is the *decoupled* decay of AdamW (Loshchilov and Hutter 2019): ``-lr * weight_decay * p``
  for the leaves that ``decay_mask`` picks (all, if None; :func:`jaxvision.optimizers.decay_mask` skips norms
  and biases). torch's ``weight_decay`` of SGD, Adam and the others is the *coupled* kind, a gradient of
  the L2 penalty: the ``l2`` of :func:`jaxvision.optimizers.build_optimizer`.
"""

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

LearningRate: TypeAlias = float | jax.Array | optax.Schedule
Mask: TypeAlias = Callable[[Any], Any]


def sgd(
    learning_rate: LearningRate, *, weight_decay: float = 0.0, decay_mask: Mask | None = None
) -> optax.GradientTransformation:
    """Plain gradient descent: ``torch.optim.SGD(lr)``."""
    return _optimizer(optax.identity(), learning_rate, weight_decay, decay_mask)


def momentum(
    learning_rate: LearningRate,
    *,
    decay: float = 0.9,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Heavy-ball momentum: ``torch.optim.SGD(lr, momentum=decay)``, without dampening.

    References:
      Polyak 1964; in this form Sutskever et al. 2013, "On the importance of initialization and momentum".
    """
    return _optimizer(optax.trace(decay), learning_rate, weight_decay, decay_mask)


def nesterov(
    learning_rate: LearningRate,
    *,
    decay: float = 0.9,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Nesterov momentum: ``torch.optim.SGD(lr, momentum=decay, nesterov=True)``.

    References:
      Nesterov 1983; the look-ahead by ``g + decay * buffer`` as Sutskever et al. 2013, section 2.
    """
    return _optimizer(optax.trace(decay, nesterov=True), learning_rate, weight_decay, decay_mask)


def adagrad(
    learning_rate: LearningRate,
    *,
    initial_accumulator: float = 0.0,
    epsilon: float = 1e-10,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """AdaGrad: ``torch.optim.Adagrad(lr, initial_accumulator_value, eps)``.

    Its own transform: Optax starts the accumulator at 0.1 and has epsilon inside the root.

    References:
      Duchi, Hazan, Singer 2011, "Adaptive Subgradient Methods", figure 1.
    """
    direction = _scale_by_adagrad(initial_accumulator, epsilon)
    return _optimizer(direction, learning_rate, weight_decay, decay_mask)


def adadelta(
    learning_rate: LearningRate,
    *,
    decay: float = 0.9,
    epsilon: float = 1e-6,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """AdaDelta: ``torch.optim.Adadelta(lr, rho=decay, eps)``; its natural learning rate is 1.

    References:
      Zeiler 2012, "ADADELTA", algorithm 1 (which has no learning rate).
    """
    return _optimizer(optax.scale_by_adadelta(decay, epsilon), learning_rate, weight_decay, decay_mask)


def rmsprop(
    learning_rate: LearningRate,
    *,
    decay: float = 0.99,
    epsilon: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """RMSProp: ``torch.optim.RMSprop(lr, alpha=decay, eps, momentum, centered)``.

    Epsilon stands outside the root and the learning rate after the momentum buffer (Optax: inside, before);
    the decay is torch's 0.99 (Optax and TensorFlow: 0.9).

    References:
      Hinton 2012, lecture 6.5; centered: Graves 2013, equations 38-45.
    """
    scale_by = optax.scale_by_stddev if centered else optax.scale_by_rms
    direction = scale_by(decay, epsilon, eps_in_sqrt=False)
    if momentum > 0.0:
        direction = optax.chain(direction, optax.trace(momentum))
    return _optimizer(direction, learning_rate, weight_decay, decay_mask)


def adam(
    learning_rate: LearningRate,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adam: ``torch.optim.Adam(lr, betas=(b1, b2), eps)``.

    References:
      Kingma and Ba 2015, "Adam", algorithm 1.
    """
    return _optimizer(optax.scale_by_adam(b1, b2, epsilon), learning_rate, weight_decay, decay_mask)


def adamw(
    learning_rate: LearningRate,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """AdamW: ``torch.optim.AdamW(lr, betas, eps, weight_decay)``; torch's decay of 1e-2 (Optax: 1e-4).

    References:
      Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2, with the decay
      multiplied by the learning rate as in torch.
    """
    return _optimizer(optax.scale_by_adam(b1, b2, epsilon), learning_rate, weight_decay, decay_mask)


def adam_then_sgd(
    learning_rate: LearningRate,
    *,
    switch_step: int,
    sgd_factor: float,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    decay: float = 0.9,
    weight_decay: float = 0.0,
    decay_mask: Mask | None = None,
) -> optax.GradientTransformation:
    """Adam for the first ``switch_step`` updates, then SGD with momentum ``decay``.

    At the switch nothing of Adam is carried over: the momentum buffer starts at zero, as in the paper, and
    Adam's moments stay in the state, unused, so that the state keeps one structure. The schedule runs on;
    SGD takes ``sgd_factor`` times its value.

    References:
      Keskar and Socher 2017, "Improving Generalization Performance by Switching from Adam to SGD". They
      find the moment of the switch and the rate of SGD by a projection (section 3); here both are given.
    """
    if switch_step < 0:
        raise ValueError(f"switch_step: expected a number of updates >= 0, got {switch_step}")
    first = optax.scale_by_adam(b1, b2, epsilon)
    second = optax.chain(optax.trace(decay), optax.scale(sgd_factor))
    return _optimizer(_switch(first, second, switch_step), learning_rate, weight_decay, decay_mask)


RECIPES: Mapping[str, Callable[..., optax.GradientTransformation]] = MappingProxyType(
    {
        "sgd": sgd,
        "momentum": momentum,
        "nesterov": nesterov,
        "adagrad": adagrad,
        "adadelta": adadelta,
        "rmsprop": rmsprop,
        "adam": adam,
        "adamw": adamw,
        "adam_then_sgd": adam_then_sgd,
    }
)
"""The recipes by name, for :func:`create`."""


def create(name: str, learning_rate: LearningRate, **options: Any) -> optax.GradientTransformation:
    """Builds a recipe by name.

    Args:
      name: a key of ``RECIPES``.
      learning_rate: a number or an Optax schedule.
      **options: the recipe's keyword arguments.

    Returns:
      The Optax transformation; its updates are added to the parameters.

    Raises:
      ValueError: if no recipe has this name (the message lists close ones).
      TypeError: if the recipe has no such option.

    >>> optimizer = create("momentum", 0.1, decay=0.95)
    >>> create("adamx", 0.1)
    Traceback (most recent call last):
    ValueError: unknown optimizer 'adamx'; close: 'adam', 'adamw'; all: sgd, momentum, nesterov, adagrad, \
adadelta, rmsprop, adam, adamw, adam_then_sgd
    """
    if name not in RECIPES:
        close = ", ".join(repr(match) for match in difflib.get_close_matches(name, RECIPES)) or "none"
        raise ValueError(f"unknown optimizer {name!r}; close: {close}; all: {', '.join(RECIPES)}")
    return RECIPES[name](learning_rate, **options)


class AdagradState(NamedTuple):
    """Sum of squared gradients, leaf by leaf."""

    sum_of_squares: Any


class SwitchState(NamedTuple):
    """Updates done so far (int32 []) and the states of both optimizers."""

    step: jax.Array
    first: Any
    second: Any


def _optimizer(
    direction: optax.GradientTransformation,
    learning_rate: LearningRate,
    weight_decay: float,
    decay_mask: Mask | None,
) -> optax.GradientTransformation:
    decay = [optax.add_decayed_weights(weight_decay, mask=decay_mask)] if weight_decay else []
    return optax.chain(direction, *decay, optax.scale_by_learning_rate(learning_rate))


def _scale_by_adagrad(initial_accumulator: float, epsilon: float) -> optax.GradientTransformation:
    def init(params: Any) -> AdagradState:
        return AdagradState(optax.tree.full_like(params, initial_accumulator))

    def update(updates: Any, state: AdagradState, params: Any = None) -> tuple[Any, AdagradState]:
        del params
        sums = jax.tree.map(lambda total, g: total + g * g, state.sum_of_squares, updates)
        scaled = jax.tree.map(lambda g, total: g / (jnp.sqrt(total) + epsilon), updates, sums)
        return scaled, AdagradState(sums)

    return optax.GradientTransformation(init, update)


def _switch(
    first: optax.GradientTransformation, second: optax.GradientTransformation, step: int
) -> optax.GradientTransformation:
    def init(params: Any) -> SwitchState:
        return SwitchState(jnp.zeros([], jnp.int32), first.init(params), second.init(params))

    def update(updates: Any, state: SwitchState, params: Any = None) -> tuple[Any, SwitchState]:
        def early(updates: Any) -> tuple[Any, Any, Any]:
            new, moments = first.update(updates, state.first, params)
            return new, moments, state.second

        def late(updates: Any) -> tuple[Any, Any, Any]:
            new, buffer = second.update(updates, state.second, params)
            return new, state.first, buffer

        new, moments, buffer = jax.lax.cond(state.step < step, early, late, updates)
        return new, SwitchState(optax.safe_increment(state.step), moments, buffer)

    return optax.GradientTransformation(init, update)

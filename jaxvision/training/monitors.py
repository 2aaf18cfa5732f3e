"""What goes on inside a network while it trains: norms of its gradients, statistics of its activations."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import flatten_paths
from jaxvision.training.fit import Hook, Progress
from jaxvision.training.logs import Writer
from jaxvision.training.parallel import Placement
from jaxvision.training.state import TrainState
from jaxvision.training.step import global_gradients
from jaxvision.training.task import Batch, Task

_NAMED = 5  # layers named in one line of the terminal


class LeafStatistics(NamedTuple):
    """Scalars of one array, float32 at least.

    Attributes:
      norm: root of the sum of squares.
      rms: root of the mean of squares.
      largest: largest absolute value.
    """

    norm: jax.Array
    rms: jax.Array
    largest: jax.Array


class ActivationStatistics(NamedTuple):
    """Scalars of what a module returned, float32 at least.

    Attributes:
      mean: of all entries.
      std: of all entries.
      zeros: share of entries that are exactly 0; near 1 behind a ReLU is a dead layer.
      norm: root of the sum of squares.
    """

    mean: jax.Array
    std: jax.Array
    zeros: jax.Array
    norm: jax.Array


class Extremes(NamedTuple):
    """Names of layers, in the order that they were given in.

    Attributes:
      vanishing: those whose norm is at most the lower bound.
      exploding: those whose norm is at least the upper bound, or is no number.
    """

    vanishing: tuple[str, ...]
    exploding: tuple[str, ...]


def leaf_statistics(tree: Any) -> dict[str, LeafStatistics]:
    """Norm, RMS and largest absolute value of each array of a tree: of gradients, parameters or updates.

    Args:
      tree: floating arrays.

    Returns:
      ``{"conv/kernel": LeafStatistics}``; an array without entries has zeros.

    >>> leaf_statistics({"conv": {"bias": jnp.array([3.0, -4.0])}})["conv/bias"].norm
    Array(5., dtype=float32)
    """
    return {path: _leaf_statistics(leaf) for path, leaf in flatten_paths(tree).items()}


def layer_norms(tree: Any) -> dict[str, jax.Array]:
    """L2 norm of each layer's arrays together, such as of its kernel's and its bias' gradients.

    Args:
      tree: floating arrays; a layer is a dict that holds some.

    Returns:
      ``{"stage1_conv1": norm}``, float32 at least, in the tree's order; ``""`` is the arrays at the top.

    >>> layer_norms({"conv": {"kernel": jnp.array([[4.0]]), "bias": jnp.array([3.0])}})
    {'conv': Array(5., dtype=float32)}
    """
    norms: dict[str, list[jax.Array]] = {}
    for path, leaf in flatten_paths(tree).items():
        norms.setdefault(path.rpartition("/")[0], []).append(_leaf_statistics(leaf).norm)
    return {name: _norm(jnp.stack(values)) for name, values in norms.items()}


def _leaf_statistics(leaf: jax.Array) -> LeafStatistics:
    wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
    norm, largest = _norm(wide), jnp.abs(wide).max(initial=0.0)
    return LeafStatistics(norm, norm / max(leaf.size, 1) ** 0.5, largest)


def _norm(x: jax.Array) -> jax.Array:
    """L2 norm. Scaled by the largest entry: squares of a vanishing or exploding gradient leave float32."""
    largest = jnp.abs(x).max(initial=0.0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return scale * jnp.sqrt(jnp.square(x / scale).sum())


def find_vanishing_and_exploding(norms: Mapping[str, Any], *, low: float, high: float) -> Extremes:
    """Names of the layers whose norm is too small to learn by or too large.

    Args:
      norms: numbers by name, such as :func:`layer_norms` of gradients.
      low: a norm of at most this vanishes; 0 finds what gets no gradient at all.
      high: a norm of at least this explodes.

    Returns:
      The names, in the order given. A norm that is no number explodes.

    Raises:
      ValueError: unless ``0 <= low < high``.

    >>> find_vanishing_and_exploding({"a": 1e-12, "b": 1.0, "c": float("nan")}, low=1e-9, high=1e6)
    Extremes(vanishing=('a',), exploding=('c',))
    """
    if not 0 <= low < high:
        raise ValueError(f"low, high: expected 0 <= low < high, got {low} and {high}")
    values = {name: float(norm) for name, norm in norms.items()}
    return Extremes(
        tuple(name for name, value in values.items() if value <= low),
        tuple(name for name, value in values.items() if not value < high),
    )


def activation_statistics(
    model: nn.Module, variables: Any, *inputs: Any, **options: Any
) -> dict[str, ActivationStatistics]:
    """Statistics of what each module of a Linen network returns, for one batch; goes through ``jit``.

    Args:
      model: any Linen module.
      variables: of the model; they are not changed.
      *inputs: of the model's call.
      **options: of the model's call, such as ``train=False``; and of ``apply``, such as ``rngs``.

    Returns:
      ``{"stage1_conv1": ActivationStatistics}``, sorted by name; ``""`` is the network's own result. A module
      that was called more than once, or that returned several arrays, has a number after its name:
      ``"conv/0"``, ``"conv/1"``; a dict's keys likewise. Arrays that are not floating are left out.

    >>> from jaxvision.layers import Conv
    >>> model, images = Conv(2, 1), jnp.ones((1, 4, 4, 3))
    >>> variables = {"params": {"kernel": jnp.ones((1, 1, 3, 2)), "bias": jnp.zeros(2)}}
    >>> activation_statistics(model, variables, images)[""].mean
    Array(3., dtype=float32)
    """
    mutable = ["intermediates", *(name for name in variables if name != "params")]
    _, state = model.apply(variables, *inputs, capture_intermediates=True, mutable=mutable, **options)
    found: dict[str, list[tuple[str, jax.Array]]] = {}
    for path, leaf in flatten_paths(state["intermediates"]).items():
        module, call, place = f"/{path}".rpartition("/__call__/")
        if call and jnp.issubdtype(leaf.dtype, jnp.floating):
            found.setdefault(module.removeprefix("/"), []).append((place, leaf))
    statistics = {}
    for module, leaves in found.items():
        for place, leaf in leaves:
            name = module if len(leaves) == 1 else f"{module}/{place}".removeprefix("/")
            statistics[name] = _activation_statistics(leaf)
    return dict(sorted(statistics.items()))


def _activation_statistics(x: jax.Array) -> ActivationStatistics:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    count = max(x.size, 1)
    mean = wide.sum() / count
    variance = jnp.square(wide - jnp.broadcast_to(mean, x.shape)).sum() / count
    zeros = (x == 0).sum(dtype=wide.dtype) / count
    return ActivationStatistics(mean, jnp.sqrt(variance), zeros, _norm(wide))


def make_gradient_norms(
    task: Task, *, axis_name: str | None = None
) -> Callable[[TrainState, Batch], dict[str, jax.Array]]:
    """Makes ``(state, batch) -> layer_norms(gradients)`` of the loss of the whole batch, over all devices.

    Args:
      task: gives the loss.
      axis_name: the device axis under ``pmap``, as :func:`jaxvision.training.make_train_step` takes it.
    """

    def norms(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
        return layer_norms(global_gradients(task, state, batch, axis_name)[0])

    return norms


class GradientMonitor(Hook):
    """Looks at every layer's gradient each ``every`` steps, and says where gradients vanish or explode.

    The gradients are those of the batch just seen at the parameters that the step led to, over all devices:
    one more forward and backward pass, in a program of its own, so that the training step is as fast as
    without and its numbers are the same. The norms go to the writers as a record of kind ``"gradients"``,
    ``gradient_norm/<layer>``; a line on the terminal names the layers whenever they are others than before.

    Args:
      norms: compiled ``(state, batch) -> norms``, of :func:`make_gradient_norms`.
      placement: of the state and the batches.
      writers: take the records; they are closed by whoever made them.
      every: steps between looks.
      low: a gradient of at most this norm vanishes. At the default even Adam, whose epsilon is 1e-8, learns
        little by it.
      high: a gradient of at least this norm explodes.
      say: shows a line.
    """

    def __init__(
        self,
        norms: Callable[[TrainState, Batch], Mapping[str, jax.Array]],
        placement: Placement,
        writers: Sequence[Writer],
        *,
        every: int,
        low: float = 1e-7,
        high: float = 1e3,
        say: Callable[[str], None] = print,
    ) -> None:
        if every < 1:
            raise ValueError(f"every: expected at least 1 step, got {every}")
        self._norms = norms
        self._placement = placement
        self._writers = writers
        self._every = every
        self._bounds = {"low": low, "high": high}
        self._say = say
        self._last = Extremes((), ())

    def after_step(self, progress: Progress) -> None:
        """Looks if it is time."""
        if progress.step % self._every:
            return
        jax.block_until_ready(progress.state)  # the step's time is training time
        started = time.perf_counter()
        norms = self._placement.fetch(self._norms(progress.state, progress.batch))
        values = {name: float(norm) for name, norm in norms.items()}
        record = {f"gradient_norm/{name}".removesuffix("/"): value for name, value in values.items()}
        for writer in self._writers:
            writer.write({"kind": "gradients", "step": progress.step, **record})
        found = find_vanishing_and_exploding(values, **self._bounds)
        if found != self._last:
            self._last = found
            self._report(progress.step, found, values)
        progress.paused += time.perf_counter() - started

    def _report(self, step: int, found: Extremes, norms: Mapping[str, float]) -> None:
        bounds = {
            "vanishing": f"at most {self._bounds['low']:g}",
            "exploding": f"at least {self._bounds['high']:g}",
        }
        for kind, names in found._asdict().items():
            if names:
                shown = ", ".join(f"{name or 'parameters'} {norms[name]:.1e}" for name in names[:_NAMED])
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                self._say(f"step {step}: {kind} gradients (norm {bounds[kind]}): {shown}{more}")
        if not any(found):
            self._say(f"step {step}: no gradient vanishes or explodes any more")

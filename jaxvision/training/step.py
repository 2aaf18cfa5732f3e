"""The one training step and the one evaluation step, for one device or many."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import Term
from jaxvision.training.state import TrainState
from jaxvision.training.task import Batch, Task

Metrics = dict[str, jax.Array]


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    axis_name: str | None = None,
    whole: Callable[[Any], Any] | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Makes the pure function ``(state, batch) -> (state, metrics)``.

    A step whose loss or gradient is not finite changes nothing but says so in ``metrics["finite"]``: the
    state stays good, and whoever drives the loop decides (see :class:`jaxvision.training.NaNGuard`).

    Args:
      task: gives the loss.
      optimizer: any Optax transformation; accumulation, clipping, averaging and freezing are part of it.
      axis_name: the device axis under ``pmap``. None under ``jit``, also where the batch is sharded.
      whole: :meth:`jaxvision.training.Placement.whole`, where parameters lie in parts; by default none do.

    Returns:
      A step. Metrics, float32 scalars: ``loss``, each term by name, ``gradient_norm``; ``finite`` bool.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradients, means, model_state = global_gradients(task, state, batch, axis_name, whole=whole)
        if axis_name is not None:  # equal where BatchNorm is synced, else the mean of the devices' statistics
            model_state = jax.lax.pmean(model_state, axis_name)
        loss = sum(means.values(), start=jnp.float32(0.0))
        gradient_norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)

        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
        )
        new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        return new, {"loss": loss, **means, "gradient_norm": gradient_norm, "finite": finite}

    return step


def global_gradients(
    task: Task,
    state: TrainState,
    batch: Batch,
    axis_name: str | None,
    *,
    whole: Callable[[Any], Any] | None = None,
) -> tuple[Any, Metrics, Any]:
    """Gradients and terms of the loss of the whole batch, over all devices, and this device's model state."""

    def total(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.psum(tree, axis_name)

    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    def objective(params: Any) -> tuple[jax.Array, Any]:
        params = params if whole is None else whole(params)
        terms, model_state = task.loss(params, state.model_state, batch, key)
        # Each device divides by the weight of all: its part of the one global mean.
        means = {name: Term(term.total, total(term.weight)).mean() for name, term in terms.items()}
        return sum(means.values(), start=jnp.float32(0.0)), (means, model_state)

    gradients, (means, model_state) = jax.grad(objective, has_aux=True)(state.params)
    gradients, means = total((gradients, means))
    return gradients, means, model_state


def make_count_step(task: Task, *, axis_name: str | None = None) -> Callable[[Any, Batch], Any]:
    """Makes the pure function ``(variables, batch) -> counts``, summed over the devices."""

    def step(variables: Any, batch: Batch) -> Any:
        counts = task.counts(variables, batch)
        return counts if axis_name is None else jax.lax.psum(counts, axis_name)

    return step


def make_gradients(task: Task, *, axis_name: str | None = None) -> Callable[[TrainState, Batch], Any]:
    """Makes ``(state, batch) -> gradients`` of the loss on one device, to look for what went wrong.

    Args:
      task: gives the loss.
      axis_name: the axis that the model averages its statistics over; here it has one entry.
    """

    def gradients(state: TrainState, batch: Batch) -> Any:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

        def objective(params: Any, batch: Batch) -> jax.Array:
            terms, _ = task.loss(params, state.model_state, batch, key)
            return sum((term.mean() for term in terms.values()), start=jnp.float32(0.0))

        if axis_name is None:
            return jax.grad(objective)(state.params, batch)
        mapped = jax.vmap(jax.grad(objective), in_axes=(None, 0), axis_name=axis_name)
        one = jax.tree.map(lambda x: x[None], (batch))
        return jax.tree.map(lambda x: x[0], mapped(state.params, one))

    return gradients

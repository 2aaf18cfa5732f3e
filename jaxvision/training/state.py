"""The state of a training run: arrays only, so that a checkpoint is the state."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jaxvision.training.parallel import Placement
from jaxvision.training.task import Task, Variables


class TrainState(struct.PyTreeNode):
    """Everything that a training step reads and writes.

    Attributes:
      step: int32 scalar: the batches seen.
      key: uint32 key data. Each step draws from ``fold_in(key, step)``: a resumed run draws the same numbers.
      params: the trained parameters, float32.
      model_state: the other collections, such as ``{"batch_stats": ...}``; may be empty.
      opt_state: Optax's state.
    """

    step: jax.Array
    key: jax.Array
    params: Any
    model_state: Any
    opt_state: optax.OptState

    def variables(self) -> dict[str, Any]:
        """The model's variables, as ``model.apply`` takes them."""
        return {"params": self.params, **self.model_state}


def create_train_state(
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    variables: Variables | None = None,
    placement: Placement | None = None,
) -> TrainState:
    """Initialises the model and the optimizer in one compiled program.

    Args:
      task: gives the initial variables.
      optimizer: gives the initial optimizer state.
      seed: of the initialisation and of all later draws (dropout).
      variables: start from these (pre-trained ones) instead of the task's initial ones.
      placement: lays the state out; under fsdp no device ever keeps more than its part. By default the state
        is on the default device.
    """

    def create(init_key: jax.Array, key: jax.Array, given: Variables | None) -> TrainState:
        init_key = jax.random.wrap_key_data(init_key, impl="rbg")
        model_state = dict(task.init(init_key) if given is None else given)
        params = model_state.pop("params")
        return TrainState(
            step=jnp.int32(0),
            key=key,
            params=params,
            model_state=model_state,
            opt_state=optimizer.init(params),
        )

    # The rbg generator compiles several times faster than threefry, one draw a layer; both are
    # deterministic from the seed.
    keys = map(jax.random.key_data, (jax.random.key(seed, impl="rbg"), jax.random.key(seed + 1)))
    if placement is None:
        return jax.jit(create)(*keys, variables)
    state: TrainState = placement.create(create, *keys, variables)
    return state

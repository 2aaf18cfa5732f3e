"""A task small enough to check by hand: a line fitted by least squares."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.core import Term
from jaxvision.training import Task, create_train_state, make_placement, make_train_step


def _init(key):
    return {"params": {"slope": jnp.zeros(3)}, "statistics": {"seen": jnp.float32(0.0)}}


def _loss(params, model_state, batch, key):
    errors = (batch["x"] @ params["slope"] - batch["y"]) ** 2  # [N]
    weights = batch["where"].astype(jnp.float32)
    seen = model_state["statistics"]["seen"] + 1.0
    return {"l2": Term((errors * weights).sum(), weights.sum())}, {"statistics": {"seen": seen}}


def _count(variables, batch):
    errors = (batch["x"] @ variables["params"]["slope"] - batch["y"]) ** 2
    return {"errors": jnp.where(batch["where"], errors, 0.0).sum(), "examples": batch["where"].sum()}


@pytest.fixture
def line_task():
    return Task(
        init=_init,
        loss=_loss,
        predict=lambda variables, x: x @ variables["params"]["slope"],
        counts=_count,
        score=lambda counts: {"error": float(counts["errors"] / counts["examples"])},
    )


@pytest.fixture
def line_batches():
    rng = np.random.default_rng(0)

    def batch():
        x = rng.normal(size=(8, 3)).astype(np.float32)
        return {"x": x, "y": x @ np.float32([1, -2, 3]), "where": np.ones(8, bool)}

    return [batch() for _ in range(20)]


@pytest.fixture
def placement():
    import jax

    return make_placement("jit", devices=jax.devices()[:1])


@pytest.fixture
def line_run(line_task, placement):
    """A placed state and a compiled step."""
    optimizer = optax.sgd(0.1)
    state = create_train_state(line_task, optimizer, seed=0)
    return placement.place(state), placement.compile_step(make_train_step(line_task, optimizer))

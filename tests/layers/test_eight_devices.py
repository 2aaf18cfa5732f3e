"""The formulations and synced batch normalisation on eight devices: the gradients of one device."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import functools
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxvision import ops
from jaxvision.layers import BatchNorm, Conv, ConvNormAct, ConvTranspose

class Net(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        x = ConvNormAct(4, norm=functools.partial(BatchNorm, axis_name=self.axis_name))(x, train=train)
        x = ops.max_pool(x, 2)
        x = Conv(4, 1)(x)  # a matrix product
        x = Conv(4, 3, padding=1, groups=4)(x)  # depthwise: rows of one image, or of several
        x = Conv(4, 3, padding=1, groups=2)(x)  # block-diagonal
        x = Conv(32, 3, padding=1)(x)  # by patches on eight devices; native on one
        return ConvTranspose(3, 4, 2, 1)(x)

x = jnp.asarray(np.random.default_rng(0).normal(size=(16, 8, 8, 3)), jnp.float32)
variables = jax.jit(functools.partial(Net().init, train=False))(jax.random.key(0), x)

def gradients(variables, x, axis_name=None):
    def loss(params):
        changed = {**variables, "params": params}
        y, state = Net(axis_name).apply(changed, x, train=True, mutable=["batch_stats"])
        return jnp.square(y).mean(), state
    result = jax.grad(loss, has_aux=True)(variables["params"])
    return result if axis_name is None else jax.lax.pmean(result, axis_name)

assert jax.device_count() == 8
one = jax.jit(gradients)(variables, x)
mesh = Mesh(np.array(jax.devices()), ("data",))
whole, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
sharded = jax.jit(gradients, out_shardings=whole)(jax.device_put(variables, whole), jax.device_put(x, split))
mapped = jax.pmap(functools.partial(gradients, axis_name="data"), axis_name="data", in_axes=(None, 0))(
    variables, x.reshape(8, 2, 8, 8, 3)
)
for other in (sharded, jax.tree.map(lambda leaf: leaf[0], mapped)):
    for ours, theirs in zip(jax.tree.leaves(other), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
print("equal")
"""


@pytest.mark.slow
def test_sharded_jit_and_pmap_equal_one_device():
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.stdout.strip() == "equal", result.stderr

"""Less memory for more computing: what a block keeps for its gradient is made anew in the backward pass."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxvision.core import flatten_paths
from jaxvision.training.task import Task

__all__ = ["BLOCKS", "rematerialise"]

BLOCKS = r"(block\d+|layer\d+\w*|mixed_\w+|inception\w+|mlpconv\d+)$"
"""Names of the parts that networks repeat: residual and dense blocks, transformer layers, inceptions."""


def rematerialise(task: Task, *, blocks: str = BLOCKS) -> Task:
    """The same task, whose loss keeps of each block only what goes into it. Gradients are the same numbers.

    The backward pass computes a block again before it goes through it, which costs about one more forward
    pass (a third of a step) and saves what lies inside of the blocks. Parameters keep their names and
    places, for calls are lifted, not modules renamed. A network without such blocks (a VGG, a U-Net) keeps
    the outputs of
    its convolutions and matrix products, and computes what lies between them again: normalisation,
    activation, dropout.

    Args:
      task: of any network.
      blocks: a regular expression for the name of a module that is recomputed as a whole. Inside of one,
        others are not.

    References:
      Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 4; with one segment a block
      rather than the square root of their number.
    """
    pattern = re.compile(blocks)
    params = jax.eval_shape(task.init, jax.random.key(0))["params"]
    modules = {name for path in flatten_paths(params) for name in path.split("/")[:-1]}
    if not any(map(pattern.search, modules)):
        return task._replace(loss=jax.checkpoint(task.loss, policy=_is_product))

    def loss(*arguments: Any) -> Any:
        with nn.intercept_methods(_block_interceptor(pattern)):
            return task.loss(*arguments)

    return task._replace(loss=loss)


def _is_product(primitive: Any, *_: Any, **__: Any) -> bool:
    """Whether the output of an operation is kept: that of the costly ones."""
    return primitive.name in ("conv_general_dilated", "dot_general")


def _block_interceptor(pattern: re.Pattern[str]) -> Callable[..., Any]:
    inside: list[str] = []  # the block that is being traced

    def intercept(
        call: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: Mapping[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        name = module.name or ""
        if inside or context.method_name != "__call__" or not pattern.search(name):
            return call(*arguments, **options)
        # What is no array (flags, None) stays what it is; arrays are what is kept for the backward pass.
        arrays = {n: x for n, x in enumerate(arguments) if isinstance(x, jax.Array)}

        def run(module: nn.Module, arrays: dict[int, jax.Array]) -> Any:
            inside.append(name)
            block: Any = module
            try:
                return block(*(arrays.get(n, x) for n, x in enumerate(arguments)), **options)
            finally:
                inside.pop()

        return nn.remat(run)(module, arrays)

    return intercept

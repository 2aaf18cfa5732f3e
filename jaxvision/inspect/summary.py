"""Parameters, products, memory and receptive fields of every layer of a network, without running it."""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jaxvision.core import flatten_paths
from jaxvision.inspect.trace import Call, Field, Recorder, Shape, Walk, array_structs, walk_through


class Layer(NamedTuple):
    """One call of a layer, or the total of a network.

    Attributes:
      path: of the module, such as ``"stage1_conv1"``; ``""`` is the network itself.
      kind: type of the module.
      inputs: shapes of the arrays passed in.
      outputs: shapes of its results.
      parameters: numbers in its own parameters; 0 from the second call of a shared module on.
      macs: multiply-accumulates of its convolutions and matrix products.
      receptive_field: pixels in a row that an entry of the result depends on, one number an axis; None where
        it depends on the whole image.
      activation_bytes: memory of its results.
    """

    path: str
    kind: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    parameters: int
    macs: int
    receptive_field: Field
    activation_bytes: int

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiplication and an addition for each of ``macs``."""
        return 2 * self.macs


def summarize(
    model: nn.Module, *inputs: Any, rngs: Sequence[str] = ("dropout",), **options: Any
) -> tuple[Layer, ...]:
    """Describes every layer of any Linen network, in the order of the calls.

    The network is traced, never run: VGG-16 takes a second and no memory. What is counted:

    * a row for each call of a module without submodules, and for a module with submodules that has parameters
      or products of its own (the products of queries and keys in an attention);
    * ``parameters``: the collection ``"params"``; running statistics are none;
    * ``macs``: products in convolutions, dense layers and attention, with those of the padding, as papers,
      fvcore and ptflops have it: ``N H' W' kh kw (Cin / groups) Cout`` for a convolution and
      ``N H W kh kw Cin (Cout / groups)`` for a transposed one with a stride. Biases, normalisations,
      activations, poolings and interpolation (products with a constant) count as nothing;
    * modules under ``nn.jit`` that Linen traces once for all of them share one row (the totals are right);
    * of a loop (``nn.scan``, an RNN) the products of all its steps; of ``lax.cond`` the costliest branch, and
      of branches by platform the default, so that the numbers are those of the formula on every machine;
    * ``activation_bytes``: results of modules without submodules. What functions between modules make (a
      pooling, an activation) is not in it;
    * ``receptive_field``: with respect to the inputs of the first one's rank ``[N, ..., C]``; entries of the
      padding are counted, so that it can be larger than the image. The largest of all branches and results.
      Global poolings, attention, sequences' recurrences, batch statistics (``train=True``) and operations of
      unknown locality make it None.

    Args:
      model: any Linen module.
      *inputs: arrays, or ``jax.ShapeDtypeStruct``; images first.
      rngs: names of the random streams that the call draws from.
      **options: of the model's call, such as ``train=False``.

    Returns:
      One :class:`Layer` a call. :func:`total` adds them up, and :func:`format_table` shows them.

    References:
      Araujo, Norris and Sim 2019, *Computing Receptive Fields of Convolutional Neural Networks*, Distill.

    >>> from jaxvision.layers import Conv
    >>> image = jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
    >>> (layer,) = summarize(Conv(4, 3, strides=2, padding=1), image)
    >>> layer.outputs, layer.parameters, layer.macs, layer.receptive_field
    (((1, 4, 4, 4),), 112, 1728, (3, 3))
    """
    structs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs)
    key = jax.eval_shape(lambda: jax.random.key(0))
    streams = dict.fromkeys(("params", *rngs), key)
    variables = dict(jax.eval_shape(lambda k, x: model.init(k, *x, **options), streams, structs))
    mutable = [name for name in variables if name != "params"]
    recorder = Recorder()

    def forward(variables: Any, streams: Any, inputs: Any) -> Any:
        with nn.intercept_methods(recorder):
            result, _ = model.apply(variables, *inputs, rngs=streams, mutable=mutable, **options)
        return result

    jaxpr, outputs = jax.make_jaxpr(forward, return_shape=True)(variables, streams, structs)
    skipped = len(jax.tree.leaves((variables, streams)))
    images = [skipped + i for i in range(len(jax.tree.leaves(structs)))]
    walk, fields = walk_through(jaxpr, images)
    walk.fields[0] = fields
    network = Call((), type(model).__name__, -1, tuple(x.shape for x in jax.tree.leaves(structs)), ())
    calls = {0: network._replace(outputs=array_structs(outputs)), **recorder.calls}
    # A loop's body is traced more often than it stays in the program.
    seen = {number for number, macs in walk.macs.items() if macs} | walk.fields.keys()
    return _layers({number: call for number, call in calls.items() if number in seen}, walk, variables)


def _layers(calls: Mapping[int, Call], walk: Walk, variables: Any) -> tuple[Layer, ...]:
    parents = {call.parent for call in calls.values()}
    parameters = _own_parameters(calls, variables.get("params", {}))
    layers = []
    for number, call in calls.items():
        leaf = number not in parents
        if not (leaf or parameters[number] or walk.macs[number]):
            continue
        fields = walk.fields[number]
        layers.append(
            Layer(
                path="/".join(call.path),
                kind=call.kind,
                inputs=call.inputs,
                outputs=tuple(struct.shape for struct in call.outputs),
                parameters=parameters[number],
                macs=walk.macs[number],
                receptive_field=_largest(fields),
                activation_bytes=sum(s.size * s.dtype.itemsize for s in call.outputs) if leaf else 0,
            )
        )
    return tuple(layers)


def _own_parameters(calls: Mapping[int, Call], params: Any) -> collections.Counter[int]:
    """Parameters by the first call of the innermost module that holds them."""
    owners: dict[tuple[str, ...], int] = {}
    for number, call in calls.items():
        owners.setdefault(call.path, number)
    counts: collections.Counter[int] = collections.Counter()
    for path, leaf in flatten_paths(params).items():
        names = tuple(path.split("/"))
        owner = next(owners[names[:end]] for end in range(len(names), -1, -1) if names[:end] in owners)
        counts[owner] += leaf.size
    return counts


def _largest(fields: Sequence[Field]) -> Field:
    local = [field for field in fields if field is not None]
    if not local or len(local) < len(fields):
        return None
    return tuple(max(sizes) for sizes in zip(*local, strict=True))


def total(layers: Iterable[Layer]) -> Layer:
    """Sums of parameters, products and memory, and the largest receptive field.

    Args:
      layers: as :func:`summarize` gives them.

    Returns:
      A :class:`Layer` named ``"total"``, with the first layer's inputs and the last one's outputs.

    Raises:
      ValueError: if there are no layers.

    >>> from jaxvision.layers import Conv
    >>> total(summarize(Conv(4, 1), jax.ShapeDtypeStruct((1, 8, 8, 3), "float32"))).flops
    1536
    """
    layers = tuple(layers)
    if not layers:
        raise ValueError("layers: got none; give those of summarize")
    return Layer(
        path="total",
        kind="",
        inputs=layers[0].inputs,
        outputs=layers[-1].outputs,
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        receptive_field=_largest([layer.receptive_field for layer in layers]),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
    )


def receptive_fields(function: Callable[..., Any], images: Any, *others: Any) -> Any:
    """Receptive field of each array that a function of images returns, by tracing it.

    Convolutions, poolings, slices, paddings, reshapes, interpolation, branches and everything elementwise are
    followed exactly, axis by axis; the channels of one place are not told apart. The field of a result is the
    largest of its entries'.

    Args:
      function: of images, such as ``lambda x, variables: model.apply(variables, x, train=False)``.
      images: ``[N, H, W, C]`` (or sequences, or video), an array or ``jax.ShapeDtypeStruct``.
      *others: further arguments, such as the variables; trees of the same.

    Returns:
      The function's result with a tuple of pixels an axis in place of each array, or None where the whole
      image is seen or may be (a sort, a loop). Pixels of the padding are counted.

    References:
      Araujo, Norris and Sim 2019, *Computing Receptive Fields of Convolutional Neural Networks*, Distill.

    >>> from jaxvision.ops import max_pool
    >>> image = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
    >>> receptive_fields(lambda x: {"c1": max_pool(x, (3, 2), strides=2), "mean": x.mean()}, image)
    {'c1': (3, 2), 'mean': None}
    """
    jaxpr, outputs = jax.make_jaxpr(function, return_shape=True)(images, *others)
    _, fields = walk_through(jaxpr, [0])
    return jax.tree.unflatten(jax.tree.structure(outputs), fields)

"""What the layers of any Linen network give, by name, and gradients with respect to it."""

import collections
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.extend.core import ClosedJaxpr, Literal

from jaxvision.core import name_some

_OUTPUT = "output"  # the network's own result, if it is one array


class _Place(NamedTuple):
    """Where an array is: of which call of which module, and where in its result."""

    path: tuple[str, ...]
    call: int
    keys: tuple[Any, ...]
    struct: jax.ShapeDtypeStruct


def list_layers(
    model: nn.Module, variables: Any, images: Any, **options: Any
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what every module of a network gives, by name, without running it.

    A name is the path of the module, such as ``"backbone/stage1_block0"``, and where it gives a dict the key,
    such as ``"backbone/c3"``; the second call of a shared module has ``@2`` behind its name. The network's
    own result is ``"output"``.

    Args:
      model: any Linen module.
      variables: of it.
      images: as the model takes them, an array or ``jax.ShapeDtypeStruct``.
      **options: of the model's call, such as ``train=False``.

    Returns:
      Shapes and dtypes in the order in which the calls end.

    >>> from jaxvision.layers import Conv
    >>> model, image = nn.Sequential([Conv(4, 1), nn.relu]), jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
    >>> {name: x.shape for name, x in list_layers(model, jax.eval_shape(model.init, jax.random.key(0), image),
    ...     image).items()}
    {'layers_0': (1, 8, 8, 4), 'output': (1, 8, 8, 4)}
    """
    return {name: place.struct for name, place in _places(model, variables, images, options).items()}


def feature_maps(
    model: nn.Module, variables: Any, images: jax.Array, *, layers: Sequence[str], **options: Any
) -> dict[str, jax.Array]:
    """What chosen layers of a network give. Pure: under ``jit`` the rest of the network is left out.

    Args:
      model: any Linen module.
      variables: of it.
      images: as the model takes them.
      layers: names of :func:`list_layers`, or ends of them that only one has, such as ``"c3"``.
      **options: of the model's call, such as ``train=False``.

    Returns:
      Arrays by the names given.

    Raises:
      ValueError: for a name that no layer has or several have, or a layer inside of a loop (``nn.scan``).

    >>> from jaxvision.layers import Conv
    >>> model, image = nn.Sequential([Conv(4, 1), nn.relu]), jax.numpy.ones((1, 8, 8, 3))
    >>> variables = model.init(jax.random.key(0), image)
    >>> feature_maps(model, variables, image, layers=["layers_0"])["layers_0"].shape
    (1, 8, 8, 4)
    """
    places = _places(model, variables, images, options)
    chosen = {layer: places[find_layer(layer, list(places))] for layer in layers}
    return _captured(model, variables, images, chosen, options)[1]


def find_layer(layer: str, names: Sequence[str]) -> str:
    """The name that is ``layer``, or the only one that ends with it.

    Raises:
      ValueError: if there is none (with the nearest ones), or there are several.

    >>> find_layer("c3", ["backbone/c2", "backbone/c3"])
    'backbone/c3'
    """
    if layer in names:
        return layer
    found = [name for name in names if name.endswith(f"/{layer}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"layer {layer!r}: several end with it, {name_some(found)}; give the whole name")
    lasts = {name.rpartition("/")[2]: name for name in reversed(names)}
    close = difflib.get_close_matches(layer, names) + [
        lasts[last] for last in difflib.get_close_matches(layer, lasts, cutoff=0.5)
    ]
    hint = f"did you mean {name_some(list(dict.fromkeys(close)), limit=3)}? " if close else ""
    raise ValueError(f"unknown layer {layer!r}; {hint}list_layers (--list) gives all {len(names)}")


def layer_gradients(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    *,
    layer: str,
    score: Callable[[Any], jax.Array],
    **options: Any,
) -> tuple[jax.Array, jax.Array, Any]:
    """A layer's result and the gradient of a score with respect to it, in any network as it is.

    The network is traced to a jaxpr, in which the layer's result is one variable; a zero is added to it and
    the score is differentiated by that. So all that reads the variable counts: a backbone's ``c3`` also by
    the stages behind it, not only by what takes it from the dict.

    Args:
      model: any Linen module.
      variables: of it.
      images: as the model takes them.
      layer: as in :func:`feature_maps`.
      score: of what the model returns, such as the logit of a class; an array of any shape, whose sum is
        differentiated: one number an image gives each image its own gradient.
      **options: of the model's call, such as ``train=False``.

    Returns:
      The layer's result, its gradient of the same shape and dtype, and what the model returns.

    Raises:
      ValueError: for an unknown layer, or one that the score does not depend on, as far as the program shows:
        a layer inside of ``nn.remat``, ``nn.jit`` or a loop is none of its variables.
    """
    places = _places(model, variables, images, options)
    name = find_layer(layer, list(places))
    place = places[name]

    def forward(variables: Any, images: Any, delta: jax.Array | None) -> Any:
        with nn.intercept_methods(_adder(place, delta)):
            outputs, found = _captured(model, variables, images, {name: place}, options)
        return found[name], score(outputs).sum(), outputs

    zeros = jax.numpy.zeros(place.struct.shape, place.struct.dtype)
    program, shapes = jax.make_jaxpr(forward, return_shape=True)(variables, images, None)
    arguments = jax.tree.leaves((variables, images))
    activation, total = program.jaxpr.outvars[:2]

    def through_program(delta: jax.Array) -> Any:
        leaves = _evaluate(program, arguments, activation, delta)
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    def through_call(delta: jax.Array) -> Any:
        return forward(variables, images, delta)

    run = through_program
    if not _reaches(program, activation, total):
        # Inside of nn.remat what is captured is a copy; but what the module returns can be moved there.
        moved = jax.make_jaxpr(forward)(variables, images, zeros)
        if place.keys or not _reaches(moved, moved.jaxpr.invars[-1], moved.jaxpr.outvars[1]):
            raise ValueError(
                f"layer {name!r}: the score does not depend on it; take one before it on the way to the "
                "score, or the module around it if it lies in nn.jit"
            )
        run = through_call

    def scored(delta: jax.Array) -> tuple[jax.Array, Any]:
        activation, total, outputs = run(delta)
        return total, (activation, outputs)

    gradient, (found, outputs) = jax.grad(scored, has_aux=True)(zeros)
    return found, gradient, outputs


def _adder(place: _Place, delta: jax.Array | None) -> Callable[..., Any]:
    """Interceptor that adds ``delta`` to the one array that a call gives."""
    calls: collections.Counter[tuple[str, ...]] = collections.Counter()

    def add(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        result, path = method(*args, **kwargs), tuple(context.module.path)
        if context.method_name != "__call__" or path != place.path:
            return result
        calls[path] += 1
        is_it = delta is not None and not place.keys and calls[path] == place.call + 1
        return result + delta if is_it else result

    return add


def _places(model: nn.Module, variables: Any, images: Any, options: Any) -> dict[str, _Place]:
    """All arrays that modules give, by name."""
    places: dict[str, _Place] = {}
    calls: collections.Counter[tuple[str, ...]] = collections.Counter()

    def note(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        result, path = method(*args, **kwargs), tuple(context.module.path)
        if context.method_name != "__call__":
            return result
        for keys, leaf in jax.tree_util.tree_flatten_with_path(result)[0]:
            if isinstance(leaf, jax.Array):
                within = jax.tree_util.keystr(keys, simple=True, separator="/")
                name = "/".join([*path, *([within] if within else [])]) or _OUTPUT
                name += f"@{calls[path] + 1}" if calls[path] else ""
                struct = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
                places[name] = _Place(path, calls[path], keys, struct)
        calls[path] += 1
        return result

    with nn.intercept_methods(note):
        jax.eval_shape(lambda v, x: model.apply(v, x, **options), variables, images)
    return places


def _captured(
    model: nn.Module, variables: Any, images: Any, places: Mapping[str, _Place], options: Any
) -> tuple[Any, dict[str, jax.Array]]:
    """What the model returns, and the arrays at the places."""
    paths = {place.path for place in places.values()}
    outputs, state = model.apply(
        variables,
        images,
        capture_intermediates=lambda module, method: method == "__call__" and module.path in paths,
        mutable=["intermediates"],
        **options,
    )
    found = {}
    for name, place in places.items():
        node = state.get("intermediates", {})
        for part in place.path:
            node = node.get(part, {})
        results = node.get("__call__", ())
        leaves = jax.tree_util.tree_flatten_with_path(results[place.call : place.call + 1])[0]
        arrays = [leaf for (_, *keys), leaf in leaves if tuple(keys) == place.keys]
        if not arrays:
            raise ValueError(f"layer {name!r}: inside of a loop (nn.scan); take the module around it")
        (found[name],) = arrays
    return outputs, found


def _reaches(program: ClosedJaxpr, source: Any, target: Any) -> bool:
    """Whether ``target`` is computed from ``source``."""
    if isinstance(source, Literal):
        return False
    reached = {source}
    for equation in program.jaxpr.eqns:
        if any(not isinstance(x, Literal) and x in reached for x in equation.invars):
            reached.update(equation.outvars)
    return not isinstance(target, Literal) and target in reached


def _evaluate(program: ClosedJaxpr, arguments: Sequence[Any], target: Any, delta: jax.Array) -> list[Any]:
    """Runs a program with ``delta`` added to one of its variables."""
    jaxpr, values = program.jaxpr, dict[Any, Any]()

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    def write(variables: Sequence[Any], results: Sequence[Any]) -> None:
        for variable, value in zip(variables, results, strict=True):
            values[variable] = value + delta if variable is target else value

    write(jaxpr.constvars, program.consts)
    write(jaxpr.invars, arguments)
    for equation in jaxpr.eqns:
        bound = equation.primitive.get_bind_params(equation.params)
        # Older releases of JAX give the functions among the parameters apart.
        functions, parameters = bound if isinstance(bound, tuple) else ((), bound)
        results = equation.primitive.bind(*functions, *map(read, equation.invars), **parameters)
        write(equation.outvars, results if equation.primitive.multiple_results else [results])
    return [read(variable) for variable in jaxpr.outvars]

"""Weights of PyTorch's recurrent networks to ours and back, none changed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.core import flatten_paths
from jaxvision.layers import GRU, LSTM, RNN
from jaxvision.weights import convert, recurrent_rules, to_state_dict

# Names and shapes of torch.nn.LSTM(5, 4, 2, bidirectional=True, proj_size=3).
PROJECTED = {
    f"{name}_l{layer}{suffix}": shape
    for layer, channels in ((0, 5), (1, 6))
    for suffix in ("", "_reverse")
    for name, shape in {
        "weight_ih": (16, channels),
        "weight_hh": (16, 3),
        "bias_ih": (16,),
        "bias_hh": (16,),
        "weight_hr": (3, 4),
    }.items()
}


def target_of(layer, path):
    init = functools.partial(layer.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 2, 5)))
    return {"params": {path: shapes["params"]}} if path else shapes


@pytest.mark.parametrize(("prefix", "path"), [("", ""), ("encoder.rnn.", "encoder")])
def test_goes_both_ways(prefix, path):
    rng = np.random.default_rng(0)
    source = {prefix + key: rng.normal(size=shape).astype(np.float32) for key, shape in PROJECTED.items()}
    rules = recurrent_rules(prefix.replace(".", r"\."), path and f"/{path}")
    variables = convert(source, rules, target_of(LSTM(4, 2, True, projection=3), path))
    params = variables["params"][path] if path else variables["params"]
    reverse = params["layer1_reverse"]
    np.testing.assert_array_equal(reverse["recurrent_kernel"], source[f"{prefix}weight_hh_l1_reverse"].T)
    np.testing.assert_array_equal(reverse["input_bias"], source[f"{prefix}bias_ih_l1_reverse"])
    back = to_state_dict(variables, rules)
    assert back.keys() == source.keys()
    for key, value in source.items():
        np.testing.assert_array_equal(back[key], value)


def test_one_direction_does_not_fill_two():
    source = {key: np.zeros(shape, np.float32) for key, shape in PROJECTED.items() if "reverse" not in key}
    with pytest.raises(ValueError, match=r"leaves are not in the source, the first are .*layer0_reverse"):
        convert(source, recurrent_rules("", ""), target_of(LSTM(4, 2, True, projection=3), ""))


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_torch_module_loads_what_it_gave(kind, bias):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(5, 4, 3, bias=bias, bidirectional=True, batch_first=True)
    layer = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}[kind](4, 3, True, use_bias=bias)
    source = {key: value.numpy() for key, value in theirs.state_dict().items()}
    variables = convert(source, recurrent_rules("", ""), target_of(layer, ""))
    assert len(flatten_paths(variables)) == len(source)
    x = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)
    y, _ = jax.jit(functools.partial(layer.apply, train=False))(variables, x)
    np.testing.assert_allclose(y, theirs(torch.from_numpy(x))[0].detach(), atol=1e-5)
    back = {
        key: torch.from_numpy(value)
        for key, value in to_state_dict(variables, recurrent_rules("", "")).items()
    }
    assert all(torch.equal(back[key], value) for key, value in theirs.state_dict().items())
    theirs.load_state_dict(back, strict=True)

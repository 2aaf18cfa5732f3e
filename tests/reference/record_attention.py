"""Records what PyTorch computes for attention, multi-head attention and torchvision's encoder block.

Run from the repository's root, where torch is installed: ``PYTHONPATH=tests python
tests/reference/record_attention.py``. Writes ``tests/reference/attention.npz``.
"""

from typing import Any

import numpy as np
from oracles.shared_weights import Case, record, torch_layout, torch_names

QUERY, KEY = (2, 5, 2, 3), (2, 4, 2, 3)


def masks() -> dict[str, np.ndarray]:
    """True where a query may see a key. Only "blind" hides all keys, from the second sample."""
    rng = np.random.default_rng(3)
    padding = np.array([[True, True, True, False], [True, False, True, True]])
    seen = rng.random((2, 2, 5, 4)) < 0.6
    seen[..., 0] = True
    blind = padding & np.array([[True], [False]])
    return {
        "padding": padding[:, None, None, :],
        "pairs": seen[:1, :1],
        "all": seen,
        "blind": blind[:, None, None, :],
    }


def product(
    *, where: str | None = None, bias: bool = False, causal: bool = False, scale: float | None = None
) -> Case:
    """``scaled_dot_product_attention``; a mask and a bias are one additive mask there."""
    inputs = {"query": QUERY, "key": KEY, "value": (2, 4, 2, 6)} | ({"bias": (1, 2, 5, 4)} if bias else {})

    def torch(inputs: Any, variables: Any) -> Any:
        import torch
        import torch.nn.functional as F

        heads_first = [inputs[name].transpose(1, 2) for name in ("query", "key", "value")]
        mask = torch.from_numpy(masks()[where]) if where else None
        if bias:
            mask = inputs["bias"] if mask is None else inputs["bias"].masked_fill(~mask, -torch.inf)
        y = F.scaled_dot_product_attention(*heads_first, attn_mask=mask, is_causal=causal, scale=scale)
        return y.transpose(1, 2)

    return Case(torch, inputs)


def dense(path: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"params/{path}kernel": (inputs, outputs), f"params/{path}bias": (outputs,)}


def multi_head(
    shapes: dict[str, tuple[int, ...]], *, where: str | None = None, bias: bool = False, causal: bool = False
) -> Case:
    """``nn.MultiheadAttention`` of 6 channels in 2 heads; ``padding`` and ``blind`` as key_padding_mask."""
    variables: dict[str, tuple[int, ...]] = {}
    widths = [shapes.get(name, shapes["query"])[-1] for name in ("query", "key")]
    widths.append(shapes.get("value", (widths[1],))[-1])
    for name, width in zip(("query", "key", "value"), widths, strict=True):
        variables |= dense(f"{name}/", width, 6)
    variables |= dense("out/", 6, 6)
    inputs = shapes | ({"bias": (2, 2, 5, 4)} if bias else {})

    def torch(inputs: Any, variables: Any) -> Any:
        import torch
        import torch.nn.functional as F

        length = inputs.get("key", inputs["query"]).shape[1]
        query = inputs["query"]
        key = inputs.get("key", query)
        value = inputs.get("value", key)
        padding = torch.from_numpy(~masks()[where][:, 0, 0]) if where in ("padding", "blind") else None
        mask = None
        if causal:
            mask = torch.ones(query.shape[1], length, dtype=torch.bool).triu(1)
        if where in ("pairs", "all"):
            mask = torch.from_numpy(~np.broadcast_to(masks()[where], (2, 2, 5, 4))).reshape(4, 5, 4)
        if bias:
            mask = inputs["bias"].reshape(4, 5, 4)
            padding = padding if padding is None else torch.zeros(2, 4).masked_fill(padding, -torch.inf)
        weight = {n: torch_layout(variables[f"params/{n}/kernel"]) for n in ("query", "key", "value", "out")}
        y, _ = F.multi_head_attention_forward(
            *(x.transpose(0, 1) for x in (query, key, value)),
            embed_dim_to_check=6,
            num_heads=2,
            in_proj_weight=None,
            in_proj_bias=torch.cat([variables[f"params/{n}/bias"] for n in ("query", "key", "value")]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=weight["out"],
            out_proj_bias=variables["params/out/bias"],
            key_padding_mask=padding,
            attn_mask=mask,
            need_weights=False,
            use_separate_proj_weight=True,
            q_proj_weight=weight["query"],
            k_proj_weight=weight["key"],
            v_proj_weight=weight["value"],
        )
        return y.transpose(0, 1)

    return Case(torch, inputs, variables)


def encoder_block(*, train: bool = False, dropout: float = 0.0, attention_dropout: float = 0.0) -> Case:
    """torchvision's ``EncoderBlock``; in training only with rates of 0 or 1, which draw nothing."""
    variables = {f"params/norm{i}/{name}": (6,) for i in (1, 2) for name in ("scale", "bias")}
    for name in ("query", "key", "value", "out"):
        variables |= dense(f"attention/{name}/", 6, 6)
    variables |= dense("mlp/hidden/", 6, 10) | dense("mlp/out/", 10, 6)
    prefixes = {"norm1": "ln_1", "norm2": "ln_2", "mlp/hidden": "mlp.0", "mlp/out": "mlp.3"}
    prefixes |= {"attention/out": "self_attention.out_proj"}

    def torch(inputs: Any, variables: Any) -> Any:
        import torch
        from torchvision.models.vision_transformer import EncoderBlock

        block = EncoderBlock(2, 6, 10, dropout, attention_dropout).train(train)
        separate = [f"attention/{name}/" for name in ("query", "key", "value")]
        rest = {path: v for path, v in variables.items() if not any(part in path for part in separate)}
        weights = torch_names(prefixes, rest)
        projections = [torch_layout(variables[f"params/{part}kernel"]) for part in separate]
        weights["self_attention.in_proj_weight"] = torch.cat(projections)
        weights["self_attention.in_proj_bias"] = torch.cat(
            [variables[f"params/{part}bias"] for part in separate]
        )
        assert weights.keys() == block.state_dict().keys()
        return torch.func.functional_call(block, weights, (inputs["x"],))

    return Case(torch, {"x": (2, 5, 6)}, variables)


SELF = {"query": (2, 5, 6)}
CROSS = {"query": (2, 5, 6), "key": (2, 4, 3)}
APART = {"query": (2, 5, 6), "key": (2, 4, 3), "value": (2, 4, 4)}
CASES = {
    "product": product(),
    "product causal": product(causal=True),
    "product scale": product(scale=0.3),
    "product bias": product(bias=True),
    "product bias, pairs": product(bias=True, where="pairs"),
    "product padding": product(where="padding"),
    "product all": product(where="all"),
    "product blind": product(where="blind"),
    "self": multi_head(SELF),
    "self causal": multi_head(SELF, causal=True),
    "one token": multi_head({"query": (1, 1, 6)}),
    "cross": multi_head(CROSS),
    "cross padding": multi_head(CROSS, where="padding"),
    "cross blind": multi_head(CROSS, where="blind"),
    "cross pairs": multi_head(CROSS, where="pairs"),
    "apart": multi_head(APART),
    "apart all": multi_head(APART, where="all"),
    "apart bias, padding": multi_head(APART, where="padding", bias=True),
    "block": encoder_block(),
    "block train": encoder_block(train=True),
    "block dropout of all": encoder_block(train=True, dropout=1.0),
    "block dropout of all weights": encoder_block(train=True, attention_dropout=1.0),
}


if __name__ == "__main__":
    record("attention", CASES)

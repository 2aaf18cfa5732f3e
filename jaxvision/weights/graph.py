"""Rules for graph layers and networks of PyTorch Geometric."""

from jaxvision.weights.blocks import linear_rules, norm_rules
from jaxvision.weights.convert import Rule
from jaxvision.weights.recurrent import recurrent_rules


def gcn_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``GCNConv``.

    Args:
      prefix: regular expression of its name, with the dot: ``r"convs\\.(\\d+)\\."``; empty for it alone.
      path: of our layer, with a leading slash; ``\\1`` stands for a group of the prefix. Empty likewise.

    Returns:
      Rules for kernel and bias.

    >>> gcn_rules(r"convs\\.(\\d+)\\.", r"/conv\\1")[0].path
    'params/conv\\\\1/kernel'
    """
    return Rule(rf"{prefix}lin\.weight", f"params{path}/kernel", "linear"), _bias(prefix, path)


def chebyshev_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``ChebConv``; arguments as :func:`gcn_rules`."""
    kernel = Rule(rf"{prefix}lins\.(?P<k>\d+)\.weight", rf"params{path}/order\g<k>/kernel", "linear")
    return kernel, _bias(prefix, path)


def sage_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``SAGEConv`` of every aggregator, projected or not; arguments as :func:`gcn_rules`."""
    return (
        Rule(rf"{prefix}lin_l\.weight", f"params{path}/neighbour/kernel", "linear"),
        Rule(rf"{prefix}lin_l\.bias", f"params{path}/bias"),
        Rule(rf"{prefix}lin_r\.weight", f"params{path}/root/kernel", "linear"),
        *linear_rules(rf"{prefix}lin\.", f"{path}/project"),
        *recurrent_rules(rf"{prefix}aggr_module\.lstm\.", f"{path}/lstm"),
    )


def gat_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``GATConv``; arguments as :func:`gcn_rules`."""
    return (
        Rule(rf"{prefix}lin\.weight", f"params{path}/kernel", "linear"),
        Rule(rf"{prefix}att_src", f"params{path}/sender_attention", "heads"),
        Rule(rf"{prefix}att_dst", f"params{path}/receiver_attention", "heads"),
        Rule(rf"{prefix}lin_edge\.weight", f"params{path}/edge_kernel", "linear"),
        Rule(rf"{prefix}att_edge", f"params{path}/edge_attention", "heads"),
        Rule(rf"{prefix}res\.weight", f"params{path}/residual_kernel", "linear"),
        _bias(prefix, path),
    )


def gatv2_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``GATv2Conv``; of shared weights ignore ``lin_r``. Arguments as :func:`gcn_rules`."""
    return (
        Rule(rf"{prefix}lin_l\.weight", f"params{path}/sender_kernel", "linear"),
        Rule(rf"{prefix}lin_l\.bias", f"params{path}/sender_bias"),
        Rule(rf"{prefix}lin_r\.weight", f"params{path}/receiver_kernel", "linear"),
        Rule(rf"{prefix}lin_r\.bias", f"params{path}/receiver_bias"),
        Rule(rf"{prefix}att", f"params{path}/attention", "heads"),
        Rule(rf"{prefix}lin_edge\.weight", f"params{path}/edge_kernel", "linear"),
        Rule(rf"{prefix}res\.weight", f"params{path}/residual_kernel", "linear"),
        _bias(prefix, path),
    )


def mlp_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``torch_geometric.nn.MLP`` to our ``NodeMLP``; arguments as :func:`gcn_rules`."""
    return (
        Rule(rf"{prefix}lins\.(?P<k>\d+)\.weight", rf"params{path}/dense\g<k>/kernel", "linear"),
        Rule(rf"{prefix}lins\.(?P<k>\d+)\.bias", rf"params{path}/dense\g<k>/bias"),
        *norm_rules(rf"{prefix}norms\.(?P<k>\d+)\.module\.", rf"{path}/norm\g<k>"),
    )


def gin_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``GINConv`` around an ``MLP``; ``eps`` of one that is not learned is to be ignored.

    Arguments as :func:`gcn_rules`.
    """
    return (
        *mlp_rules(rf"{prefix}nn\.", f"{path}/mlp"),
        Rule(rf"{prefix}eps", f"params{path}/epsilon", "scalar"),
    )


def edge_conv_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``EdgeConv`` around an ``MLP``; arguments as :func:`gcn_rules`."""
    return mlp_rules(rf"{prefix}nn\.", f"{path}/mlp")


def mixture_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``GMMConv`` whose Gaussians all channels share; arguments as :func:`gcn_rules`."""
    return (
        Rule(rf"{prefix}g", f"params{path}/kernel"),
        Rule(rf"{prefix}mu", f"params{path}/means"),
        Rule(rf"{prefix}sigma", f"params{path}/deviations"),
        Rule(rf"{prefix}root\.weight", f"params{path}/root_kernel", "linear"),
        _bias(prefix, path),
    )


def top_k_rules(prefix: str, path: str) -> tuple[Rule, ...]:
    """Rules for ``TopKPooling``; arguments as :func:`gcn_rules`."""
    return (Rule(rf"{prefix}select\.weight", f"params{path}/direction", "row"),)


def _bias(prefix: str, path: str) -> Rule:
    return Rule(rf"{prefix}bias", f"params{path}/bias")

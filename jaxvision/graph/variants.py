"""The networks with the settings of their papers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn

from jaxvision.core import find_variant
from jaxvision.graph.dynamic import DGCNN
from jaxvision.graph.hops_and_mixtures import NN4GNet
from jaxvision.graph.networks import GAT, GCN, GIN, ChebNet, GraphSAGE

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Kipf and Welling 2017, section 5.2: two layers, 16 hidden units, dropout 0.5.
        "gcn": {"network": GCN, "hidden": (16,), "dropout_rate": 0.5},
        # Their section 6.2, table 3: Chebyshev filters of order 2 and 3, which are 3 and 4 polynomials.
        "chebnet_order2": {"network": ChebNet, "hidden": (16,), "dropout_rate": 0.5, "order": 3},
        "chebnet_order3": {"network": ChebNet, "hidden": (16,), "dropout_rate": 0.5, "order": 4},
        # Velickovic et al. 2018, section 3.3: 8 heads of 8 features, one output head, dropout 0.6 of features
        # and attention; Pubmed has 8 output heads.
        "gat": {"network": GAT, "hidden": (8,), "num_heads": 8, "output_heads": 1, "dropout_rate": 0.6},
        "gat_pubmed": {
            "network": GAT,
            "hidden": (8,),
            "num_heads": 8,
            "output_heads": 8,
            "dropout_rate": 0.6,
        },
        "gatv2": {"network": GAT, "hidden": (8,), "num_heads": 8, "dropout_rate": 0.6, "version": 2},
        # Hamilton et al. 2017, section 4: depth 2; the paper trains on sampled neighbours, without dropout.
        # Two layers of 16 with dropout as the GCN is what compares on a public split of Planetoid.
        "graphsage_mean": {"network": GraphSAGE, "hidden": (16,), "dropout_rate": 0.5},
        "graphsage_pool": {
            "network": GraphSAGE,
            "hidden": (16,),
            "dropout_rate": 0.5,
            "aggregator": "max",
            "project_features": 512,
        },
        # Xu et al. 2019, section 7: five layers, the input counted, of 2-layer perceptrons; 32 or 16 units.
        "gin": {"network": GIN, "hidden": (32, 32, 32, 32), "dropout_rate": 0.5},
        "gin_epsilon": {
            "network": GIN,
            "hidden": (32, 32, 32, 32),
            "dropout_rate": 0.5,
            "learn_epsilon": True,
        },
        # Micheli 2009 adds units one by one; the width and depth of the GCN, without its dropout.
        "nn4g": {"network": NN4GNet, "hidden": (16, 16), "dropout_rate": 0.0},
        # Wang et al. 2019, section 4.1 and figure 3: four edge convolutions, 20 nearest points, dropout 0.5.
        "dgcnn": {"network": DGCNN, "hidden": (64, 64, 128, 256), "nearest": 20, "dropout_rate": 0.5},
    }
)
"""Networks of the papers: fields of :func:`graph_network` by name."""


def graph_network(variant: str, **overrides: Any) -> nn.Module:
    """Builds a graph network by name.

    Args:
      variant: a key of :data:`VARIANTS`.
      **overrides: fields of the network to set or replace, such as ``num_classes``.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    >>> graph_network("gcn", num_classes=7).hidden
    (16,)
    """
    fields = dict(find_variant("graph network", variant, VARIANTS))
    network = fields.pop("network")
    return network(**{**fields, **overrides})

"""What the papers trained their graph networks with: the defaults of a run, by task and network."""

import dataclasses
from types import MappingProxyType
from typing import Any

from jaxvision.core import find_variant


@dataclasses.dataclass(frozen=True)
class GraphRecipe:
    """Hyper-parameters of a published training.

    Attributes:
      fields: of the model's options.
      learning_rate: of Adam.
      l2: strength of the L2 penalty.
      l2_layers: path patterns of what is penalised; empty for all matrices.
      steps: epochs on one graph, or batches of graphs.
      patience: epochs in a row without a better score on the validation nodes that end a run.
      optimizer: of :mod:`jaxvision.optimizers`.
    """

    fields: dict[str, Any]
    learning_rate: float = 0.01
    l2: float = 5e-4
    l2_layers: tuple[str, ...] = ("conv0",)
    steps: int = 200
    patience: int | None = None
    optimizer: str = "adam"


NODE_RECIPES = MappingProxyType(
    {
        # Kipf and Welling 2017, section 5.2. Their early stopping (10 epochs) hardly ever ends a run.
        "gcn": GraphRecipe({"hidden": 16, "layers": 2, "dropout": 0.5}),
        # Kipf and Welling 2017, section 5.2 and table 3: Chebyshev filters, the same otherwise.
        "chebnet": GraphRecipe({"hidden": 16, "layers": 2, "dropout": 0.5, "hops": 2}),
        # Velickovic et al. 2018, section 3.3; 100,000 epochs at most in their code, which none reaches.
        "gat": GraphRecipe(
            {"hidden": 8, "heads": 8, "layers": 2, "dropout": 0.6},
            learning_rate=0.005,
            l2_layers=(),
            steps=1000,
            patience=100,
        ),
        # Brody et al. 2022 name no setting for Cora; that of the GAT.
        "gatv2": GraphRecipe(
            {"hidden": 8, "heads": 8, "layers": 2, "dropout": 0.6},
            learning_rate=0.005,
            l2_layers=(),
            steps=1000,
            patience=100,
        ),
        # Hamilton et al. 2017 do not use Planetoid; Shchur et al. 2018, "Pitfalls of Graph Neural Network
        # Evaluation", do, with early stopping. Hidden size and penalty here are those of the GCN.
        "sage": GraphRecipe({"hidden": 16, "layers": 2, "dropout": 0.5}, l2_layers=()),
        # Xu et al. 2019 classify graphs; for nodes the setting of the GCN.
        "gin": GraphRecipe({"hidden": 16, "layers": 2, "dropout": 0.5}, l2_layers=()),
        # Atwood and Towsley 2016, section 4: AdaGrad, rate 0.05, no penalty; 2 hops.
        "dcnn": GraphRecipe({"hidden": 16, "dropout": 0.5, "hops": 2}, 0.05, 0.0, (), 200, None, "adagrad"),
        # Monti et al. 2017, section 5.2: the setting of the GCN, with Gaussian kernels over degrees.
        "monet": GraphRecipe({"hidden": 16, "layers": 2, "dropout": 0.5}),
        # Micheli 2009 and Wang et al. 2019 use no such graphs; the setting of the GCN.
        "nn4g": GraphRecipe({"hidden": 16, "layers": 2, "dropout": 0.5}, l2_layers=()),
        "dgcnn": GraphRecipe({"hidden": 16, "layers": 2, "dropout": 0.5}, l2_layers=()),
    }
)

GRAPH_RECIPES = MappingProxyType(
    {
        # Xu et al. 2019, section 7: five layers, 64 units, dropout 0.5, Adam at 0.01.
        "gin": GraphRecipe({"hidden": 64, "layers": 5, "dropout": 0.5}, 0.01, 0.0, (), 400),
        "gcn": GraphRecipe({"hidden": 64, "layers": 3, "dropout": 0.5}, 0.01, 0.0, (), 400),
        "gat": GraphRecipe({"hidden": 8, "heads": 8, "layers": 3, "dropout": 0.2}, 0.005, 0.0, (), 400),
        "gatv2": GraphRecipe({"hidden": 8, "heads": 8, "layers": 3, "dropout": 0.2}, 0.005, 0.0, (), 400),
        "sage": GraphRecipe({"hidden": 64, "layers": 3, "dropout": 0.5}, 0.01, 0.0, (), 400),
        "chebnet": GraphRecipe({"hidden": 64, "layers": 3, "dropout": 0.5, "hops": 2}, 0.01, 0.0, (), 400),
        # Micheli 2009, section III: a dense layer on the mean of the states.
        "nn4g": GraphRecipe(
            {"hidden": 32, "layers": 4, "dropout": 0.0, "readout": "mean"}, 0.01, 0.0, (), 400
        ),
        # Wang et al. 2019, section 4.1: layers of 64, the maximum over the nodes, dropout 0.5.
        "dgcnn": GraphRecipe(
            {"hidden": 64, "layers": 3, "dropout": 0.5, "readout": "max"}, 0.001, 0.0, (), 400
        ),
    }
)

# Kipf and Welling 2016, "Variational Graph Auto-Encoders", section 4: 32 hidden units, 16 out, Adam at 0.01,
# 200 epochs, no dropout, no penalty.
_LINK = GraphRecipe({"hidden": 32, "layers": 2, "dropout": 0.0}, 0.01, 0.0, (), 200)

LINK_RECIPES = MappingProxyType(
    {
        "gcn": _LINK,
        "gat": dataclasses.replace(_LINK, fields={**_LINK.fields, "hidden": 8, "heads": 4}),
        "gatv2": dataclasses.replace(_LINK, fields={**_LINK.fields, "hidden": 8, "heads": 4}),
        "sage": _LINK,
        "gin": _LINK,
        "chebnet": dataclasses.replace(_LINK, fields={**_LINK.fields, "hops": 2}),
        "nn4g": _LINK,
        "dgcnn": _LINK,
    }
)

RECIPES = MappingProxyType({"node": NODE_RECIPES, "graph": GRAPH_RECIPES, "link": LINK_RECIPES})
DEFAULT_NETWORKS = MappingProxyType({"node": "gcn", "graph": "gin", "link": "gcn"})


def find_recipe(task: str, network: str) -> GraphRecipe:
    """The recipe of a network.

    Raises:
      ValueError: if there is no such task, or the network is none for it.

    >>> find_recipe("node", "gat").learning_rate
    0.005
    """
    if task not in RECIPES:
        raise ValueError(f"--task {task}: expected {', '.join(RECIPES)}")
    table = {name: {"recipe": recipe} for name, recipe in RECIPES[task].items()}
    found: GraphRecipe = find_variant(f"network of --task {task}", network, table)["recipe"]
    return found

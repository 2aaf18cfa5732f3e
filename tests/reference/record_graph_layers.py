"""Records what PyTorch Geometric computes for graph layers: outputs and gradients, one vector a case.

Run from the repository's root, where torch_geometric is installed: ``PYTHONPATH=tests:. python
tests/reference/record_graph_layers.py``. Writes ``tests/reference/graph_layers.npz``.
"""

import json

import numpy as np
import torch
import torch_geometric
from oracles.graph_cases import GRAPHS, LAYERS, REFERENCE, graph_of, run_torch


def main() -> None:
    """Records every layer on every graph."""
    values = {}
    for name, case in LAYERS.items():
        for graph in GRAPHS:
            results = run_torch(case, graph_of(graph, case.edges))
            values[f"{name}|{graph}"] = np.concatenate([results[key].ravel() for key in sorted(results)])
    versions = {"torch": torch.__version__, "torch_geometric": torch_geometric.__version__}
    np.savez_compressed(REFERENCE, header=json.dumps({"versions": versions}), **values)
    print(f"{REFERENCE.name}: {REFERENCE.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()

"""Data and tasks of a run on graphs, from its options: what training and prediction have in common."""

import dataclasses
from typing import Protocol

from jaxvision.core import Graph
from jaxvision.data import FullGraphNodes, GraphSet, NodeGraph, SampledNodes
from jaxvision.tasks.graph import GraphShape, Penalty, graph_task, link_task, node_task
from jaxvision.tasks.graph_networks import (
    GraphModelOptions,
    graph_classifier,
    link_scorer,
    node_classifier,
)
from jaxvision.tasks.graph_options import GraphData, GraphLossOptions
from jaxvision.training import RunOptions, Task


class GraphConfig(Protocol):
    """The options of a run on graphs."""

    @property
    def data(self) -> GraphData:
        """The graphs."""

    @property
    def model(self) -> GraphModelOptions:
        """The network."""

    @property
    def loss(self) -> GraphLossOptions:
        """What is minimised."""

    @property
    def run(self) -> RunOptions:
        """The run."""


def open_nodes(config: GraphConfig, *, needs_labels: bool) -> NodeGraph:
    """The graph of nodes, without what its edges carry where the network does not read it."""
    data = config.data.open_node_graph(needs_labels=needs_labels)
    if config.data.keeps_edges(shape_of(data.graph).edge_shape, config.model):
        return data
    return dataclasses.replace(data, graph=data.graph._replace(edges=None))


def open_graphs(config: GraphConfig, everything: GraphSet) -> GraphSet:
    """The graphs, without what their edges carry where the network does not read it."""
    if config.data.keeps_edges(shape_of(everything.graphs[0]).edge_shape, config.model):
        return everything
    graphs = [graph._replace(edges=None) for graph in everything.graphs]
    return dataclasses.replace(everything, graphs=graphs)


def penalty_of(config: GraphConfig) -> Penalty:
    """The penalty that the options name."""
    return Penalty(config.loss.l2, config.loss.l2_layers)


def shape_of(graph: Graph) -> GraphShape:
    """What the parameters depend on, of a graph of the data."""
    edges = None if graph.edges is None else tuple(graph.edges.shape[1:])
    return GraphShape(graph.nodes.shape[1], edges)


def node_loader(
    config: GraphConfig, data: NodeGraph, *, shards: int, plan: bool
) -> FullGraphNodes | SampledNodes:
    """The batches of one whole graph, or of neighbourhoods."""
    fan_out, model = config.data.fan_out, config.model
    if not fan_out:
        return FullGraphNodes(data, edge_multiple=shards, plan=plan, nonzero=model.drops_features)
    return SampledNodes(
        data,
        fan_out,
        batch_size=config.data.batch_size,
        edges=model.sampled_edges(fan_out, use_edges=data.graph.edges is not None),
        shards=shards,
        seed=config.run.seed,
    )


def make_node_task(config: GraphConfig, loader: FullGraphNodes | SampledNodes, num_classes: int) -> Task:
    """The task of nodes, of the graphs that a loader of :func:`node_loader` gives."""
    graph = loader.graph if isinstance(loader, SampledNodes) else loader.data.graph
    uses_edges, is_sampled = loader.data.graph.edges is not None, bool(config.data.fan_out)
    model = node_classifier(config.model, num_classes, use_edges=uses_edges, sampled=is_sampled)
    return node_task(model, shape_of(graph), penalty=penalty_of(config))


def make_graph_task(config: GraphConfig, everything: GraphSet, num_classes: int) -> Task:
    """The task of graphs."""
    graph = everything.graphs[0]
    model = graph_classifier(config.model, num_classes, use_edges=graph.edges is not None)
    return graph_task(model, shape_of(graph), penalty=penalty_of(config))


def make_link_task(config: GraphConfig, graph: Graph) -> Task:
    """The task of links."""
    model = link_scorer(config.model, use_edges=graph.edges is not None)
    return link_task(model, shape_of(graph), penalty=penalty_of(config))

"""Graphs as pictures: well formed, complete, the same each time, and without overlaps."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import gradloom.ops.contract
import gradloom.ops.elementwise
import gradloom.ops.reduce  # noqa: F401
from gradloom.errors import Where
from gradloom.ir.draw import COLOURS, HEIGHT, graph_dot, graph_svg
from gradloom.ir.graph import Graph
from gradloom.ir.node import make
from gradloom.ir.op import OPS, Kind
from gradloom.ir.source import const, parameter
from gradloom.ir.types import TensorType

SVG = "{http://www.w3.org/2000/svg}"
VECTOR = TensorType((4,), "float32")


def apply(name, *inputs, **attrs):
    return make(OPS[name], *inputs, where=Where("/home/ada/<model>.py", 12, "loss"), **attrs)


def training(depth=1):
    """A loss of `depth` layers and an update that needs all of them."""
    w, x = parameter(VECTOR), parameter(VECTOR)
    layers = [x]
    for _ in range(depth):
        layers.append(apply("tanh", apply("multiply", layers[-1], w)))
    loss = apply("sum", layers[-1], axes=(0,))
    g = const(0.5, "float32")
    for layer in reversed(layers):
        g = apply("multiply", g, apply("negative", layer))
    return Graph((w, x), (loss,), ((w, apply("subtract", w, g)),))


def random_graph(count, seed):
    rng = np.random.default_rng(seed)
    inputs = tuple(parameter(VECTOR) for _ in range(3))
    nodes = list(inputs)
    while len(nodes) < count:
        first, second = rng.integers(max(0, len(nodes) - 30), len(nodes), 2)
        node = apply("add", nodes[first], nodes[second])
        nodes += [node] * (node not in nodes)
    return Graph(inputs, tuple(nodes[-20:]))


def boxes(svg):
    """The tooltip and the frame of each node."""
    root = ElementTree.fromstring(svg)
    return [
        (group.find(f"{SVG}title").text, group.find(f"{SVG}rect").attrib)
        for group in root.iter(f"{SVG}g")
        if group.find(f"{SVG}title") is not None
    ]


def test_every_node_has_a_box_with_type_and_line():
    graph = training()
    shown = boxes(graph_svg(graph))
    assert len(shown) == len([n for n in graph.nodes() if n.op is not OPS["const"]])
    (tanh,) = [(tip, box) for tip, box in shown if "tanh" in tip]
    assert re.match(r"v\d: float32\[4\] = tanh\(v\d\)\n<model>.py:12 in loss", tanh[0])
    assert tanh[1]["fill"] == COLOURS[Kind.ELEMENTWISE]


def test_names_are_those_of_the_text():
    graph = training(2)
    text = graph.text()
    for tip, _ in boxes(graph_svg(graph)):
        name, kind = tip.split(" = ")[0].split(": ")
        assert f"{name}: {kind}" in text


def test_forward_inputs_and_outputs_are_marked():
    shown = boxes(graph_svg(training()))
    inputs = [tip for tip, box in shown if box["stroke"] == "#2a6f3c"]
    assert [tip.split("=")[0] for tip in inputs] == ["v0: float32[4] ", "v1: float32[4] "]
    results = {tip.splitlines()[-1] for tip, box in shown if box["stroke"] == "#b3261e"}
    assert results == {"output 0", "update of v0"}
    dashed = {re.search(r"= (\w+)", tip)[1] for tip, box in shown if "stroke-dasharray" in box}
    assert dashed == {"negative", "multiply", "subtract"}


def test_constants_stand_with_their_users():
    assert re.search(r">v\d+ multiply 0.5<", graph_svg(training()))
    alone = Graph((), (const(np.inf, "float32"),))
    assert ">v0 const inf<" in graph_svg(alone)


@pytest.mark.parametrize(
    "graph", [training(1), training(60), random_graph(300, 0)], ids=["2", "60", "300"]
)
def test_boxes_do_not_overlap_and_users_are_below(graph):
    svg = graph_svg(graph)
    assert svg == graph_svg(graph)
    places = {}
    for tip, box in boxes(svg):
        places[tip.split(":")[0]] = [float(box[k]) for k in ("x", "y", "width")]
    rows = {}
    for x, y, wide in places.values():
        rows.setdefault(y, []).append((x, x + wide))
    for row in rows.values():
        assert all(a[1] < b[0] for a, b in itertools.pairwise(sorted(row)))
    root = ElementTree.fromstring(svg)
    for x, y, wide in places.values():
        assert 0 <= x <= x + wide <= float(root.get("width"))
        assert 0 <= y <= y + HEIGHT <= float(root.get("height"))
    for tip, _ in boxes(svg):
        name, *operands = re.findall(r"\bv\d+", tip.splitlines()[0])
        assert all(places[operand][1] < places[name][1] for operand in operands)


def test_an_empty_graph():
    assert boxes(graph_svg(Graph((), ()))) == []
    assert graph_dot(Graph((), ())).endswith("}\n")


def test_dot():
    text = graph_dot(training())
    assert text.startswith("digraph")
    assert text.count("{") == text.count("}") == 1
    names = set(re.findall(r"^  (v\d+) \[", text, re.M))
    edges = re.findall(r"^  (v\d+) -> (v\d+)", text, re.M)
    assert {name for edge in edges for name in edge} <= names
    assert "constraint=false" in text
    assert len(names) == len(boxes(graph_svg(training())))

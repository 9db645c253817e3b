"""A graph as a picture: SVG with a layout of its own, or Graphviz's text.

Operands stand above their users, on layers by the longest path; a line that crosses layers goes
through a bend on each of them. The same graph gives the same text.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from gradloom.ir.graph import Graph, topological
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.source import CONST

# Fill colours, light enough for black letters.
COLOURS = {
    Kind.SOURCE: "#e6e6e6",
    Kind.ELEMENTWISE: "#cfe3f7",
    Kind.REDUCE: "#f9d9b0",
    Kind.MOVE: "#e4d7f2",
    Kind.JOIN: "#d8ccb8",
    Kind.CONTRACT: "#f5bcbc",
    Kind.GATHER: "#c9ead0",
    Kind.SCATTER: "#b5d8b8",
    Kind.CONTROL: "#f3e79b",
    Kind.CALL: "#f3e79b",
    Kind.ROUTINE: "#bfe5e4",
    Kind.ITEM: "#efefef",
}
INPUT_COLOUR, OUTPUT_COLOUR = "#2a6f3c", "#b3261e"
LETTER = 6.7  # width of a letter of 11-pixel monospace
LAYER, HEIGHT, GAP, MARGIN = 66.0, 34.0, 16.0, 24.0
TOP = 64.0  # room for the legend
SWEEPS = 12  # of the ordering, down and up; more change little on graphs of 300 nodes
ATTRIBUTE = 40  # letters shown of an attribute


def graph_svg(graph: Graph) -> str:
    """A picture of `graph`: a box a node, coloured by kind, its type and line as the tooltip.

    Green frames are inputs, red ones outputs and updates. Boxes with dashed frames are not needed
    for the first output: in a training step, the reverse sweep and the update. Constants stand in
    the boxes of their users.
    """
    drawing = _Drawing(graph)
    places = _Layout(drawing.order, drawing.width).places()
    width = max([places.width, 460.0]) + 2 * MARGIN
    height = TOP + places.layers * LAYER + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="11">',
        '<defs><marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0,0 L6,3 L0,6 z" fill="#777"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        *_legend(drawing),
        '<g fill="none" stroke="#999">',
        f'<path d="{" ".join(_curve(*edge) for edge, arrow in places.edges if not arrow)}"/>',
        '<g marker-end="url(#tip)">',
        *(f'<path d="{_curve(*edge)}"/>' for edge, arrow in places.edges if arrow),
        "</g></g>",
        *(drawing.box(node, *places.at[node]) for node in drawing.order),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def graph_dot(graph: Graph) -> str:
    """The same picture in the language of Graphviz, which lays it out."""
    drawing = _Drawing(graph)
    lines = ["digraph gradloom {", '  node [shape=box, style="filled", fontname="monospace"];']
    for node in drawing.order:
        label = "\\n".join(_quoted(text) for text in drawing.label(node))
        colour, _, dashed = drawing.frame(node)
        style = "filled,dashed" if dashed else "filled"
        tip = "\\n".join(_quoted(text) for text in drawing.tooltip(node).split("\n"))
        lines.append(
            f'  {drawing.names[node]} [label="{label}", fillcolor="{COLOURS[node.op.kind]}", '
            f'color="{colour}", style="{style}", tooltip="{tip}"];'
        )
    for node in drawing.order:
        drawn = (x for x in node.inputs if x in drawing.marks or x.op is not CONST)
        lines += [f"  {drawing.names[x]} -> {drawing.names[node]};" for x in drawn]
    for target, node in graph.updates:
        names = f"{drawing.names[node]} -> {drawing.names[target]}"
        lines.append(f'  {names} [style=dashed, color="{OUTPUT_COLOUR}", constraint=false];')
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


# ---- what a node shows


class _Drawing:
    """Names, labels and frames, as in the graph's text."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        everything = topological(graph.roots, graph.inputs)
        self.names = {node: f"v{n}" for n, node in enumerate(everything)}
        self.order = [n for n in everything if n.op is not CONST or n in graph.roots]
        self.inputs = {node: n for n, node in enumerate(graph.inputs)}
        self.forward = set(topological(graph.outputs[:1]) if graph.outputs else self.order)
        self.marks: dict[Node, list[str]] = {}
        for number, node in enumerate(graph.outputs):
            self.marks.setdefault(node, []).append(f"output {number}")
        for target, node in graph.updates:
            self.marks.setdefault(node, []).append(f"update of {self.names[target]}")

    def label(self, node: Node) -> list[str]:
        title = f"input {self.inputs[node]}" if node in self.inputs else node.op.name
        numbers = [self.number(x) for x in (node, *node.inputs) if x.op is CONST]
        return [" ".join([self.names[node], title, *numbers]), str(node.type)]

    @staticmethod
    def number(constant: Node) -> str:
        return f"{float(constant.op.reference(**dict(constant.attrs))):.6g}"

    def width(self, node: Node) -> float:
        return max(len(text) for text in self.label(node)) * LETTER + 14

    def tooltip(self, node: Node) -> str:
        shown = [self.number(n) if n.op is CONST else self.names[n] for n in node.inputs]
        shown += [f"{key}={_short(value)}" for key, value in node.attrs]
        lines = [f"{self.names[node]}: {node.type} = {node.op.name}({', '.join(shown)})"]
        if node.where is not None:
            lines.append(str(node.where))
        return "\n".join([*lines, *self.marks.get(node, ())])

    def frame(self, node: Node) -> tuple[str, float, bool]:
        """Colour, width, and whether it is dashed."""
        dashed = node not in self.forward
        if node in self.marks:
            return OUTPUT_COLOUR, 2.4, dashed
        if node in self.inputs:
            return INPUT_COLOUR, 2.4, dashed
        return "#666", 1.0, dashed

    def box(self, node: Node, x: float, y: float) -> str:
        colour, stroke, dashed = self.frame(node)
        wide = self.width(node)
        first, second = (escape(text) for text in self.label(node))
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        return (
            f"<g><title>{escape(self.tooltip(node))}</title>"
            f'<rect x="{x - wide / 2:.1f}" y="{y - HEIGHT / 2:.1f}" width="{wide:.1f}" '
            f'height="{HEIGHT:.0f}" rx="5" fill="{COLOURS[node.op.kind]}" stroke="{colour}" '
            f'stroke-width="{stroke}"{dash}/>'
            f'<text x="{x:.1f}" y="{y - 3:.1f}" text-anchor="middle">{first}</text>'
            f'<text x="{x:.1f}" y="{y + 11:.1f}" text-anchor="middle" fill="#555" '
            f'font-size="10">{second}</text></g>'
        )


def _short(value: object) -> str:
    text = f"{len(value.nodes())} operations" if isinstance(value, Graph) else str(value)
    return text if len(text) <= ATTRIBUTE else f"{text[: ATTRIBUTE - 3]}..."


def _legend(drawing: _Drawing) -> list[str]:
    parts = []
    x = MARGIN
    present = {node.op.kind for node in drawing.order}
    for kind in (kind for kind in Kind if kind in present):
        name = kind.name.lower()
        parts.append(
            f'<rect x="{x:.0f}" y="12" width="12" height="12" fill="{COLOURS[kind]}" '
            f'stroke="#666"/><text x="{x + 16:.0f}" y="22">{name}</text>'
        )
        x += 30 + len(name) * LETTER
    text = (
        f'<tspan fill="{INPUT_COLOUR}">green: inputs</tspan>, '
        f'<tspan fill="{OUTPUT_COLOUR}">red: outputs, updates</tspan>, '
        "dashed: not needed for output 0"
    )
    return [*parts, f'<text x="{MARGIN:.0f}" y="42">{text}</text>']


Point = tuple[float, float]


def _curve(start: Point, stop: Point) -> str:
    """A smooth line that is vertical at both ends."""
    (x, y), (u, v) = start, stop
    middle = (y + v) / 2
    return f"M{x:.0f},{y:.0f} C{x:.0f},{middle:.0f} {u:.0f},{middle:.0f} {u:.0f},{v:.0f}"


# ---- layout


@dataclass
class _Places:
    """Centres of the boxes, and lines with whether they end in an arrow."""

    at: dict[Node, Point]
    edges: list[tuple[tuple[Point, Point], bool]]
    width: float
    layers: int


@dataclass
class _Layout:
    """Layers of points: first the nodes in `order`, then the bends of lines that cross layers."""

    order: Sequence[Node]
    width_of: Callable[[Node], float]
    layer: list[int] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    above: list[list[int]] = field(default_factory=list)
    below: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._assign_layers()
        self.widths = [self.width_of(node) for node in self.order]
        self.above = [[] for _ in self.order]
        self.below = [[] for _ in self.order]
        for number in range(len(self.order)):
            self._connect(number)
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer, default=-1) + 1)]
        for point, layer in enumerate(self.layer):
            self.rows[layer].append(point)

    def places(self) -> _Places:
        self._sort_rows()
        xs = self._positions()
        points = [(x, TOP + (layer + 0.5) * LAYER) for x, layer in zip(xs, self.layer, strict=True)]
        count = len(self.order)
        edges = []
        for start, (x, y) in enumerate(points):
            for stop in self.below[start]:
                u, v = points[stop]
                bottom = y + HEIGHT / 2 if start < count else y
                top = v - HEIGHT / 2 if stop < count else v
                edges.append((((x, bottom), (u, top)), stop < count))
        ends = [x + w / 2 for x, w in zip(xs, self.widths, strict=True)]
        at = dict(zip(self.order, points, strict=False))
        return _Places(at, edges, max(ends, default=0.0) - MARGIN, len(self.rows))

    def _assign_layers(self) -> None:
        """The longest path from above; then nodes with at most one operand just above their users,
        so that one line is long instead of two boxes far from what they are for."""
        number = {node: n for n, node in enumerate(self.order)}
        self.users: list[list[int]] = [[] for _ in self.order]
        for n, node in enumerate(self.order):
            operands = [number[x] for x in dict.fromkeys(node.inputs) if x in number]
            self.layer.append(1 + max((self.layer[x] for x in operands), default=-1))
            for x in operands:
                self.users[x].append(n)
        for n in reversed(range(len(self.order))):
            if len(number.keys() & self.order[n].inputs) <= 1 and self.users[n]:
                self.layer[n] = min(self.layer[u] for u in self.users[n]) - 1

    def _connect(self, number: int) -> None:
        """One chain of bends from a node down to its last user, shared by all of them."""
        chain = number
        for layer in range(self.layer[number] + 1, len(self.order) + 1):
            ahead = [u for u in self.users[number] if self.layer[u] >= layer]
            if not ahead:
                return
            for user in (u for u in ahead if self.layer[u] == layer):
                self._link(chain, user)
            if any(self.layer[u] > layer for u in ahead):
                bend = len(self.layer)
                self.layer.append(layer)
                self.widths.append(2.0)
                self.above.append([])
                self.below.append([])
                self._link(chain, bend)
                chain = bend

    def _link(self, upper: int, lower: int) -> None:
        self.below[upper].append(lower)
        self.above[lower].append(upper)

    # ---- order within the layers

    def _sort_rows(self) -> None:
        """Barycentres, down and up in turn; the order with the fewest crossings is kept."""
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            neighbours = self.above if down else self.below
            rank = {p: place for row in self.rows for p, place in _ranked(row)}
            for row in self.rows if down else reversed(self.rows):
                centre = {p: _mean([rank[q] for q in neighbours[p]], rank[p]) for p in row}
                row.sort(key=centre.__getitem__)
                rank.update(_ranked(row))
            found = self._crossings()
            if found < fewest:
                best, fewest = [list(row) for row in self.rows], found
        self.rows = best

    def _crossings(self) -> int:
        total = 0
        place = {p: n for row in self.rows for n, p in enumerate(row)}
        for row in self.rows:
            seen: list[int] = []
            for point in row:
                ends = sorted(place[q] for q in self.below[point])
                total += sum(len(seen) - bisect_right(seen, end) for end in ends)
                for end in ends:
                    insort(seen, end)
        return total

    # ---- positions

    def _positions(self) -> list[float]:
        """Each point as near to the middle of its neighbours as the others of its row allow."""
        xs = [0.0] * len(self.layer)
        for row in self.rows:
            for point, x in zip(row, self._spread(row, [0.0] * len(row)), strict=True):
                xs[point] = x
        for sweep in range(SWEEPS):
            for row in self.rows if sweep % 2 == 0 else reversed(self.rows):
                wanted = [
                    _mean([xs[q] for q in (*self.above[p], *self.below[p])], xs[p]) for p in row
                ]
                for point, x in zip(row, self._spread(row, wanted), strict=True):
                    xs[point] = x
        left = min((x - w / 2 for x, w in zip(xs, self.widths, strict=True)), default=0.0)
        return [x - left + MARGIN for x in xs]

    def _spread(self, row: list[int], wanted: list[float]) -> list[float]:
        """The places nearest to `wanted`, by least squares, at which the boxes do not touch.

        Offsets by the room to the left make this an isotonic regression: neighbours out of order
        are pooled at their mean.
        """
        room = [0.0]
        for one, other in pairwise(row):
            room.append(room[-1] + (self.widths[one] + self.widths[other]) / 2 + GAP)
        pools: list[tuple[float, int]] = []
        for want, ahead in zip(wanted, room, strict=False):
            mean, count = want - ahead, 1
            while pools and pools[-1][0] > mean:
                before, size = pools.pop()
                mean = (mean * count + before * size) / (count + size)
                count += size
            pools.append((mean, count))
        found = [mean for mean, count in pools for _ in range(count)]
        return [x + ahead for x, ahead in zip(found, room, strict=False)]


def _ranked(row: list[int]) -> list[tuple[int, float]]:
    """Places within a row, as fractions of its length."""
    return [(point, (n + 0.5) / len(row)) for n, point in enumerate(row)]


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise

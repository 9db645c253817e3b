"""Buffers as they are decided upon, before each has its place."""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field

from gradloom.ir.node import Node
from gradloom.ir.source import PARAMETER


@dataclass
class Memory:
    """Buffers as they are decided upon."""

    nodes: list[Node] = field(default_factory=list)
    spaces: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    rows: dict[int, tuple[int, int]] = field(default_factory=dict)  # what of, and stride in bytes
    names: list[str] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def add(self, node: Node, space: str, where: int, name: str) -> int:
        name = _variable(name)
        if name in self._taken:
            name = f"{name}_{len(self.names)}"
        self._taken.add(name)
        self.nodes.append(node)
        self.spaces.append(space)
        self.places.append(where)
        self.names.append(name)
        return len(self.nodes) - 1

    def arena(self, node: Node) -> int:
        name = "work" if node.op is PARAMETER else node.op.name
        return self.add(node, "arena", 0, f"{name}_{len(self.nodes)}")

    def row(self, node: Node, of: int, offset: int, stride: int) -> int:
        """Part of buffer `of`, from byte `offset` on, that moves by `stride` bytes a round."""
        found = self.add(node, "row", offset, f"{self.names[of]}_row")
        self.rows[found] = of, stride
        return found

    def base(self, buffer: int) -> int:
        """The buffer that a row, or a row of a row, is part of."""
        while buffer in self.rows:
            buffer = self.rows[buffer][0]
        return buffer

    def bytes_of(self, buffer: int) -> int:
        """What a buffer takes of the arena."""
        return self.nodes[buffer].type.nbytes if self.spaces[buffer] == "arena" else 0


# Names that a driver uses itself.
RESERVED = frozenset(
    (
        *("table", "arena", "control", "worker", "team", "lower", "upper", "cut", "share", "meet"),
        *("order", "start", "until", "batches", "batch", "first", "first_epoch", "mode", "rows"),
        *(
            "row",
            "low",
            "high",
            "keep",
            "done",
            "end",
            "stop",
            "top",
            "view",
            "get",
            "put",
            "get_ptr",
        ),
        *("copy", "zero", "threefry", "shuffle", "gather_rows", "range"),
    )
)

PREFIXES = ("all_", "load_", "store_", "invoke_", "math_", "routine_")


def _variable(name: str) -> str:
    """A name as a Python variable of the driver."""
    cleaned = "".join(c if c.isalnum() and c.isascii() else "_" for c in name).strip("_") or "value"
    cleaned = cleaned if cleaned.isidentifier() else f"_{cleaned}"
    taken = keyword.iskeyword(cleaned) or cleaned in RESERVED or cleaned.startswith(PREFIXES)
    return f"{cleaned}_" if taken else cleaned

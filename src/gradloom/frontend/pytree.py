"""Nested dicts, lists, tuples, namedtuples and dataclasses, taken apart into leaves and rebuilt."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from gradloom.errors import StructureError, message, user_where


@dataclass(frozen=True, slots=True)
class Structure:
    """The shape of a tree without its leaves: hashable, so that it can key a cache.

    `kind` is a container type, None for a leaf, or `type(None)` for an empty subtree.
    """

    kind: Any
    keys: tuple[Any, ...] = ()
    children: tuple[Structure, ...] = ()
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:  # a structure is looked up at every call
        object.__setattr__(self, "_hash", hash((self.kind, self.keys, self.children)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        if self.kind is None:
            return "*"
        if self.kind is type(None):
            return "None"
        inner = ", ".join(f"{k}: {c}" for k, c in zip(self.keys, self.children, strict=True))
        return f"{self.kind.__name__}({inner})"


LEAF = Structure(None)
_EMPTY = Structure(type(None))


def _children(tree: Any) -> tuple[Any, tuple[Any, ...], list[Any]] | None:
    """The container type, keys and children of a container; None for a leaf."""
    if isinstance(tree, dict):
        keys = _sorted_keys(tree)
        return type(tree), keys, [tree[k] for k in keys]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree), tree._fields, list(tree)
    if isinstance(tree, list | tuple):
        return type(tree), tuple(range(len(tree))), list(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = tuple(f.name for f in dataclasses.fields(tree))
        return type(tree), names, [getattr(tree, name) for name in names]
    return None


def _sorted_keys(tree: dict[Any, Any]) -> tuple[Any, ...]:
    """Equal dicts have equal structures: the order counts only where it does to Python."""
    if isinstance(tree, OrderedDict):
        return tuple(tree)
    try:
        return tuple(sorted(tree, key=lambda k: (type(k).__name__, k)))
    except TypeError:
        raise StructureError(
            message(
                f"the keys of a dict have no order: {', '.join(map(repr, tree))[:200]}",
                user_where(),
                "use strings or numbers as keys",
            )
        ) from None


@cache
def _plain_tuple(size: int) -> Structure:
    return Structure(tuple, tuple(range(size)), (LEAF,) * size)


@cache
def of_call(arguments: Structure) -> Structure:
    """The structure of `(args, {})` for that of `args`."""
    return Structure(tuple, (0, 1), (arguments, Structure(dict)))


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Leaves in a fixed order (dict keys sorted), and the structure that `unflatten` needs.

    >>> leaves, structure = flatten({"w": 1, "b": (2, None)})
    >>> leaves, str(structure)
    ([2, 1], 'dict(b: tuple(0: *, 1: None), w: *)')
    """
    if type(tree) is tuple and all(type(leaf) is np.ndarray for leaf in tree):
        return list(tree), _plain_tuple(len(tree))  # what most calls are given
    leaves: list[Any] = []
    return leaves, _walk(tree, leaves)


# A function inside of `flatten` that calls itself would hold the leaves, which may have memory of a
# GPU, until Python collects cycles.
def _walk(node: Any, leaves: list[Any]) -> Structure:
    if node is None:
        return _EMPTY
    found = _children(node)
    if found is None:
        leaves.append(node)
        return LEAF
    kind, keys, children = found
    return Structure(kind, keys, tuple(_walk(c, leaves) for c in children))


def unflatten(structure: Structure, leaves: Any) -> Any:
    """The tree with these leaves."""
    remaining = iter(leaves)
    if structure.kind is None:
        return next(remaining)
    return _built(structure, remaining)


def _built(node: Structure, remaining: Iterator[Any]) -> Any:
    if node.kind is None:
        return next(remaining)
    if node.kind is type(None):
        return None
    children = [_built(c, remaining) for c in node.children]
    if issubclass(node.kind, dict):
        made = node.kind.__new__(node.kind)  # a defaultdict wants other arguments than a dict
        made.update(zip(node.keys, children, strict=True))
        return made
    if hasattr(node.kind, "_fields"):
        return node.kind(*children)
    if issubclass(node.kind, list | tuple):
        return node.kind(children)
    return _rebuilt(node.kind, dict(zip(node.keys, children, strict=True)))


def _rebuilt(kind: Any, fields: dict[str, Any]) -> Any:
    """A dataclass instance with these fields, without running its `__init__` or checks."""
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def paths(structure: Structure, prefix: str = "") -> Iterator[str]:
    """A name for every leaf, in order: 'layers[0].w'."""
    if structure.kind is None:
        yield prefix or "value"
    for key, child in zip(structure.keys, structure.children, strict=True):
        if isinstance(key, int):
            yield from paths(child, f"{prefix}[{key}]")
        else:
            yield from paths(child, f"{prefix}.{key}" if prefix else str(key))


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """`function` of corresponding leaves, in the structure of the first tree.

    >>> tree_map(lambda a, b: a + b, {"w": 1, "b": 2}, {"w": 10, "b": 20})
    {'b': 22, 'w': 11}
    """
    leaves, structure = flatten(tree)
    columns = [leaves]
    for other in others:
        more, found = flatten(other)
        check_same(structure, found, "the trees given to tree_map")
        columns.append(more)
    return unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])


def prefix(short: Any, tree: Any, what: str) -> list[Any]:
    """For every leaf of `tree`, what stands for it in `short`, a tree that may end earlier: a leaf
    of it, or None, stands for all that is below.

    >>> prefix((0, None), ({"a": 1, "b": 2}, [3]), "in_axes")
    [0, 0, None]
    """
    if short is None or _children(short) is None:
        return [short] * len(flatten(tree)[0])
    if tree is None:
        return []
    theirs, ours = _children(tree), _children(short)
    assert ours is not None
    if theirs is None or theirs[:2] != ours[:2]:
        found = "a leaf" if theirs is None else str(flatten(tree)[1])
        raise StructureError(
            message(
                f"{what} is {short!r} where the arguments or results have {found}",
                user_where(),
                f"give {what} the same containers, or end it earlier with one entry for all below",
            )
        )
    pairs = zip(ours[2], theirs[2], strict=True)
    return [leaf for one, other in pairs for leaf in prefix(one, other, what)]


def check_same(expected: Structure, found: Structure, what: str) -> None:
    """Raise `StructureError` unless the two structures are one."""
    if expected != found:
        raise StructureError(
            message(
                f"{what}: the structure changed from {expected} to {found}",
                user_where(),
                "keep the same containers, keys and lengths",
            )
        )

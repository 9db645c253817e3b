"""Trees of a known structure, taken apart and put together in far less time than by a walk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any

from gradloom.frontend.pytree import LEAF, Structure, flatten, unflatten

Leaves = Sequence[Any]


def taker(structure: Structure) -> Callable[[Any], Leaves | None]:
    """A function that gives the leaves of a tree of this structure, and None of any other tree.

    What stands in the place of a leaf is not looked at, so it may be a container.

    >>> take = taker(flatten({"w": 1, "b": (2, 3)})[1])
    >>> take({"b": (4, 5), "w": 6}), take({"w": 1}), take((1, 2))
    ([4, 5, 6], None, None)
    """
    if structure.kind is None:
        return lambda tree: (tree,)
    if structure.kind is type(None):
        return lambda tree: () if tree is None else None
    opened = _opener(structure)
    if opened is None:
        return partial(_by_a_walk, structure)
    if all(child is LEAF for child in structure.children):
        return opened
    inner = [None if child is LEAF else taker(child) for child in structure.children]

    def take(tree: Any) -> Leaves | None:
        children = opened(tree)
        if children is None:
            return None
        leaves: list[Any] = []
        for child, take_child in zip(children, inner, strict=True):
            if take_child is None:
                leaves.append(child)
                continue
            found = take_child(child)
            if found is None:
                return None
            leaves += found
        return leaves

    return take


def _opener(structure: Structure) -> Callable[[Any], Leaves | None] | None:
    """A function that gives the children of a container of this kind and these keys, or None."""
    kind, keys, count = structure.kind, structure.keys, len(structure.keys)
    if kind is dict:
        get = _getter(itemgetter, keys)

        def opened(tree: Any) -> Leaves | None:
            if type(tree) is not dict or len(tree) != count:
                return None
            try:
                return get(tree)
            except KeyError:
                return None

        return opened
    if issubclass(kind, list | tuple):
        return lambda tree: tree if type(tree) is kind and len(tree) == count else None
    if dataclasses.is_dataclass(kind):
        get = _getter(attrgetter, keys)
        return lambda tree: get(tree) if type(tree) is kind else None
    return None  # a dict that is ordered, or makes what it has not


def _getter(get: Any, keys: tuple[Any, ...]) -> Callable[[Any], Leaves]:
    """All of these items, or attributes, in one call."""
    if len(keys) > 1:
        found: Callable[[Any], Leaves] = get(*keys)
        return found
    if not keys:
        return lambda tree: ()
    only = get(*keys)
    return lambda tree: (only(tree),)


def _by_a_walk(structure: Structure, tree: Any) -> Leaves | None:
    leaves, found = flatten(tree)
    return leaves if found == structure else None


def builder(structure: Structure) -> Callable[[Leaves], Any]:
    """A function that makes the tree of a list of leaves, as `unflatten` does."""
    kind, children = structure.kind, structure.children
    if kind is None:
        return itemgetter(0)
    if kind in (list, tuple) and all(child is LEAF for child in children):
        return kind
    return partial(unflatten, structure)

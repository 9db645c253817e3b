"""A call's arguments as native code wants them, if they are those a program was compiled for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradloom.frontend.matching import taker
from gradloom.frontend.pytree import Structure
from gradloom.runtime.arrays import NATIVE
from gradloom.tracing import Leaf, is_wide

# The class of the Python numbers that have a dtype.
_NUMBERS: dict[str, Any] = {"bool": bool, "int64": int, "float64": float, "complex128": complex}

Accept = Callable[[Any], list[Any] | None]


def acceptor(structure: Structure, leaves: Sequence[Leaf], also: Any = None) -> Accept:
    """A function that gives the arrays of a tree of this structure and with these leaves: NumPy's,
    and `also` those of another class, which has a dtype and a shape too.

    None of any other tree, and where an array lies so that it must be copied: of these, and of what
    is no argument at all, `jitted.signature` and `contiguous` take care.
    """
    take = taker(structure)
    wanted = [
        (NATIVE[leaf.type.dtype], leaf.type.shape, _NUMBERS[leaf.type.dtype] if leaf.weak else None)
        for leaf in leaves
    ]

    def accept(tree: Any) -> list[np.ndarray] | None:
        found = take(tree)
        if found is None:
            return None
        arrays: list[Any] = []
        for leaf, (dtype, shape, number) in zip(found, wanted, strict=True):
            if number is None:
                if type(leaf) is not np.ndarray or leaf.dtype is not dtype or leaf.shape != shape:
                    if type(leaf) is not also or leaf.dtype is not dtype or leaf.shape != shape:
                        return None
                    arrays.append(leaf)
                    continue
                flags = leaf.flags
                if not (flags.c_contiguous and flags.aligned):
                    return None
                arrays.append(leaf)
            elif type(leaf) is number and not (number is int and is_wide(leaf)):
                arrays.append(np.array(leaf, dtype))
            else:
                return None
        return arrays

    return accept


def stack_acceptor(structure: Structure, leaves: Sequence[Leaf], also: Any = None) -> Accept:
    """A function that gives the arrays of a tree of this structure of stacks: each has a leading
    axis, as long as the others', of such leaves.

    None of any other tree, as `acceptor`'s.
    """
    take = taker(structure)
    known = (np.ndarray, also)
    wanted = [(NATIVE[leaf.type.dtype], leaf.type.shape) for leaf in leaves]
    if any(leaf.weak for leaf in leaves):  # a stack of Python's numbers is an array, and not weak
        return lambda tree: None

    def accept(tree: Any) -> list[np.ndarray] | None:
        found = take(tree)
        if not found or type(found[0]) not in known:
            return None
        ahead = found[0].shape[:1]
        for leaf, (dtype, shape) in zip(found, wanted, strict=True):
            if type(leaf) not in known or leaf.dtype is not dtype:
                return None
            if not ahead or leaf.shape != ahead + shape:
                return None
            if type(leaf) is np.ndarray:
                flags = leaf.flags
                if not (flags.c_contiguous and flags.aligned):
                    return None
        return list(found)

    return accept

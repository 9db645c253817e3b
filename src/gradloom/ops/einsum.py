"""Einstein summation: any notation of NumPy's, as products of two operands at a time."""

from __future__ import annotations

import functools
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.errors import ShapeError
from gradloom.ops.contract import contract, presum
from gradloom.ops.diagonals import diagonal
from gradloom.ops.elementwise import astype
from gradloom.ops.move import reshape, transpose
from gradloom.ops.public import as_operand, public, refuse_out, wrong_shape


@public(np.einsum)
def einsum(*operands: Any, out: None = None, optimize: Any = True, dtype: Any = None) -> Any:
    """Einstein summation, `einsum("ij,jk->ik", x, y)` or `einsum(x, [0, 1], y, [1, 2], [0, 2])`.

    A label twice in an operand is its diagonal, an ellipsis are the axes without a label, which
    broadcast; without an arrow the labels that occur once are left, in alphabetical order.  Three
    operands or more are taken in the order that `np.einsum_path` finds best (`optimize`: what it
    takes, or False for from left to right).

    >>> import gradloom.numpy as gnp
    >>> gnp.einsum("ij,j->i", [[1.0, 2.0]], [3.0, 4.0])
    array([11.])
    """
    refuse_out(out, "einsum")
    subscripts, arrays = _read(operands)
    values = [as_operand(a) for a in arrays]
    if dtype is not None:
        values = [astype(v, dtype) for v in values]
    terms, result = parsed(subscripts, tuple(tuple(v.shape) for v in values))
    pairs = [
        _plain(v, term, result) for v, term in zip(values, _unit_free(values, terms), strict=True)
    ]
    return _contracted(pairs, result, optimize)


@public(np.einsum_path)
def einsum_path(*operands: Any, optimize: Any = "greedy") -> tuple[list[Any], str]:
    """NumPy's `einsum_path`, which looks at shapes only, so that operands may be traced."""
    subscripts, arrays = _read(operands)
    dummies = [_dummy(tuple(as_operand(a).shape)) for a in arrays]
    path, text = np.einsum_path(subscripts, *dummies, optimize=optimize)
    return list(path), str(text)


def _dummy(shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(np.zeros((), "float64"), shape)


# ---- notation


def _read(operands: tuple[Any, ...]) -> tuple[str, Sequence[Any]]:
    """The subscripts as text, and the arrays."""
    if not operands:
        raise wrong_shape("einsum of nothing", "give it subscripts and operands")
    if isinstance(operands[0], str):
        return operands[0], operands[1:]
    count = len(operands) // 2
    terms = [_as_text(t) for t in operands[1 : 2 * count : 2]]
    arrow = f"->{_as_text(operands[-1])}" if len(operands) % 2 else ""
    return ",".join(terms) + arrow, operands[: 2 * count : 2]


def _as_text(labels: Any) -> str:
    return "".join("..." if n is Ellipsis else string.ascii_letters[int(n)] for n in labels)


@functools.lru_cache(maxsize=1024)
def parsed(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[str, ...], str]:
    """The labels of every operand and of the result, ellipses spelled out."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(shapes):
        raise _unfit(subscripts, shapes, f"it takes {len(terms)} operands")
    free = [n for n in string.ascii_letters if n not in subscripts]
    widest = 0
    spelled = []
    for term, shape in zip(terms, shapes, strict=True):
        extra = len(shape) - len(term.replace("...", "", 1))
        good = extra == 0 or (extra > 0 and "..." in term)
        plain = term.replace("...", "", 1)
        if not good or not (plain.isalpha() or not plain) or not plain.isascii():
            raise _unfit(subscripts, shapes, "give one letter an axis, or an ellipsis for the rest")
        widest = max(widest, extra)
        spelled.append((term, extra))
    names = "".join(free[:widest])
    full = tuple(t.replace("...", names[widest - extra :]) for t, extra in spelled)
    if arrow:
        result = result.replace("...", names)
    else:
        result = names + "".join(sorted(n for n in set(given) - {",", "."} if given.count(n) == 1))
    known = set("".join(full))
    if len(set(result)) != len(result) or not set(result) <= known:
        raise _unfit(subscripts, shapes, "the result takes labels of operands, each once")
    _check_sizes(subscripts, full, shapes)
    return full, result


def _unfit(subscripts: str, shapes: Any, repair: str) -> ShapeError:
    shown = ", ".join(str(tuple(s)) for s in shapes)
    return wrong_shape(f"einsum {subscripts!r} does not fit operands of shapes {shown}", repair)


def _check_sizes(subscripts: str, terms: Sequence[str], shapes: Any) -> None:
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            if sizes.get(label, 1) == 1:
                sizes[label] = size
            elif size not in (1, sizes[label]):
                raise wrong_shape(
                    f"einsum {subscripts!r} of shapes {', '.join(map(str, shapes))}: {label!r} is"
                    f" both {sizes[label]} and {size}",
                    "axes of one letter must have one size",
                )


def _unit_free(values: Sequence[Any], terms: Sequence[str]) -> list[str]:
    """The terms, a space in place of labels of axes of size one that broadcast."""
    largest: dict[str, int] = {}
    for value, term in zip(values, terms, strict=True):
        for label, size in zip(term, value.shape, strict=True):
            largest[label] = size if largest.get(label, 1) == 1 else largest[label]
    return [
        "".join(
            " " if size == 1 and largest[n] != 1 else n
            for n, size in zip(term, value.shape, strict=True)
        )
        for value, term in zip(values, terms, strict=True)
    ]


# ---- products


def _plain(x: Any, term: str, result: str) -> tuple[Any, str]:
    """An operand in which no label stands twice, and none is a space."""
    if " " in term:
        x = reshape(x, tuple(n for n, label in zip(x.shape, term, strict=True) if label != " "))
        term = term.replace(" ", "")
    for label in dict.fromkeys(term):
        while term.count(label) > 1:
            first = term.index(label)
            second = term.index(label, first + 1)
            x = diagonal(x, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + label
    return x, term


def _contracted(pairs: list[tuple[Any, str]], result: str, optimize: Any) -> Any:
    for chosen in _path(pairs, result, optimize):
        taken = [pairs[i] for i in chosen]
        pairs = [p for i, p in enumerate(pairs) if i not in chosen]
        value, term = taken[0]
        for k, (other, labels) in enumerate(taken[1:], 1):
            later = result + "".join(t for _, t in (*pairs, *taken[k + 1 :]))
            made = "".join(n for n in dict.fromkeys(term + labels) if n in later)
            value = contract(value, other, term, labels, made)
            term = made
        pairs.append((value, term))
    ((value, term),) = pairs
    value, term = presum(value, term, result)
    return transpose(value, tuple(term.index(n) for n in result)) if term != result else value


def _path(pairs: list[tuple[Any, str]], result: str, optimize: Any) -> list[tuple[int, ...]]:
    """Which operands to take together, each time by their places; the product goes last."""
    if len(pairs) == 1:
        return []
    if len(pairs) == 2:
        return [(0, 1)]
    if optimize is False:
        return [(0, 1), *[(0, len(pairs) - k) for k in range(2, len(pairs))]]
    text = ",".join(term for _, term in pairs) + "->" + result
    dummies = [_dummy(tuple(x.shape)) for x, _ in pairs]
    steps, _ = np.einsum_path(text, *dummies, optimize=optimize)
    return [tuple(sorted(step)) for step in steps[1:]]

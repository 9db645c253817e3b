"""A contraction as batched matrix products on raw strides, so that transposes cost nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import is_

from gradloom.ir.affine import Affine, Index
from gradloom.ir.node import Node
from gradloom.ir.op import Kind
from gradloom.ir.types import row_strides
from gradloom.plan.limits import Within, as_limit, never_empty, within
from gradloom.plan.nest import Place, access, locate
from gradloom.plan.plan import Product

# Below this many rows or columns the microkernel leaves most of its lanes idle; a nest of
# multiply-adds with the long axis across lanes is faster.  64 x 64 times a vector: 0.7 us as a
# nest, 1.6 as a product; with two columns 2.0 and 1.6 (benchmarks/lane_costs.py).  One row times so
# many columns is a product: 512 times 512 x 512 takes 32 us as a nest, 10 as a product.
THIN = 2
WIDE = 64
# Vectors of multiply-adds up to which a nest, whose loops are then written out in the driver
# (`plan.embed`), is faster: 4 x 4 times 4 x 16 takes 15.5 ns as a product and a few as a nest, but
# 4 x 8 times 8 x 16 20 and 29.
TINY = 16
LANES = 16  # of float32 in the widest vector


@dataclass(frozen=True)
class Axis:
    """One label, with its stride in each of A, B and C (zero where it does not stand).

    One that guards are about keeps its name, and is not merged with others.
    """

    size: int
    a: int
    b: int
    c: int
    label: str = ""


@dataclass(frozen=True)
class Matrices:
    """A product and where its operands start; `swapped` if A is the node's right operand."""

    product: Product
    a: Place
    b: Place


def as_product(
    node: Node, stored: Callable[[Node], bool], strides: tuple[int, ...] | None = None
) -> Matrices | None:
    """The matrix product that a contraction is, or None where a nest serves better; `strides` are
    those of its result, if that is part of another."""
    if not node.type.is_float:
        return None
    x, y = node.inputs
    written = node["left"], node["right"]
    places = [_place(operand, stored) for operand in (x, y)]
    out = dict(zip(node["result"], strides or row_strides(node.type.shape), strict=True))
    terms = [_strides(t, p) for t, p in zip(written, places, strict=True)]
    sizes = dict(zip(node["left"] + node["right"], x.type.shape + y.type.shape, strict=True))
    guards = _guards(written, places, sizes)
    across = next((label for label in reversed(node["result"]) if sizes[label] != 1), "")
    if (across in terms[0] and across in terms[1]) or not across:
        return None
    if across in terms[0]:  # the columns of C must be the right operand's
        places.reverse()
        terms.reverse()
    left, right = terms
    named = {label for guard in guards for label, _ in guard.factors}
    axes = {
        label: Axis(
            size,
            left.get(label, 0),
            right.get(label, 0),
            out.get(label, 0),
            label if label in named else "",
        )
        for label, size in sizes.items()
        if size != 1
    }
    product = _assembled(axes, left, right, out, guards)
    if product is None:
        return None
    before = min(places[0].at.const, 0), min(places[1].at.const, 0)
    return Matrices(replace(product, dtype=node.type.dtype, before=before), *places)


def copied(node: Node, stored: Callable[[Node], bool]) -> tuple[Node, ...]:
    """The operand of a contraction to be laid out in its own order first, if there is one: where
    several matrices share a B whose columns do not lie side by side, each would copy it.

    The reverse by x of a convolution, 64 x 64 channels on 8 x 8 in float32: 61 Gflop/s with a copy
    for each row of places, 154 with one (`benchmarks/convolutions.py`).
    """
    sides = [(node["left"], node.inputs[0]), (node["right"], node.inputs[1])]
    sizes = {n: k for term, x in sides for n, k in zip(term, x.type.shape, strict=True) if k != 1}
    long = [label for label in node["result"] if label in sizes]
    if not node.type.is_float or not long:
        return ()
    (term, operand), (others, other) = sides if long[-1] in node["left"] else sides[::-1]
    own = [label for label in term if label in sizes]
    if long[-1] in others or own[-1] != long[-1] or stored(operand):
        return ()
    if _strides(term, _place(operand, stored))[long[-1]] == 1:
        return ()
    out = dict(zip(node["result"], row_strides(node.type.shape), strict=True))
    at = _strides(others, _place(other, stored))
    matrices = [Axis(sizes[n], at[n], 0, out[n]) for n in long if n not in term]
    if len(_merged(matrices)) <= 1:
        return ()
    return (_inside(operand, term.index(long[-1]), stored),)


def _inside(operand: Node, column: int, stored: Callable[[Node], bool]) -> Node:
    """What an operand is a view of with a border around it, if its columns lie side by side."""
    index, found, node = _index(operand), operand, operand
    while node.op.kind is Kind.MOVE and not stored(node):
        (below,) = node.inputs
        moved = access(node, _index(node))
        place = locate(operand, index, partial(is_, below))
        if moved is None or place is None or place.at.coefficient(column) != 1:
            break
        found = below if moved[1] else found
        node = below
    return found


def _guards(terms: Sequence[str], places: Sequence[Place], sizes: dict[str, int]) -> list[Within]:
    """Those of both operands."""
    found = [within(g, t, sizes) for t, p in zip(terms, places, strict=True) for g in p.guards]
    return [guard for guard in found if guard is not None]


def _place(operand: Node, stored: Callable[[Node], bool]) -> Place:
    place = locate(operand, _index(operand), stored)
    assert place is not None, f"{operand} is not in memory"
    return place


def _index(node: Node) -> Index:
    return tuple(Affine.axis(d) for d in range(node.type.ndim))


def _strides(term: str, place: Place) -> dict[str, int]:
    return {label: place.at.coefficient(d) for d, label in enumerate(term)}


def _assembled(
    axes: dict[str, Axis],
    left: dict[str, int],
    right: dict[str, int],
    out: dict[str, int],
    guards: list[Within],
) -> Product | None:
    """Labels sorted into rows, columns and depth; what cannot be merged goes to the batch.  None
    too where guards are not limits of the depth."""
    rows = _merged([a for n, a in axes.items() if n in left and n not in right])
    columns = _merged([a for n, a in axes.items() if n in right and n not in left])
    depth = _merged([a for n, a in axes.items() if n not in out])
    batch = [a for n, a in axes.items() if n in left and n in right and n in out]
    rows = rows or [Axis(1, 0, 0, 0)]
    if not columns:
        return None
    batch = sorted(batch + rows[:-1] + columns[:-1], key=lambda a: -a.c)
    m, n = rows[-1], columns[-1]
    if n.b != 1:  # B is read along the depth, so that is innermost where B has stride 1
        depth.sort(key=lambda a: a.b == 1)
    too_thin = m.size < THIN and (n.size < WIDE or n.b != 1 or not depth)
    depth = depth or [Axis(1, 0, 0, 0)]
    labels = [a.label for a in batch], [a.label for a in depth]
    found = [as_limit(guard, *labels) for guard in guards]
    limits = tuple(limit for limit in found if limit is not None)
    sizes = tuple(a.size for a in batch), tuple(a.size for a in depth)
    if len(limits) < len(guards) or not never_empty(limits, *sizes):
        return None
    vectors = m.size * -(-n.size // LANES) * math.prod(a.size for a in (*batch, *depth))
    if vectors <= TINY:
        return None
    if too_thin or n.size < THIN or n.c != 1 or 1 not in (n.b, depth[-1].b):
        return None
    return Product(
        name="",
        dtype="",
        batch=sizes[0],
        rows=m.size,
        columns=n.size,
        depth=sizes[1],
        a_strides=(*(a.a for a in batch), m.a, *(a.a for a in depth)),
        b_strides=(*(a.b for a in batch), *(a.b for a in depth), n.b),
        c_strides=(*(a.c for a in batch), m.c, n.c),
        limits=limits,
    )


def _merged(axes: list[Axis]) -> list[Axis]:
    """Neighbouring axes as one, where strides allow; outermost first, by C, then by A or B."""
    ordered = sorted(axes, key=lambda a: (-a.c, -a.a, -a.b))
    done: list[Axis] = []
    for axis in ordered:
        apart = axis.label or (done and done[-1].label)
        if (
            done
            and not apart
            and all(
                outer == inner * axis.size
                for outer, inner in (
                    (done[-1].a, axis.a),
                    (done[-1].b, axis.b),
                    (done[-1].c, axis.c),
                )
            )
        ):
            done[-1] = Axis(done[-1].size * axis.size, axis.a, axis.b, axis.c)
        else:
            done.append(axis)
    return done

"""mma.sync and ldmatrix: products of small matrices that lie scattered over a warp.

The order in which a tensor core adds is not documented; here the exact products are added in
float64 and rounded once. Hardware keeps fewer bits, so tests compare within an error bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.ptx.action import Action, builds, parts, unknown
from tests.ptx.floats import BROAD, F16, F32, F64
from tests.ptx.spaces import SHARED_WINDOW, FaultError
from tests.ptx.syntax import Instruction
from tests.ptx.warps import EVERYONE, meet

if TYPE_CHECKING:
    from tests.ptx.wave import Wave

Array = np.ndarray
LANE = np.arange(32)
GROUP, MEMBER = LANE // 4, LANE % 4  # the quad of a lane, and its place there


@dataclass(frozen=True)
class Fragment:
    """Where the elements of a matrix lie: rows and columns of shape (lanes, elements)."""

    rows: Array
    columns: Array
    shape: tuple[int, int]

    def gather(self, elements: Array) -> Array:
        """The matrices (warps, rows, columns) of elements of shape (warps, lanes, elements)."""
        matrix = np.zeros((len(elements), *self.shape), F64)
        matrix[:, self.rows, self.columns] = elements
        return matrix

    def scatter(self, matrix: Array) -> Array:
        return matrix[:, self.rows, self.columns]


def fragment(rows: list[Array], columns: list[Array], shape: tuple[int, int]) -> Fragment:
    pairs = [np.broadcast_arrays(row, column) for row, column in zip(rows, columns, strict=True)]
    return Fragment(*(np.stack(side, axis=1) for side in zip(*pairs, strict=True)), shape)


def wide_fragments(k: int, pack: int) -> tuple[Fragment, Fragment]:
    """A (16 x k) and B (k x 8) when a register holds `pack` neighbours along k."""
    step = 4 * pack  # columns that the quads cover with one register each
    inner = [pack * MEMBER + part for part in range(pack)]
    a_rows, a_columns, b_rows, b_columns = [], [], [], []
    for block in range(0, k, step):
        for half in (0, 8):
            a_rows += [GROUP + half] * pack
            a_columns += [place + block for place in inner]
        b_rows += [place + block for place in inner]
        b_columns += [GROUP] * pack
    return fragment(a_rows, a_columns, (16, k)), fragment(b_rows, b_columns, (k, 8))


ACCUMULATOR = fragment(
    [GROUP, GROUP, GROUP + 8, GROUP + 8],
    [2 * MEMBER, 2 * MEMBER + 1, 2 * MEMBER, 2 * MEMBER + 1],
    (16, 8),
)
PACKS = {"tf32": 1, "f16": 2, "bf16": 2}
SHAPES = {("m16n8k4", "tf32"), ("m16n8k8", "tf32"), ("m16n8k8", "f16"), ("m16n8k8", "bf16")} | {
    ("m16n8k16", "f16"),
    ("m16n8k16", "bf16"),
}


def values_of(words: tuple[Array, ...], kind: str) -> Array:
    """Registers of whole warps as float64 of shape (warps, lanes, elements)."""
    table = np.stack(words, axis=1).reshape(-1, 32, len(words))
    if kind == "f32":
        return table.astype(F64)
    if kind == "tf32":  # the lower 13 bits are not looked at
        return (table & np.uint32(0xFFFFE000)).view(F32).astype(F64)
    if kind == "f16":
        return np.ascontiguousarray(table).view(F16).astype(F64)
    return BROAD["bf16"](np.ascontiguousarray(table).view(np.uint16)).astype(F64)


def meet_whole(wave: Wave, threads: Array) -> None:
    """All 32 lanes of a warp take part, none has ended."""
    if threads.size % 32 or (threads[::32] & 31).any() or (threads[31::32] & 31 != 31).any():
        raise FaultError("a lane of its warp has ended", int(threads[0]))
    meet(wave, threads)


@builds("mma")
def multiply(instruction: Instruction) -> Action:
    modifiers = instruction.modifiers
    shape, (d_kind, a_kind, b_kind, c_kind) = modifiers[2], modifiers[-4:]
    if (shape, a_kind) not in SHAPES or a_kind != b_kind or modifiers[3:5] != ("row", "col"):
        raise unknown(instruction, "has a shape or types that are not interpreted")
    if (d_kind, c_kind) not in (("f32", "f32"), ("f16", "f16")):
        raise unknown(instruction)
    a_at, b_at = wide_fragments(int(shape.rpartition("k")[2]), PACKS[a_kind])
    d, a, b, c = (parts(operand) for operand in instruction.operands)
    halves = d_kind == "f16"

    def compute(wave: Wave, threads: Array, *words: Array) -> list[Array]:
        meet_whole(wave, threads)
        left = a_at.gather(values_of(words[: len(a)], a_kind))
        right = b_at.gather(values_of(words[len(a) : len(a) + len(b)], b_kind))
        start = ACCUMULATOR.gather(values_of(words[len(a) + len(b) :], c_kind))
        total = ACCUMULATOR.scatter(start + left @ right)
        if halves:
            packed = total.astype(F16).reshape(threads.size, 4).view(np.uint32)
            return [packed[:, at].copy() for at in range(2)]
        return list(np.ascontiguousarray(total.astype(F32).reshape(threads.size, 4).T))

    sources = tuple((word, "b32") for word in (*a, *b))
    outer = "b32" if halves else "f32"
    sources += tuple((word, outer) for word in c)
    return Action(compute, sources, tuple((word, outer) for word in d), "warp", EVERYONE)


@builds("ldmatrix")
def load_matrix(instruction: Instruction) -> Action:
    """Matrices of 8 x 8 halves, whose rows are named by eight lanes each."""
    modifiers = instruction.modifiers
    if "m8n8" not in modifiers or modifiers[-1] != "b16":
        raise unknown(instruction)
    target, address = instruction.operands
    targets, transposed = parts(target), "trans" in modifiers
    generic = not any(m.startswith("shared") for m in modifiers)

    def compute(wave: Wave, threads: Array, addresses: Array) -> Any:
        meet_whole(wave, threads)
        if generic:
            addresses = addresses - SHARED_WINDOW
        table = addresses.reshape(-1, 32)
        who = threads.reshape(-1, 32)
        results = []
        for number in range(len(targets)):
            rows = table[:, 8 * number : 8 * number + 8].ravel()
            readers = who[:, 8 * number : 8 * number + 8].ravel()
            words = wave.spaces["shared"].read(readers, rows, np.dtype(np.uint32), 4)
            matrix = np.stack(words, axis=1).view(np.uint16).reshape(-1, 8, 8)
            if transposed:
                matrix = matrix.transpose(0, 2, 1)
            results.append(np.ascontiguousarray(matrix).view(np.uint32).reshape(-1))
        return results[0] if len(targets) == 1 else results

    results = tuple((word, "b32") for word in targets)
    return Action(compute, ((address, "address"),), results, "warp", EVERYONE)


@builds("wgmma", "tcgen05", "mbarrier", "clusterlaunchcontrol", "wmma", "tensormap", "stmatrix")
def refused(instruction: Instruction) -> Action:
    raise unknown(instruction, "is not interpreted")

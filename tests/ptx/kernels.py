"""Kernels in Python, and their PTX as numba-cuda writes it. Needs numba-cuda, but no GPU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")  # numba.cuda is older

from numba import cuda, float32, float64, int32, int64, types, uint32, void
from numba.cuda import cgutils
from numba.cuda.extending import intrinsic

from tests.ptx import Module, load

FLOATS, DOUBLES = types.CPointer(float32), types.CPointer(float64)
INTS, LONGS, WORDS = (types.CPointer(kind) for kind in (int32, int64, uint32))
I32, F32 = ir.IntType(32), ir.FloatType()


def ptx_of(function: Callable[..., Any], *signature: Any, fastmath: bool = False) -> str:
    """A kernel compiled for sm_90."""
    options = {"cc": (9, 0), "output": "ptx", "device": False, "abi": "numba"}
    text, _ = cuda.compile(function, void(*signature), fastmath=fastmath, **options)
    return text


def compiled(function: Callable[..., Any], *signature: Any, fastmath: bool = False) -> Module:
    """A kernel compiled for sm_90 and loaded into the interpreter."""
    return load(ptx_of(function, *signature, fastmath=fastmath))


def assembly(
    result: ir.Type, text: str, constraints: str, *kinds: ir.Type, pure: bool = False
) -> Callable[..., Any]:
    """A function that puts PTX where it is called."""

    def emit(builder: Any, *values: Any) -> Any:
        kind = ir.FunctionType(result, kinds)
        return builder.call(ir.InlineAsm(kind, text, constraints, not pure), values)

    return emit


@intrinsic
def release_add(context, pointer, value):
    """`red.release` of a word."""
    emit = assembly(
        *(ir.VoidType(), "red.release.gpu.global.add.u32 [$0], $1;", "l,r,~{memory}"),
        *(ir.IntType(64), I32),
    )

    def generate(context, builder, signature, values):
        emit(builder, builder.ptrtoint(values[0], ir.IntType(64)), values[1])
        return context.get_dummy_value()

    return types.void(pointer, value), generate


@intrinsic
def load_acquire(context, pointer):
    emit = assembly(I32, "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}", ir.IntType(64))

    def generate(context, builder, signature, values):
        return emit(builder, builder.ptrtoint(values[0], ir.IntType(64)))

    return types.uint32(pointer), generate


@intrinsic
def multiply_tf32(context, a, b, c):
    """`c + a @ b` of a warp: tuples of 4, 2 and 4 float32."""
    text = (
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
    )
    four = ir.LiteralStructType([F32] * 4)
    constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
    emit = assembly(four, text, constraints, *[I32] * 6, *[F32] * 4, pure=True)
    rounded = assembly(I32, "cvt.rna.tf32.f32 $0, $1;", "=r,f", F32, pure=True)

    def generate(context, builder, signature, values):
        def members(value, count):
            return [builder.extract_value(value, at) for at in range(count)]

        left, right, start = (members(v, n) for v, n in zip(values, (4, 2, 4), strict=True))
        words = [rounded(builder, value) for value in left + right]
        result = emit(builder, *words, *start)
        return cgutils.pack_array(builder, members(result, 4))

    return types.UniTuple(types.float32, 4)(a, b, c), generate


# ---- kernels


def functions(x, y, n):
    i = cuda.grid(1)
    if i < n:
        v = x[i]
        y[i] = (
            math.exp(v) + math.log(v + 3) + math.sin(v) + math.cos(v) * math.tanh(v)
            + math.sqrt(v) + v**2.5 + math.erf(v) + math.lgamma(v) + math.expm1(v)
        )  # fmt: skip


def divisions(a, b, c, n):
    i = cuda.grid(1)
    if i < n:
        c[i] = a[i] // b[i] * 1000003 + a[i] % b[i] * (a[i] >> 3) + cuda.popc(a[i]) + cuda.clz(a[i])


def block_sum(meets: bool = True) -> Callable[..., None]:
    """The sum of each block; unless all `meets` first, threads read what others still write."""

    def kernel(x, y, n):
        tile = cuda.shared.array(256, float32)
        t, i = uint32(cuda.threadIdx.x), uint32(cuda.grid(1))
        tile[t] = x[i] if i < n else float32(0)
        if meets:
            cuda.syncthreads()
        k = uint32(128)
        while k > 0:
            if t < k:
                tile[t] += tile[t + k]
            cuda.syncthreads()
            k = k >> uint32(1)
        if t == 0:
            y[cuda.blockIdx.x] = tile[0]

    return kernel


def warp_sum(x, y):
    i = uint32(cuda.grid(1))
    value = x[i]
    for step in (16, 8, 4, 2, 1):
        value += cuda.shfl_down_sync(0xFFFFFFFF, value, step)
    if i % uint32(32) == 0:
        y[i // uint32(32)] = value


def sorted_eights(x):
    row = cuda.local.array(8, float32)
    i = uint32(cuda.grid(1))
    for j in range(8):
        row[j] = x[i * uint32(8) + uint32(j)]
    for j in range(8):
        for k in range(7 - j):
            if row[k] > row[k + 1]:
                row[k], row[k + 1] = row[k + 1], row[k]
    for j in range(8):
        x[i * uint32(8) + uint32(j)] = row[j]


def product(a, b, c, m, n, k):
    """16 x 16 tiles through shared memory, with edges."""
    left = cuda.shared.array((16, 17), float32)
    right = cuda.shared.array((16, 17), float32)
    tx, ty = uint32(cuda.threadIdx.x), uint32(cuda.threadIdx.y)
    row = uint32(cuda.blockIdx.y) * uint32(16) + ty
    column = uint32(cuda.blockIdx.x) * uint32(16) + tx
    total = float32(0)
    for start in range(uint32(0), k, uint32(16)):
        x, y = uint32(start + tx), uint32(start + ty)
        left[ty, tx] = a[row * k + x] if row < m and x < k else float32(0)
        right[ty, tx] = b[y * n + column] if y < k and column < n else float32(0)
        cuda.syncthreads()
        for inner in range(16):
            total += left[ty, inner] * right[inner, tx]
        cuda.syncthreads()
    if row < m and column < n:
        c[row * n + column] = total


def tensor_product(a, b, c, k):
    """A warp makes one 16 x 8 tile of `a (16, k) @ b (k, 8)`."""
    lane = uint32(cuda.threadIdx.x)
    group, member = lane >> uint32(2), lane & uint32(3)
    total = (float32(0), float32(0), float32(0), float32(0))
    for start in range(uint32(0), k, uint32(8)):
        x = uint32(start + member)
        left = (
            a[group * k + x],
            a[(group + uint32(8)) * k + x],
            a[group * k + x + uint32(4)],
            a[(group + uint32(8)) * k + x + uint32(4)],
        )
        right = (b[x * uint32(8) + group], b[(x + uint32(4)) * uint32(8) + group])
        total = multiply_tf32(left, right, total)
    at = group * uint32(8) + uint32(2) * member
    c[at], c[at + uint32(1)] = total[0], total[1]
    c[at + uint32(64)], c[at + uint32(65)] = total[2], total[3]


def descent(x, y, w, residual, gate, n, rate, steps):
    """Linear regression by gradient descent, all steps in one launch, with a grid barrier."""
    t, block = uint32(cuda.threadIdx.x), uint32(cuda.blockIdx.x)
    blocks = uint32(cuda.gridDim.x)
    first = uint32(block * uint32(cuda.blockDim.x) + t)
    stride = uint32(blocks * uint32(cuda.blockDim.x))
    goal = uint32(0)
    for _ in range(steps):
        for i in range(first, n, stride):
            total = -y[i]
            for j in range(uint32(0), uint32(16)):
                total += x[i * uint32(16) + j] * w[j]
            residual[i] = total
        goal = uint32(goal + blocks)
        cuda.syncthreads()
        if t == 0:
            release_add(gate, uint32(1))
            while load_acquire(gate) < goal:
                pass
        cuda.syncthreads()
        for j in range(first, uint32(16), stride):
            total = float32(0)
            for i in range(uint32(0), n):
                total += x[i * uint32(16) + j] * residual[i]
            w[j] -= rate * total / float32(n)
        goal = uint32(goal + blocks)
        cuda.syncthreads()
        if t == 0:
            release_add(gate, uint32(1))
            while load_acquire(gate) < goal:
                pass
        cuda.syncthreads()


def arguments_of(array: np.ndarray) -> list[Any]:
    """How Numba passes an array: two pointers, size, item size, data, shape, strides."""
    extents = [np.int64(extent) for extent in array.shape + array.strides]
    return [
        np.int64(0),
        np.int64(0),
        np.int64(array.size),
        np.int64(array.itemsize),
        array,
        *extents,
    ]

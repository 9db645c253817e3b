"""Kernels as Python text, run uncompiled: each thread is a generator, which pauses where it meets
others.

    with emulated_kernels(), using(Simulated()):
        gl.jit(f, device="cuda")(x)

What a compiler gives types to has them here too: NumPy's scalars.  A value that a kernel reads of
memory is one, so that sums are rounded as they are there.
"""

from __future__ import annotations

import ast
import math
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from gradloom import gpu
from gradloom.codegen.lanes_numpy import NumpyLane
from gradloom.runtime.cuda import numba_ptx
from gradloom.runtime.cuda.kernel import POINTEES, Kernel
from gradloom.runtime.cuda.launch import Launch
from gradloom.settings import settings
from tests.gpus import Loaded, Simulated

WARP = 32
MEETS = {"syncthreads", "shfl_xor_sync"}  # what a thread pauses at


@contextmanager
def emulated_kernels() -> Iterator[None]:
    """Let programs compiled inside be kernels in Python, which `Simulated` GPUs run as they are."""
    known: dict[str, Kernel] = {}
    own = {"emulated": secrets.token_hex()}  # so that no cache knows these programs

    def compile_kernels(kernels: Sequence[Kernel], *_: Any) -> tuple[str, ...]:
        known.update({kernel.name: kernel for kernel in kernels})
        return ("",)

    def load(machine: Simulated, _: str) -> Emulated:
        return Emulated(None, machine, kernels=known)

    with (
        settings(cuda_compiler="numba-cuda"),
        mock.patch.object(gpu, "compiler", return_value=own),
        mock.patch.object(numba_ptx, "compile_kernels", compile_kernels),
        mock.patch.object(Simulated, "load", load),
    ):
        yield


@dataclass
class Emulated(Loaded):
    """A module whose kernels are Python's."""

    kernels: dict[str, Kernel] = field(kw_only=True)

    def launch(self, launch: Launch) -> None:
        self.machine.launches.append((launch.kernel, launch.blocks))
        found = self.kernels[launch.kernel]
        views = [
            Pointer(self.machine.memory, place, np.dtype(kind[:-1]))
            for place, kind in zip(launch.arguments, found.arguments, strict=True)
        ]
        with np.errstate(all="ignore"):
            run_kernel(found, views, launch.blocks, launch.threads)


@dataclass
class Pointer:
    """An address of typed memory."""

    memory: Any
    address: int
    dtype: np.dtype

    def _place(self, index: int) -> slice:
        start = self.address + int(index) * self.dtype.itemsize
        self.memory.require(start, self.dtype.itemsize)
        return slice(start, start + self.dtype.itemsize)

    def __getitem__(self, index: int) -> Any:
        return self.memory.buffer[self._place(index)].view(self.dtype)[0]

    def __setitem__(self, index: int, value: Any) -> None:
        number = np.asarray(value).astype(self.dtype)
        self.memory.buffer[self._place(index)].view(self.dtype)[0] = number


def run_kernel(kernel: Kernel, arguments: Sequence[Any], blocks: int, threads: int) -> None:
    """Launch a kernel: blocks one after another."""
    cuda = Cuda(blocks)
    names: dict[str, Any] = {"cuda": cuda, "math": MATHEMATICS, "carray": lambda array, size: array}
    names |= {name: getattr(np, name) for name in POINTEES}
    exec(compile(pausing(kernel.source), f"<{kernel.name}>", "exec"), names)
    for block in range(blocks):
        cuda.blockIdx.x, cuda.arrays = block, {}
        started = []
        for cuda.threadIdx.x in range(threads):
            started.append(names[kernel.name](*arguments))
        if started[0] is not None:  # else it meets nobody, and has run already
            run_block(cuda, started)


def run_block(cuda: Cuda, started: list[Any]) -> None:
    """All threads of a block to their ends.  Raises AssertionError where some wait for others who
    never come."""
    threads = len(started)
    waiting: dict[int, Any] = {}

    def advance(thread: int, answer: Any = None) -> None:
        cuda.threadIdx.x = thread
        try:
            waiting[thread] = started[thread].send(answer)
        except StopIteration:
            waiting.pop(thread, None)

    for thread in range(threads):
        advance(thread)
    while waiting:
        moved = False
        for first in range(0, threads, WARP):
            lanes = range(first, first + WARP)
            asked = [waiting.get(lane) for lane in lanes]
            if all(asked):
                moved = True
                for lane in lanes:
                    advance(lane, asked[(lane ^ asked[lane - first][1]) - first][0])
        if not moved:
            assert len(waiting) == threads, "threads wait for others who are gone"
            assert not any(waiting.values()), "threads wait in different places"
            for thread in range(threads):
                advance(thread)


class Cuda(SimpleNamespace):
    """What kernels know as `cuda`."""

    def __init__(self, blocks: int) -> None:
        self.threadIdx, self.blockIdx = SimpleNamespace(x=0), SimpleNamespace(x=0)
        self.gridDim = SimpleNamespace(x=blocks)
        self.arrays: dict[Any, np.ndarray] = {}
        self.shared = SimpleNamespace(array=self._shared)
        self.local = SimpleNamespace(array=np.zeros)
        self.atomic = SimpleNamespace(exch=lambda array, at, value: array.__setitem__(at, value))
        self.libdevice = SimpleNamespace(
            float_as_int=lambda x: x.view(np.int32),
            int_as_float=lambda x: x.view(np.float32),
            double_as_longlong=lambda x: x.view(np.int64),
            longlong_as_double=lambda x: x.view(np.float64),
            rintf=np.rint,
            rint=np.rint,
        )

    def _shared(self, count: int, dtype: Any) -> np.ndarray:
        """One array for each place in the text, which all threads of the block come by."""
        line = sys._getframe(1)
        return self.arrays.setdefault((line.f_code, line.f_lineno), np.zeros(count, dtype))

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        if x.dtype == np.float32:
            return np.float32(float(x) * float(y) + float(z))
        return NumpyLane(x).fma(NumpyLane(y), NumpyLane(z)).value[()]


MATHEMATICS = SimpleNamespace(
    inf=math.inf,
    nan=math.nan,
    sqrt=np.sqrt,
    fabs=np.abs,
    floor=np.floor,
    ceil=np.ceil,
    trunc=np.trunc,
    copysign=np.copysign,
)


def pausing(source: str) -> ast.Module:
    """The text with a `yield` wherever a thread meets others, and in what calls such functions."""
    tree = ast.parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    pauses: set[str] = set()
    for function in functions:  # what is called is defined before
        calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
        names = {c.attr if isinstance(c, ast.Attribute) else c.id for c in calls}
        if names & (MEETS | pauses):
            pauses.add(function.name)
    return ast.fix_missing_locations(_Pausing(pauses).visit(tree))


@dataclass
class _Pausing(ast.NodeTransformer):
    pauses: set[str]

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in self.pauses:
            return ast.YieldFrom(value=node)
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in MEETS:
            return node
        if node.func.attr == "syncthreads":
            return ast.Yield(value=None)
        _, value, distance = node.args
        return ast.Yield(value=ast.Tuple(elts=[value, distance], ctx=ast.Load()))

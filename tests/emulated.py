"""Stages as Python text, run uncompiled: each thread is a generator, which pauses where it meets
others.

    with emulated_stages(), using(Simulated()):
        gl.jit(f, device="cuda")(x)

What a compiler gives types to has them here too: NumPy's scalars.  A value that a stage reads of
memory is one, so that sums are rounded as they are there.
"""

from __future__ import annotations

import ast
import math
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np

from gradloom import gpu
from gradloom.codegen import primitives
from gradloom.codegen.cuda.text import DeviceText, StageText, device_text
from gradloom.codegen.lanes_numpy import NumpyLane
from gradloom.codegen.words import ENTRY
from gradloom.plan.tiles import THREADS, WARP
from gradloom.runtime.cuda.kernel import PERSISTENT, POINTEES, Ptx
from gradloom.runtime.cuda.launch import Launch
from tests.gpus import Loaded, Simulated

MEETS = {"syncthreads", "shfl_xor_sync"}  # what a thread pauses at


@contextmanager
def emulated_stages() -> Iterator[None]:
    """Let programs that are compiled inside be Python text, which `Simulated` GPUs run as it is, by
    one block."""
    own = {"emulated": secrets.token_hex()}  # so that no cache knows these programs
    made: list[tuple[DeviceText, str]] = []

    def code_of(device: Any, driver: str, *_: Any) -> Ptx:
        made.append((device_text(device), driver))
        return Ptx("", {PERSISTENT: 0}, {PERSISTENT: 1})

    def load(machine: Simulated, _: str) -> Emulated:
        return Emulated(None, machine, code=made[-1])

    with (
        mock.patch.object(gpu, "compiler", return_value=own),
        mock.patch.object(gpu, "code_of", code_of),
        mock.patch.object(Simulated, "load", load),
    ):
        yield


@dataclass
class Emulated(Loaded):
    """A program whose one kernel is the driver in Python, which calls the text of stages."""

    code: tuple[DeviceText, str] = field(kw_only=True)

    def resident(self, kernel: str, shared_bytes: int) -> int:
        return 1

    def launch(self, launch: Launch) -> None:
        self.machine.launches.append((launch.kernel, launch.blocks))
        text, driver = self.code
        names = primitives.namespace() | {"get_ptr": self.array_of}
        exec(compile(driver, "<driver>", "exec"), names)
        names |= {name: stage_of(text, stage) for name, stage in text.stages.items()}
        table, arena, control = map(self.array, launch.arguments)
        with np.errstate(all="ignore"):
            names[ENTRY](table, arena, control, 0, 1)

    def array(self, address: int) -> np.ndarray:
        """Memory from an address on."""
        return self.machine.memory.buffer[address:]

    def array_of(self, table: np.ndarray, index: int) -> np.ndarray:
        return self.array(primitives.get(table, index))


def stage_of(text: DeviceText, stage: StageText) -> Callable[..., None]:
    """A stage as a function that all threads of a block are run through."""
    cuda = Cuda()
    names: dict[str, Any] = {"cuda": cuda, "math": MATHEMATICS, "carray": lambda array, size: array}
    names |= {name: getattr(np, name) for name in POINTEES}
    exec(compile(pausing(text.source(stage)), f"<{stage.name}>", "exec"), names)

    def run(start: int, stop: int, *memory: np.ndarray) -> None:
        pointers = [
            m[: m.size // 8 * 8].view(k[:-1]) for m, k in zip(memory, stage.pointers, strict=True)
        ]
        cuda.arrays = {}
        started = []
        for cuda.threadIdx.x in range(THREADS):
            started.append(names[stage.name](start, stop, *pointers))
        if started[0] is not None:  # else it meets nobody, and has run already
            run_block(cuda, started)

    return run


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
    """What stages know as `cuda`."""

    def __init__(self) -> None:
        self.threadIdx = SimpleNamespace(x=0)
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

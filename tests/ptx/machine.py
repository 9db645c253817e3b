"""Modules, kernels and launches: what a test sees of the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np

# Each of these registers the actions of its instructions.
from tests.ptx import accesses, conversions, floating, integers, tensor, warps
from tests.ptx.action import size_of, type_of
from tests.ptx.blocks import Block, compile_block
from tests.ptx.counters import Counters
from tests.ptx.parser import parse
from tests.ptx.program import Program, program_of
from tests.ptx.shared_space import Layout
from tests.ptx.spaces import Memory, rounded_up
from tests.ptx.syntax import PtxError, Syntax, Variable
from tests.ptx.wave import Wave

ROWS = (accesses, conversions, floating, integers, tensor, warps)
# Threads at a time. Four kernels of 65,536 threads together: 1.66 s with 1,024, 0.95 with 4,096,
# 0.96 with 8,192, 0.87 with 16,384, 0.90 with all.
RESIDENT = 16384
# Of a wave, after which a launch is given up: minutes, at some 10 us for the shortest round.
ROUNDS = 5_000_000
ACCESSES = frozenset({"ld", "ldu", "st", "atom", "red"})
Dim = int | Sequence[int]
Argument = np.ndarray | np.generic | int | bytes


class Kernel:
    """An entry of a module; its blocks are compiled when they are first run."""

    def __init__(self, syntax: Syntax, name: str) -> None:
        self.name = name
        self.program: Program = program_of(syntax, name)
        self.blocks: dict[int, Block] = {}
        self.cells = {space: smallest_access(self.program, space) for space in ("shared", "global")}
        self.local: dict[str, int] = {}
        self.local_extent = 0
        for variable in self.program.variables:
            if variable.space == "local":
                start = rounded_up(self.local_extent, variable.align)
                self.local[variable.name] = start
                self.local_extent = start + variable.size
        self.offsets, self.parameter_size = parameter_offsets(self.program.params)

    def block(self, position: int) -> Block:
        if position not in self.blocks:
            self.blocks[position] = compile_block(self.program, position)
        return self.blocks[position]

    def arguments(self, values: Sequence[np.generic | int | bytes]) -> bytes:
        """The values as the bytes that the kernel loads its parameters from."""
        params = self.program.params
        if len(values) != len(params):
            raise TypeError(f"{self.name} takes {len(params)} arguments, not {len(values)}")
        data = bytearray(self.parameter_size)
        for value, parameter in zip(values, params, strict=True):
            piece = argument_bytes(value, parameter)
            start = self.offsets[parameter.name]
            data[start : start + len(piece)] = piece
        return bytes(data)


def parameter_offsets(params: list[Variable]) -> tuple[dict[str, int], int]:
    offsets, extent = {}, 0
    for parameter in params:
        offsets[parameter.name] = rounded_up(extent, parameter.align)
        extent = offsets[parameter.name] + parameter.size
    return offsets, extent


def argument_bytes(value: np.generic | int | bytes, parameter: Variable) -> bytes:
    if isinstance(value, (int, np.integer)) and not isinstance(value, np.bool_):
        if isinstance(value, np.integer) and value.itemsize != parameter.size:
            raise TypeError(f"{parameter.name} has {parameter.size} bytes, not {value.itemsize}")
        return (int(value) & ((1 << 8 * parameter.size) - 1)).to_bytes(parameter.size, "little")
    if isinstance(value, float) and not isinstance(value, np.floating):
        raise TypeError(f"{parameter.name}: say np.float32 or np.float64 of a float")
    data = value if isinstance(value, bytes) else value.tobytes()
    if len(data) != parameter.size:
        raise TypeError(f"{parameter.name} has {parameter.size} bytes, not {len(data)}")
    return data


def smallest_access(program: Program, of: str) -> int:
    """The cell of the race check: the least that the kernel accesses at once of a space, 4 bytes
    at most."""
    sizes = [4]
    for instruction in program.instructions:
        space = accesses.space_of(instruction)
        if instruction.name in ACCESSES and space in (of, "generic"):
            sizes.append(size_of(type_of(instruction)))
    return min(sizes)


@dataclass
class Launch:
    kernel: Kernel
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    params: bytes
    memory: Memory
    layout: Layout
    symbols: dict[str, int]
    dynamic: int
    races: bool | Literal["global"]
    counters: Counters
    cluster: int = 1
    seed: int | None = None
    patience: int = ROUNDS

    def run(self, resident: int, order: np.ndarray) -> None:
        for start in range(0, order.size, resident):
            Wave(self, order[start : start + resident]).run()

    def special(self, name: str, blocks: np.ndarray, padded: int) -> np.ndarray:
        """A special register of every thread of a wave."""
        place = np.tile(np.arange(padded), blocks.size)
        block = np.repeat(blocks, padded)
        base, _, axis = name.partition(".")
        if base in ("%tid", "%ctaid", "%ntid", "%nctaid"):
            extent = self.grid if "cta" in base else self.block
            number = block if base == "%ctaid" else place
            at = "xyz".index(axis)
            if base.startswith("%n"):
                number = np.full(place.size, extent[at])
            else:
                number = number // int(np.prod(extent[:at])) % extent[at]
            return number.astype(np.uint32)
        lane = (place % 32).astype(np.uint32)
        bit = np.uint32(1) << lane
        below = bit - np.uint32(1)
        values: dict[str, Callable[[], np.ndarray | int]] = {
            "%laneid": lambda: lane,
            "%warpid": lambda: place // 32,
            "%nwarpid": lambda: padded // 32,
            "WARP_SZ": lambda: 32,
            "%smid": lambda: block,
            "%nsmid": lambda: int(np.prod(self.grid)),
            "%gridid": lambda: 0,
            "%dynamic_smem_size": lambda: self.dynamic,
            "%total_smem_size": lambda: self.layout.extent,
            "%lanemask_eq": lambda: bit,
            "%lanemask_lt": lambda: below,
            "%lanemask_le": lambda: below | bit,
            "%lanemask_gt": lambda: ~(below | bit),
            "%lanemask_ge": lambda: ~below,
        }
        if name not in values:
            raise PtxError(f"{self.kernel.name} reads {name}, which is not interpreted")
        return np.broadcast_to(values[name](), place.shape).astype(np.uint32)


def three(dim: Dim) -> tuple[int, int, int]:
    sizes = (dim,) if isinstance(dim, int) else tuple(dim)
    return (*sizes, 1, 1)[:3]


@dataclass
class Module:
    """PTX that has been read. `module.launch` runs one of its kernels to the end."""

    syntax: Syntax
    kernels: dict[str, Kernel] = field(default_factory=dict)
    bound: WeakKeyDictionary[Memory, dict[str, int]] = field(default_factory=WeakKeyDictionary)

    @property
    def names(self) -> list[str]:
        return [name for name, function in self.syntax.functions.items() if function.entry]

    def kernel(self, name: str | None = None) -> Kernel:
        """A kernel by its name, or by a part that only its name has; without one, the only."""
        found = [own for own in self.names if name == own]
        found = found or [own for own in self.names if name is None or name in own]
        if len(found) != 1:
            raise KeyError(f"{name!r} is not one of {', '.join(self.names)}")
        if found[0] not in self.kernels:
            self.kernels[found[0]] = Kernel(self.syntax, found[0])
        return self.kernels[found[0]]

    def launch(
        self,
        name: str | None = None,
        *,
        grid: Dim,
        block: Dim,
        args: Sequence[Argument],
        shared: int = 0,
        memory: Memory | None = None,
        races: bool | Literal["global"] = True,
        cooperative: bool = False,
        cluster: int = 1,
        profile: bool = False,
        seed: int | None = None,
        resident: int = RESIDENT,
    ) -> Counters:
        """Runs a kernel on `grid` blocks of `block` threads; what it did is counted.

        `args`: NumPy arrays (copied to simulated memory and back), NumPy scalars, pointers into
        `memory` as integers, bytes for structures. `shared` is the dynamic shared memory in bytes.
        `races` checks shared memory, with "global" also global memory. A `cooperative` launch has
        all blocks resident at once, others only `resident` threads. So many blocks after one
        another are a `cluster`. With a `seed`, blocks run in a random order, and those that are
        resident do not keep pace. With `profile`, sectors and bank conflicts are counted. Raises
        `PtxError`.
        """
        kernel = self.kernel(name)
        sizes, blocks = three(block), int(np.prod(three(grid)))
        threads = int(np.prod(sizes))
        if not 1 <= threads <= kernel.program.max_threads or blocks < 1:
            raise PtxError(f"{kernel.name}: cannot launch {blocks} blocks of {threads} threads")
        if blocks % cluster:
            raise PtxError(f"{kernel.name}: {blocks} blocks are not clusters of {cluster}")
        memory = memory or Memory()
        arrays = list(uploads(args, memory))
        values = [memory_of(value, arrays) for value in args]
        layout = Layout(kernel.program.variables, shared)
        symbols = self.bind(memory) | kernel.local | kernel.offsets
        symbols |= {variable: start for variable, (start, _) in layout.parts.items()}
        counters = Counters(profile=profile)
        launch = Launch(
            *(kernel, three(grid), sizes, kernel.arguments(values), memory, layout, symbols),
            *(shared, races, counters, cluster, seed),
        )
        order = np.arange(blocks)
        if seed is not None:
            order = np.random.default_rng(seed).permutation(blocks)
        at_once = blocks if cooperative or cluster > 1 else max(1, resident // threads)
        with np.errstate(all="ignore"):
            launch.run(at_once, order)
        for array, pointer in arrays:
            if array.flags.writeable:
                array[...] = memory.download(pointer, array.shape, array.dtype)
            memory.free(pointer)
        return counters

    def bind(self, memory: Memory) -> dict[str, int]:
        """The addresses of the module's own variables in a memory, which they are put into once."""
        if memory not in self.bound:
            symbols: dict[str, int] = {}
            variables = [v for v in self.syntax.variables.values() if v.space in GLOBAL_SPACES]
            for variable in variables:
                pointer = memory.allocate(variable.size, variable.name, variable.align)
                symbols[variable.name] = pointer
            for variable in variables:
                data = bytearray(variable.initial or bytes(variable.size))
                for at, symbol in variable.symbols:
                    data[at : at + 8] = (symbols[symbol.name] + symbol.offset).to_bytes(8, "little")
                memory.fill(symbols[variable.name], np.frombuffer(bytes(data), np.uint8))
            self.bound[memory] = symbols
        return self.bound[memory]


GLOBAL_SPACES = ("global", "const")


def uploads(args: Sequence[Argument], memory: Memory) -> Iterator[tuple[np.ndarray, int]]:
    """Each array of the arguments once, with a pointer to its copy."""
    seen: set[int] = set()
    for at, value in enumerate(args):
        if isinstance(value, np.ndarray) and id(value) not in seen:
            seen.add(id(value))
            yield value, memory.upload(value, f"argument {at}")


def memory_of(value: Argument, arrays: list[tuple[np.ndarray, int]]) -> np.generic | int | bytes:
    if isinstance(value, np.ndarray):
        return next(pointer for array, pointer in arrays if array is value)
    return value


def load(text: str) -> Module:
    """A module from PTX text; what it holds is checked when it is run.

    >>> module = load('''
    ... .version 8.0
    ... .target sm_90
    ... .address_size 64
    ... .visible .entry twice(.param .u64 x)
    ... {
    ...     .reg .b32 %r<3>;
    ...     .reg .b64 %rd<4>;
    ...     ld.param.u64 %rd1, [x];
    ...     mov.u32 %r1, %tid.x;
    ...     mul.wide.u32 %rd2, %r1, 4;
    ...     add.s64 %rd3, %rd1, %rd2;
    ...     ld.global.u32 %r2, [%rd3];
    ...     shl.b32 %r2, %r2, 1;
    ...     st.global.u32 [%rd3], %r2;
    ...     ret;
    ... }''')
    >>> x = np.arange(4, dtype=np.uint32)
    >>> counters = module.launch("twice", grid=1, block=4, args=[x])
    >>> x, counters.count("ld.global")
    (array([0, 2, 4, 6], dtype=uint32), 4)
    """
    return Module(parse(text))

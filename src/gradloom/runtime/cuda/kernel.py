"""What a CUDA compiler is given, and what it makes.  Imports no compiler.

A type is named as in `KINDS`, with a star for a pointer to it: "float32*", "uint32".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gradloom.codegen.cut import Host
from gradloom.errors import InternalError

# struct's format of each type that a kernel may take by value, and its bytes.
KINDS = {
    "int32": ("i", 4),
    "uint32": ("I", 4),
    "int64": ("q", 8),
    "uint64": ("Q", 8),
    "float32": ("f", 4),
    "float64": ("d", 8),
}
POINTEES = (*KINDS, "int8", "uint8", "int16", "uint16", "float16")
POINTER = KINDS["uint64"]


def layout(kind: str) -> tuple[str, int]:
    """How an argument of type `kind` is packed: struct's format, and its bytes and alignment.

    >>> layout("float32*"), layout("uint32")
    (('Q', 8), ('I', 4))
    """
    if kind.endswith("*") and kind[:-1] in POINTEES:
        return POINTER
    if kind not in KINDS:
        raise InternalError(f"a kernel takes an argument of the unknown type {kind!r}")
    return KINDS[kind]


@dataclass(frozen=True)
class Primitive:
    """A word of kernels that is written in LLVM: `emit(builder, *values)` gives its result.

    It is typed: a kernel that calls it with an int32 where a float32 is declared converts.
    """

    result: str  # a type, or "void"
    arguments: tuple[str, ...]
    emit: Callable[..., Any]


Primitives = Mapping[str, Primitive]


@dataclass(frozen=True)
class Kernel:
    """A kernel as Python text that defines the function `name`, and whatever that calls.

    The text sees `cuda` (threadIdx, shared.array, syncthreads, ...), `math`, `carray` (an array at
    an address), the types of `KINDS` by their names, the primitives that it is compiled with, and
    `functions`: names with a result and arguments each, which the LLVM text `llvm` defines.
    """

    name: str
    source: str
    arguments: tuple[str, ...]
    most_threads: int = 0  # of a block, so that registers suffice for it; 0: no promise
    least_blocks: int = 0  # that a multiprocessor should have room for at a time
    functions: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    llvm: str = ""
    device: bool = False  # a function for other code to call, as C would, instead of a kernel

    def __post_init__(self) -> None:
        for kind in self.arguments:
            layout(kind)

    @property
    def content(self) -> str:
        """All that its machine code depends on, but for primitives and compilers."""
        bounds = (self.most_threads, self.least_blocks, self.device)
        called = sorted(self.functions.items())
        return f"{self.name}{self.arguments}{bounds}{called}\n{self.source}\n{self.llvm}"


@dataclass(frozen=True)
class Resources:
    """What one kernel takes: registers and stack a thread, shared bytes a block."""

    registers: int
    stack_bytes: int
    spill_stores: int  # bytes
    spill_loads: int
    shared_bytes: int
    barriers: int


@dataclass(frozen=True)
class Cubin:
    """Machine code for one architecture, the PTX that it was made from, what it takes, and what
    making it took, by stage."""

    code: bytes
    arch: str
    ptx: tuple[str, ...]
    resources: Mapping[str, Resources]
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Ptx:
    """PTX of some kernels; of each, the bytes of shared memory that a launch needs, and the most
    blocks that have something to do.  `host` launches them, where no kernel runs the driver; with
    `cluster`, the blocks of the one that does must be a cluster."""

    text: str
    shared_bytes: Mapping[str, int]
    grains: Mapping[str, int]
    host: Host | None = None
    cluster: bool = False


PERSISTENT = "persistent"  # the kernel that runs a driver
KERNEL = "launch_"  # with a group's name behind it, the kernel that is the group

# ---- what PTX and the linker say

_ENTRY = re.compile(r"\.entry\s+([\w$]+)\s*\(([^)]*)\)")
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.([bsuf])(32|64)\b(?!\s*[\w$.]*\[)")
_FORMATS = {"f32": "f", "f64": "d", "s32": "i", "s64": "q"}


def entries(ptx: str) -> dict[str, str]:
    """The kernels of a PTX text, with struct's formats of what each takes.

    >>> entries(".visible .entry scale(.param .u64 x, .param .f32 by, .param .u32 n) { ret; }")
    {'scale': 'QfI'}
    """
    found = {}
    for name, parameters in _ENTRY.findall(ptx):
        kinds = _PARAMETER.findall(parameters)
        if len(kinds) != parameters.count(".param"):
            raise InternalError(f"kernel {name} takes what is neither number nor address")
        formats = [_FORMATS.get(kind + bits, "IQ"[bits == "64"]) for kind, bits in kinds]
        found[name] = "".join(formats)
    return found


_NAMED = re.compile(
    r"(?:Compiling entry function|Function properties for) '?([\w$.]+)'?"
    r"|(\d+) bytes (stack frame|spill stores|spill loads|smem)"
    r"|[Uu]sed (\d+) (registers|barriers)|, used (\d+) barriers"
)
_FIELDS = {
    "stack frame": "stack_bytes",
    "spill stores": "spill_stores",
    "spill loads": "spill_loads",
    "smem": "shared_bytes",
    "registers": "registers",
}


def read_resources(log: str, names: tuple[str, ...]) -> dict[str, Resources]:
    """The resources of the kernels `names`, from what ptxas and nvJitLink say with `-verbose`.

    Both report a kernel, the one before and the other after its code is placed: the greater counts.
    """
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    current: dict[str, int] = {}
    for match in _NAMED.finditer(log):
        function, number, what, used, of, barriers = match.groups()
        if function:
            current = found.get(function, {})
            continue
        key = _FIELDS[what or of] if what or of else "barriers"
        value = int(number or used or barriers)
        current[key] = max(value, current.get(key, 0))
    silent = [name for name in names if "registers" not in found[name]]
    if silent:
        raise InternalError(f"the linker says nothing of {', '.join(silent)}:\n{log}")
    zero = dict.fromkeys((*_FIELDS.values(), "barriers"), 0)
    return {name: Resources(**{**zero, **counts}) for name, counts in found.items()}

"""Kernels for tests, from a few lines of PTX."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ptx import Counters, Module, load

HEAD = ".version 9.0\n.target sm_90\n.address_size 64\n"
REGISTERS = """
    .reg .pred %p<16>;
    .reg .b16 %h<32>;
    .reg .b32 %r<64>;
    .reg .b64 %d<64>;
    .reg .f32 %f<64>;
    .reg .f64 %g<64>;
"""
CLASSES = {"pred": "%p", "b16": "%h", "b32": "%r", "b64": "%d", "f32": "%f", "f64": "%g"}


def kernel(body: str, params: int = 0, before: str = "") -> str:
    """The text of a kernel `k` of pointers `p0`, `p1`, ..., which it has in %d40, %d41, ...; the
    thread's number in its block is in %r60, in the grid in %r61, four times that in %d60."""
    formals = ", ".join(f".param .u64 p{at}" for at in range(params))
    loads = "".join(f"    ld.param.u64 %d{40 + at}, [p{at}];\n" for at in range(params))
    return f"""{HEAD}{before}
.visible .entry k({formals})
{{{REGISTERS}{loads}
    mov.u32 %r60, %tid.x;
    mov.u32 %r62, %ctaid.x;
    mov.u32 %r63, %ntid.x;
    mad.lo.s32 %r61, %r62, %r63, %r60;
    mul.wide.u32 %d60, %r61, 4;
{body}
    ret;
}}
"""


def module(body: str, params: int = 0, before: str = "") -> Module:
    return load(kernel(body, params, before))


def run(
    body: str, *arrays: Any, grid: int = 1, block: int = 32, before: str = "", **options: Any
) -> Counters:
    """Launches a kernel of so many arrays (or pointers)."""
    made = module(body, len(arrays), before)
    return made.launch("k", grid=grid, block=block, args=arrays, **options)


def storage(kind: str) -> str:
    bits = {"u": "b", "s": "b", "b": "b", "f": "f"}[kind[0]] + kind[1:]
    return "b16" if bits in ("f16", "b8") else bits


def apply(line: str, kinds: str, *arrays: np.ndarray) -> np.ndarray:
    """One instruction on arrays: `line` has {0}, {1}, ... for the result and the operands, whose
    types are in `kinds`.

    >>> apply("add.u32 {0}, {1}, {2};", "u32 u32 u32", np.uint32([1, 2]), np.uint32([3, 4]))
    array([4, 6], dtype=uint32)
    """
    types = kinds.split()
    names = [f"{CLASSES[storage(kind)]}{at + 1}" for at, kind in enumerate(types)]
    widths = [int(kind.lstrip("usbf")) // 8 for kind in types]
    loads = []
    for at, (name, width) in enumerate(zip(names, widths, strict=True)):
        address = f"    mad.wide.u32 %d{20 + at}, %r61, {width}, %d{40 + at};\n"
        load_line = f"    ld.global.{f'b{8 * width}'} {name}, [%d{20 + at}];\n"
        if storage(types[at])[0] == "f":
            load_line = load_line.replace(".b", ".f")
        loads.append(address + (load_line if at else ""))
    store = f"    st.global.{'f' if storage(types[0])[0] == 'f' else 'b'}{8 * widths[0]}"
    body = "".join(loads) + f"    {line.format(*names)}\n{store} [%d20], {names[0]};\n"
    size = max(array.size for array in arrays)
    result = np.zeros(size, f"{ {'u': 'u', 's': 'i', 'b': 'u', 'f': 'f'}[types[0][0]] }{widths[0]}")
    block = min(size, 256)
    guard = f"    setp.ge.u32 %p15, %r61, {size};\n    @%p15 ret;\n"
    run(guard + body, result, *arrays, grid=-(-size // block), block=block)
    return result

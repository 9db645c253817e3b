"""A program's own text as its entry: the same answers without a compiler, at Python's speed."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from gradloom.codegen.driver import ENTRY
from gradloom.codegen.source import load_source

# Addresses come without sizes, as to native code; a view this long reaches any array.
ENDLESS = 1 << 40


def uncompiled_entry(text: str, slots: int, control_words: int) -> Any:
    """The entry of the module `text` (`codegen.source.program_source`), called like native code: by
    the addresses of the table, of which `slots` are used, the arena and the control words."""
    program = load_source(text)[ENTRY]

    def run(table: int, arena: int, control: int, worker: int, team: int) -> int:
        addresses = (ctypes.c_void_p * slots).from_address(table)
        views = [
            _memory(address, ENDLESS) if address else _memory(arena, 0) for address in addresses
        ]
        with np.errstate(all="ignore"):
            words = _memory(control, 8 * control_words)
            return int(program(views, _memory(arena, ENDLESS), words, worker, team))

    entry: Any = run
    entry.address = 0
    return entry


def _memory(address: int, count: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))

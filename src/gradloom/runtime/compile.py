"""Driver text and stages in, native objects out."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import cache

import llvmlite.binding as llvm

from gradloom.clock import Clock
from gradloom.codegen.primitives import PRIMITIVES
from gradloom.errors import InternalError
from gradloom.runtime.barrier import BARRIER, barrier_text
from gradloom.runtime.lowering import Externals, Unlowered, lower_text
from gradloom.runtime.native import Build, keep_only, make_object
from gradloom.settings import current as current_settings

Kinds = tuple[str, ...]

APART = "routine_apart"


def compile_object(
    driver: str,
    entry: str,
    arguments: Kinds,
    kernels: str,
    kernel_arguments: dict[str, Kinds],
    cpu: str,
    features: str,
    routines: dict[str, tuple[str, Kinds]] | None = None,
    elsewhere: Collection[str] = (),
) -> Build:
    """Compile function `entry` of the text `driver` to an object for `cpu` with `features`.

    `kernels` is the text of an LLVM module that defines a void function for each name in
    `kernel_arguments`; `routines` have a driver's text each, and what they take. Types are "i64",
    "f64" and "ptr". Those `elsewhere` are declared only. The driver's entry returns an int64
    status, and the object exports `int64 entry(arguments...)`. Raises InternalError, with the
    driver's text, if any of it does not compile.
    """
    clock = Clock()
    apart = routines or {}
    taken = sorted((kernel_arguments.keys() | apart.keys()) & PRIMITIVES.keys())
    if taken:
        raise InternalError(f"kernels have the names of primitives: {', '.join(taken)}")
    externals: Externals = {name: ("void", kinds) for name, kinds in kernel_arguments.items()}
    externals |= {name: ("i64", kinds) for name, (_, kinds) in apart.items()}
    texts = driver_texts(driver, entry, arguments, externals)
    here = {name: routine for name, routine in apart.items() if name not in elsewhere}
    texts = with_routines(texts, here)
    clock.mark("driver")
    return make_object([kernels, *texts], (entry,), cpu, features, clock, elsewhere)


def with_routines(texts: list[str], routines: dict[str, tuple[str, Kinds]]) -> list[str]:
    """LLVM texts, those of routines, and that of the barrier if any of them has need of it."""
    texts = [*texts, *(routine_text(name, *routine) for name, routine in routines.items())]
    return [*texts, barrier_text()] if any(BARRIER in text for text in texts) else texts


def driver_texts(driver: str, entry: str, arguments: Kinds, externals: Externals) -> list[str]:
    """The LLVM texts of function `entry` and of those it calls.

    Of the driver of 64-128-64-10 with Adam (190 lines), `lower_text` makes LLVM in 13 ms, Numba in
    430 after 210 for its import.  Numba does what `lower_text` refuses, and everything where
    `GRADLOOM_DISABLE=lower_text` says so.
    """
    if lower_text.__name__ not in current_settings().disable:
        with suppress(Unlowered):
            return [lower_text(driver, entry, arguments, externals)]
    from gradloom.runtime.build import lower_by_numba

    return lower_by_numba(driver, entry, arguments, externals)


@cache
def routine_text(name: str, text: str, arguments: Kinds) -> str:
    """The LLVM text of one routine: a function `name`, and what it calls, which no other text
    sees.  Numba takes a second for the longer ones, so each is lowered once."""
    names = ", ".join(f"a{i}" for i in range(len(arguments)))
    driver = f"{text}\n\ndef {APART}({names}):\n    {name}({names})\n    return 0\n"
    first, *rest = map(llvm.parse_assembly, driver_texts(driver, APART, arguments, {}))
    for module in rest:
        first.link_in(module)
    keep_only(first, APART)
    return str(first).replace(f"@{APART}(", f"@{name}(")

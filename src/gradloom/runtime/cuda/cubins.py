"""Machine code of kernels, from disk where it was made before.  A hit imports no compiler.

An entry is the cubin, with its PTX and resources as notes, under a key of all that it was made
from: PTX or kernels, architecture, and the versions of gradloom, compiler and toolkit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from gradloom.runtime.cache import fetch, host_key, make_key, store
from gradloom.runtime.cuda.kernel import Cubin, Kernel, Primitives, Resources
from gradloom.runtime.cuda.linker import link
from gradloom.runtime.cuda.packages import versions
from gradloom.runtime.cuda.toolchain import compile_kernels

NONE: Primitives = {}


def linked(ptx: Sequence[str], arch: str) -> Cubin:
    """The machine code of PTX texts, whoever wrote them; errors are those of `toolchain.link`."""
    return _cached("\0".join(ptx), arch, lambda: link(ptx, arch))


def compiled(
    kernels: Sequence[Kernel], arch: str, primitives: Primitives = NONE, *, contract: bool = True
) -> Cubin:
    """The machine code of kernels in Python; errors are those of `toolchain.compile_kernels`.

    Primitives are known by name: what they emit is part of gradloom's own source.
    """
    words = "\n".join(f"{name} {p.result} {p.arguments}" for name, p in sorted(primitives.items()))
    text = "\0".join((*(kernel.content for kernel in kernels), words, str(contract)))

    def build() -> Cubin:
        return link(compile_kernels(kernels, arch, primitives, contract=contract), arch)

    return _cached(text, arch, build)


def _cached(text: str, arch: str, build: Callable[[], Cubin]) -> Cubin:
    made_by = str(sorted(versions().items()))
    key = make_key(cuda=text, arch=arch, made_by=made_by, host=host_key())
    entry = fetch(key)
    if entry is not None:
        notes = entry.notes
        return Cubin(entry.object, arch, tuple(notes["ptx"]), _resources(notes["resources"]))
    cubin = build()
    resources = {name: asdict(found) for name, found in cubin.resources.items()}
    store(key, cubin.code, ptx=cubin.ptx, resources=resources)
    return cubin


def _resources(noted: Mapping[str, Mapping[str, int]]) -> dict[str, Resources]:
    return {name: Resources(**counts) for name, counts in noted.items()}

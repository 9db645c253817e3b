"""Stages that Numba compiles: PTX of their Python text, for kernels in which LLVM calls them.

The slower way, for those who want Numba's compilers: the text of a stage is made for reading, and
takes these compilers a tenth of a second and more, LLVM's own a few milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gradloom.clock import Clock
from gradloom.codegen.cuda.text import device_text
from gradloom.errors import ToolchainError, message, user_where
from gradloom.plan.dealt import DevicePlan, Tiled
from gradloom.runtime.cuda.kernel import Kernel, Ptx
from gradloom.runtime.cuda.packages import python_compiler
from gradloom.runtime.cuda.toolchain import compile_kernels


def with_stages(ptx: Ptx, device: DevicePlan, arch: str, clock: Clock) -> Ptx:
    """PTX that calls the stages of a plan, with these stages as Numba compiles their text; shared
    memory is theirs then.

    Raises `ToolchainError` where a stage has no such text, or where there is no compiler.
    """
    _check(device)
    text = device_text(device)
    stages = [
        Kernel(s.name, text.source(s), ("int64", "int64", *s.pointers), device=True)
        for s in text.stages.values()
    ]
    clock.mark("text")
    found = compile_kernels(stages, arch, {}) if stages else ()
    clock.mark("stages")
    return replace(
        ptx,
        text=joined([*found, _without_declarations(ptx.text, text.stages)]),
        shared_bytes=dict.fromkeys(ptx.shared_bytes, 0),
    )


def _check(device: DevicePlan) -> None:
    """Raise `ToolchainError` where a stage is more than its text says."""
    for kernel in device.plan.kernels:
        for stage in kernel.stages:
            found = device.functions.get(stage.code.name)
            if isinstance(found, Tiled) and found.precision:
                raise ToolchainError(
                    message(
                        f"{python_compiler()} cannot take {stage.code.name}, a product by tensor "
                        f"cores (precision={found.precision!r}): Python has no word for them",
                        next(iter(kernel.where), user_where()),
                        'GRADLOOM_CUDA_COMPILER=llvm, or precision="highest"',
                    )
                )


def _without_declarations(ptx: str, names: Iterable[str]) -> str:
    """A PTX text without the lines that announce functions, which stand before it."""
    for name in names:
        ptx = re.sub(rf"^\.extern \.func {name}\s*\([^;]*\)\s*;\n", "", ptx, flags=re.MULTILINE)
    return ptx


_HEAD = re.compile(r"^\.(?:version|target|address_size)\b.*\n", re.MULTILINE)
_OWN = re.compile(
    r"^(?:\.\w+\s+)*\.(?:shared|global|const)\b[^=;]*?([\w$]+)(?:\[|\s*[=;])", re.MULTILINE
)


def joined(texts: Sequence[str]) -> str:
    """Several PTX texts as one with the head of the first, what each has for itself under names of
    its own."""
    first, *others = texts
    parts = [first]
    for number, text in enumerate(others, 1):
        text = _HEAD.sub("", text)
        for name in dict.fromkeys(_OWN.findall(text)):
            text = re.sub(rf"(?<![\w$]){re.escape(name)}(?![\w$])", f"{name}_{number}", text)
        parts.append(text)
    return "\n".join(parts)

"""A device plan as PTX by way of its text: a kernel a stage, compiled by Numba.

The slower way, for those who want Numba's compilers: `runtime.cuda.ptx` takes milliseconds.
"""

from __future__ import annotations

import re

from gradloom.clock import Clock
from gradloom.codegen.cuda.text import device_text
from gradloom.errors import ToolchainError, message, user_where
from gradloom.plan.dealt import KERNEL, DevicePlan
from gradloom.plan.plan import Routine
from gradloom.plan.tiles import THREADS
from gradloom.runtime.cuda.kernel import Kernel, Ptx
from gradloom.runtime.cuda.packages import python_compiler
from gradloom.runtime.cuda.toolchain import compile_kernels


def numba_launches(device: DevicePlan, arch: str, clock: Clock) -> Ptx:
    """A kernel for each stage of the plan, by the name `launch_` and the stage's.

    Raises `ToolchainError` where a stage has no such text, or there is no compiler.
    """
    for kernel in device.plan.kernels:
        for stage in kernel.stages:
            if isinstance(stage.code, Routine):
                raise ToolchainError(
                    message(
                        f"{python_compiler()} cannot take {stage.code.name}, a routine that walks "
                        "through memory: only stages that are loops or products become kernels "
                        "in Python",
                        next(iter(kernel.where), user_where()),
                        "GRADLOOM_CUDA_COMPILER=llvm, which compiles all of them",
                    )
                )
    text = device_text(device)
    kernels = [
        Kernel(k.name, text.source(k), k.arguments, most_threads=THREADS)
        for k in text.kernels.values()
    ]
    clock.mark("text")
    found = compile_kernels(kernels, arch, {}) if kernels else ()
    clock.mark("kernels")
    return Ptx(joined(found), {KERNEL + name: 0 for name in text.kernels})


_HEAD = re.compile(r"^\.(?:version|target|address_size)\b.*\n", re.MULTILINE)
_OWN = re.compile(
    r"^(?:\.\w+\s+)*\.(?:shared|global|const)\b[^=;]*?([\w$]+)(?:\[|\s*[=;])", re.MULTILINE
)


def joined(texts: tuple[str, ...]) -> str:
    """Several PTX texts as one, what each has for itself under names of its own."""
    first, *others = texts or ("",)
    parts = [first]
    for number, text in enumerate(others, 1):
        text = _HEAD.sub("", text)
        for name in dict.fromkeys(_OWN.findall(text)):
            text = re.sub(rf"(?<![\w$]){re.escape(name)}(?![\w$])", f"{name}_{number}", text)
        parts.append(text)
    return "\n".join(parts)

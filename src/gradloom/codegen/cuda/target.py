"""The GPU that kernels are generated for, by LLVM's own PTX back end.

llvmlite brings that back end along, so PTX needs no CUDA toolkit, no driver and no GPU: a kernel
takes 2 ms, where Numba's CUDA target takes 100 to 200 for the same one.
"""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm

from gradloom.codegen.cpu.target import Target

TRIPLE = "nvptx64-nvidia-cuda"

# The oldest version of PTX that knows a GPU, so that old drivers take what is made for old GPUs.
VERSIONS = {80: 80, 86: 80, 89: 80, 90: 80, 100: 86, 120: 87}


def gpu_target(capability: int) -> Target:
    """The GPU of a compute capability, 80 for 8.0, of which each thread has scalar registers.

    >>> gpu_target(90).cpu
    'sm_90'
    """
    if capability not in VERSIONS:
        known = ", ".join(str(c / 10) for c in VERSIONS)
        raise ValueError(f"compute capability {capability / 10} is not among {known}")
    return Target(TRIPLE, f"sm_{capability}", f"+ptx{VERSIONS[capability]}", 4, 255)


def newest(capability: int) -> int:
    """The compute capability to write PTX for, which a GPU of this one takes: not all are known by
    name.  0 for GPUs older than any that is.

    >>> newest(90), newest(103), newest(75)
    (90, 100, 0)
    """
    return max((known for known in VERSIONS if known <= capability), default=0)


def capability(target: Target) -> int:
    """The compute capability of a GPU, 90 for 9.0."""
    return int(target.cpu.removeprefix("sm_"))


@cache
def gpu_machine(target: Target) -> llvm.TargetMachine:
    """LLVM's code generator for a GPU."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3
    )

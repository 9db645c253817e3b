"""The processor that code is generated for: LLVM's names for it, its vectors and registers."""

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from gradloom.ir.types import ITEMSIZE


@dataclass(frozen=True)
class Target:
    """What a code generator must know of a processor; equal targets give equal code.

    `features` is LLVM's comma-separated list, `vector_bytes` the width of the vectors to emit and
    `registers` how many of them there are.
    """

    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int

    def lanes(self, dtype: str) -> int:
        """Elements of `dtype` in one vector.

        >>> named_target("x86-64-v3").lanes("float64")
        4
        """
        return self.vector_bytes // ITEMSIZE[dtype]

    @property
    def has_masks(self) -> bool:
        """Whether a masked load is one instruction; elsewhere LLVM writes a branch a lane."""
        return self.vector_bytes >= 32

    @property
    def has_avx512(self) -> bool:
        """Whether it has AVX-512, with its shorter vectors."""
        return self.vector_bytes == 64

    @property
    def has_fma(self) -> bool:
        """Whether `llvm.fma` is an instruction; elsewhere it is a slow library call."""
        return self.triple.startswith(("aarch64", "arm64")) or "+fma" in self.features.split(",")


_NAMED = {
    "x86-64-v2": Target("x86_64-unknown-linux-gnu", "x86-64-v2", "", 16, 16),
    "x86-64-v3": Target("x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2,+fma", 32, 16),
    "x86-64-v4": Target("x86_64-unknown-linux-gnu", "x86-64-v4", "+avx2,+fma,+avx512f", 64, 32),
    "aarch64": Target("aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32),
}


def named_target(name: str) -> Target:
    """A fixed target, for export and for tests: x86-64-v2, x86-64-v3, x86-64-v4 or aarch64."""
    if name not in _NAMED:
        raise ValueError(f"unknown target {name!r}; the known ones are {', '.join(_NAMED)}")
    return _NAMED[name]


@cache
def host_target() -> Target:
    """The processor that this process runs on."""
    triple = llvm.get_process_triple()
    features = llvm.get_host_cpu_features()
    vector_bytes, registers = _vectors(triple, features)
    return Target(triple, llvm.get_host_cpu_name(), features.flatten(), vector_bytes, registers)


def _vectors(triple: str, features: dict[str, bool]) -> tuple[int, int]:
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx2") and features.get("fma"):
        return 32, 16
    return 16, 32 if triple.startswith(("aarch64", "arm64")) else 16


@cache
def _initialize_llvm() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def target_machine(target: Target) -> llvm.TargetMachine:
    """A new LLVM code generator for `target`, at its highest level and fit for loading in place."""
    _initialize_llvm()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, jit=True
    )

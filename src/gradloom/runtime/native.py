"""LLVM texts in, one native object out, with the functions that are asked for.

Everything else is made internal, so that LLVM may inline or drop it. Invariant: the object needs no
Numba runtime and no Python, only the C library's names in ALLOWED, and the stages that it is told
lie elsewhere.
"""

import itertools
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import llvmlite.binding as llvm

from gradloom.clock import Clock
from gradloom.errors import InternalError

MEMORY = {"memcpy", "memset", "memmove"}
_MATHEMATICS = (
    "exp exp2 expm1 log log2 log10 log1p pow fma fmod sqrt sin cos tan asin acos atan atan2 "
    "sinh cosh tanh erf floor ceil rint trunc round fmin fmax ldexp copysign"
)
LIBM = {name + suffix for name in _MATHEMATICS.split() for suffix in ("", "f")}
SYSTEM = {"sched_yield"}  # what a thread calls that waits for another
ALLOWED = MEMORY | LIBM | SYSTEM | {"_GLOBAL_OFFSET_TABLE_"}


@dataclass(frozen=True)
class Build:
    """A native object, its optimised LLVM text, and the seconds that each stage took."""

    object: bytes
    llvm: str
    seconds: Mapping[str, float]


def make_object(
    texts: list[str],
    names: Collection[str],
    cpu: str,
    features: str,
    clock: Clock,
    elsewhere: Collection[str] = (),
) -> Build:
    """Link `texts`, keep the functions `names`, optimise and emit for `cpu` with `features`; the
    functions `elsewhere` are there when the object is loaded."""
    machine = host_machine(cpu, features)
    module = link(texts, machine)
    keep_only(module, names)
    clock.mark("link")
    optimise(module, machine)
    clock.mark("optimise")
    text = str(module)  # before emission, which rewrites the module for the machine
    return _emitted(module, text, machine, clock, elsewhere)


def join(parts: list[Build], entry: str, cpu: str, features: str, clock: Clock) -> Build:
    """One object of several, which needs no other: the same functions, with one C entry."""
    machine = host_machine(cpu, features)
    module = link([part.llvm for part in parts], machine)
    keep_only(module, (entry,))
    clock.mark("link")
    return _emitted(module, str(module), machine, clock)


def _emitted(
    module: llvm.ModuleRef,
    text: str,
    machine: llvm.TargetMachine,
    clock: Clock,
    elsewhere: Collection[str] = (),
) -> Build:
    built = machine.emit_object(module)
    check_undefined(undefined_symbols(module, built) - set(elsewhere))
    clock.mark("emit")
    return Build(built, text, clock.seconds)


def host_machine(cpu: str, features: str) -> llvm.TargetMachine:
    """A new code generator for this kind of machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="default"
    )


def link(texts: list[str], machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """One verified module of all the texts."""
    module = llvm.parse_assembly(texts[0])
    for text in texts[1:]:
        module.link_in(llvm.parse_assembly(text))
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return module


def keep_only(module: llvm.ModuleRef, names: Collection[str]) -> None:
    """Make every definition but `names` internal, so that LLVM may inline or drop it."""
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name in names else "internal"
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"


def optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """LLVM's standard pipeline, without unrolling and its vectorisers.

    Kernels are unrolled and vectorised by construction. For 25 kernels of one loop each, LLVM's own
    unrolling took 18 ms more here and 35 ms more to emit, and made the object twice as long; the
    vectorisers took 2 ms and changed nothing.
    """
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


def undefined_symbols(module: llvm.ModuleRef, built: bytes) -> set[str]:
    """What the object expects others to define.

    The module's declarations, and in ELF the symbol table too: instruction selection adds calls of
    the C library that no declaration shows.
    """
    values = itertools.chain(module.functions, module.global_variables)
    names = {value.name for value in values if value.is_declaration}
    sections = {
        section.name(): section.data()
        for section in llvm.ObjectFileRef.from_data(built).sections()
        if section.name() in (b".symtab", b".strtab")
    }
    if built.startswith(b"\x7fELF"):
        strings = sections[b".strtab"]
        for start, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", sections[b".symtab"]):
            if start and not section:
                names.add(strings[start : strings.index(b"\0", start)].decode())
    return {name for name in names if not name.startswith("llvm.")}


def check_undefined(names: set[str]) -> None:
    """Raise InternalError if a symbol is needed that a plain C program would not have."""
    foreign = sorted(names - ALLOWED)
    if foreign:
        raise InternalError(f"the compiled driver needs foreign symbols: {', '.join(foreign)}")

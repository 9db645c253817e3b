"""A native object in, a ctypes callable out. Never imports numba."""

import ctypes
import itertools
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import llvmlite.binding as llvm

C_TYPES: dict[str, Any] = {"i64": ctypes.c_int64, "f64": ctypes.c_double, "ptr": ctypes.c_void_p}

_serial = itertools.count()
_NOTHING: Mapping[str, int] = MappingProxyType({})


def load(
    built: bytes,
    entry: str,
    arguments: tuple[str, ...],
    elsewhere: Mapping[str, int] = _NOTHING,
    keeps: Iterable[llvm.ResourceTracker] = (),
) -> Any:
    """Function `entry` of an object, as a callable that returns its int64 status.

    `arguments` are type names: "i64" and "f64" take Python numbers, "ptr" takes an address. Calls
    release the GIL. Its attribute `address` is where the code begins. The code stays in memory for
    as long as the callable does, and so do the libraries `keeps`, where the functions `elsewhere`
    lie.
    """
    library = open_library(built, (entry,), elsewhere)
    kinds = [C_TYPES[name] for name in arguments]
    function: Any = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(library[entry])
    function.address = library[entry]
    function.keeps = (library, *keeps)
    return function


def open_library(
    built: bytes, names: Iterable[str], elsewhere: Mapping[str, int] = _NOTHING
) -> llvm.ResourceTracker:
    """An object in memory, for as long as this lives, with the addresses of the functions `names`;
    it calls those `elsewhere`, by their addresses."""
    builder = llvm.JITLibraryBuilder().add_object_img(built).add_current_process()
    for name in names:
        builder.export_symbol(name)
    for name, address in elsewhere.items():
        builder.import_symbol(name, address)
    # The name of a library is never free again, even after its unloading.
    return builder.link(linker(), f"gradloom.{next(_serial)}")


@cache
def linker() -> llvm.LLJIT:
    """The process's one linker."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    # JITLink keeps the sections of an object together.  LLVM's older linker maps each by itself,
    # and aborts the process if code and constants come to lie more than 2 GB apart.
    return llvm.create_lljit_compiler(machine, use_jit_link=True)


def assembly(text: str, cpu: str, features: str) -> str:
    """The machine's assembly of an optimised LLVM module (`Build.llvm`)."""
    linker()  # initialises the target
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, reloc="pic", codemodel="default"
    )
    return str(machine.emit_assembly(llvm.parse_assembly(text)))

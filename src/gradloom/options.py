"""The arguments that everything compiled takes: `threads=`, `device=`, `verify=`, `memory_limit=`,
`precision=`, `flush_denormals=`.  Unlike a setting, an option may change what is computed, and
where."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from gradloom.errors import MemoryLimitError, SettingError, message, user_where

if TYPE_CHECKING:
    from gradloom.plan.plan import Plan

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Options(NamedTuple):
    """`threads` is the most threads that a call may use, None as many as the process has cores; a
    call uses fewer where more gain nothing, and the bits are the same.  `device` is "cpu" or
    "cuda"; None is where an argument lies, or else what `gl.device` says, the CPU if nothing;
    `target` "cuda-ptx" compiles for GPUs without running, for compute capability 9.0 or, as
    in "cuda-ptx:sm_120", another.  `verify` checks every call against the interpreter;
    `memory_limit` is in bytes, or text such as "64MB": where a program would take more, it computes
    values again instead of keeping them.

    `precision` is what products of float32 matrices, and convolutions, round their operands to on
    a GPU, whose tensor cores then multiply; sums are of float32.  "tensorfloat32" keeps 11 bits of
    each number, "bfloat16" 8; "highest", or "float32", all 24.  On the CPU, and in other dtypes,
    products are computed in the dtypes as written, whatever it says.

    With `flush_denormals`, which is for the CPU, the numbers between zero and the least normal one
    (1.2e-38 of float32, 2.2e-308 of float64) are zeros while a call runs, in each of its threads,
    and in a callback too; afterwards the mode is what it was. Weights, moments and activations that
    fade away get there, and arithmetic on them is done in microcode: of 4,096 elements a sum took
    3.4 to 4.7 times as long, `tanh` 26 to 51, and a product of 256 x 256 matrices, one of them
    such, 190 times (AVX-512); with the option each took what it takes of normal numbers."""

    threads: int | None = None
    device: str | None = None
    verify: bool = False
    memory_limit: int | None = None
    precision: str = "highest"
    flush_denormals: bool = False
    target: str = ""

    @property
    def where(self) -> str | None:
        """What to compile for, if these options say it: the target, else the device."""
        return self.target or self.device


DEVICES = ("cpu", "cuda")
PRECISIONS = ("highest", "float32", "tensorfloat32", "bfloat16")
TARGET = re.compile(r"cuda-ptx(?::sm_(\d+))?")


def parse(given: dict[str, Any]) -> Options:
    """Check options, naming the allowed ones."""
    for name in given:
        if name not in Options._fields:
            _refuse(f"there is no option {name!r}", f"the options are {', '.join(Options._fields)}")
    options = Options(**{**given, "memory_limit": _bytes(given.get("memory_limit"))})
    if options.device is not None:
        check_device(options.device)
    if options.target and TARGET.fullmatch(options.target) is None:
        _refuse(
            f"target {options.target!r} is not there",
            'the targets are "cuda-ptx" and, say, "cuda-ptx:sm_120"',
        )
    threads = options.threads
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        _refuse(f"threads={threads!r}", "give a number of threads from 1, or None")
    if not isinstance(options.flush_denormals, bool):
        _refuse(f"flush_denormals={options.flush_denormals!r}", "give True or False")
    if options.precision not in PRECISIONS:
        allowed = ", ".join(f'"{name}"' for name in PRECISIONS)
        _refuse(f"precision {options.precision!r} is not there", f"use one of {allowed}")
    return options


def check_device(name: Any) -> None:
    """Raise `SettingError` unless there is a device of that name."""
    if name not in DEVICES:
        shown = " and ".join(f'"{known}"' for known in DEVICES)
        _refuse(f"device {name!r} is not there", f"the devices are {shown}")


class Budget(NamedTuple):
    """At most `limit` bytes, for an arena and `more` that goes with its plan."""

    limit: int
    more: Callable[[Plan], int]

    def excess(self, plan: Plan) -> int:
        """The bytes that a plan takes beyond the limit."""
        return plan.arena_bytes + self.more(plan) - self.limit

    def check(self, plan: Plan) -> None:
        """Raise `MemoryLimitError` if a plan, the smallest that there is, needs more."""
        if self.excess(plan) <= 0:
            return
        arena = [b for b in plan.buffers if b.space == "arena"]
        largest = sorted(arena, key=lambda b: -b.type.nbytes)[:3]
        shown = "; ".join(f"{b.type.nbytes} bytes of {b.type} for {b.where}" for b in largest)
        least = self.excess(plan) + self.limit
        raise MemoryLimitError(
            message(
                f"the program needs {least} bytes beside its arguments, however much is computed"
                f" again instead of kept, and memory_limit is {self.limit}",
                user_where(),
                f"allow {least}, or shrink the largest buffers: {shown}",
            )
        )


def budget(options: Options, more: Callable[[Plan], int] = lambda plan: 0) -> Budget | None:
    """What `memory_limit` allows, or None."""
    return None if options.memory_limit is None else Budget(options.memory_limit, more)


def _bytes(limit: Any) -> int | None:
    if limit is None or (isinstance(limit, int) and limit >= 0):
        return limit
    found = (
        re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", limit) if isinstance(limit, str) else None
    )
    if found is None or found[2].upper() not in _UNITS:
        return _refuse(f"memory_limit={limit!r}", 'give bytes, or text such as "64MB" or "1.5GiB"')
    return int(float(found[1]) * _UNITS[found[2].upper()])


def _refuse(what: str, repair: str) -> NoReturn:
    raise SettingError(message(what, user_where(), repair))

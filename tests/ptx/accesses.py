"""Loads, stores, atomics, fences and asynchronous copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.ptx.action import DTYPES, Action, builds, parts, size_of, type_of, unknown
from tests.ptx.floats import BROAD, NARROW
from tests.ptx.integers import FOLDS
from tests.ptx.spaces import SHARED_WINDOW, WINDOWS, FaultError, Space
from tests.ptx.syntax import SINK, Address, Instruction, Register, Vector

if TYPE_CHECKING:
    from tests.ptx.wave import Wave

SPACES = ("global", "shared", "local", "const", "param")
STRONG = frozenset({"volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"})
RELEASING = frozenset({"release", "acq_rel"})
ACQUIRING = frozenset({"acquire", "acq_rel"})


def space_of(instruction: Instruction) -> str:
    """The space that an instruction names, "generic" where it names none."""
    names = [modifier.partition("::")[0] for modifier in instruction.modifiers]
    return next((name for name in names if name in SPACES), "generic")


def through(
    wave: Wave, name: str, threads: np.ndarray, addresses: np.ndarray
) -> list[tuple[Space, np.ndarray | None, np.ndarray]]:
    """The spaces that addresses lie in, each with the threads (None: all) and its own addresses."""
    if name != "generic":
        return [(wave.spaces[name], None, addresses)]
    top = addresses & -SHARED_WINDOW
    if np.all(top == top[0]):
        window = int(top[0])
        if window not in WINDOWS:
            raise FaultError(f"{int(addresses[0]):#x} is no address", int(threads[0]))
        return [(wave.window(window), None, addresses - window)]
    found = []
    for window in np.unique(top).tolist():
        where = np.nonzero(top == window)[0]
        if window not in WINDOWS:
            raise FaultError(f"{int(addresses[where[0]]):#x} is no address", int(threads[where[0]]))
        found.append((wave.window(window), where, addresses[where] - window))
    return found


# ---- ld, st


def widened(target: Any, kind: str) -> np.dtype:
    """The dtype in which a loaded value fills its register, by its sign."""
    own = DTYPES[kind]
    if not isinstance(target, Register) or size_of(target.type) <= own.itemsize:
        return own
    return np.dtype(f"{'int' if own.kind == 'i' else 'uint'}{8 * size_of(target.type)}")


def register_kind(target: Any, kind: str) -> str:
    size = size_of(target.type) if isinstance(target, Register) else 0
    return kind if size <= size_of(kind) else f"{'s' if kind[0] == 's' else 'b'}{8 * size}"


@builds("ld", "ldu")
def load(instruction: Instruction) -> Action:
    kind, name = type_of(instruction), space_of(instruction)
    targets = parts(instruction.operands[0])
    dtype = np.dtype(np.uint16) if kind == "f16" else DTYPES[kind]
    wide = [widened(target, kind) for target in targets]
    modifiers = set(instruction.modifiers)
    strong, acquires = bool(STRONG & modifiers), bool(ACQUIRING & modifiers)
    count = len(targets)

    def compute(wave: Wave, threads: np.ndarray, addresses: np.ndarray) -> Any:
        spaces = through(wave, name, threads, addresses)
        if len(spaces) == 1:
            space, _, own = spaces[0]
            if strong:
                space.strongly(threads, own, reads=True, acquires=acquires)
            values = space.read(threads, own, dtype, count, strong)
        else:
            values = [np.empty(threads.size, dtype) for _ in targets]
            for space, where, own in spaces:
                for value, found in zip(
                    values, space.read(threads[where], own, dtype, count, strong), strict=True
                ):
                    value[where] = found
        values = [
            value if fit == dtype else value.astype(fit)
            for value, fit in zip(values, wide, strict=True)
        ]
        return values[0] if count == 1 else values

    results = tuple((target, register_kind(target, kind)) for target in targets)
    return Action(compute, ((instruction.operands[1], "address"),), results, "memory")


@builds("st")
def store(instruction: Instruction) -> Action:
    kind, name = type_of(instruction), space_of(instruction)
    address, value = instruction.operands
    modifiers = set(instruction.modifiers)
    strong, releases = bool(STRONG & modifiers), bool(RELEASING & modifiers)
    if name in ("const", "param") or "async" in modifiers:
        raise unknown(instruction, "is not interpreted")

    def compute(wave: Wave, threads: np.ndarray, addresses: np.ndarray, *values: Any) -> None:
        wave.progress = True
        for space, where, own in through(wave, name, threads, addresses):
            who = threads if where is None else threads[where]
            these = values if where is None else tuple(value[where] for value in values)
            if strong:
                space.strongly(who, own, writes=True, releases=releases)
            space.write(who, own, these, strong)

    sources = ((address, "address"), *((part, kind) for part in parts(value)))
    return Action(compute, sources, (), "memory")


# ---- atom, red


def wrapping(step: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    if step > 0:
        return lambda old, limit: np.where(old >= limit, 0, old + np.uint32(1)).astype(old.dtype)
    return lambda old, limit: np.where(
        (old == 0) | (old > limit), limit, old - np.uint32(1)
    ).astype(old.dtype)


COMBINE: dict[str, Callable[..., np.ndarray]] = {
    **FOLDS,
    "exch": lambda old, new: new,
    "inc": wrapping(1),
    "dec": wrapping(-1),
    "cas": lambda old, expected, new: np.where(old == expected, new, old),
}
FLOAT_COMBINE = {**COMBINE, "min": np.fmin, "max": np.fmax}


def combiner(operation: str, kind: str) -> Callable[..., np.ndarray]:
    """The function of memory and operands that an atomic stores."""
    if kind in ("f16", "f32", "f64"):
        return FLOAT_COMBINE[operation]
    if kind in BROAD:  # bf16 and the packed types are computed as float32 and rounded
        return lambda old, new: NARROW[kind](
            FLOAT_COMBINE[operation](BROAD[kind](old), BROAD[kind](new))
        )
    return COMBINE[operation]


def in_turn(
    view: np.ndarray, index: np.ndarray, combine: Callable[..., np.ndarray], values: tuple
) -> np.ndarray:
    """Applies an atomic for each thread, one after the other at one address; what each found."""
    found = np.empty(index.size, view.dtype)
    rest = np.arange(index.size)
    while rest.size:
        cells, first = np.unique(index[rest], return_index=True)
        now = rest[first]
        found[now] = view[cells]
        view[cells] = combine(found[now], *[value[now] for value in values])
        rest = np.delete(rest, first)
    return found


@builds("atom", "red")
def atomic(instruction: Instruction) -> Action:
    kind, name = type_of(instruction), space_of(instruction)
    modifiers = set(instruction.modifiers)
    operation = next(modifier for modifier in instruction.modifiers if modifier in COMBINE)
    result = () if instruction.name == "red" else (instruction.operands[0],)
    address, *rest = instruction.operands[len(result) :]
    if "async" in modifiers or any(isinstance(operand, Vector) for operand in rest):
        raise unknown(instruction)
    combine, dtype = combiner(operation, kind), DTYPES[kind]
    releases, acquires = bool(RELEASING & modifiers), bool(ACQUIRING & modifiers)
    at_once = operation in FOLDS and combine is FOLDS[operation]
    forgets = at_once and result in ((), (SINK,))

    def compute(wave: Wave, threads: np.ndarray, addresses: np.ndarray, *values: Any) -> Any:
        found = np.empty(threads.size, dtype)
        for space, where, own in through(wave, name, threads, addresses):
            where = slice(None) if where is None else where
            who, these = threads[where], tuple(value[where] for value in values)
            orders = {"acquires": acquires, "releases": releases}
            space.strongly(who, own, reads=True, writes=True, **orders)
            places = space.places(who, own, dtype.itemsize, writes=False, strong=True)
            space.touched(who, places, dtype.itemsize, writes=True, strong=True)
            view, index = space.view(dtype), places // dtype.itemsize
            before = view[index]
            if forgets:
                combine.at(view, index, these[0])
            else:
                found[where] = in_turn(view, index, combine, these)
            wave.progress = wave.progress or before.tobytes() != view[index].tobytes()
        return found if result else None

    sources = ((address, "address"), *((part, kind) for part in rest))
    return Action(compute, sources, tuple((part, kind) for part in result), "memory")


@builds("fence", "membar")
def fence(instruction: Instruction) -> Action:
    return Action(lambda wave, threads: wave.spaces["global"].fence(threads), (), (), "memory")


# ---- cp.async


@builds("cp")
def asynchronous_copy(instruction: Instruction) -> Action:
    kind, what, *_ = (*instruction.modifiers, "")
    if kind != "async" or what not in ("ca", "cg", "commit_group", "wait_all", "wait_group"):
        raise unknown(instruction, "is not interpreted (bulk and tensor copies are not)")
    if what == "commit_group":
        return Action(lambda wave, threads: wave.copies.commit(threads), (), (), "memory")
    if what in ("ca", "cg"):
        return copy(instruction, (16,) if what == "cg" else (4, 8, 16))
    pending = instruction.operands[0].value if what == "wait_group" else None
    return Action(lambda wave, threads: wave.copies.wait(threads, pending), (), (), "memory")


def copy(instruction: Instruction, sizes: tuple[int, ...]) -> Action:
    target, source, length, *rest = instruction.operands
    size = length.value
    if size not in sizes or len(rest) > 1:
        raise unknown(instruction, f"cannot copy {size} bytes")

    def compute(wave: Wave, threads: np.ndarray, to: Any, of: Any, wanted: Any = None) -> None:
        if wanted is None:
            wanted = np.full(threads.size, size, np.int64)
        elif wanted.dtype == np.bool_:  # ignore-src: nothing is read
            wanted = np.where(wanted, 0, size)
        elif (wanted > size).any():
            raise FaultError(f"asks for more than {size} bytes", int(threads[0]))
        wave.copies.start(threads, to, of, size, wanted)

    predicate = rest and isinstance(rest[0], Register) and rest[0].type == "pred"
    sources = [(target, "address"), (source, "address")]
    sources += [(part, "pred" if predicate else "u32") for part in rest]
    return Action(compute, tuple(sources), (), "memory")


@builds("prefetch", "prefetchu", "discard", "applypriority", "nanosleep", "griddepcontrol")
def hint(instruction: Instruction) -> Action:
    return Action(lambda wave, threads: None, (), (), "memory")


@builds("trap", "brkpt")
def trap(instruction: Instruction) -> Action:
    def compute(wave: Wave, threads: np.ndarray) -> None:
        raise FaultError("the kernel trapped", int(threads[0]))

    return Action(compute, (), (), "memory")


# ---- addresses


@builds("cvta")
def convert_address(instruction: Instruction) -> Action:
    """Between the addresses of a space and generic ones."""
    base = {name: window for window, name in WINDOWS.items()}.get(space_of(instruction), 0)
    kind = type_of(instruction)
    shift = np.uint64(base)
    if "to" in instruction.modifiers:
        result = (lambda x: x - shift) if base else (lambda x: x)
    else:
        result = (lambda x: x + shift) if base else (lambda x: x)
    target, source = instruction.operands
    if isinstance(source, Address):
        raise unknown(instruction)
    return Action(result, ((source, kind),), ((target, kind),))


@builds("isspacep")
def is_in_space(instruction: Instruction) -> Action:
    base = {name: window for window, name in WINDOWS.items()}[space_of(instruction)]
    target, source = instruction.operands
    window = np.int64(-SHARED_WINDOW)
    return Action(lambda x: (x & window) == base, ((source, "s64"),), ((target, "pred"),))

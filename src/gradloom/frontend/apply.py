"""One operator applied to values of any sort: to nodes it adds a node, to taped values it computes
and records, to arrays it computes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.errors import DtypeError, message, user_where
from gradloom.frontend.record import OPEN, Record
from gradloom.frontend.tensor import Tensor, is_number
from gradloom.frontend.trace import Trace, current, fits, leaked, lift, type_of
from gradloom.ir.node import Node, make
from gradloom.ir.op import OPS, Kind, Op
from gradloom.ir.source import ITEM
from gradloom.ir.types import COMPLEX, DTYPES, FLOATS, TupleType

_PROMOTING = (Kind.ELEMENTWISE, Kind.CONTRACT, Kind.JOIN)
_SAMPLE = {"bool": False, "int64": 0, "float64": 0.0, "complex128": 0j}


def apply(op: Op, *args: Any, **attrs: Any) -> Any:
    """`op` on traced, taped or plain operands; the result is of the same sort."""
    level = -1
    traced = False
    for arg in args:
        if isinstance(arg, Tensor):
            traced = True
            if isinstance(arg.node, Record):
                level = max(level, arg.node.level)
    if level >= 0:
        return _tape(op, level, args, attrs)
    if traced or not args:
        return _trace(op, args, attrs)
    return op.reference(*args, **attrs)


def apply_many(op: Op, *args: Any, **attrs: Any) -> tuple[Any, ...]:
    """The results of an operator that has several."""
    whole = apply(op, *args, **attrs)
    if isinstance(whole, tuple):
        return whole
    kind = whole.node.type
    assert isinstance(kind, TupleType)
    return tuple(apply(ITEM, whole, index=i) for i in range(len(kind.types)))


def _tape(op: Op, level: int, args: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
    inputs = tuple(_recorded(a, level) for a in args)
    if level not in OPEN:
        raise leaked(next(a for a, r in zip(args, inputs, strict=True) if r is not None))
    seen = tuple(a if r is None else r.value for a, r in zip(args, inputs, strict=True))
    return Tensor(Record(op, seen, inputs, attrs, apply(op, *seen, **attrs), level))


def _recorded(arg: Any, level: int) -> Record | None:
    """The record of this level that an operand is, if it is one."""
    if isinstance(arg, Tensor) and isinstance(arg.node, Record) and arg.node.level == level:
        return arg.node
    return None


def _trace(op: Op, args: tuple[Any, ...], attrs: dict[str, Any]) -> Tensor:
    if not isinstance(current(), Trace):
        raise leaked(next((a for a in args if isinstance(a, Tensor)), None))
    if op.kind not in _PROMOTING:
        if not op.takes_complex and any(type_of(a).is_complex for a in args):
            raise _refused(op, args)
        return Tensor(make(op, *map(lift, args), **attrs))
    dtype = promote(op, args[op.flags :])
    if op.returns == "bool" and not all(fits(a, dtype) for a in args if is_number(a)):
        # An integer may be compared with any other, also with one that its dtype cannot hold.
        dtype = "int64" if all(fits(a, "int64") for a in args if is_number(a)) else "float64"
    if dtype == "bool" and op.on_bool is not None:
        op = OPS[op.on_bool]
    flags = [_cast(lift(a), "bool") for a in args[: op.flags]]
    nodes = [_cast(lift(a, _own(a, dtype)), dtype) for a in args[op.flags :]]
    return Tensor(make(op, *flags, *nodes, **attrs))


def promote(op: Op, args: tuple[Any, ...]) -> str:
    """NumPy 2's promotion: Python scalars, and what was traced from them, are weak."""
    dtype = np.result_type(*map(_sample, args)).name
    floating = op.accepts in ("float", "real")
    if floating and dtype in DTYPES and dtype not in FLOATS + COMPLEX:
        dtype = _floating(op, args)
    if dtype == "bool" and op.accepts in ("number", "whole") and op.on_bool is None:
        dtype = _of_booleans(op)
    wanted = {
        "integer": dtype not in FLOATS + COMPLEX,
        "whole": dtype not in ("bool", *FLOATS, *COMPLEX),
        "number": dtype != "bool" or op.on_bool is not None,
        "float": True,
        "real": dtype in FLOATS,
        "complex": dtype in COMPLEX,
        "bool": True,
        "any": True,
    }
    good = dtype in DTYPES and wanted[op.accepts]
    if dtype in COMPLEX and op.accepts != "bool":
        good = good and op.takes_complex
    if not good:
        raise _refused(op, args)
    return "bool" if op.accepts == "bool" else dtype


def _floating(op: Op, args: tuple[Any, ...]) -> str:
    """What NumPy computes a function of integers in; where that is half precision, float64."""
    if isinstance(op.reference, np.ufunc) and len(args) == op.reference.nin:
        kinds = [_kind(_sample(a)) for a in args]
        if not any(isinstance(k, np.dtype) for k in kinds):
            return "float64"
        name = op.reference.resolve_dtypes((*kinds, None))[-1].name
        return name if name in FLOATS else "float64"
    return "float64"


def _kind(sample: Any) -> Any:
    """A sample as `np.ufunc.resolve_dtypes` takes it: of weak numbers Python's type."""
    if isinstance(sample, np.dtype):
        return sample
    return np.dtype(bool) if isinstance(sample, bool) else type(sample)


def _of_booleans(op: Op) -> str:
    """What NumPy computes a function of booleans in, int8, if it has it."""
    if not isinstance(op.reference, np.ufunc):
        return "bool"
    try:
        return op.reference.resolve_dtypes((*[np.dtype("bool")] * op.operands, None))[-1].name
    except TypeError:
        return "bool"


def _refused(op: Op, args: tuple[Any, ...]) -> DtypeError:
    kinds = [type_of(a) for a in args]
    repair = f"convert an operand with .astype(); {op.name} takes {op.accepts} operands"
    if any(kind.is_complex for kind in kinds):
        repair = "use the real or the imaginary part, or abs()"
    found = ", ".join(map(str, kinds))
    return DtypeError(message(f"{op.name} has no form for {found}", user_where(), repair))


def _sample(arg: Any) -> Any:
    """What `np.result_type` should see: a dtype, or a Python number where the operand is weak."""
    if isinstance(arg, Tensor):
        name = arg.node.type.dtype
        return _SAMPLE[name] if arg.weak and name in _SAMPLE else np.dtype(name)
    return arg if is_number(arg) else np.dtype(type_of(arg).dtype)


def _own(arg: Any, dtype: str) -> str | None:
    """Scalars are made in the promoted dtype at once, so no cast of a constant is left."""
    return dtype if is_number(arg) else None


def _cast(node: Node, dtype: str) -> Node:
    return node if node.type.dtype == dtype else make(OPS["cast"], node, dtype=dtype)

"""Branches and loops within scalar functions: for what only a few elements need.

A lane's code is straight: both sides of a choice are computed.  These leave the straight line where
one side is long and hardly ever wanted, and where the number of steps is known only to the data.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

State = tuple[Any, ...]


def splat(lane: Any, width: int | None) -> Any:
    """A scalar lane repeated in a vector; a lane that has this width already is returned as is."""
    if lane.width == width:
        return lane
    if lane.width is not None:
        raise TypeError(f"a lane of {lane.width} elements cannot become one of {width}")
    empty = ir.Constant(ir.VectorType(lane.value.type, width), ir.Undefined)
    first = lane.builder.insert_element(empty, lane.value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), width), None)
    return lane._lane(lane.builder.shuffle_vector(first, empty, zeros))


def alike(*lanes: Any) -> State:
    """Lanes repeated to the width of the widest."""
    width = next((lane.width for lane in lanes if lane.width is not None), None)
    return tuple(splat(lane, width) for lane in lanes)


def any_of(mask: Any) -> ir.Value:
    """One bit: whether the mask holds in any element."""
    if mask.width is None:
        return mask.value
    module, kind = mask.builder.module, mask.value.type
    name = f"llvm.vector.reduce.or.v{mask.width}{kind.element}"
    if name not in module.globals:
        ir.Function(module, ir.FunctionType(ir.IntType(1), [kind]), name)
    return mask.builder.call(module.globals[name], [mask.value])


def seldom(mask: Any, slow: Callable[..., State], given: State, fast: Sequence[Any]) -> State:
    """`slow(*given)` where the mask holds, else `fast`; `slow` is entered only if some element
    asks."""
    builder = mask.builder
    mask, *lanes = alike(mask, *given, *fast)
    given, fast = tuple(lanes[: len(given)]), lanes[len(given) :]
    before, wanted = builder.block, any_of(mask)
    with builder.if_then(wanted, likely=False):
        # In line, each sine would bring the reduction of huge angles along: a hundred operations, a
        # third of them sines, took 7.7 s to compile so, and take 0.6 s with calls.
        kinds = [(lane.value.type, lane.dtype) for lane in fast]
        found = called(f"seldom_{slow.__name__.strip('_')}", slow, given, kinds)
        chosen = tuple(mask.where(s, f) for s, f in zip(found, fast, strict=True))
        after = builder.block
    joined = [builder.phi(lane.value.type) for lane in chosen]
    for phi, quick, lane in zip(joined, fast, chosen, strict=True):
        phi.add_incoming(quick.value, before)
        phi.add_incoming(lane.value, after)
    return tuple(lane._lane(phi) for lane, phi in zip(chosen, joined, strict=True))


def called(
    name: str, slow: Callable[..., State], given: State, kinds: Sequence[tuple[ir.Type, str]]
) -> list[Any]:
    """The results of `slow(*given)`, of these types and dtypes: a call of a function that a module
    has once for a name, a dtype and a width.  `given` are all of one width."""
    builder, first = given[0].builder, given[0]
    module, width = builder.module, first.width
    name = f"{name}_{first.dtype}_{width or 1}"
    if name not in module.globals:
        result = ir.LiteralStructType([kind for kind, _ in kinds])
        kind = ir.FunctionType(result, [lane.value.type for lane in given])
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        operands = zip(given, function.args, strict=True)
        made = slow(*(type(lane)(inner, value, lane.dtype) for lane, value in operands))
        whole = ir.Constant(result, ir.Undefined)
        for place, lane in enumerate(made):
            whole = inner.insert_value(whole, splat(lane, width).value, place)
        inner.ret(whole)
    call = builder.call(module.globals[name], [lane.value for lane in given])
    return [
        first._lane(builder.extract_value(call, n), dtype) for n, (_, dtype) in enumerate(kinds)
    ]


def repeat(
    state: State, limit: int, step: Callable[..., State], going: Callable[..., Any]
) -> State:
    """`state` after steps `step(*state)`, while `going(*state)` holds in any element; at most
    `limit` steps.  An element that is no longer going keeps its state, so the results of an element
    do not depend on its neighbours."""
    builder, state = state[0].builder, alike(*state)
    before = builder.block
    loop, after = builder.append_basic_block("steps"), builder.append_basic_block("settled")
    builder.branch(loop)
    builder.position_at_end(loop)
    count = builder.phi(ir.IntType(32))
    phis = [builder.phi(lane.value.type) for lane in state]
    current = tuple(lane._lane(phi) for lane, phi in zip(state, phis, strict=True))
    active = going(*current)
    following = tuple(
        active.where(new, old) for new, old in zip(step(*current), current, strict=True)
    )
    more = builder.add(count, ir.IntType(32)(1))
    end = builder.block
    count.add_incoming(ir.IntType(32)(0), before)
    count.add_incoming(more, end)
    for phi, first, new in zip(phis, state, following, strict=True):
        phi.add_incoming(first.value, before)
        phi.add_incoming(new.value, end)
    again = builder.and_(
        any_of(going(*following)), builder.icmp_signed("<", more, ir.IntType(32)(limit))
    )
    builder.cbranch(again, loop, after)
    builder.position_at_end(after)
    return following

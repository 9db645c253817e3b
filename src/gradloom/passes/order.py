"""The passes, in their order, with the reasons beside it."""

from gradloom.passes.inline import inline, number
from gradloom.passes.loops import merge_loops, prune_loops
from gradloom.passes.simplify import drop_markers, simplify

PASSES = (
    inline,  # before anything looks at a graph: it shows what calls hold
    drop_markers,  # early: a marker hides its operand from every other rule
    simplify,
    merge_loops,  # before pruning, which forgets the names by which loops are recognised
    prune_loops,
    number,  # last: no pass after it makes two values one
)

ALWAYS = (inline,)  # also where a setting says to skip it: no planner knows a call

"""The passes, in their order, with the reasons beside it."""

from gradloom.passes.loops import merge_loops, prune_loops
from gradloom.passes.planar import split_complex
from gradloom.passes.simplify import drop_markers, simplify

PASSES = (
    drop_markers,  # first: a marker hides its operand from every other rule
    split_complex,  # what follows knows real numbers only
    simplify,
    merge_loops,  # before pruning, which forgets the names by which loops are recognised
    prune_loops,
)

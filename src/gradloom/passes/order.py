"""The passes, in their order, with the reasons beside it."""

from gradloom.passes.blocks import cut_into_blocks
from gradloom.passes.hoist import hoist_sums
from gradloom.passes.inline import inline
from gradloom.passes.joins import join_pieces
from gradloom.passes.loops import bind_constants, merge_loops, prune_loops
from gradloom.passes.planar import split_complex
from gradloom.passes.reductions import halve_reductions
from gradloom.passes.simplify import drop_markers, simplify
from gradloom.passes.symmetry import fold_symmetric
from gradloom.passes.turn import turn_operands

PASSES = (
    inline,  # before anything looks at a graph: it shows what calls hold
    drop_markers,  # early: a marker hides its operand from every other rule
    split_complex,  # what follows knows real numbers only
    cut_into_blocks,  # before the pieces and products that come of it are simplified
    simplify,
    join_pieces,  # sums of pieces come of differentiation alone
    fold_symmetric,  # before anything cuts folds or moves them out of loops
    merge_loops,  # before pruning, which forgets the names by which loops are recognised
    bind_constants,
    prune_loops,  # also of the operands that were constants
    hoist_sums,  # after pruning: what nobody reads need not be summed
    turn_operands,  # after sums have left the loops
    halve_reductions,  # after what would join the reshapes that come of it with others
)

# Also where a setting says to skip them: no planner knows a call, or a complex number.
ALWAYS = (inline, split_complex)

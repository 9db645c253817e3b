"""What a driver and those who call it agree on: its name, its arguments, the words of `control`."""

import struct

from gradloom.codegen.primitives import GENERATION

ENTRY = "program"
ARGUMENTS = ("ptr", "ptr", "ptr", "i64", "i64")
FAULTS = 48  # the first word of `control` that belongs to a kernel

# Words of `control` that a training driver reads and writes; more are in `codegen.primitives`.
# Worker 0 writes LEAVE + 0 and LEAVE + 1 in turn, so that no one still has to read what it writes.
LEAVE = GENERATION + 2
DONE, STOP, START, UNTIL, BATCHES, MODE, ROWS, KEY_LOW, KEY_HIGH, EPOCH, FIRST, KEEP = range(12)
HEAD = struct.Struct("12q")  # these words, in this order
IN_PLACE, GATHER, SHUFFLE = range(3)  # modes: batches lie in a row; by `order`; by a new `order`

"""One native call over many batches: its control words, its thread, and how it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradloom.codegen import words
from gradloom.errors import ShapeError, message, user_where
from gradloom.runtime.arrays import address
from gradloom.runtime.executable import Executable, Frame

# Runs that take longer than this by the planner's count of operations get a thread of their own, so
# that Python stays responsive; starting one costs about 60 us (benchmarks/call_overhead.py).
THREADED_FLOPS = 2e8
POLL_SECONDS = 0.05


@dataclass
class Course:
    """What one native call is to do."""

    executable: Executable
    state: Sequence[int]  # addresses of the state's leaves
    arrays: Sequence[np.ndarray]  # the data, then what the loss closed over
    results: list[np.ndarray]  # outputs, a leading axis of batches
    batches: int
    epochs: int = 1
    mode: int = words.IN_PLACE
    order: np.ndarray | None = None  # int64, one entry a row
    key: tuple[int, int] = (0, 0)
    first_epoch: int = 0
    first_row: int = 0
    keep: bool = False  # whether all outputs are kept, or the first alone


def drive(
    course: Course,
    interruptible: bool = False,
    watch: Callable[[int], None] | None = None,
) -> list[np.ndarray]:
    """Run a course and return its results.

    An interruptible course may be stopped by KeyboardInterrupt between two batches; `watch` is told
    now and then how many batches are done.
    """
    executable = course.executable
    frame = executable.frame(gathering=course.mode != words.IN_PLACE)
    _fill(frame, course)
    try:
        work = executable.flops * course.batches * course.epochs
        if (interruptible and work > THREADED_FLOPS) or watch:
            _in_thread(course, frame, watch)
        else:
            executable.run_all(frame, course.batches * course.epochs)
        executable.check(frame)
    finally:
        executable.release(frame)
    return course.results


def _fill(frame: Frame, course: Course) -> None:
    rows = 0 if course.order is None else len(course.order)
    done = stop = start = until = 0
    course_words = course.first_epoch, course.first_row, course.keep
    head = (done, stop, start, until, course.batches, course.mode, rows, *course.key, *course_words)
    words.HEAD.pack_into(frame.control, 0, *head)
    frame.tenant = None  # the control words are not those of single batches
    places = [*course.state, *map(address, course.arrays), *map(address, course.results)]
    if course.order is not None:
        places.append(address(course.order))
    frame.table[: len(places)] = places


def _in_thread(course: Course, frame: Frame, watch: Callable[[int], None] | None) -> None:
    """Run the entry in a thread; this one stays free for signals and the progress bar."""
    passes = course.batches * course.epochs
    worker = threading.Thread(target=course.executable.run_all, args=(frame, passes), daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(POLL_SECONDS)
            if watch:
                watch(int(frame.control[words.DONE]))
    except BaseException:
        frame.control[words.STOP] = 1
        worker.join()
        raise


def leading(arrays: Sequence[np.ndarray], what: str) -> int:
    """The common size of the leading axes; raises `ShapeError` if they differ or one is missing."""
    counts = {a.shape[0] if a.ndim else -1 for a in arrays}
    if len(counts) != 1 or -1 in counts:
        shapes = ", ".join(str(a.shape) for a in arrays) or "nothing"
        raise ShapeError(
            message(
                f"{what} has shapes {shapes}: the leading axes do not agree",
                user_where(),
                "give every array the same length of its first axis",
            )
        )
    return counts.pop()

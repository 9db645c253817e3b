"""One call over many batches: its thread, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from gradloom.errors import ShapeError, message, user_where
from gradloom.runtime.course import Course, Flight

if TYPE_CHECKING:
    from gradloom.runtime.course import Runner

# Runs that take longer than this by the planner's count of operations get a thread of their own, so
# that Python stays responsive; starting one costs about 60 us (benchmarks/call_overhead.py).
THREADED_FLOPS = 2e8
POLL_SECONDS = 0.05


def drive(
    executable: Runner,
    course: Course,
    interruptible: bool = False,
    watch: Callable[[int], None] | None = None,
) -> list[Any]:
    """Run a course and return its results.

    An interruptible course may be stopped by KeyboardInterrupt between two batches; `watch` is told
    now and then how many batches are done.
    """
    flight = executable.flight(course)
    try:
        if watch or (interruptible and executable.flops * course.passes > THREADED_FLOPS):
            _in_thread(flight, watch)
        else:
            flight.start()
        return flight.finish()
    finally:
        flight.close()


def _in_thread(flight: Flight, watch: Callable[[int], None] | None) -> None:
    """Run it in a thread; this one stays free for signals and the progress bar."""

    def work() -> None:
        flight.start()
        flight.wait()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            while not wait([running], POLL_SECONDS).done:
                if watch:
                    watch(flight.done())
        except BaseException:
            flight.stop()  # and leaving the block waits for it
            raise
        running.result()


def leading(arrays: Sequence[Any], what: str) -> int:
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

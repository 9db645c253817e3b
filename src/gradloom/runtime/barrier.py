"""How threads of a team wait for each other, in LLVM's text."""

import platform
from functools import cache

from gradloom.codegen.primitives import ARRIVED, GENERATION, SPINS

BARRIER = "gradloom_barrier"

# What tells a processor that a loop only waits: a declaration, and the call.
_PAUSES = {
    "x86": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "arm": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
_MACHINES = {"x86_64": "x86", "AMD64": "x86", "aarch64": "arm", "arm64": "arm"}


def kind_of_machine() -> str:
    """ "x86", "arm", or "" for others."""
    return _MACHINES.get(platform.machine(), "")


@cache
def pause() -> tuple[str, str]:
    """The declaration of this processor's pause and its call; empty where it has none."""
    return _PAUSES.get(kind_of_machine(), ("", ""))


@cache
def barrier_text() -> str:
    """`void BARRIER(ptr control, i64 team)`, what `meet` does where the team is more than one.

    The last to arrive begins the next generation.  The others look for it a bounded number of
    times, then yield to the system between two looks: what they wait for may wait for this core.
    """
    declared, called = pause()
    return f"""
{declared}
declare i32 @sched_yield()
define void @{BARRIER}(ptr %control, i64 %team) noinline {{
entry:
  %arrived = getelementptr i64, ptr %control, i64 {ARRIVED}
  %generation = getelementptr i64, ptr %control, i64 {GENERATION}
  %spins = getelementptr i64, ptr %control, i64 {SPINS}
  %now = load atomic i64, ptr %generation monotonic, align 8
  %most = load i64, ptr %spins, align 8
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  %others = sub i64 %team, 1
  %last = icmp eq i64 %before, %others
  br i1 %last, label %release, label %look
release:
  store atomic i64 0, ptr %arrived monotonic, align 8
  %next = add i64 %now, 1
  store atomic i64 %next, ptr %generation release, align 8
  ret void
look:
  %count = phi i64 [ 0, %entry ], [ %more, %pause ], [ %count, %yield ]
  %found = load atomic i64, ptr %generation acquire, align 8
  %same = icmp eq i64 %found, %now
  br i1 %same, label %wait, label %done
wait:
  %early = icmp slt i64 %count, %most
  br i1 %early, label %pause, label %yield
pause:
  {called}
  %more = add i64 %count, 1
  br label %look
yield:
  %ignored = call i32 @sched_yield()
  br label %look
done:
  ret void
}}
"""

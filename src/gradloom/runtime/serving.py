"""The native halves of the thread team, in LLVM's text: a worker that serves, a call that leads."""

from gradloom.codegen.primitives import SPINS
from gradloom.runtime.barrier import pause

# Words of a worker, on cache lines of its own, and what the first of them may say.
WORDS = 16
STATE, ENTRY, TABLE, ARENA, CONTROL, WORKER, TEAM, STATUS = range(8)
PARKED, READY, CLAIMED, POSTED, WAKING = range(5)

# How often a worker yields before it parks; a yield takes 0.3 us where nobody else waits.
YIELDS = 400

_POST = {"entry": ENTRY, "table": TABLE, "arena": ARENA, "control": CONTROL}


def _addresses(base: str, words: dict[str, int]) -> str:
    lines = (f"  %{n}.at = getelementptr i64, ptr %{base}, i64 {w}" for n, w in words.items())
    return "\n".join(lines)


def serve_text() -> str:
    """`i64 serve(ptr words, i64 looks, i64 yields)`: run what is posted, until nothing comes for so
    many looks and yields.  A worker that is claimed waits for its post, however long that takes."""
    declared, called = pause()
    numbers = {"state": STATE, "worker": WORKER, "team": TEAM, "status": STATUS}
    return f"""
{declared}
declare i32 @sched_yield()
define i64 @serve(ptr %words, i64 %looks, i64 %yields) {{
begin:
{_addresses("words", _POST | numbers)}
  %most = add i64 %looks, %yields
  br label %ready
ready:
  store atomic i64 {READY}, ptr %state.at release, align 8
  br label %look
look:
  %count = phi i64 [ 0, %ready ], [ %more, %pause ], [ %more, %yield ], [ 0, %park ]
  %state = load atomic i64, ptr %state.at acquire, align 8
  %posted = icmp eq i64 %state, {POSTED}
  br i1 %posted, label %run, label %wait
wait:
  %more = add i64 %count, 1
  %early = icmp slt i64 %count, %looks
  br i1 %early, label %pause, label %late
pause:
  {called}
  br label %look
late:
  %over = icmp sgt i64 %count, %most
  br i1 %over, label %park, label %yield
yield:
  %ignored = call i32 @sched_yield()
  br label %look
park:
  %found = cmpxchg ptr %state.at, i64 {READY}, i64 {PARKED} acq_rel acquire
  %parked = extractvalue {{ i64, i1 }} %found, 1
  br i1 %parked, label %done, label %look
run:
  %entry = load ptr, ptr %entry.at, align 8
  %table = load ptr, ptr %table.at, align 8
  %arena = load ptr, ptr %arena.at, align 8
  %control = load ptr, ptr %control.at, align 8
  %worker = load i64, ptr %worker.at, align 8
  %team = load i64, ptr %team.at, align 8
  %status = call i64 %entry(ptr %table, ptr %arena, ptr %control, i64 %worker, i64 %team)
  store i64 %status, ptr %status.at, align 8
  br label %ready
done:
  ret i64 0
}}
"""


def lead_text() -> str:
    """`i64 lead(ptr words, i64 others, i64 patience, i64 looks, ptr entry, ptr table, ptr arena,
    ptr control)`: claim what is awake of so many others, looking again up to `patience` times; post
    the entry to them; run it as worker 0; and wait for them.  Who waits, here or at a barrier,
    looks so many times before it yields.  Returns the status, or that of a worker that failed."""
    declared, called = pause()
    numbers = {"worker": WORKER, "team": TEAM}
    stores = "\n".join(f"  store ptr %{name}, ptr %{name}.at, align 8" for name in _POST)
    return f"""
{declared}
declare i32 @sched_yield()
define i64 @lead(ptr %words, i64 %others, i64 %patience, i64 %looks,
                 ptr %entry, ptr %table, ptr %arena, ptr %control) {{
begin:
  br label %claim
claim:
  %i = phi i64 [ 0, %begin ], [ %i, %again ], [ %i.next, %next ]
  %tries = phi i64 [ 0, %begin ], [ %tries.more, %again ], [ %tries, %next ]
  %claimed = phi i64 [ 0, %begin ], [ %claimed, %again ], [ %claimed.now, %next ]
  %i.more = icmp slt i64 %i, %others
  br i1 %i.more, label %try, label %gather
try:
  %i.word = mul i64 %i, {WORDS}
  %i.state = getelementptr i64, ptr %words, i64 %i.word
  %found = cmpxchg ptr %i.state, i64 {READY}, i64 {CLAIMED} acq_rel acquire
  %mine = extractvalue {{ i64, i1 }} %found, 1
  %spent = icmp sge i64 %tries, %patience
  %leave = or i1 %mine, %spent
  br i1 %leave, label %next, label %again
again:
  {called}
  %tries.more = add i64 %tries, 1
  br label %claim
next:
  %one = zext i1 %mine to i64
  %claimed.now = add i64 %claimed, %one
  %i.next = add i64 %i, 1
  br label %claim
gather:
  %size = add i64 %claimed, 1
  %spins = getelementptr i64, ptr %control, i64 {SPINS}
  store i64 %looks, ptr %spins, align 8
  br label %post
post:
  %j = phi i64 [ 0, %gather ], [ %j.next, %posted ]
  %rank = phi i64 [ 1, %gather ], [ %rank.next, %posted ]
  %j.more = icmp slt i64 %j, %others
  br i1 %j.more, label %look, label %lead
look:
  %j.word = mul i64 %j, {WORDS}
  %base = getelementptr i64, ptr %words, i64 %j.word
  %j.state = load atomic i64, ptr %base monotonic, align 8
  %is.mine = icmp eq i64 %j.state, {CLAIMED}
  br i1 %is.mine, label %write, label %posted
write:
{_addresses("base", _POST | numbers)}
{stores}
  store i64 %rank, ptr %worker.at, align 8
  store i64 %size, ptr %team.at, align 8
  store atomic i64 {POSTED}, ptr %base release, align 8
  br label %posted
posted:
  %rank.more = zext i1 %is.mine to i64
  %rank.next = add i64 %rank, %rank.more
  %j.next = add i64 %j, 1
  br label %post
lead:
  %status = call i64 %entry(ptr %table, ptr %arena, ptr %control, i64 0, i64 %size)
  br label %join
join:
  %k = phi i64 [ 0, %lead ], [ %k, %pause ], [ %k, %yield ], [ %k.next, %done ]
  %result = phi i64 [ %status, %lead ], [ %result, %pause ], [ %result, %yield ], [ %worst, %done ]
  %count = phi i64 [ 0, %lead ], [ %count.more, %pause ], [ %count, %yield ], [ %count, %done ]
  %k.more = icmp slt i64 %k, %others
  br i1 %k.more, label %check, label %end
check:
  %k.word = mul i64 %k, {WORDS}
  %k.base = getelementptr i64, ptr %words, i64 %k.word
  %k.state = load atomic i64, ptr %k.base acquire, align 8
  %busy = icmp eq i64 %k.state, {POSTED}
  br i1 %busy, label %wait, label %done
wait:
  %early = icmp slt i64 %count, %looks
  br i1 %early, label %pause, label %yield
pause:
  {called}
  %count.more = add i64 %count, 1
  br label %join
yield:
  %ignored = call i32 @sched_yield()
  br label %join
done:
  %k.status = getelementptr i64, ptr %k.base, i64 {STATUS}
  %its = load i64, ptr %k.status, align 8
  store i64 0, ptr %k.status, align 8
  %failed = icmp slt i64 %its, 0
  %worst = select i1 %failed, i64 %its, i64 %result
  %k.next = add i64 %k, 1
  br label %join
end:
  ret i64 %result
}}
"""

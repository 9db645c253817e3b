"""How many threads this process may run at once: by its affinity, and by the quota of its group."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path

NO_QUOTA = 1 << 16


@cache
def cores() -> int:
    """Cores that this process may keep busy."""
    return max(min(_affinity(), _quota(Path("/"))), 1)


def elsewhere() -> Collection[int]:
    """The cores that this thread may run on, without the one that it runs on; none where the system
    does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return ()
    return os.sched_getaffinity(0) - {_library().sched_getcpu()}


@cache
def _library() -> ctypes.CDLL:
    """The system's C library."""
    return ctypes.CDLL(None)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota(root: Path) -> int:
    """Whole cores of the tightest quota among this process's control groups, of either version.

    Parts of a core do not count: threads that use them are stopped together, and with them the
    team, until the next period.
    """
    found = [NO_QUOTA]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",") if controllers else []
        if names and "cpu" not in names:
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if names else "")
        # A container often sees its own group as the root of the mount.
        own = Path(path.strip("/"))
        found += (_of_group(mount / group, second=not names) for group in (own, *own.parents))
    return min(found)


def _of_group(group: Path, *, second: bool) -> int:
    if second:
        quota, _, period = _text(group / "cpu.max").strip().partition(" ")
    else:
        quota, period = (_text(group / f"cpu.cfs_{n}_us").strip() for n in ("quota", "period"))
    limited = quota.isdigit() and period.isdigit() and int(period)
    return int(quota) // int(period) if limited else NO_QUOTA


def _text(file: Path) -> str:
    """A file of the system's, empty where it has none."""
    return file.read_text() if file.is_file() else ""

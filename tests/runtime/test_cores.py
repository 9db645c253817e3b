"""What a process may use, by files as Linux has them."""

import os

import pytest

from gradloom.runtime.cores import NO_QUOTA, _quota, cores, elsewhere


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


GROUP = "proc/self/cgroup"
SECOND, FIRST = "sys/fs/cgroup", "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "meant"),
    [
        ({}, NO_QUOTA),
        ({GROUP: "0::/\n"}, NO_QUOTA),
        ({GROUP: "0::/a/b\n", f"{SECOND}/a/b/cpu.max": "max 100000\n"}, NO_QUOTA),
        ({GROUP: "0::/a/b\n", f"{SECOND}/a/b/cpu.max": "250000 100000\n"}, 2),
        ({GROUP: "0::/a/b\n", f"{SECOND}/a/cpu.max": "300000 100000\n"}, 3),
        ({GROUP: "0::/a\n", f"{SECOND}/cpu.max": "50000 100000\n"}, 0),
        (
            {
                GROUP: "3:cpu,cpuacct:/x\n2:memory:/y\n",
                f"{FIRST}/x/cpu.cfs_quota_us": "400000\n",
                f"{FIRST}/x/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            {
                GROUP: "3:cpu:/x\n",
                f"{FIRST}/x/cpu.cfs_quota_us": "-1\n",
                f"{FIRST}/x/cpu.cfs_period_us": "100000\n",
            },
            NO_QUOTA,
        ),
    ],
)
def test_a_quota_is_read_from_either_version(tmp_path, files, meant):
    write(tmp_path, files)
    assert _quota(tmp_path) == meant


def test_there_is_always_one():
    assert cores() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_elsewhere_is_all_but_the_core_of_this_thread():
    allowed = os.sched_getaffinity(0)
    first = min(allowed)
    try:
        os.sched_setaffinity(0, {first})
        assert elsewhere() == set()
    finally:
        os.sched_setaffinity(0, allowed)
    assert elsewhere() < allowed

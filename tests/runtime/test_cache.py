import os
import subprocess
import sys
import warnings

import pytest

from gradloom.runtime import cache
from gradloom.settings import settings

KEY = cache.make_key(name="test")
BUILT = bytes(range(256)) * 8


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path):
    with settings(cache_dir=str(tmp_path / "entries")):
        yield


@pytest.fixture
def counts(monkeypatch):
    counts = cache.Counts()
    monkeypatch.setattr(cache, "COUNTS", counts)
    return counts


def test_what_is_stored_is_fetched(counts):
    assert cache.fetch(KEY) is None
    cache.store(KEY, BUILT, entry="run", arena_bytes=64)
    assert cache.fetch(KEY) == cache.Entry(BUILT, {"entry": "run", "arena_bytes": 64})
    assert (counts.hits, counts.misses, counts.stores, counts.rejected) == (1, 1, 1, 0)


def test_keys_tell_names_and_borders_of_parts_apart():
    keys = {
        cache.make_key(a="xy", b="z"),
        cache.make_key(a="x", b="yz"),
        cache.make_key(a="z", b="xy"),
        cache.make_key(a="xyb", c="z"),
    }
    assert len(keys) == 4
    assert cache.make_key(a="x", b=b"y") == cache.make_key(b="y", a="x")


@pytest.mark.parametrize("length", [0, 1, 17, 18, 40, 50, 54, 60, 200])
def test_an_entry_cut_short_is_a_miss_and_is_repaired(counts, length):
    cache.store(KEY, BUILT)
    path = cache.path_of(KEY)
    path.write_bytes(path.read_bytes()[:length])
    assert cache.fetch(KEY) is None
    assert counts.rejected == 1
    cache.store(KEY, BUILT)
    assert cache.fetch(KEY).object == BUILT


@pytest.mark.parametrize("place", [0, 20, 52, 60, -1])
def test_an_altered_entry_is_a_miss(place):
    cache.store(KEY, BUILT)
    path = cache.path_of(KEY)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert cache.fetch(KEY) is None


def test_an_entry_under_another_key_is_a_miss():
    other = cache.make_key(name="other")
    cache.store(KEY, BUILT)
    cache.path_of(other).parent.mkdir(parents=True, exist_ok=True)
    os.replace(cache.path_of(KEY), cache.path_of(other))
    assert cache.fetch(other) is None


def test_a_folder_in_an_entrys_place_is_a_miss():
    cache.path_of(KEY).mkdir(parents=True)
    assert cache.fetch(KEY) is None


def test_the_cache_can_be_off(counts):
    with settings(cache=False):
        cache.store(KEY, BUILT)
        assert cache.fetch(KEY) is None
    assert not cache.directory().exists()
    assert counts == cache.Counts()


def test_a_directory_that_cannot_be_written_is_warned_of_once(counts, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with settings(cache_dir=str(tmp_path / "file" / "cache")):
        with pytest.warns(UserWarning, match="GRADLOOM_CACHE_DIR"):
            cache.store(KEY, BUILT)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cache.store(KEY, BUILT)
        assert cache.fetch(KEY) is None
    assert counts.stores == 0


def test_a_failed_write_leaves_nothing_behind():
    cache.path_of(KEY).mkdir(parents=True)
    with pytest.warns(UserWarning, match="cannot be kept"):
        cache.store(KEY, BUILT)
    assert list(cache.path_of(KEY).parent.iterdir()) == [cache.path_of(KEY)]


WRITER = """
from gradloom.runtime import cache
key = cache.make_key(name="race")
for _ in range(200):
    entry = cache.fetch(key)
    assert entry is None or entry.object == b"x" * 100_000
    cache.store(key, b"x" * 100_000)
assert cache.COUNTS.rejected == 0
"""


def test_processes_may_write_one_entry_at_once(tmp_path):
    environment = {**os.environ, "GRADLOOM_CACHE_DIR": str(tmp_path)}
    writers = [subprocess.Popen([sys.executable, "-c", WRITER], env=environment) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".o"]


def test_the_host_key_names_machine_and_versions():
    for part in (cache.VERSION, "llvmlite ", cache.llvm.get_host_cpu_name()):
        assert part in cache.host_key()
    assert cache.host_key() == cache.host_key()


def test_the_platforms_directory_is_used_unless_one_is_chosen():
    with settings(cache_dir=""):
        assert cache.directory().name == "gradloom"

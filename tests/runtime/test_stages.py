import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom import pipeline
from gradloom.runtime import cache, stages
from gradloom.settings import settings

X = np.linspace(-1, 1, 64 * 48, dtype="float32").reshape(64, 48)
W = np.linspace(1, -1, 48 * 32, dtype="float32").reshape(48, 32)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    with settings(cache_dir=str(tmp_path / "entries")):
        new_process(monkeypatch)
        yield


def new_process(monkeypatch):
    """Forget what this process has loaded; what is loaded stays in memory elsewhere."""
    monkeypatch.setattr(pipeline, "_loaded", {})
    for name in ("_libraries", "_groups", "_uses"):
        monkeypatch.setattr(stages, name, {})


@pytest.fixture
def compiled(monkeypatch):
    """The names of the stages that are compiled, a list for each group."""
    found = []
    compile_stages = pipeline.compile_stages

    def noted(plan, names, clock):
        found.append(sorted(names))
        return compile_stages(plan, names, clock)

    monkeypatch.setattr(pipeline, "compile_stages", noted)
    return found


def layer(x, w):
    return gnp.tanh(x @ w)


def scaled(x, w):
    return gnp.tanh(x @ w) * 3 + gnp.sum(x)


def test_a_stage_that_another_program_has_is_not_compiled_again(compiled):
    first = gl.jit(layer)
    np.testing.assert_allclose(first(X, W), np.tanh(X @ W), rtol=1e-4, atol=1e-5)
    second = gl.jit(scaled)
    np.testing.assert_allclose(second(X, W), np.tanh(X @ W) * 3 + X.sum(), rtol=1e-4, atol=1e-4)
    assert len(compiled) == 2
    assert any(name.startswith("product") for name in compiled[0])
    assert not set(compiled[0]) & set(compiled[1])


def test_nor_in_another_process(compiled, monkeypatch):
    gl.jit(layer)(X, W)
    new_process(monkeypatch)
    np.testing.assert_allclose(
        gl.jit(scaled)(X, W), np.tanh(X @ W) * 3 + X.sum(), rtol=1e-4, atol=1e-4
    )
    assert not set(compiled[0]) & set(compiled[1])


def test_a_program_without_new_stages_compiles_its_driver_alone(compiled):
    gl.jit(layer)(X, W)
    gl.jit(lambda x, w: (layer(x, w), x[0, 0] * 2))(X, W)
    assert len(compiled) == 1


def test_without_a_cache_a_process_still_shares(compiled):
    with settings(cache=False):
        gl.jit(layer)(X, W)
        gl.jit(scaled)(X, W)
    assert len(compiled) == 2
    assert not set(compiled[0]) & set(compiled[1])


def test_the_bits_are_those_of_a_program_compiled_alone(monkeypatch, tmp_path):
    gl.jit(layer)(X, W)
    shared = gl.jit(scaled)(X, W)
    new_process(monkeypatch)
    with settings(cache_dir=str(tmp_path / "others")):
        alone = gl.jit(scaled)(X, W)
    assert shared.tobytes() == alone.tobytes()


@pytest.mark.parametrize("seed", range(6))
def test_whatever_becomes_of_the_files_programs_run(monkeypatch, seed):
    """Entries of programs, stages and groups, lost, cut short, altered, or exchanged."""
    draw = random.Random(seed)
    wanted = [gl.jit(f)(X, W).tobytes() for f in (layer, scaled)]
    for _ in range(4):
        files = sorted(f for f in cache.directory().rglob("*") if f.is_file())
        contents = [file.read_bytes() for file in files]
        for number in draw.sample(range(len(files)), min(3, len(files))):
            spoil(draw, files[number], contents[number], contents)
        new_process(monkeypatch)
        assert [gl.jit(f)(X, W).tobytes() for f in (layer, scaled)] == wanted


def spoil(draw, file, content, others):
    kind = draw.choice(("lost", "short", "altered", "exchanged"))
    at = draw.randrange(max(len(content), 1))
    if kind == "lost":
        file.unlink()
    elif kind == "short":
        file.write_bytes(content[:at])
    elif kind == "altered" and content:
        flipped = content[at] ^ 1 << draw.randrange(8)
        file.write_bytes(content[:at] + bytes([flipped]) + content[at + 1 :])
    else:
        file.write_bytes(draw.choice(others))


def test_a_group_that_is_gone_is_compiled_again(compiled, monkeypatch):
    gl.jit(layer)(X, W)
    for entry in (f for f in cache.directory().rglob("*.o") if b'"names"' in f.read_bytes()):
        entry.unlink()
    new_process(monkeypatch)
    np.testing.assert_allclose(gl.jit(layer)(X, W), np.tanh(X @ W), rtol=1e-4, atol=1e-5)
    assert compiled[0] == compiled[1]


def test_threads_may_compile_programs_that_share_stages():
    wanted, found = layer(X, W), {}

    def run(n):
        found[n] = gl.jit(lambda x, w: layer(x, w) + n)(X, W)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        np.testing.assert_allclose(found[n], wanted + n, rtol=1e-4, atol=1e-5)


SHARER = """
import sys
import numpy as np
import gradloom as gl
import gradloom.numpy as gnp
x, w = np.ones((64, 48), "f4"), np.ones((48, 32), "f4")
for n in range(3):
    found = gl.jit(lambda x, w: gnp.tanh(x @ w) + (n + int(sys.argv[1])))(x, w)
    np.testing.assert_allclose(found, 1 + n + int(sys.argv[1]), rtol=1e-5)
"""


def test_processes_may_share_stages_at_once(tmp_path):
    environment = {**os.environ, "GRADLOOM_CACHE_DIR": str(tmp_path)}
    running = [
        subprocess.Popen([sys.executable, "-c", SHARER, str(n)], env=environment) for n in range(3)
    ]
    assert [process.wait() for process in running] == [0, 0, 0]


def test_code_lives_as_long_as_a_program_that_calls_it(monkeypatch):
    f = gl.jit(scaled)
    wanted = f(X, W)
    new_process(monkeypatch)  # only the program holds its stages
    np.testing.assert_array_equal(f(X, W), wanted)


def test_groups_that_no_program_has_stay_loaded_up_to_a_number(monkeypatch, compiled):
    monkeypatch.setattr(stages, "LOADED", 2)

    def product(size):
        return gl.jit(lambda x: x @ x)(np.ones((size, size), "float32"))

    kept = gl.jit(layer)
    kept(X, W)
    for size in (20, 24, 28, 32):
        np.testing.assert_array_equal(product(size), size)
        assert len(stages._libraries) <= 2
    assert set(stages._groups.values()) <= set(stages._libraries)
    np.testing.assert_allclose(kept(X, W), np.tanh(X @ W), rtol=1e-4, atol=1e-5)
    before = len(compiled)
    np.testing.assert_allclose(gl.jit(scaled)(X, W)[:1], kept(X, W)[:1] * 3 + X.sum(), rtol=1e-3)
    assert len(compiled) == before + 1  # what it shares is read back
    with settings(cache=False):
        np.testing.assert_array_equal(product(20), 20)  # forgotten, and compiled anew

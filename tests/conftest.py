"""An own cache for each test process, and the same examples in every run."""

import importlib
import os
import pkgutil
import tempfile
from collections.abc import Callable

import pytest
from hypothesis import settings

# Before gradloom reads the environment. Threads and processes that tests start meet this cache too,
# and no test meets a program that another run compiled.
_cache = tempfile.TemporaryDirectory(prefix="gradloom-tests-")
os.environ["GRADLOOM_CACHE_DIR"] = _cache.name
os.environ.setdefault("GRADLOOM_VERIFY", "2")

settings.register_profile("gradloom", deadline=None, derandomize=True, database=None)
settings.register_profile("long", settings.get_profile("gradloom"), max_examples=1000)
settings.load_profile("gradloom")

import gradloom.control  # noqa: E402
import gradloom.ops  # noqa: E402
from gradloom.runtime.cuda.gpu import Gpu  # noqa: E402
from gradloom.runtime.cuda.machine import Machine  # noqa: E402
from tests import gpus  # noqa: E402

# A plugin, which puts the fake driver in the place of a real one as soon as it is imported.
collect_ignore = ["runtime/cuda/pretended.py"]

# Tests that are generated from the tables see all of them, also what is imported late.
for _package in (gradloom.ops, gradloom.control):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)


@pytest.fixture
def gpu() -> Callable[..., Gpu]:
    """The GPU that there is: `gpu()`, or `gpu(blocks=3)`.  Skips where there is none."""
    if why := gpus.absent():
        pytest.skip(why)
    return gpus.real


@pytest.fixture(params=["interpreter", pytest.param("gpu", marks=pytest.mark.gpu)])
def machine(request: pytest.FixtureRequest) -> Callable[..., Machine]:
    """What programs for a GPU run on, each in its turn: `machine()`, or `machine(blocks=3)`."""
    return gpus.Simulated if request.param == "interpreter" else request.getfixturevalue("gpu")


@pytest.fixture
def jax_in_double_precision():
    """For one test, so that those of other files meet JAX as it comes."""
    import jax

    with jax.enable_x64(True):  # noqa: FBT003
        yield

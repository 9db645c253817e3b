"""The models that are compared, by name."""

from collections.abc import Callable

from benchmarks.models.convolutions import lenet, residual
from benchmarks.models.model import Model
from benchmarks.models.perceptrons import autoencoder, digits, logistic, mnist, wide, xor
from benchmarks.models.sciences import bodies, chain, options, physics, process
from benchmarks.models.sequences import embedding, lstm, neurons, transformer

MODELS: dict[str, Callable[..., Model]] = {
    make.__name__: make
    for make in (
        *(xor, logistic, digits, mnist, wide, autoencoder),
        *(lenet, residual),
        *(lstm, transformer, embedding, neurons),
        *(physics, bodies, options, process, chain),
    )
}

__all__ = ["MODELS", "Model", "digits", "xor"]

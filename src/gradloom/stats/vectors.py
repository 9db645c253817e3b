"""Distributions of vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom import special
from gradloom.linalg import solve_triangular
from gradloom.ops.diagonals import diagonal
from gradloom.ops.elementwise import abs_, equal, log, where
from gradloom.ops.linear import cholesky
from gradloom.ops.public import as_operand, wrong_shape
from gradloom.ops.reduce import all_, sum_
from gradloom.stats.density import exponential_of, is_whole, method


class dirichlet:
    """Dirichlet's distribution, on vectors of positive numbers with the sum 1."""

    @method
    def logpdf(x: Any, alpha: Any) -> Any:
        """`x` has its components along axis 0, `alpha` has one axis."""
        x, alpha = as_operand(x), as_operand(alpha)
        shaped = alpha.reshape((-1, *(1,) * (x.ndim - 1)))
        constant = special.gammaln(sum_(alpha)) - sum_(special.gammaln(alpha))
        inside = all_((x >= 0) & (x <= 1), axis=0) & (abs_(sum_(x, axis=0) - 1) < 1e-6)
        safe = where(inside, x, 1 / x.shape[0])
        return where(inside, sum_(special.xlogy(shaped - 1.0, safe), axis=0) + constant, -np.inf)

    pdf = exponential_of("pdf", logpdf)


class multivariate_normal:
    """The normal distribution of vectors."""

    @method
    def logpdf(x: Any, mean: Any, cov: Any) -> Any:
        """`x` and `mean` have the components along their last axis, `cov` along its last two; all
        have leading batch axes.  NaN where `cov` is not positive definite.

        By the Cholesky factor L of `cov`: with `L y = x - mean` it is half of
        `-y.y - 2 sum(log(diag(L))) - d log(2 pi)`.

        >>> import gradloom as gl, numpy as np
        >>> float(gl.stats.multivariate_normal.logpdf([0.0, 0.0], [0.0, 0.0], np.eye(2)))
        -1.8378770664093453
        """
        x, factor = as_operand(x) - mean, cholesky(cov)
        size = factor.shape[-1]
        if x.shape[-1] != size:
            raise wrong_shape(
                f"{x.shape[-1]} components with a covariance of {size}",
                "components lie along the last axis of x and mean",
            )
        y = solve_triangular(factor, x[..., None], lower=True)[..., 0]
        spread = sum_(log(diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
        return -0.5 * (sum_(y * y, axis=-1) + size * math.log(2 * math.pi)) - spread

    pdf = exponential_of("pdf", logpdf)


class multinomial:
    """The counts in `n` trials whose outcomes have the probabilities `p`."""

    @method
    def logpmf(x: Any, n: Any, p: Any) -> Any:
        """`x` and `p` have the outcomes along their last axis.

        >>> import gradloom as gl
        >>> float(gl.stats.multinomial.pmf([1, 1], 2, [0.5, 0.5])).__round__(9)
        0.5
        """
        x, n, p = as_operand(x) * 1.0, as_operand(n) * 1.0, as_operand(p)
        inside = all_((x >= 0) & is_whole(x), axis=-1) & equal(sum_(x, axis=-1), n)
        counts = where(inside[..., None], x, 0.0)
        terms = special.xlogy(counts, p) - special.gammaln(counts + 1.0)
        return where(inside, special.gammaln(n + 1.0) + sum_(terms, axis=-1), -np.inf)

    pmf = exponential_of("pmf", logpmf)

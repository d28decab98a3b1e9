"""Spread of members that come in antithetic pairs."""

from typing import Any

import numpy as np


def paired_variance(members: Any, xp: Any = np) -> Any:
    """Variance of one member, (...), of members (member, ...) of which two after each other are a pair.

    The two of a pair are a_j + h_j and a_j - h_j. The halves h_j have mean zero by construction, so their mean square has no
    degree of freedom less: divisor P, the pairs. Only the pairs' own means a_j scatter about a mean that is estimated: divisor P - 1.

        variance = sum h_j^2 / P + sum (a_j - mean a)^2 / (P - 1)

    Divided by all members less one the first would come out too large by n / (n - 1), 33 % at four members. One pair alone
    has no scatter of means. An odd number has members without a partner: the usual variance, divisor n - 1 (NaN of a single one).

    Parameters
    ----------
    members : array, (member, ...)
    xp : module
        NumPy, or jax.numpy for an array inside a compiled program.
    """
    count = members.shape[0]
    if count < 2:
        return xp.full(members.shape[1:], xp.nan)
    if count % 2:
        return members.var(axis=0, ddof=1)
    first, second = members[0::2], members[1::2]
    within = (((first - second) / 2) ** 2).mean(axis=0)
    return within if count == 2 else within + ((first + second) / 2).var(axis=0, ddof=1)


def paired_std(members: Any, xp: Any = np) -> Any:
    """Square root of `paired_variance`."""
    return xp.sqrt(paired_variance(members, xp))

"""What members of an ensemble keep of towers, what differs between them, and what training notes of each."""

from typing import NamedTuple

import jax
import numpy as np

from dualflux.constraints.towers.records import Records


class TowerParameters(NamedTuple):
    """What towers keep beside the flux.

    Attributes
    ----------
    site_effect : array, (site x function,)
        b [gC m-2 d-1, its trend per decade].
    site_year : array, (site x year,)
        y [of the error's scale].
    log_error_floor, log_error_growth : array, ()
        The error's scale is `exp(log_error_floor) + exp(log_error_growth) |flux|`.
    memory_logit, log_memory_days : array, ()
        Share of the error's variance that has memory, as a logit, and its e-folding time.
    """

    site_effect: jax.Array
    site_year: jax.Array
    log_error_floor: jax.Array
    log_error_growth: jax.Array
    memory_logit: jax.Array
    log_memory_days: jax.Array


class TowerPart(NamedTuple):
    """What differs between members.

    Attributes
    ----------
    use : array, (site,)
        How often each site counts in training; 0 for the sites of its fold and of its inner validation.
    validation : array, (site,)
        1 for the inner validation sites.
    rows : array of int, (row,)
        Rows in training, site after site, and their number.
    row_count : array, ()
    validation_rows : array of int, (row,)
        All rows of the inner validation sites, and their number.
    validation_count : array, ()
    weight : array, ()
        0 leaves towers out.
    """

    use: jax.Array
    validation: jax.Array
    rows: jax.Array
    row_count: jax.Array
    validation_rows: jax.Array
    validation_count: jax.Array
    weight: jax.Array


class TowerScore(NamedTuple):
    """Of inner validation sites, without anything fitted to them: sums over rows, and each row's residual and error scale."""

    validation_loss: jax.Array
    validation_weight: jax.Array
    validation_square: jax.Array
    residual: jax.Array
    scale: jax.Array
    share: jax.Array
    memory_days: jax.Array


def rows_of(sites: np.ndarray, records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the sites of each member, each so often as the site is in (member, site), filled up with 0; and their numbers, (member,)."""
    spans = records.spans()
    found = [
        np.concatenate([np.zeros(0, int), *(np.tile(np.arange(span.start, span.stop), int(n)) for span, n in zip(spans, own, strict=True))])
        for own in sites
    ]
    count = np.array([len(rows) for rows in found])
    filled = np.zeros((len(found), max(int(count.max(initial=1)), 1)), np.int32)
    for place, rows in zip(filled, found, strict=True):
        place[: len(rows)] = rows
    return filled, count.astype(np.float32)

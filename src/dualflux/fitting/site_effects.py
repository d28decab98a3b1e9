"""Size of the site effects, from sites that a member has not trained on."""

import numpy as np

from dualflux.fitting.objective import Member, Objective, Score

SMALLEST_SITE_EFFECT_SD = 0.05  # gC m-2 d-1


def validation_rows(objective: Objective, members: Member) -> np.ndarray:
    """Rows of the inner validation sites of each member, (member, row), filled up with -1."""
    held = np.asarray(members.site_validation)[:, np.asarray(objective.towers.site)] > 0
    found = np.full((len(held), int(held.sum(axis=1).max(initial=1))), -1)
    for rows, mine in zip(found, held, strict=True):
        rows[: mine.sum()] = np.flatnonzero(mine)
    return found.astype(np.int32)


def site_effect_spread(found: Score, members: Member, family: np.ndarray) -> np.ndarray:
    """Sd of b per member, from the mean residuals of unseen (inner validation) sites of its family.

    The mean residual of a site has variance b's + (variance within the site) / (effective number of its data). The
    median of squares over 0.455 (the median of a chi-square of one degree of freedom) keeps a few odd sites from ruling.
    """
    unseen = np.asarray(members.site_validation) > 0
    spread = np.array(members.site_effect_sd)
    for name in np.unique(family):
        mine = family == name
        squares, noise = found.site_residual[mine][unseen[mine]] ** 2, found.site_noise[mine][unseen[mine]]
        if squares.size:
            variance = max(float(np.median(squares)) / 0.455 - float(np.median(noise)), SMALLEST_SITE_EFFECT_SD**2)
            spread[mine] = np.where(spread[mine] > 0, np.sqrt(variance), 0.0)
    return spread

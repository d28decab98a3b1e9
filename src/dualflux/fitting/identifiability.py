"""What the data say of each effect: its variance before they came and after.

Ratio of posterior to prior variance: near 0 the data know it, near 1 they say nothing and the prior decides. Both are means over the
unknowns of an effect and over members, given the hidden layers and the sds as estimated; unknowns that a member's data cannot see (site
effects of sites left out, u far from data) count too.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dualflux.constraints.base import Constraint, Layout, Plan

COLUMNS = ["variant", "effect", "unknowns", "prior_variance", "posterior_variance", "ratio"]


def effect_variances(layout: Layout, sd: np.ndarray, posterior: np.ndarray) -> dict[str, tuple[int, float, float]]:
    """Of one member, by effect that is on: number of unknowns, mean prior and mean posterior variance.

    Parameters
    ----------
    sd : array, (unknown,)
        Of the priors; 0 is off.
    posterior : array, (unknown,)
        Variances.
    """
    found = {}
    for effect in layout.effects:
        place = layout.place(effect.name)
        on = sd[place] > 0
        if on.any():
            found[effect.name] = int(on.sum()), float((sd[place][on] ** 2).mean()), float(posterior[place][on].mean())
    return found


def identifiability_table(
    members: pd.DataFrame, variances: Sequence[Mapping[str, tuple[int, float, float]]],
    constraints: Sequence[Constraint], plans: Sequence[Plan],
) -> pd.DataFrame:  # fmt: skip
    """Every variant and effect of the study itself (run ``""``), and what constraints have a prior of that nothing updates.

    Parameters
    ----------
    members : DataFrame
        run, variant; a row per member, like the rest.
    variances : sequence of mapping, (member,)
        Of `effect_variances`.

    Returns
    -------
    DataFrame
        `COLUMNS`; variances in the square of the effect's own unit, mean over unknowns and members.
    """
    rows = []
    for variant, run, found, plan in zip(members.variant, members.run, variances, plans, strict=True):
        if run == "":
            stated = {n: (1, sd**2, sd**2) for c in constraints if plan.weight(c.name) > 0 for n, sd in c.never_updated().items()}
            rows += [(variant, name, *values) for name, values in {**found, **stated}.items()]
    table = pd.DataFrame(rows, columns=COLUMNS[:-1]).groupby(["variant", "effect"], sort=False, as_index=False).mean()
    return table.assign(unknowns=table.unknowns.round().astype(int), ratio=table.posterior_variance / table.prior_variance)[COLUMNS]

"""Lines that say whether signs and units of what was read are plausible."""

import pandas as pd

from dualflux.errors import doubt
from dualflux.sources.adjustments.target import ADDED, OWN_SUBTRACTED, SUBTRACTED, Target
from dualflux.sources.files.plausible import PLAUSIBLE_NBE
from dualflux.sources.inversions import Inversions

# Global annual means [PgC yr-1]
_FIRE = (1.0, 4.5)  # GFED4.1s 2.2 (van der Werf et al. 2017), GFED5 3.4 (Chen et al. 2023)
PLAUSIBLE_TERM = {"fire": _FIRE, "own_fire": _FIRE}


def sanity_lines(inversions: Inversions, target: Target) -> list[str]:
    """One line per product, term and target: the global annual mean against a plausible range.

    Returns
    -------
    list of str
        For example ``"CAMSv20r1 2001-2012: -2.55 PgC/yr, inside -6..+2"``; a mean outside its range
        says to check unit and sign.
    """
    notes, terms = inversions.notes, target.terms
    lines = [
        plausibility_line(f"{product} {first:%Y}-{last:%Y}", annual, PLAUSIBLE_NBE)
        for product, first, last, annual in zip(notes["product"], notes["first"], notes["last"], notes["mean_annual_global"], strict=True)
    ]
    used = terms[terms["status"].isin([SUBTRACTED, OWN_SUBTRACTED, ADDED])]
    lines += [plausibility_line(t, a, PLAUSIBLE_TERM.get(t)) for t, a in zip(used["term"], used["mean_annual_global"], strict=True)]
    shift = float((used["coefficient"] * used["mean_annual_global"]).sum())
    mean = 12 * target.integral.mean("product").mean("time")
    parts = ", ".join(f"{r} {float(mean.sel(region=r)):.2f}" for r in mean["region"].to_numpy() if r != "global")
    years = pd.DatetimeIndex(target.integral["time"].to_numpy()[target.integral.notnull().any(["product", "region"]).to_numpy()]).year
    what = f"target {target.name} {years.min()}-{years.max()} ({parts})"
    line = plausibility_line(what, float(mean.sel(region="global")), (PLAUSIBLE_NBE[0] + shift, PLAUSIBLE_NBE[1] + shift))
    missing = target.integral.attrs["missing_terms"]
    return [*lines, line + (f"; not accounted for: {missing}" if missing else "")]


def plausibility_line(what: str, mean: float, limits: tuple[float, float] | None) -> str:
    """A global annual mean [PgC yr-1] against the range it should be in, for example ``X 2001-2012: -2.55 PgC/yr, inside -6..+2``.

    One outside its range is a doubt, too.
    """
    if limits is None:
        return f"{what}: {mean:.2f} PgC/yr"
    span = "..".join(f"{round(limit, 1) + 0.0:+g}" for limit in limits)
    if limits[0] <= mean <= limits[1]:
        return f"{what}: {mean:.2f} PgC/yr, inside {span}"
    line = f"{what}: {mean:.2f} PgC/yr, OUTSIDE {span}: check unit and sign"
    doubt(line)
    return line

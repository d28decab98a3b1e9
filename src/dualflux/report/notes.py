"""What a reader must know before believing the numbers, from what a run has written."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.report.far_from_data import far_sentences

NO_TARGET = (
    "No inversion constrains this study: its regional and global sums are what towers alone make of the map, and such sums are known to be "
    "far from what the atmosphere allows."
)
NO_VEGETATION = (
    "No vegetation scale: land without vegetation carries flux like any other, and where no tower stands on it regional sums can put on it "
    "what they like (key `vegetation` of the study file)."
)
_FEW = 2  # predictors that vary between years: too few to expect trend and year-to-year variability
_BLANK = "\u00a0"  # where no line may break
_SMALLEST_SHARE = 5e-4  # of the land; below, nothing is said


def study_notes(out: Path) -> list[str]:
    """Paragraphs on the target, predictors that vary, land without data or flux, towers dropped, and what is far from data.

    Parameters
    ----------
    out : Path
        Run folder; what it lacks is not mentioned.
    """
    folder = out / "prepared"
    notes = []
    if (folder / "about.json").is_file():
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        notes += [NO_TARGET if about["target"] is None else target_note(*about["target"]), variability_note(about["columns"][2])]
        if about.get("vegetation") is None:
            notes.append(NO_VEGETATION)
    notes.append(doubt_note(_table(folder / "doubts.csv")))
    notes.append(land_note(_table(folder / "land_shares.csv"), _table(folder / "predictors_filled.csv")))
    notes.append(tower_note(_table(folder / "observations.csv"), _table(folder / "towers_dropped.csv")))
    product = next((p for v in ("dual", "plain", "towers") if (p := out / f"products/{v}/nee_monthly.nc").is_file()), None)
    notes.append("" if product is None else applicability_note(product))
    notes += far_sentences(out)
    return [note for note in notes if note]


def target_note(name: str, kind: str, attributes: dict[str, str]) -> str:
    """What the inversions were compared with, and what it still contains."""
    text = f"Target: “{name}” ({kind})."
    missing = [term.strip().replace("_", " ") for term in str(attributes.get("missing_terms", "")).split(",") if term.strip()]
    if not missing:
        return text
    return (
        f"{text} Not accounted for: {_list(missing)}. The target therefore still contains these fluxes, which towers do not see; "
        "what they amount to stands in the difference between tower-like and landscape flux, so that g is no pure tower bias."
    )


def doubt_note(doubts: pd.DataFrame) -> str:
    """What was taken although the check doubts it."""
    return f"Doubted, but taken as it is: {'; '.join(doubts['doubt'])}." if len(doubts) else ""


def variability_note(dynamic: list[str]) -> str:
    """Says so where few predictors vary between years; derived columns such as anomaly(ta) are not counted."""
    names = [name for name in dynamic if "(" not in name]
    if len(names) > _FEW:
        return ""
    if not names:
        return "No predictor varies between years: trend and year-to-year variability cannot be expected, every year is the same."
    return (
        f"Only {len(names)} predictor{'s' if len(names) > 1 else ''} of this study var{'y' if len(names) > 1 else 'ies'} between years "
        f"({_list(names)}): trend and most of the year-to-year variability cannot be expected."
    )


def land_note(shares: pd.DataFrame, filled: pd.DataFrame) -> str:
    """Land that counts as zero, and land whose predictors were filled or that was dropped for a missing one."""
    parts = []
    if len(shares):
        zero = shares.set_index("region")["no_flux_share"]
        regions = [
            f"{r} {_percent(s)}" for r, s in zero.drop(["global", "outside_regions"], errors="ignore").items() if s > _SMALLEST_SHARE
        ]
        if zero.get("global", 0.0) > _SMALLEST_SHARE:
            parts.append(f"{_percent(zero['global'])} of the land has no flux and counts as zero ({', '.join(regions)})")
        if "without_vegetation_share" in shares:
            bare = float(shares.set_index("region")["without_vegetation_share"]["global"])
            parts.append(f"{_percent(bare)} of it carries no flux for want of vegetation (mean of one minus the vegetation scale)")
    for column, words in (("filled_share", "without a value and filled"), ("dropped_share", "dropped for a missing value")):
        if len(filled):
            some = filled[filled[column] > _SMALLEST_SHARE]
            listed = [f"{n} {_percent(s)}" for n, s in zip(some["predictor"], some[column], strict=True)]
            parts += [f"land {words}, by predictor: {', '.join(listed)}"] if listed else []
    return f"Land: {'; '.join(parts)}." if parts else ""


def tower_note(observations: pd.DataFrame, dropped: pd.DataFrame) -> str:
    """What the towers gave, and what was dropped and why."""
    if observations.empty:
        return ""
    text = f"Towers: {observations['site'].nunique()} sites with {_count(len(observations))} values"
    reasons = dropped.groupby("reason", sort=False).agg(rows=("count", "sum"), sites=("site", "nunique")) if len(dropped) else dropped
    said = [f"{_count(int(r.rows))} rows of {r.sites} sites {reason}" for reason, r in reasons.iterrows()]
    gone = len(set(dropped["site"]) - set(observations["site"])) if said else 0
    left = f" Nothing is left of {gone} site{'s' if gone > 1 else ''}." if gone else ""
    return f"{text}. Dropped: {'; '.join(said)}.{left}" if said else f"{text}; none was dropped."


def applicability_note(product: Path) -> str:
    """Share of the land that is unlike every tower."""
    with xr.open_dataset(product, engine="h5netcdf") as data:
        if "applicability" not in data:
            return ""
        distance, area = data["applicability"].to_numpy(), data["land_area"].to_numpy()
    known = np.isfinite(distance) & (area > 0)
    share = float(area[known & (distance > 1)].sum() / area[known].sum()) if known.any() else 0.0
    if share <= _SMALLEST_SHARE:
        return ""
    return (
        f"{_percent(share)} of the modelled land is less like any tower than left-out towers are like the others (applicability above 1): "
        "there the towers say little, and the pattern inside a region is an extrapolation."
    )


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""]) if path.is_file() else pd.DataFrame()


def _percent(share: float) -> str:
    return f"{100 * share:.1f}{_BLANK}%"


def _count(value: int) -> str:
    return f"{value:,}".replace(",", _BLANK)


def _list(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)

"""What stands far from data, in words and as marks on a map."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dualflux.evaluation.verdict import read_summary
from dualflux.metrics.hot_spots import HEIGHT, OF_INVERSIONS, width
from dualflux.report.style import fixed
from dualflux.variants import shown_variant

Project = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
FAR = 1000  # km that the sentences speak of
MARK = "#d5006d"
_BLANK = "\u00a0"
NOT_YET = (
    "How much stands far from towers and what is beyond the data was not computed when this run was evaluated; `dualflux evaluate` on it "
    "does so."
)


def far_sentences(out: Path) -> list[str]:
    """One plain sentence on each: land and exchange far from towers, classes without a tower, boxes and regions beyond the data.

    Parameters
    ----------
    out : Path
        Run folder; what it lacks is not mentioned, but that it was evaluated before these tables were.
    """
    summary, flags = out / "tables/summary.csv", out / "tables/flags.csv"
    if not summary.is_file():
        return []
    rows = read_summary(summary)
    variants = list(rows["product"][rows["metric"] == "mean_annual_sd"].unique())
    if not variants:
        return []
    if not flags.is_file():
        return [NOT_YET]
    product = shown_variant(variants)
    values = rows[(rows["product"] == product) & (rows["region"] == "global")].drop_duplicates("metric").set_index("metric")["value"]
    far = pd.read_csv(out / "tables/far_from_data.csv", keep_default_na=False, na_values=[""]) if len(values) else pd.DataFrame()
    area = far[(far["region"] == "global") & (far["distance_km"] == FAR)]["share_of_area"]
    marked = pd.read_csv(flags, keep_default_na=False, na_values=[""], dtype={"region": str})
    return [*share_sentences(product, values, float(area.iloc[0]) if len(area) else np.nan), *flag_sentences(product, marked)]


def share_sentences(product: str, values: pd.Series, area: float) -> list[str]:
    """Of the globe's numbers by metric and the share of land that is far."""
    found, share = [], values.get(f"share_far_{FAR}km", np.nan)
    if share > 0:
        net, total = (fixed(float(values.get(m, np.nan)), 2) for m in (f"flux_far_{FAR}km", "mean_annual"))
        found.append(
            f"{_percent(share)} of the exchange of “{product}” (the sizes of its cells' lasting fluxes, added up) stands where no tower is "
            f"within {FAR}{_BLANK}km, on {_percent(area)} of the land; net it is {net} of the globe's {total}{_BLANK}PgC{_BLANK}yr⁻¹."
        )
    unseen = values.get("share_unseen_classes", 0.0)
    if unseen > 5e-4:
        found.append(f"{_percent(unseen)} of the exchange stands in land cover classes that no tower has.")
    return found


def flag_sentences(product: str, flags: pd.DataFrame) -> list[str]:
    """Of the table `flags.csv`; says so where there is none."""
    if flags.empty:
        return [f"No flux per area of “{product}” is beyond what towers of its climate or any inversion show."]
    boxes, regions = flags[flags["kind"] != OF_INVERSIONS], flags[flags["kind"] == OF_INVERSIONS]
    low, high = (int((sign * (boxes["value"] - boxes["limit"]) > 0).sum()) for sign in (-1, 1))
    parts = [f"{_boxes(low)} take{_s(low)} up more"] if low else []
    parts += [f"{_boxes(high)} give{_s(high)} off more"] if high else []
    found = [f"{' and '.join(parts)} per area than a tower of the climate there is likely to show (marked on the map)."] if parts else []
    for own, words in ((regions["value"] < regions["limit"], "lower"), (regions["value"] > regions["limit"], "higher")):
        if own.any():
            found.append(f"The flux per area of {_list([str(r) for r in regions['region'][own]])} is {words} than that of any inversion.")
    return found


def draw_flags(ax: Axes, flags: pd.DataFrame, project: Project, middle: float) -> None:
    """Outline flagged boxes and mark them: a triangle up gives off more, down takes up more; a diamond is a region.

    Parameters
    ----------
    project : callable
        Map coordinates of latitudes and longitudes less `middle`.
    """
    for lat, lon, value, limit, kind in zip(*(flags[c] for c in ("lat", "lon", "value", "limit", "kind")), strict=True):
        x, y = project(np.array([lat]), np.array([(lon - middle + 180) % 360 - 180]))
        mark = "D" if kind == OF_INVERSIONS else "v" if value < limit else "^"
        ax.plot(x, y, mark, color=MARK, markersize=4.5, markeredgecolor="white", markeredgewidth=0.6, zorder=6)
        if kind != OF_INVERSIONS:
            ax.plot(*project(*outline(lat, lon, middle)), color=MARK, linewidth=1.1, zorder=5)


def outline(lat: float, lon: float, middle: float) -> tuple[np.ndarray, np.ndarray]:
    """Around the box that is centred there: latitudes and longitudes less `middle`, held inside the map."""
    half, up = float(width(np.array(lat))) / 2, np.linspace(-HEIGHT / 2, HEIGHT / 2, 11)
    side = np.full(11, half)
    east = np.concatenate([side, up[::-1] / (HEIGHT / 2) * half, -side, up / (HEIGHT / 2) * half])
    north = np.concatenate([up, np.full(11, HEIGHT / 2), up[::-1], np.full(11, -HEIGHT / 2)])
    return np.clip(lat + north, -90, 90), np.clip((lon - middle + 180) % 360 - 180 + east, -180, 180)


def _boxes(count: int) -> str:
    return f"{count} box{'es' * (count > 1)} of about 1100{_BLANK}km"


def _s(count: int) -> str:
    return "s" * (count == 1)


def _list(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else "".join(words)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}{_BLANK}%"

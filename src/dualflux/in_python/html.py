"""How runs and comparisons look in a notebook: a small table; everything that came from files is escaped."""

from collections.abc import Iterable, Mapping
from html import escape

import pandas as pd


def mean_annual(summary: pd.DataFrame, products: Iterable[str]) -> pd.DataFrame:
    """(region, product) mean annual flux [PgC yr-1] out of summary.csv; empty where it has none."""
    if not {"product", "region", "metric", "value"} <= set(summary):
        return pd.DataFrame()
    rows = summary[(summary["metric"] == "mean_annual") & summary["product"].isin(list(products))]
    regions = sorted(dict.fromkeys(rows["region"]), key=lambda name: name != "global")  # the globe first, the parts in the table's order
    return rows.drop_duplicates(["product", "region"]).pivot(index="region", columns="product", values="value").reindex(regions)


def page(title: str, lines: Mapping[str, str], means: pd.DataFrame) -> str:
    """A title, lines of what it is, and mean annual fluxes."""
    left = "style='text-align:left'"
    rows = "".join(f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(text)}</td></tr>" for name, text in lines.items())
    html = f"<div><strong>{escape(title)}</strong><table>{rows}</table>"
    if len(means):
        numbers = means.to_html(float_format="{:.2f}".format, na_rep="–")
        html += f"<div>mean annual flux [PgC yr⁻¹], positive to the atmosphere</div>{numbers}"
    return f"{html}</div>"

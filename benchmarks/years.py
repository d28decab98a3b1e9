"""Years that nobody has seen, on the real data: each fitted year left out in turn, and the years after the last fitted one.

    python benchmarks/years.py --out years.json [--run runs/real_years] [--data-root FOLDER]

Runs examples/real_years/study.yaml (about half an hour on two cores; a run that was stopped goes on, one that is done is read) and writes

- `left_out`: one record per year, region and product: `year, region, product, predicted, sd, observed, climatology, nino` [PgC yr-1];
- `to_come`: the years without any atmospheric data: `year, region, product, predicted, sd` of the variants, and of the globe `observed`,
  the budget's residual, where it has the year; four years say nothing of a correlation, so none is given;
- `scores`: per product and region what `summary.csv` has of the left-out years.

Prints the scores and the years to come.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from dualflux import pipeline
from dualflux.metrics.left_out_years import year_scores
from dualflux.metrics.pairs import paired_std
from dualflux.run_folder.files import write_atomically
from dualflux.study.settings import load_study

STUDY = Path(__file__).parents[1] / "examples/real_years/study.yaml"
RESIDUAL = "growth_rate_residual"


def main() -> None:
    """Run, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("years.json"))
    parser.add_argument("--run", type=Path, help="run folder; default: runs/real_years beside the study")
    parser.add_argument("--data-root", type=Path)
    options = parser.parse_args()
    study = load_study(STUDY, options.data_root, options.run)
    pipeline.run(study, study.out, ["evaluate"])
    left_out = pd.read_csv(study.out / "tables/left_out_years.csv")
    fitted = study.settings.fitted[1].year
    to_come = years_after(study.out / "tables", fitted)
    grouped = left_out.groupby(["product", "region"], sort=False)
    scores = pd.DataFrame([{"product": p, "region": r, **year_scores(rows)} for (p, r), rows in grouped])
    found = {name: _records(table) for name, table in (("left_out", left_out), ("to_come", to_come), ("scores", scores))}
    write_atomically(options.out, json.dumps(found, indent=1))
    print(f"Years left out, one by one\n{scores.round(3).to_string(index=False)}")
    print(f"\nAfter {fitted}, from predictors alone [PgC/yr]\n{to_come.round(2).to_string(index=False)}")


def years_after(tables: Path, last: int) -> pd.DataFrame:
    """year, region, product, predicted, sd, observed of the years after the last fitted one."""
    monthly = pd.read_csv(tables / "regional_monthly.csv", parse_dates=["time"])
    members = monthly[monthly["member"].notna()].assign(year=lambda t: t["time"].dt.year)
    annual = members[members["year"] > last].groupby(["year", "region", "product", "member"])["value"].sum()
    grouped = annual.groupby(["year", "region", "product"])
    table = pd.DataFrame({"predicted": grouped.mean(), "sd": grouped.agg(lambda one: paired_std(one.to_numpy()))}).reset_index()
    budget = pd.read_csv(tables / "independent.csv")
    residual = budget[budget["product"] == RESIDUAL].set_index("year")["value"]
    return table.assign(observed=table["year"].map(residual).where(table["region"] == "global"))


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return json.loads(table.to_json(orient="records"))  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()

"""Records of several worlds by part: keys, errors over worlds and regions, and a benchmark that goes on after a kill."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import twin_seeds

from dualflux.twin.scoring.by_part import NAME
from dualflux.twin.scoring.comparison import COLUMNS
from dualflux.twin.scoring.paired import wide
from dualflux.twin.scoring.part_records import PART_KEYS, coverage_errors, part_record, part_table


def test_the_keys_are_the_ones_the_benchmark_promises() -> None:
    parts = ("offset", "trend", "cycle", "anomaly", "annual")
    names = ("coverage_50", "coverage_68", "coverage_90", "cases", "interval_score", "slope")
    wanted = {f"{where}{name}_{part}" for where in ("", "cells_") for name in names for part in parts}
    assert wanted | {f"{k}_unseen_years" for k in wanted if k.endswith(("_anomaly", "_annual"))} == set(PART_KEYS)
    assert all(NAME.fullmatch(key.removesuffix("_unseen_years")) for key in PART_KEYS)


def test_a_record_takes_each_score_from_where_it_is() -> None:
    rows = [
        ("dual", "global", "truth_coverage_50_offset", 0.6), ("dual", "cells", "truth_cells_slope_annual_unseen_years", 0.9),
        ("dual", "north", "truth_coverage_50_offset", 1.0), ("dual", "north", "truth_cells_share", 0.25),
        ("dual", "north", "truth_annual_error", 9.0), ("plain", "global", "truth_coverage_50_offset", 0.1),
    ]  # fmt: skip
    found = part_record(pd.DataFrame([(*row, "1") for row in rows], columns=COLUMNS), "dual")
    assert {k: v for k, v in found.items() if v is not None} == {
        "coverage_50_offset": 0.6, "cells_slope_annual_unseen_years": 0.9,
        "by_region": {"north": {"coverage_50_offset": 1.0, "cells_share": 0.25}},
    }  # fmt: skip
    assert set(found) == {*PART_KEYS, "by_region"}


def worlds(random: np.random.Generator, count: int = 5, regions: int = 18) -> list[dict[str, object]]:
    """Records of `count` worlds whose regions hold their offset with probability 0.68."""
    records = []
    for seed in range(count):
        inside = random.random(regions) < 0.68
        by_region = {f"r{i}": {"coverage_68_offset": float(v), "cells_share": 1 / regions} for i, v in enumerate(inside)}
        nothing = dict.fromkeys(PART_KEYS)
        records.append({**nothing, "seed": seed, "product": "dual", "coverage_68_offset": float(inside.mean()), "by_region": by_region})
    return records


def test_errors_over_worlds_and_regions_are_those_of_independent_cases() -> None:
    """90 cases at 0.68: the mean of the pooled coverages, and a standard error of sqrt(p (1 - p) / 90)."""
    records = worlds(np.random.default_rng(0))
    (row,) = coverage_errors(records).itertuples()
    mean = np.mean([r["coverage_68_offset"] for r in records])
    assert (row.score, row.groups, row.mean) == ("coverage_68_offset", 90, pytest.approx(mean))
    assert row.standard_error == pytest.approx(np.sqrt(mean * (1 - mean) / 90), rel=0.1)
    assert row.lower < mean < row.upper and row.upper - row.lower == pytest.approx(3.92 * row.standard_error, rel=0.15)
    table = part_table(records)
    assert table.loc["offset", "coverage_68"] == pytest.approx(mean) and table.loc["offset", "+- 68"] == row.standard_error
    assert coverage_errors(records, "plain").empty


def test_cells_count_by_the_land_of_their_region() -> None:
    by_region = {"a": {"cells_coverage_50_cycle": 1.0, "cells_share": 0.9}, "b": {"cells_coverage_50_cycle": 0.0, "cells_share": 0.1}}
    found = coverage_errors([{"seed": 1, "product": "dual", "by_region": by_region}])
    assert found.set_index("score")["mean"].to_dict() == {"cells_coverage_50_cycle": pytest.approx(0.9)}


def test_a_killed_benchmark_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed in seed 12, it keeps the record of 11 and computes 12 and 13; a whole file computes nothing; another world is refused."""
    out, computed = tmp_path / "seeds.json", []

    def one(seed: int, world: str, folder: Path, trees: bool) -> list[dict[str, object]]:
        computed.append(seed)
        if computed == [11, 12]:
            raise KeyboardInterrupt
        return [{"seed": seed, "world": world, "settings": twin_seeds.settings_of(world, trees), "product": "dual"}]

    monkeypatch.setattr(twin_seeds, "seed_records", one)
    monkeypatch.setattr(twin_seeds, "report", lambda records, world: print([r["seed"] for r in records]))

    def run(*more: str) -> None:
        monkeypatch.setattr(sys, "argv", ["twin_seeds.py", "--seeds", "3", "--first-seed", "11", "--out", str(out), *more])
        twin_seeds.main()

    with pytest.raises(KeyboardInterrupt):
        run()
    run()
    assert computed == [11, 12, 12, 13] and capsys.readouterr().out.endswith("[11, 12, 13]\n")
    run()
    assert len(computed) == 4 and [r["seed"] for r in json.loads(out.read_text())] == [11, 12, 13]
    with pytest.raises(SystemExit, match=r"records of another world, study or program.*name another --out"):
        run("--world", "hostile")


def test_daily_worlds_have_days_and_a_name_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--daily` is the default world in days: settings and checksum differ, and its records are not mixed with those of months."""
    built = []

    def write(settings: object, folder: Path, **options: object) -> Path:
        built.append((settings, options))
        return folder

    monkeypatch.setattr(twin_seeds, "build_world", lambda settings: settings)
    monkeypatch.setattr(twin_seeds, "write_world", write)
    monkeypatch.setattr(twin_seeds, "load_study", lambda file, out: file)
    for world in ("default", "daily", "hostile"):
        twin_seeds.make_study(7, world, tmp_path)
    kinds = [(s.kind, s.time_step) for s, _ in built]
    assert kinds == [("default", "monthly"), ("default", "daily"), ("hostile", "monthly")] and {s.seed for s, _ in built} == {7}
    assert len({twin_seeds.settings_of(world, False) for world in ("default", "daily", "hostile")}) == 3
    months, days = (options for _, options in built[:2])
    assert days["training"]["steps"] <= months["training"]["steps"] and days["network"] == months["network"]
    out = tmp_path / "seeds.json"
    out.write_text(json.dumps([{"seed": 1, "settings": twin_seeds.settings_of("default", False)}]))
    monkeypatch.setattr(sys, "argv", ["twin_seeds.py", "--daily", "--out", str(out)])
    with pytest.raises(SystemExit, match="another world"):
        twin_seeds.main()
    monkeypatch.setattr(sys, "argv", ["twin_seeds.py", "--daily", "--world", "hostile", "--out", str(out)])
    with pytest.raises(SystemExit, match="2"):
        twin_seeds.main()


def test_a_record_has_the_products_that_the_run_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products that are in no table are absent, not empty; each record names the world's common share."""
    tables = tmp_path / "run/tables"
    tables.mkdir(parents=True)
    summary = pd.DataFrame([("dual", "global", "truth_global_error", 0.1, "PgC yr-1")], columns=COLUMNS)
    summary.to_csv(tables / "summary.csv", index=False)
    (tmp_path / "world/truth").mkdir(parents=True)
    (tmp_path / "world/truth/facts.json").write_text(json.dumps({"common_share": 0.8}))
    monkeypatch.setattr(twin_seeds, "make_study", lambda seed, world, folder: SimpleNamespace(out=folder / "run"))
    monkeypatch.setattr(twin_seeds.pipeline, "run", lambda *a: None)
    monkeypatch.setattr(twin_seeds, "oracle_scores", lambda study: summary.assign(product="oracle"))
    found = twin_seeds.seed_records(3, "daily", tmp_path)
    assert [(r["product"], r["world"], r["common_share"], r["global_error"]) for r in found] == [
        ("dual", "daily", 0.8, 0.1), ("oracle", "daily", 0.8, 0.1)
    ]  # fmt: skip
    assert list(wide(found, "global_error")) == ["dual", "oracle"]

"""The study of several synthetic worlds, one per seed, with all rivals and an oracle, scored against their truth.

    python benchmarks/twin_seeds.py --seeds 5 [--first-seed 1] --out twin_seeds.json
                                    [--world default|no_tower_bias|hostile | --daily] [--boosted-trees]

Writes a list of records, one per seed and product, and prints the products' means, the paired differences of `dual` to
the others, its scores by part and what the method must show. After a kill the same command goes on: seeds whose records stand in
the file are kept. `--daily`: the default world with towers and predictors of days. See docs/twin.md for the scores.
"""

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from dualflux import pipeline
from dualflux.prepared import load
from dualflux.run_folder.files import write_atomically
from dualflux.run_folder.program import program_of
from dualflux.stages import evaluate as scoring
from dualflux.stages.observations import tower_constraint
from dualflux.study.settings import Study, load_study
from dualflux.twin import WorldSettings, build_world, write_world
from dualflux.twin.scoring.boosted_trees import train_boosted_trees
from dualflux.twin.scoring.comparison import compare_boosted_trees, compare_oracle, headline
from dualflux.twin.scoring.map_scores import MAP_KEYS
from dualflux.twin.scoring.paired import PRODUCTS, Record, mean_table, paired_text, targets
from dualflux.twin.scoring.part_records import part_record, part_table
from dualflux.twin.scoring.rivals import train_oracle
from dualflux.twin.scoring.scores import KEYS
from dualflux.twin.truth import FACTS

PROGRAM = ("pipeline", "twin", "twin.scoring.comparison", "twin.scoring.part_records", "twin.scoring.boosted_trees")
TRAINING = {"steps": 1000, "learning_rate": 6e-3}  # longer than the demo's, which is to end within three minutes
DAILY, DAILY_STEPS = "daily", 600  # the default world in days, trained as long as the full demo, which is in days too


def make_study(seed: int, world: str, folder: Path) -> Study:
    """Build and write one world; its study."""
    kind: dict[str, Any] = {"time_step": "daily"} if world == DAILY else {"kind": world}
    settings = WorldSettings(seed=seed, **kind)
    file = write_world(build_world(settings), folder / "world", **options_of(world))
    return load_study(file, out=folder / "run")


def options_of(world: str) -> dict[str, Any]:
    """What the study of a world says beyond its sources."""
    return {**pipeline.demo_options(full=False), "training": {**TRAINING, "steps": DAILY_STEPS} if world == DAILY else TRAINING}


def seed_records(seed: int, world: str, folder: Path, trees: bool = False) -> list[Record]:
    """Build one world, run its study and train the oracle (and boosted trees): the records of one seed."""
    study = make_study(seed, world, folder)
    pipeline.run(study, study.out, ["evaluate"])
    tables = [pd.read_csv(study.out / "tables/summary.csv"), oracle_scores(study), *([tree_scores(study)] if trees else [])]
    table = pd.concat(tables, ignore_index=True)
    table = table[table.metric.str.startswith("truth_")]
    products = [p for p in PRODUCTS if p in set(table["product"])]
    share = json.loads((folder / "world/truth" / FACTS).read_text(encoding="utf-8"))["common_share"]
    about = {"seed": seed, "world": world, "common_share": share, "settings": settings_of(world, trees)}
    return [{**about, "product": p, **headline(table, p, (*KEYS, "coverage_cases", *MAP_KEYS)), **part_record(table, p)} for p in products]


def settings_of(world: str, trees: bool) -> str:
    """The start of a checksum of all that decides a record but its seed: world, study and program."""
    decides = [world, trees, options_of(world), program_of(PROGRAM)]
    return hashlib.sha256(json.dumps(decides, default=str, sort_keys=True).encode()).hexdigest()[:12]


def read_records(out: Path, world: str, trees: bool) -> list[Record]:
    """Records of an earlier run to go on with.

    Raises
    ------
    SystemExit
        The file holds other records: they are not to be lost, nor mixed with these.
    """
    if not out.exists():
        return []
    records: list[Record] = json.loads(out.read_text(encoding="utf-8"))
    wanted = settings_of(world, trees)
    if other := sorted({str(r.get("settings")) for r in records} - {wanted}):
        raise SystemExit(f"{out} holds records of another world, study or program ({', '.join(other)}, not {wanted}); name another --out")
    return records


def oracle_scores(study: Study) -> pd.DataFrame:
    """Train the oracle of a finished study and score it."""
    s, prepared = study.settings, load(study.out / "prepared")
    case = scoring.twin_case(study, prepared).by_month()
    oracle = train_oracle(case.true_field, case.cube, case.cells, case.fitted, s.network, s.training, s.seed)
    return compare_oracle(case, oracle)


def tree_scores(study: Study) -> pd.DataFrame:
    """Fit the boosted trees to the towers of a finished study and score them."""
    s, prepared = study.settings, load(study.out / "prepared")
    towers = tower_constraint(prepared)
    trees = train_boosted_trees(towers, s.network.splits.count, s.network.members, s.seed)
    return compare_boosted_trees(scoring.twin_case(study, prepared), trees)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of worlds")
    parser.add_argument("--first-seed", type=int, default=1, help="seed of the first world; the others follow one by one")
    parser.add_argument("--out", type=Path, default=Path("twin_seeds.json"))
    worlds = parser.add_mutually_exclusive_group()
    worlds.add_argument("--world", choices=get_args(WorldSettings.model_fields["kind"].annotation), default="default")
    worlds.add_argument("--daily", action="store_const", dest="world", const=DAILY, help="towers and predictors of days")
    parser.add_argument("--boosted-trees", action="store_true", help="with a FLUXCOM-X like tower-only rival (needs scikit-learn)")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    everything = read_records(options.out, options.world, options.boosted_trees)
    for seed in (s for s in seeds if s not in {r["seed"] for r in everything}):
        begin, processor = time.monotonic(), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            everything += seed_records(seed, options.world, Path(folder), options.boosted_trees)
        write_atomically(options.out, json.dumps(everything, indent=1))
        print(f"seed {seed}: {time.monotonic() - begin:.0f} s, {time.process_time() - processor:.0f} s of processor time", flush=True)
    report([r for r in everything if r["seed"] in seeds], options.world)


def report(records: list[Record], world: str) -> None:
    """Print what the records show."""
    print(f"\nMeans over {len({r['seed'] for r in records})} seed(s), world {world}\n{mean_table(records).round(3).to_string()}")
    print(f"\nLoss of dual less that of the others, paired by seed (below 0: dual is better)\n{paired_text(records).to_string()}")
    print(f"\nScores of dual by part, +- from drawing (seed, region) groups again\n{part_table(records).round(3).to_string()}")
    print(f"\nThe map of lasting fluxes, means over seeds\n{mean_table(records, MAP_KEYS).round(3).to_string()}")
    print(f"\nTargets\n{targets(records).round(3).to_string(index=False)}")


if __name__ == "__main__":
    main()

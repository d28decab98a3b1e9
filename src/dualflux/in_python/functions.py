"""The public functions: check and run a study, compare products."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from dualflux import pipeline
from dualflux.checking import CheckReport, check_study
from dualflux.errors import InputError
from dualflux.in_python.named_products import named_products, study_of
from dualflux.in_python.opened_comparison import Comparison
from dualflux.in_python.opened_run import Run, open_run
from dualflux.run_folder.files import read_json
from dualflux.stages.compare_products import comparison_of, run_comparison
from dualflux.study.settings import Study


def check(study: Study) -> CheckReport:
    """Say what a run of the study would use, what it would drop and why; computes nothing.

    Parameters
    ----------
    study : Study
        From `load_study`.

    Returns
    -------
    CheckReport
        ``print(report.text())``; `problems` is empty where the study can run, and ``raise_if_wrong()`` raises them all at once.
    """
    return check_study(_a_study(study))


def run(study: Study, out: Path | str | None = None) -> Run:
    """Run every stage of a study that is not done, and open the run.

    Parameters
    ----------
    study : Study
        From `load_study`.
    out : Path, optional
        The run folder; by default the study's, ``runs/NAME`` beside the study file.

    Raises
    ------
    InputError
        Everything wrong with the inputs, before anything is computed.
    """
    folder = _a_study(study).out if out is None else Path(out).absolute()
    pipeline.run(replace(study, out=folder), folder)
    return open_run(folder)


def compare(
    products: Iterable[Run | Path | str] | Mapping[str, Run | Path | str],
    study: Study | Path | str | None = None,
    out: Path | str | None = None,
    against: str | None = None,
    data_root: Path | str | None = None,
) -> Comparison:
    """Compare monthly flux products with each other, with inversions and towers, without training anything.

    Parameters
    ----------
    products : sequence or mapping
        Runs (or their folders), product files (NetCDF, Zarr) and tables of regional integrals (.csv); of a run the variant `dual`, or its
        last. A mapping, or text ``NAME=PATH``, names them freely.
    study : Study or Path, optional
        Whose land, regions, grid, period, inversions and towers are used; by default that of the first run among the products.
    out : Path, optional
        Gets tables, maps.nc and report.html; by default ``runs/compare_NAME_NAME`` in the working folder.
    against : str, optional
        What all others are compared with; by default the inversions' mean, without any the first product.
    data_root : Path, optional
        Where the study's paths start, as in `load_study`.

    Raises
    ------
    InputError
        Products that cannot be read, share a name or have one of ours; no study to be found.
    """
    named = named_products(products)
    folder = Path("runs") / f"compare_{'_'.join(named.paths)}".replace("/", "_") if out is None else Path(out)
    plan = comparison_of(named.paths, study_of(study, named, data_root), folder.absolute(), against)
    run_comparison(plan)
    found = read_json(plan.out / "comparison.json", ("against", "products"))
    if found is None:
        raise InputError(f"{plan.out / 'comparison.json'}: gone or changed; run the comparison again")
    return Comparison(plan.out, [str(p) for p in found["products"]], str(found["against"]))


def _a_study(study: Study) -> Study:
    if not isinstance(study, Study):
        raise InputError(f"study: a {type(study).__name__} came; give what `dualflux.load_study(path)` returns")
    return study

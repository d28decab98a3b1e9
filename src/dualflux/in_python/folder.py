"""Whether a folder is a run that can be read; where not, what is there and what is missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dualflux
from dualflux.errors import InputError, Problems
from dualflux.run_folder.files import read_json, read_sealed
from dualflux.run_folder.run_folder import MARKERS
from dualflux.study.yaml_reader import read_yaml

FORMATS = (1, 2)  # of provenance.json; 1 did not say so
TABLES = ("regional_monthly", "site_metrics", "summary")
_READ = ("upscale", "evaluate")  # the stages whose results are read; a report may come later
_LONGEST_LIST = 12


@dataclass(frozen=True)
class RunFiles:
    """A run folder that was found whole.

    Attributes
    ----------
    folder : Path
        Absolute.
    study : dict
        The settings as the run wrote them to study.yaml, defaults written out.
    provenance : dict
    variants : list of str
    version : str
        Of dualflux, that made it.
    """

    folder: Path
    study: dict[str, Any]
    provenance: dict[str, Any]
    variants: list[str]
    version: str

    def product(self, variant: str) -> Path:
        """The file of a variant's gridded product.

        Raises
        ------
        InputError
            Another variant than the run's, with those there are.
        """
        if variant not in self.variants:
            raise InputError(f"{self.folder}: no variant `{variant}`; it has {', '.join(self.variants)}")
        return product_path(self.folder, variant)


def read_run_files(folder: Path | str) -> RunFiles:
    """Read settings and provenance of a run folder and see that its products and tables are there.

    Raises
    ------
    InputError
        It is no run folder, half done, or made by a version whose folders this one does not read.
    """
    path = Path(folder).absolute()
    _refuse_what_is_no_run(path)
    provenance = read_json(path / "provenance.json", ()) or {}
    version = str((provenance.get("versions") or {}).get("dualflux", "unknown")).split(" ")[0]
    _refuse_other_formats(path, provenance, version)
    study, _ = read_yaml(path / "study.yaml")
    variants = [str(v) for v in study.get("variants") or ()]
    if not variants or not isinstance(study.get("name"), str):
        raise outdated(path, version, "study.yaml names no study or no `variants`")
    _refuse_half_done(path, variants)
    return RunFiles(path, study, provenance, variants, version)


def product_path(folder: Path, variant: str) -> Path:
    """Where a run has the gridded product of a variant."""
    return folder / "products" / variant / "nee_monthly.nc"


def outdated(folder: Path, version: str, lacking: str) -> InputError:
    """The error for a folder that another version wrote differently."""
    return InputError(
        f"{folder}: {lacking}; the run was made by version {version} of dualflux and cannot be read by {dualflux.__version__}; run again"
    )


def _refuse_what_is_no_run(path: Path) -> None:
    wanted = "give the folder that `dualflux run` wrote (runs/NAME beside the study file, or its --out)"
    if path.is_file():
        raise InputError(f"{path}: a file, no run folder; {wanted}")
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; {wanted}")
    if (path / "comparison.json").is_file():
        raise InputError(f"{path}: a comparison of products, no run; its tables are in {path / 'tables'}, its pictures in report.html")
    if not (path / "study.yaml").is_file() or not (path / "provenance.json").is_file():
        begun = _begun_lines(path)
        if begun:
            raise InputError(f"{path}: this run is half done; there: {begun}; missing: provenance.json or study.yaml; {_go_on(path)}")
        folders = [p.parent for p in sorted(path.glob("*/provenance.json"))]
        runs = [f.name for f in folders if (f / "study.yaml").is_file() and not (f / "comparison.json").is_file()]
        hint = f"runs are in its folders {_listed(runs)}" if runs else wanted
        raise InputError(f"{path}: no run folder; it has {_contents(path)}, no study.yaml and provenance.json side by side; {hint}")


def _refuse_other_formats(path: Path, provenance: dict[str, Any], version: str) -> None:
    if not isinstance(provenance.get("versions"), dict):
        raise InputError(f"{path / 'provenance.json'}: not what a run writes (no `versions`); run again, it writes the file anew")
    found = provenance.get("format", 1)
    if found not in FORMATS:
        raise InputError(
            f"{path}: a run folder of format {found}, made by version {version} of dualflux; version {dualflux.__version__} reads format "
            f"{' and '.join(map(str, FORMATS))}; install that version, or run again"
        )


def _refuse_half_done(path: Path, variants: list[str]) -> None:
    problems = Problems()
    lacking = list(_lacking(path, variants))
    if lacking:
        problems.add(f"{path}: this run is half done; there: {_begun_lines(path)}; missing: {'; '.join(lacking)}; {_go_on(path)}")
    problems.raise_if_any()


def _lacking(path: Path, variants: list[str]) -> Iterator[str]:
    """What a whole run has and this one has not, in words."""
    done = _markers(path)
    if (path / MARKERS).is_dir():  # a copy may come without it
        for name in _READ:
            if name not in done:
                yield f"stage {name}" + (" (begun, not finished)" if (path / MARKERS / f"begun_{name}.json").is_file() else "")
            elif older := _made_from_other_results(name, done):
                yield f"stage {name} (what is there was made before {', '.join(older)} was done again)"
    files = [product_path(path, v) for v in variants] + [path / "tables" / f"{name}.csv" for name in TABLES]
    yield from (str(file.relative_to(path)) for file in files if not file.is_file())


def _markers(path: Path) -> dict[str, dict[str, Any]]:
    """What each finished stage left of itself, in the order they were done."""
    names = [file.stem.removeprefix("stage_") for file in (path / MARKERS).glob("stage_*.json")]
    found = {name: marker for name in names if (marker := read_sealed(path / MARKERS / f"stage_{name}.json")) is not None}
    return dict(sorted(found.items(), key=lambda item: str(item[1].get("finished"))))


def _made_from_other_results(name: str, done: dict[str, dict[str, Any]]) -> list[str]:
    """Stages that were done again after `name`, with another result."""
    before = (done[name].get("made_from") or {}).get("after") or {}
    return [other for other, outputs in before.items() if other in done and outputs != done[other].get("outputs")]


def _begun_lines(path: Path) -> str:
    """The stages that are done; without markers what lies in the folder; empty where no run was ever begun."""
    if not (path / MARKERS).is_dir():
        return _contents(path) if (path / "study.yaml").is_file() and (path / "provenance.json").is_file() else ""
    done = list(_markers(path))
    return f"the results of {', '.join(done)}" if done else "no finished stage"


def _go_on(path: Path) -> str:
    study = path / "study.yaml"
    return f"`dualflux run {study if study.is_file() else 'STUDY.yaml'} --out {path}` goes on"


def _contents(path: Path) -> str:
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir() if not p.name.startswith("."))
    return _listed(names) if names else "nothing in it"


def _listed(names: list[str]) -> str:
    more = len(names) - _LONGEST_LIST
    return ", ".join(names[:_LONGEST_LIST]) + (f" and {more} more" if more > 0 else "")

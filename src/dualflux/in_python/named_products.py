"""What is compared with what: products by free names, and the study whose land and regions they share."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dualflux.errors import InputError, Problems
from dualflux.in_python.folder import RunFiles, product_path, read_run_files
from dualflux.in_python.opened_run import Run
from dualflux.sources.references.read import RESERVED
from dualflux.study.settings import Study, load_study

_NAMED = re.compile(r"([^=/\\]+)=(.+)", re.DOTALL)
_PREDICTED = "*/nee_monthly.zarr"


@dataclass(frozen=True)
class NamedProducts:
    """Files by name, and the runs among them."""

    paths: dict[str, Path]
    runs: list[RunFiles] = field(default_factory=list)


def named_products(products: Iterable[Run | Path | str] | Mapping[str, Run | Path | str]) -> NamedProducts:
    """Find the file behind each product.

    Raises
    ------
    InputError
        All at once: no product, names given twice or kept for ours, folders that hold no product.
    """
    if isinstance(products, str | Path | Run):
        raise InputError("compare: give a list of products, as in compare([run, 'NAME=PATH'])")
    items = [_split(item) for item in products] if not isinstance(products, Mapping) else [(str(k), v) for k, v in products.items()]
    problems, found = Problems(), NamedProducts({})
    for name, item in items:
        with problems.collect():
            default, path, run = _resolve(item)
            _add(found, name or default, path, run)
    if not items:
        problems.add("compare: no product given; give runs, product files or NAME=PATH")
    problems.raise_if_any()
    return found


def study_of(study: Study | Path | str | None, products: NamedProducts, data_root: Path | str | None = None) -> Study:
    """The study whose land, regions, inversions and towers are used: the one given, else that of the first run.

    Raises
    ------
    InputError
        There is none, or that of a run cannot be read any more.
    """
    if isinstance(study, Study):
        return study
    if study is not None:
        return load_study(study, data_root)
    if not products.runs:
        raise InputError("compare: no run among the products, so no land and no regions; name a study file with --study (`study=`)")
    run = products.runs[0]
    try:
        return load_study(run.folder / "study.yaml", data_root, run.folder)
    except InputError as error:
        hint = f"{run.folder}: its study cannot be used; it was made by version {run.version} of dualflux: run again, or give another study"
        raise InputError([*error.problems, hint]) from error


def _split(item: Run | Path | str) -> tuple[str, Run | Path | str]:
    match = _NAMED.fullmatch(item) if isinstance(item, str) else None
    return (match[1].strip(), match[2]) if match else ("", item)


def _resolve(item: Run | Path | str) -> tuple[str, Path, RunFiles | None]:
    """Default name, file and run of a product."""
    if isinstance(item, Run):
        return _of_run(item.files)
    if not isinstance(item, str | Path):
        raise InputError(f"compare: a {type(item).__name__} came; allowed: a Run, a folder, a file")
    path = Path(item)
    if path.is_file() or path.suffix == ".zarr":
        return _file_name(path.absolute()), path, None
    stores = sorted(path.glob(_PREDICTED)) if path.is_dir() and not (path / "study.yaml").is_file() else []
    if stores:
        store = next((s for s in stores if s.parent.name == "dual"), stores[-1])
        return path.absolute().name, store, None
    return _of_run(read_run_files(path))


def _of_run(files: RunFiles) -> tuple[str, Path, RunFiles]:
    variant = "dual" if "dual" in files.variants else files.variants[-1]
    return files.folder.name, product_path(files.folder, variant), files


def _file_name(path: Path) -> str:
    """Of our own products the variant and its run, of others the file's name."""
    if path.stem != "nee_monthly":
        return path.stem
    run = path.parents[2] if path.parents[1].name == "products" else path.parents[1]
    return f"{run.name} {path.parent.name}"


def _add(found: NamedProducts, name: str, path: Path, run: RunFiles | None) -> None:
    if name in found.paths:
        raise InputError(f"compare: two products are called `{name}`; name them freely: A={found.paths[name]} B={path}")
    if name in (*RESERVED, "truth"):
        raise InputError(f"compare: `{name}` is a name of ours ({', '.join((*RESERVED, 'truth'))}); give {path} another one")
    found.paths[name] = path
    if run is not None:
        found.runs.append(run)

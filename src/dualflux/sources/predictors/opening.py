"""Opening what a predictor's settings name: its files, the variable in them, and its time steps."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import xarray as xr

from dualflux.errors import InputError
from dualflux.grid import LATITUDE_NAMES, LONGITUDE_NAMES
from dualflux.sources.files.declared import declare
from dualflux.sources.files.gridded import find_variable, open_gridded
from dualflux.sources.files.plausible import fill_values
from dualflux.sources.files.tables import find_files
from dualflux.sources.files.time_axis import TIME_NAMES, TimeSteps, time_steps
from dualflux.sources.predictors.record import Record, open_record
from dualflux.sources.predictors.settings import LEADING, PredictorSettings, say_paths


def name_of(settings: PredictorSettings) -> str:
    return f"{say_paths(settings.path)}: `{settings.variable or settings.name}`"


def _paths(settings: PredictorSettings, root: Path) -> list[Path]:
    """The files of a predictor."""
    return find_files(settings.path or [], root, settings.suffix)


def one_path(settings: PredictorSettings, root: Path) -> Path:
    """The file of a predictor that is read from one."""
    paths = _paths(settings, root)
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths[:3])
        raise InputError(
            f"{name_of(settings)}: {len(paths)} files ({names} ...); kind `{settings.kind}` is read from one file: name it, or join them "
            "(`cdo merge` or `cdo mergetime`)"
        )
    return paths[0]


def open_steps(settings: PredictorSettings, root: Path) -> AbstractContextManager[tuple[Record, TimeSteps]]:
    """A dynamic predictor's file, or its files as one record, and its steps; see `record.open_record`."""
    what = name_of(settings)
    return open_record(_paths(settings, root), lambda path: _opened_steps(settings, path, what), what)


@contextmanager
def _opened_steps(settings: PredictorSettings, path: Path, what: str) -> Iterator[tuple[xr.DataArray, TimeSteps]]:
    """The lazy variable of a file of a dynamic predictor, and its steps."""
    with open_variable(settings, path, what) as (data, time):
        if time is None:
            raise InputError(f"{what}: no coordinate values for its time dimension; the dates must stand in the file")
        yield data, time_steps(time, f"{path.name}: `{settings.variable or settings.name}`")


@contextmanager
def open_variable(settings: PredictorSettings, path: Path, what: str) -> Iterator[tuple[xr.DataArray, xr.DataArray | None]]:
    """The lazy variable, its leading dimension named time, month or class, and that dimension's own coordinate."""
    with open_gridded(path) as file:
        data = find_variable(file, settings.variable or settings.name, path)
        horizontal = [d for d in data.dims if str(d).lower() in (*LATITUDE_NAMES, *LONGITUDE_NAMES)]
        leading = [d for d in data.dims if d not in horizontal]
        wanted = LEADING[settings.kind or "static"]
        # Of several dimensions of size 1 the one that is called like the wanted one stays.
        single = sorted((d for d in leading if data.sizes[d] == 1), key=lambda d: str(d) in (*wanted, *TIME_NAMES))
        single = single[: max(len(leading) - len(wanted), 0)]
        leading = [d for d in leading if d not in single]
        if len(leading) != len(wanted) or len(horizontal) != 2:
            raise InputError(
                f"{what} has dimensions {list(data.dims)}; kind `{settings.kind}` needs {', '.join((*wanted, 'latitude', 'longitude'))}; "
                "correct `kind`, or choose one level or member first"
            )
        data = declare(data.squeeze(single, drop=True), fill_values(settings.fill_value), settings.implausible == "accept")
        time = data[leading[0]] if leading and leading[0] in data.coords else None
        # A coordinate that is called like the leading dimension but stands on another one would get in its way.
        data = data.drop_vars([w for w, d in zip(wanted, leading, strict=True) if w in data.coords and (w != d or data[w].dims != (d,))])
        yield data.rename({old: new for old, new in zip(leading, wanted, strict=True) if old != new}), time

"""The command line: parses, calls `pipeline`, and turns what happened into an exit status.

0 done; 2 the input or the study file is wrong; 130 interrupted (resumable); 1 a defect of ours.
"""

import contextlib
import sys
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from dualflux import __version__
from dualflux.errors import InputError, printable
from dualflux.run_folder.machine_errors import MAY_BE_THE_MACHINE, machine_problem, too_little_memory
from dualflux.run_folder.pulse import Manner
from dualflux.run_folder.signals import stop_when_asked, why_stopped
from dualflux.run_folder.supervised import no_room_for_libraries, supervised
from dualflux.run_folder.unread_output import UnreadOutput, copy_of, occupy_standard_files

DONE, INPUT_WRONG, INTERRUPTED = 0, 2, 130
# Typer brings its own copy of click since 0.26; the base of its public exception is the same in all versions.
_USAGE_ERROR: type[typer.BadParameter] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    help="Net ecosystem exchange of CO2 that is right at towers and right for the globe.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; default runs/NAME beside the study file.")]
TakeOver = Annotated[bool, typer.Option("--take-over", help="The run of another computer that left its lock here has ended: go on.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say also what is read and written, and what compilers say.")]
DataRoot = Annotated[Path | None, typer.Option("--data-root", metavar="DIR", help="Where the study's paths start; else DUALFLUX_DATA.")]


def _manner(take_over: bool, quiet: bool, verbose: bool) -> Manner:
    if quiet and verbose:
        raise InputError("-q and -v: give one of them")
    return Manner(take_over, quiet, verbose, catch_noise=not verbose)


# The commands import what computes only when they need it: `dualflux --version` stays quick.
def _run(study: Path, out: Path | None, data_root: Path | None, stages: list[str] | None, manner: Manner) -> None:
    from dualflux.study.settings import load_study

    loaded = load_study(study, data_root, out)
    from dualflux import pipeline

    pipeline.run(loaded, loaded.out, stages, manner)


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="2 degrees, daily, 2001-2017: up to 30 minutes.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run folder.")] = Path("runs/demo"),
) -> None:
    """Build a synthetic world with known truth, run a whole study on it and print the verdict."""
    from dualflux import pipeline

    pipeline.demo(full, out.absolute())


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put study.yaml; made if absent.")]) -> None:
    """Write a commented starter study file."""
    target = folder / "study.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    text = resources.files("dualflux").joinpath("data/starter_study.yaml").read_text(encoding="utf-8")
    try:
        with open(target, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"{target} exists and is not overwritten; give another folder, or move it away") from error
    print(f"{target} written; put in your files, then: dualflux check {target}")


@app.command()
def check(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    everything: Annotated[bool, typer.Option("--all", help="Tables of every source, site and region, not a line of each.")] = False,
) -> None:
    """Say what is used, what is dropped and why, memory and time; all problems at once. Computes nothing."""
    from dualflux.study.settings import load_study_to_check

    loaded, problems = load_study_to_check(study, data_root, out)
    if loaded is None:
        raise InputError(problems)
    from dualflux import pipeline

    pipeline.check(loaded, everything, problems)


@app.command()
def run(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    take_over: TakeOver = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run every stage; done stages are kept, an interrupted run goes on."""
    _run(study, out, data_root, None, _manner(take_over, quiet, verbose))


@app.command()
def prepare(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    take_over: TakeOver = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Read all sources into the run folder."""
    _run(study, out, data_root, ["prepare"], _manner(take_over, quiet, verbose))


@app.command()
def train(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    take_over: TakeOver = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train the ensemble of every variant."""
    _run(study, out, data_root, ["train"], _manner(take_over, quiet, verbose))


@app.command()
def upscale(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    take_over: TakeOver = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write the gridded products."""
    _run(study, out, data_root, ["upscale"], _manner(take_over, quiet, verbose))


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where to put the products; an interrupted command goes on there.")],
    resolution: Annotated[float | None, typer.Option(help="Cell size [degrees], 0.05 or more; default: the run's.")] = None,
    period: Annotated[
        tuple[datetime, datetime] | None, typer.Option(metavar="FIRST LAST", help="Whole months; default: the run's.")
    ] = None,
    variant: Annotated[str, typer.Option(help="Which networks.")] = "dual",
    daily: Annotated[bool, typer.Option("--daily", help="Write days as well as months.")] = False,
    netcdf: Annotated[bool, typer.Option("--netcdf", help="Write NetCDF files as well as Zarr stores.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes on this machine (needs dualflux[scale]); default: threads.")] = None,
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler of a cluster that sees the same files.")] = None,
    data_root: DataRoot = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Apply a finished run to another grid or other years: needs its predictors there, and no atmospheric data."""
    from dualflux.stages.predict_elsewhere import Execution
    from dualflux.study.settings import load_study

    study = load_study(run / "study.yaml", data_root, run)
    days = None if period is None else (period[0].date(), period[1].date())
    from dualflux import pipeline

    pipeline.predict_elsewhere(
        study, out.absolute(), _manner(False, quiet, verbose), resolution=resolution, period=days, variant=variant, daily=daily,
        form="netcdf" if netcdf else "zarr", where=Execution(workers, scheduler),
    )  # fmt: skip


@app.command()
def evaluate(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    take_over: TakeOver = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score the products at towers and over regions."""
    from dualflux.stages.compare_products import is_comparison, load_comparison, run_comparison

    manner = _manner(take_over, quiet, verbose)
    if is_comparison(study):
        print(
            f"dualflux: a file with `products` is compared by `dualflux compare {study}`; `evaluate` of it ends with the next version",
            file=sys.stderr,
        )
        run_comparison(load_comparison(study, data_root, out), manner)
    else:
        _run(study, out, data_root, ["evaluate"], manner)


@app.command()
def compare(
    products: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PRODUCT ...", help="Run folders, NetCDF files, Zarr stores, CSV tables; or one file that lists `products`."
        ),
    ],
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="STUDY.yaml", help="Whose land, regions, inversions and towers; default: the first run's."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="What all others are compared with; default: the inversions' mean, else the first.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to put the comparison; default runs/compare_NAME_NAME here.")
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Compare products with each other, with inversions and towers, without training."""
    if len(products) == 1 and Path(products[0]).suffix in (".yaml", ".yml"):
        _compare_file(Path(products[0]), study or against, data_root, out)
    else:
        from dualflux.in_python.functions import compare as compare_products

        compare_products(products, study, out, against, data_root)


def _compare_file(file: Path, beside: object, data_root: Path | None, out: Path | None) -> None:
    from dualflux.stages.compare_products import is_comparison, load_comparison, run_comparison

    if beside is not None:
        raise InputError(f"{file}: such a file says itself what is compared with what; leave --study and --against out")
    if file.is_file() and not is_comparison(file):
        raise InputError(f"{file}: lists no `products`; a study is run by `dualflux run`, and its runs are compared as A=RUN_FOLDER B=FILE")
    run_comparison(load_comparison(file, data_root, out))


@app.command()
def report(
    study: StudyFile,
    out: Out = None,
    data_root: DataRoot = None,
    take_over: TakeOver = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw the figures and write report.html."""
    _run(study, out, data_root, ["report"], _manner(take_over, quiet, verbose))


@app.command()
def status(
    run: Annotated[Path, typer.Argument(metavar="RUN|STUDY", help="A run folder, or a study file.")],
    out: Out = None,
    data_root: DataRoot = None,
) -> None:
    """Say which stages are done, why the others are not, and who works in the run folder, at what, since when."""
    from dualflux import pipeline

    pipeline.status(run, data_root, out)


@app.command()
def doctor(out: Out = None) -> None:
    """Say what is installed, which extras are missing, and what the machine has: devices, cores, memory, disk."""
    from dualflux.run_folder.doctor import examine

    lines, problems = examine(out.absolute() if out else Path.cwd())
    print("\n".join(lines))
    if problems:
        raise InputError(problems)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    if version:
        print(f"dualflux {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit status; a defect of ours keeps its traceback (status 1)."""
    stop_when_asked()
    occupy_standard_files()
    # Errors are said through a copy, so that what libraries write to the standard error past Python can be led into a log.
    errors = copy_of(sys.stderr)
    plain = errors is None or not errors.isatty()  # on a terminal, bars move the cursor
    with contextlib.redirect_stdout(UnreadOutput(sys.stdout, plain=True)), contextlib.redirect_stderr(UnreadOutput(errors, plain)):
        if (problem := no_room_for_libraries()) is not None:
            return _wrong([too_little_memory(problem)])
        return supervised(lambda: _status(arguments), _died)


def _died(limit: int, name: str) -> int:
    return _wrong([too_little_memory(f"a library ended the process with {name}; memory is limited to {limit / 1e9:.1f} GB")])


def _status(arguments: list[str] | None) -> int:
    try:
        # Typer returns 130 for an interruption, None where a command came to its end.
        code = typer.main.get_command(app).main(args=arguments, prog_name="dualflux", standalone_mode=False) or DONE
        sys.stdout.flush()
    except InputError as error:
        return _wrong(error.problems)
    except _USAGE_ERROR as error:
        return _wrong([f"{error.format_message()}; try `dualflux --help`."])
    except MAY_BE_THE_MACHINE as error:
        problem = machine_problem(error)
        if problem is None:
            raise
        return _wrong([problem])
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        why = why_stopped()
        by = f" ({why})" if why else ""
        print(f"dualflux: interrupted{by}; the same command goes on from the last stage that was done", file=sys.stderr)
    return int(code)


def _wrong(problems: list[str]) -> int:
    for problem in problems:
        print(f"dualflux: error: {printable(' '.join(problem.split()))}", file=sys.stderr)
    return INPUT_WRONG


if __name__ == "__main__":
    sys.exit(main())

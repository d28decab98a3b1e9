"""The same tasks in threads of this process, on processes of this machine, or on the user's Dask cluster."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from dualflux.errors import InputError
from dualflux.fitting.parallel import cores

T = TypeVar("T")
AHEAD = 4  # tasks a worker has waiting: none idles, few are lost when a run is stopped
LOOK = 5.0  # seconds without a finished task after which it is seen whether there is any worker
PATIENCE = 60.0  # seconds without any worker before that is said


@dataclass(frozen=True)
class Execution:
    """Where tasks run.

    Attributes
    ----------
    workers : int or None
        Processes on this machine; None: threads of this process, one per core.
    scheduler : str or None
        Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``; its workers must see the same files.
    say : callable
        Told, in words, what keeps the tasks waiting.
    """

    workers: int | None = None
    scheduler: str | None = None
    say: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers}: give 1 or more")
        if self.workers is not None and self.scheduler is not None:
            raise InputError("--workers and --scheduler exclude each other: a scheduler brings its own workers")


def run_tasks(do: Callable[[T], object], tasks: Sequence[T], where: Execution, advance: Callable[[int, int], None]) -> None:
    """Call ``do(task)`` for each; the first error stops the rest.

    Parameters
    ----------
    do : function
        Must be picklable where processes do the work.
    tasks : sequence
    where : Execution
    advance : callable
        Told ``(done, of)`` after each.
    """
    done = _on_dask(do, tasks, where) if where.workers or where.scheduler else _in_threads(do, tasks, cores())
    for count, _ in enumerate(done, 1):
        advance(count, len(tasks))


def _in_threads(do: Callable[[T], object], tasks: Sequence[T], threads: int) -> Iterator[None]:
    waiting: set[Future[object]] = set()
    rest = iter(tasks)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting |= {pool.submit(do, task) for task in islice(rest, 2 * threads)}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for one in done:
                one.result()
                waiting |= {pool.submit(do, task) for task in islice(rest, 1)}
                yield
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _on_dask(do: Callable[[T], object], tasks: Sequence[T], where: Execution) -> Iterator[None]:
    distributed = _distributed()
    cluster = None
    try:
        if where.scheduler is None:
            cluster = distributed.LocalCluster(n_workers=where.workers, threads_per_worker=1, processes=True, dashboard_address=None)
        client = _connect(distributed, cluster or where.scheduler)
        with client:
            rest, running = iter(tasks), set[Any]()
            while True:
                # Files are written, not values returned: a task is never taken from a result of the same name.
                room = AHEAD * max(1, sum(client.nthreads().values())) - len(running)  # workers come and go
                running |= {client.submit(do, task, pure=False) for task in islice(rest, max(room, 0))}
                if not running:
                    return
                done, running = _first_done(distributed, client, running, where)
                for one in done:
                    one.result()
                    yield
    finally:
        if cluster is not None:
            cluster.close()


def _first_done(distributed: Any, client: Any, running: set[Any], where: Execution) -> tuple[set[Any], set[Any]]:
    """At least one finished task, and what still runs; what keeps all waiting is said once a minute.

    Raises
    ------
    InputError
        This machine's own processes are gone, and none has come for a minute.
    """
    alone = 0.0
    while True:
        try:
            found = distributed.wait(running, timeout=LOOK, return_when="FIRST_COMPLETED")
            return set(found.done), set(found.not_done)
        except TimeoutError:  # of Dask, which is the built-in one
            alone = 0.0 if client.nthreads() else alone + LOOK
        if alone >= PATIENCE:
            if where.scheduler is None:
                raise InputError(
                    f"--workers {where.workers}: none of the processes is left, and none has come for a minute; too little memory? "
                    "Give fewer --workers and run the same command again: what is done stays"
                )
            where.say(f"--scheduler {where.scheduler}: no worker for a minute; {len(running)} tasks wait for one (what is done stays)")
            alone = 0.0


def _connect(distributed: Any, address: Any) -> Any:
    try:
        return distributed.Client(address, timeout="30s")
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"--scheduler {address}: no Dask scheduler answers there ({error}); start one, or use --workers") from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError("--workers and --scheduler need Dask: python -m pip install 'dualflux[scale]'") from error
    return distributed

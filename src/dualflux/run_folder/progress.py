"""How far a command is, on the terminal."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dualflux.run_folder.pulse import STEP


def progress_display(console: Console) -> Progress:
    """What is done, of how much, and the time; nothing where no terminal shows it (see `pulse`)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal or console.quiet)


def counted(progress: Progress, text: str) -> Callable[[int, int], None]:
    """A bar for one step; gives what is told ``(done, of)`` as the work goes on."""
    task = progress.add_task(text, total=None)
    STEP.begin(text)

    def advance(done: int, of: int) -> None:
        STEP.advance(done, of)
        progress.update(task, completed=done, total=of)

    return advance


class progress_bar:  # noqa: N801 (reads as a function)
    """``with progress_bar(console, text) as advance: advance(done, of)``."""

    def __init__(self, console: Console, text: str) -> None:
        self.progress, self.text = progress_display(console), text

    def __enter__(self) -> Callable[[int, int], None]:
        self.progress.start()
        return counted(self.progress, self.text)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
        STEP.begin("")

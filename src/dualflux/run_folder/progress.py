"""How far a command is, on the terminal."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_display(console: Console) -> Progress:
    """What is done, of how much, and the time."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


class progress_bar:  # noqa: N801 (reads as a function)
    """``with progress_bar(console, text) as advance: advance(done, of)``."""

    def __init__(self, console: Console, text: str) -> None:
        self.progress = progress_display(console)
        self.task = self.progress.add_task(text, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self.progress.start()
        return lambda done, of: self.progress.update(self.task, completed=done, total=of)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

"""dualflux: one flux model trained on eddy-covariance towers and atmospheric inversions.

What stands in `__all__` is promised to stay; it is imported when it is first used, so that `import dualflux` is quick.
"""

import os

# Before NumPy is loaded: OpenBLAS splits sums by its number of threads, and results must not depend on the number of cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dualflux.errors import InputError
    from dualflux.in_python.functions import check, compare, run
    from dualflux.in_python.opened_comparison import Comparison
    from dualflux.in_python.opened_run import Run, open_run
    from dualflux.study.settings import Study, load_study

__version__ = "0.1.0.dev0"
__all__ = ["Comparison", "InputError", "Run", "Study", "check", "compare", "load_study", "open_run", "run"]
# No module or room has the name of a public function: importing it would put it in the function's place.
_WHERE = {
    "Comparison": "dualflux.in_python.opened_comparison",
    "InputError": "dualflux.errors",
    "Run": "dualflux.in_python.opened_run",
    "Study": "dualflux.study.settings",
    "check": "dualflux.in_python.functions",
    "compare": "dualflux.in_python.functions",
    "load_study": "dualflux.study.settings",
    "open_run": "dualflux.in_python.opened_run",
    "run": "dualflux.in_python.functions",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'dualflux' has no attribute '{name}'; it has {', '.join(__all__)}")
    found = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""`python -m benchmarks [name…]`: run all benchmarks, or those named. Exit status 1 = a target was missed."""

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks
from benchmarks.harness import machine

_NOT_BENCHMARKS = ("__main__", "harness")


def main(names: Sequence[str]) -> int:
    """Print the tables of these benchmarks; returns the exit status."""
    known = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    known = sorted(name for name in known if name not in _NOT_BENCHMARKS)
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    print(f"CPU time on {machine()}", flush=True)
    missed = 0
    for name in names or known:
        for table in importlib.import_module(f"benchmarks.{name}").tables():
            print(f"\n{table}", flush=True)
            missed += sum(row.missed for row in table.rows)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

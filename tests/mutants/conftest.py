"""The package `mutants` lies beside `src`, as `benchmarks` does, and is not installed."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

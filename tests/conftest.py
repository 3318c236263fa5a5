"""Lets tests of one directory use the helpers of another by name (`from provisioner.world import World`)."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# How long an example takes says how busy the machine is; speed has its place in `benchmarks/`.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

"""Lets tests of one directory use the helpers of another by name (`from provisioner.world import World`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

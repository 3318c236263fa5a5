"""`python -m slotsmith` is `slotsmith`."""

import sys

from slotsmith.cli import main

sys.exit(main())

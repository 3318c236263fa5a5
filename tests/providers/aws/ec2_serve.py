"""The EC2 for tests as a process of its own: prints its URL, and ends when its standard input does.

python ec2_serve.py [INSTANCES [ZONE]]

There is no room in the zone that is named.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from providers.aws.ec2_population import populate
from providers.aws.ec2_server import Server


def main(instances: int, *zones: str) -> None:
    with Server() as server:
        populate(server.ec2, instances)
        for zone in zones:
            server.ec2.capacity["g4dn.xlarge", zone, "on-demand"] = 0
        print(server.url, flush=True)
        for line in sys.stdin:
            # What EventBridge would put into the queue.
            server.queue.put(line)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0, *sys.argv[2:])

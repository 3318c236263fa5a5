"""A running Dask scheduler, by its address.

Tasks say what they need by Dask's own means: of `resources={"slot": 2, "licence": 1}` the slots are ours and the rest
are extras, and each task takes a thread. Gangs and groups are annotations: `dask.annotate(gang="run-7", gang_size=3)`
for tasks that are to be provided for together or not at all, `dask.annotate(group="team-a", max_slots=8)` for tasks
that share a maximum. Names tell gangs and groups apart, so each gang needs one of its own.

`distributed` is imported when a connection is opened, not before; the modules in `remote` never are: their text is sent
to the scheduler.
"""

from slotsmith.schedulers.base import SchedulerContext, SchedulerPlugin
from slotsmith.schedulers.dask.connector import DaskScheduler
from slotsmith.schedulers.dask.settings import DaskSettings

__all__ = ["DaskScheduler", "DaskSettings", "plugin"]


def create(settings: DaskSettings, context: SchedulerContext) -> DaskScheduler:
    """The connector of one pool; nothing is connected yet."""
    return DaskScheduler(settings, context)


plugin = SchedulerPlugin(DaskSettings, create)

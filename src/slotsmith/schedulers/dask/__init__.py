"""A running Dask scheduler, by its address.

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

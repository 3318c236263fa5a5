"""From settings to running objects: the one place that names concrete classes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

from slotsmith.clock import Clock, IdSource, Random, SystemClock, system_ids, system_random
from slotsmith.config.models import Config, PoolSettings
from slotsmith.config.plugins import Plugins
from slotsmith.providers.base import Provider, ProviderContext, ProviderPlugin
from slotsmith.provisioner import Provisioner
from slotsmith.provisioner.pace import Pace
from slotsmith.provisioner.searching import Searcher
from slotsmith.replicas.candidate import Candidate
from slotsmith.replicas.guarded import GuardedProvider, guarded_scheduler
from slotsmith.schedulers.base import Scheduler, SchedulerContext, SchedulerPlugin
from slotsmith.store.place import Place
from slotsmith.store.sql import SqlStore
from slotsmith.store.writer import ThreadRunner

# Beside the working directory's files, where a store without a file leaves no better place.
_STATE_WITHOUT_FILE = Path("slotsmith.d")


def state_dir(url: str, pool: str) -> Path:
    """Where a pool's provider keeps what it must remember: `FILE.d/POOL` beside the SQLite file at `url`."""
    path = Place.of(url).path
    return (_STATE_WITHOUT_FILE if path is None else path.with_name(path.name + ".d")) / pool


class Later:
    """A callable that can be handed out before what it calls is there. Until then a call does nothing."""

    def __init__(self) -> None:
        self._target: Callable[[], None] | None = None

    def bind(self, target: Callable[[], None]) -> None:
        """From now on, a call is a call of `target`."""
        self._target = target

    def __call__(self) -> None:
        if self._target is not None:
            self._target()


@dataclass(frozen=True, slots=True)
class Connections:
    """What a pool's settings name in the outside world, made but not set up."""

    provider: Provider
    scheduler: Scheduler

    async def close(self) -> None:
        """Let go of both."""
        await self.scheduler.close()
        await self.provider.close()


def make_connections(
    config: Config,
    pool: PoolSettings,
    *,
    clock: Clock,
    provider_changed: Callable[[], None] = lambda: None,
    scheduler_changed: Callable[[], None] = lambda: None,
    plugins: tuple[Plugins, Plugins] | None = None,
) -> Connections:
    """The provider and the scheduler of a pool. The callables are called when one of them has news.

    `plugins` are those of the kinds provider and scheduler; by default what the installed packages offer.
    """
    providers, schedulers = plugins or (Plugins("provider"), Plugins("scheduler"))
    make_provider = cast(ProviderPlugin, providers.get(pool.provider.type)).create
    make_scheduler = cast(SchedulerPlugin, schedulers.get(pool.scheduler.type)).create
    context = ProviderContext(
        cluster=config.cluster or "",
        pool=pool.name,
        state_dir=state_dir(config.store.url, pool.name),
        clock=clock,
        wake=provider_changed,
    )
    provider = make_provider(pool.provider, context)
    scheduler = make_scheduler(pool.scheduler, SchedulerContext(pool.name, clock, scheduler_changed))
    return Connections(provider, scheduler)


class Watch:
    """What is told of all that the pools do; this one tells nobody."""

    def provider(self, _pool: str, provider: Provider) -> Provider:
        """The provider of a pool, or one that does the same and tells of it."""
        return provider

    def passed(self, pool: str, seconds: float) -> None:
        """A pass has ended."""

    def passing(self, _pool: str, _number: int) -> AbstractContextManager[None]:
        """What goes on around a pass."""
        return nullcontext()


UNWATCHED: Final = Watch()


class Assembly:
    """Makes the parts of every pool of a configuration; all pools share its store and that store's writer thread.

    A context manager: leaving it ends the writer thread, and leaves the store open. `replica`: of several, only
    the one that leads may launch, drain and terminate. `searcher` looks for cheaper launches than pools find at once
    (`provisioner.worker_process`); None = nobody does.
    """

    def __init__(
        self,
        config: Config,
        store: SqlStore,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        new_id: IdSource = system_ids,
        watch: Watch = UNWATCHED,
        replica: Candidate | None = None,
        searcher: Searcher | None = None,
    ) -> None:
        self.config = config
        self.store = store
        self.clock = clock or SystemClock()
        self.run_store = ThreadRunner()
        self._random = random or system_random()
        self._new_id = new_id
        self._watch = watch
        self._replica = replica
        self._pace = Pace()
        self._searcher = searcher
        # Looking for what is installed takes tens of milliseconds, and there may be hundreds of pools.
        self._plugins = (Plugins("provider"), Plugins("scheduler"))

    def __enter__(self) -> Assembly:
        return self

    def __exit__(self, *_: object) -> None:
        self.run_store.close()

    def takes_views(self, pool: PoolSettings) -> bool:
        """Whether the pool's scheduler pushes its views."""
        plugin = cast(SchedulerPlugin, self._plugins[1].get(pool.scheduler.type))
        return plugin.takes_views

    def provisioner(self, pool: PoolSettings) -> Provisioner:
        """A new provisioner for a pool. Closing it closes its provider and scheduler."""
        provider_changed, scheduler_changed = Later(), Later()
        connections = make_connections(
            self.config,
            pool,
            clock=self.clock,
            provider_changed=provider_changed,
            scheduler_changed=scheduler_changed,
            plugins=self._plugins,
        )
        provider, scheduler = connections.provider, connections.scheduler
        if self._replica is not None:
            provider = GuardedProvider(provider, self._replica.may_act)
            scheduler = guarded_scheduler(scheduler, self._replica.may_act)
        provisioner = Provisioner(
            pool.name,
            pool.policy(),
            provider=self._watch.provider(pool.name, provider),
            scheduler=scheduler,
            store=self.store,
            run_store=self.run_store,
            clock=self.clock,
            random=self._random,
            new_id=self._new_id,
            on_pass=partial(self._watch.passed, pool.name),
            around_pass=partial(self._watch.passing, pool.name),
            windows=pool.windows(),
            move_windows=pool.move_windows(),
            pace=self._pace,
            searcher=self._searcher,
        )
        provider_changed.bind(provisioner.provider_changed)
        scheduler_changed.bind(provisioner.scheduler_changed)
        return provisioner

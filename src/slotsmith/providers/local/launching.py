"""Launches, once for each token."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Sequence

from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.base import LaunchRequest, LaunchResult, ProviderContext, ProviderError
from slotsmith.providers.local import processes
from slotsmith.providers.local.errors import provider_error
from slotsmith.providers.local.records import Claim, Records
from slotsmith.providers.local.settings import LocalSettings, LocalType, find_program
from slotsmith.providers.local.supervisors import Start, start_all

# Once a launch has given no clear answer for this long, the caller is told so; it will ask again.
_PATIENCE = 20.0
_LOOK_AGAIN = 0.02


class Launcher:
    """Starts what a token asks for and has not started yet."""

    def __init__(self, settings: LocalSettings, context: ProviderContext, records: Records) -> None:
        self._settings = settings
        self._context = context
        self._clock = context.clock
        self._records = records
        self._types = {kind.offering.name: kind for kind in settings.types}
        self.offerings = tuple(kind.offering for kind in settings.types)

    def check(self) -> None:
        """Raises ProviderError (INVALID): the program of a command does not exist."""
        for kind in self._types.values():
            self._program(kind)

    def _program(self, kind: LocalType) -> str:
        """The path of the command's program."""
        name = self._words(kind, "instance")[0]
        program = find_program(name)
        if program is None:
            raise ProviderError(ErrorKind.INVALID, f"the agent command's program {name!r} is not an executable file")
        return program

    async def launch(self, request: LaunchRequest) -> LaunchResult:
        """See `Provider.launch`."""
        kind = self._types.get(request.offering.name)
        if kind is None:
            raise ProviderError(ErrorKind.INVALID, f"{request.offering.name} is not on offer here")
        ids = [self._instance_id(request.token, index) for index in range(request.count)]
        try:
            error = await self._start_missing(kind, ids, request.token)
            launched = tuple(instance_id for instance_id in ids if self._records.launched(instance_id))
        except OSError as failure:
            raise provider_error(failure, "the launch cannot be put on record") from failure
        if error and (not launched or error.kind is ErrorKind.TRANSIENT):
            raise error
        return LaunchResult(launched, error)

    async def _start_missing(self, kind: LocalType, ids: Sequence[str], token: str) -> ProviderError | None:
        """Returns why some have not started: for good, or (TRANSIENT) as far as is known."""
        deadline = self._clock.now() + _PATIENCE
        refused: ProviderError | None = None
        first = True
        while missing := [one for one in ids if not (self._records.launched(one) or self._records.buried(one))]:
            if self._clock.now() > deadline:
                return ProviderError(ErrorKind.TRANSIENT, f"no word from {len(missing)} new instances yet")
            if not first:
                # Another supervisor, of an earlier call with this token, has the lock and is about to write its claim.
                await self._clock.sleep(_LOOK_AGAIN)
            first = False
            for instance_id, error in (await self._start(kind, missing, token)).items():
                if error.kind is ErrorKind.TRANSIENT:
                    return error
                refused = error
                self._give_up(instance_id)
        if refused is None and not all(map(self._records.launched, ids)):
            return ProviderError(ErrorKind.CAPACITY, "an earlier call with this token could not start all of them")
        return refused

    def _give_up(self, instance_id: str) -> None:
        """Make a refusal definite: no supervisor of an earlier, cancelled call may come after it."""
        self._records.directory(instance_id).mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._records.bury_unstarted(instance_id)
        except BlockingIOError:
            # It has come, or is just coming: the next look tells.
            return

    async def _start(self, kind: LocalType, ids: Sequence[str], token: str) -> dict[str, ProviderError]:
        try:
            program = self._program(kind)
        except ProviderError as error:
            return dict.fromkeys(ids, error)
        starts = {instance_id: self._start_of(kind, instance_id, token, program) for instance_id in ids}
        answers = await asyncio.to_thread(start_all, starts, self._clock)
        return {instance_id: error for instance_id, error in answers.items() if error is not None}

    def _start_of(self, kind: LocalType, instance_id: str, token: str, program: str) -> Start:
        settings = self._settings
        claim = Claim(
            instance_id=instance_id,
            token=token,
            offering=kind.offering.name,
            slots=kind.slots,
            cpus=kind.cpus,
            mem_gib=kind.mem_gib,
            extras=dict(kind.extras),
            launched_at=self._clock.now(),
            boot_time=settings.boot_time,
        )
        ours = {
            processes.TOKEN: token,
            processes.INSTANCE_ID: instance_id,
            processes.CLUSTER: self._context.cluster,
            processes.POOL: self._context.pool,
            processes.STATE_DIR: str(self._records.path),
        }
        return Start(
            directory=self._records.directory(instance_id),
            grave=self._records.grave(instance_id),
            record=claim.model_dump_json(),
            boot_time=settings.boot_time,
            grace=settings.stop_grace,
            command=(program, *self._words(kind, instance_id)[1:]),
            environment={**os.environ, **ours},
        )

    def _words(self, kind: LocalType, instance_id: str) -> list[str]:
        context = self._context
        return self._settings.words(kind, instance_id=instance_id, pool=context.pool, cluster=context.cluster)

    def _instance_id(self, token: str, index: int) -> str:
        """The same for the same token, pool and cluster, so that a repeated launch means the same instances."""
        owner = "\0".join((self._context.cluster, self._context.pool, token))
        pool = re.sub("[^a-z0-9]+", "-", self._context.pool.lower()).strip("-")[:24] or "pool"
        return f"{pool}-{hashlib.sha256(owner.encode()).hexdigest()[:12]}-{index}"

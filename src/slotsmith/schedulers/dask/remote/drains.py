"""Takes workers out of service, and retires them when nothing runs there and what they hold is safe elsewhere.

A worker that is out of service is `closing_gracefully` to the scheduler, which from that moment assigns nothing to it:
no new task, and none by work stealing. The worker itself is not told, so it finishes what it has. Checking that a
worker is idle and taking it out of service are one step of the scheduler's event loop; so are the last check that
nothing unique is left on it and its removal.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from distributed.active_memory_manager import ActiveMemoryManagerExtension, RetireWorker
from distributed.core import Status

from . import claims, stealing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed.scheduler import Scheduler, WorkerState

RELEASED, WAITING, REFUSED = "released", "waiting", "refused"

_RETRY = 2.0  # seconds between attempts to move results, as in `Scheduler.retire_workers`
_STATUS = "worker-status-change"
_logger = logging.getLogger("distributed.slotsmith")


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Return when the event is set, at the latest after `seconds`."""
    waiter = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiter}, timeout=seconds)
    waiter.cancel()


class _Move:
    """A worker whose results are being moved; `answer` is an outcome and why, when that is over."""

    __slots__ = ("answer", "begun", "policy", "worker")

    def __init__(self, worker: WorkerState) -> None:
        self.worker = worker
        self.policy = RetireWorker(worker.address)
        self.begun = False
        self.answer: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()


class Drains:
    """The workers that are out of service. `out`: address -> the status that the worker last told of itself."""

    def __init__(self, scheduler: Scheduler, out: dict[str, str]) -> None:
        self._scheduler = scheduler
        self.out = {address: status for address, status in out.items() if address in scheduler.workers}
        self._moves: dict[str, _Move] = {}
        self._mover: asyncio.Task[None] | None = None
        self._kick = asyncio.Event()
        self._on_status: Any = scheduler.stream_handlers[_STATUS]
        scheduler.stream_handlers[_STATUS] = self._hear_status

    def close(self) -> dict[str, str]:
        """Let go of the scheduler. The workers stay out of service; returns them for a successor."""
        self._scheduler.stream_handlers[_STATUS] = self._on_status
        for move in list(self._moves.values()):
            self._finish(move, WAITING, "another version of the plugin takes over")
        self._kick.set()
        return self.out

    async def drain(self, names: Sequence[str], when_done: bool, patience: float) -> dict[str, Any]:
        """An answer for each name. Results that are still on their way after `patience` seconds: waiting."""
        workers = {str(worker.name): worker for worker in self._scheduler.workers.values()}
        answers: dict[str, Any] = {name: (RELEASED, "no such worker") for name in names if name not in workers}
        # Those that hold least first: when all go and one must stay because of what they hold, least has to be moved.
        asked = sorted(set(names) - answers.keys(), key=lambda name: (workers[name].nbytes, name))
        moves: dict[str, _Move] = {}
        round_ = _Round(self._scheduler)
        for name in asked:
            answer = self._ask(workers[name], when_done, round_)
            if isinstance(answer, _Move):
                moves[name] = answer
            else:
                answers[name] = answer
        if moves:
            await asyncio.wait([move.answer for move in moves.values()], timeout=patience)
        for name, move in moves.items():
            answers[name] = move.answer.result() if move.answer.done() else (WAITING, "its results are being moved")
        return answers

    def cancel(self, names: Sequence[str]) -> None:
        """Back into service, unless the worker has gone."""
        wanted = set(names)
        for worker in list(self._scheduler.workers.values()):
            if str(worker.name) in wanted and worker.address in self.out:
                self._put_back(worker, "its drain was cancelled")

    def forget(self, address: str) -> None:
        """A worker has gone."""
        self.out.pop(address, None)

    def _ask(self, worker: WorkerState, when_done: bool, round_: _Round) -> Any:
        work = claims.work_on(worker)
        refusal = round_.why_in_use(worker) or ("" if when_done else work)
        if not refusal and not work:
            if worker.address in self._moves:
                return self._moves[worker.address]
            refusal = round_.why_needed(worker) or self._why_stuck(worker)
        if refusal:
            self._put_back(worker, refusal)
            return REFUSED, refusal
        self._take_out(worker)
        if work:
            stealing.take_back(self._scheduler, worker)
            return WAITING, work
        if worker in stealing.arriving(self._scheduler):
            return WAITING, "a task is on its way to it"
        return self._start_move(worker)

    def _take_out(self, worker: WorkerState) -> None:
        if worker.address not in self.out:
            self.out[worker.address] = worker.status.name
            self._set_status(worker, Status.closing_gracefully)
            _logger.info("Worker %s gets no more tasks", worker.name)
        stealing.turn_away(self._scheduler, worker)

    def _put_back(self, worker: WorkerState, why: str) -> None:
        if move := self._moves.get(worker.address):
            self._finish(move, REFUSED, why)
        status = self.out.pop(worker.address, None)
        if status is not None:
            self._set_status(worker, Status[status])
            _logger.info("Worker %s stays in service: %s", worker.name, why)

    def _set_status(self, worker: WorkerState, status: Status) -> None:
        # The scheduler's own way: it also gives waiting tasks to a worker that is back.
        self._scheduler.handle_worker_status_change(status, worker, stimulus_id=f"slotsmith-{status.name}")

    def _hear_status(self, status: str, worker: str, stimulus_id: str) -> None:
        """In place of the scheduler's handler: a worker that ends a pause for memory would be back in service."""
        if worker in self.out:
            self.out[worker] = status
            if status == Status.running.name:
                return
        self._on_status(status=status, worker=worker, stimulus_id=stimulus_id)

    def _why_stuck(self, worker: WorkerState) -> str:
        moving = sum(move.worker.nbytes for move in self._moves.values())
        return claims.stuck_results(self._scheduler, worker, moving)

    def _start_move(self, worker: WorkerState) -> _Move:
        move = self._moves[worker.address] = _Move(worker)
        self._kick.set()
        if self._mover is None or self._mover.done():
            self._mover = asyncio.ensure_future(self._move_all())
        return move

    async def _move_all(self) -> None:
        try:
            due = 0.0
            while self._moves:
                now = asyncio.get_running_loop().time()
                if now >= due:
                    due = now + _RETRY
                    self._move_results(list(self._moves.values()))
                elif self._kick.is_set():
                    # Asking again for results that are already on their way would make more copies than are needed.
                    self._move_results([move for move in self._moves.values() if not move.begun])
                self._kick.clear()
                for move in list(self._moves.values()):
                    await self._step(move)
                held = sum(len(move.worker.has_what) for move in self._moves.values())
                await pause(self._kick, max(0.01, min(0.5, held / 400)))
        except Exception:
            # Whatever it was, the workers must not be left in between: they go back into service.
            _logger.exception("Moving the results of retired workers failed")
            for move in list(self._moves.values()):
                self._put_back(move.worker, "its results could not be moved, see the log of the scheduler")

    def _move_results(self, moves: list[_Move]) -> None:
        manager = ActiveMemoryManagerExtension(self._scheduler, policies=set(), register=False, start=False)
        for move in moves:
            manager.add_policy(move.policy)
            move.begun = True
        manager.run_once()

    async def _step(self, move: _Move) -> None:
        worker = move.worker
        if self._moves.get(worker.address) is not move:
            return  # called off while the worker before it was being removed
        if self._scheduler.workers.get(worker.address) is not worker:
            self._finish(move, RELEASED, "it has left")
        elif work := claims.work_on(worker):
            self._finish(move, WAITING, work)
        elif all(len(ts.who_has or ()) > 1 for ts in worker.has_what):
            round_ = _Round(self._scheduler)
            if why := round_.why_in_use(worker) or round_.why_needed(worker):
                self._put_back(worker, why)
                return
            # Nothing has been awaited since the checks, and nothing will be until the worker is off the books.
            await self._scheduler.remove_worker(
                worker.address, stimulus_id="slotsmith-retire", expected=True, close=True
            )
            self._finish(move, RELEASED, "idle, and what it held is elsewhere")
            _logger.info("Worker %s has been retired", worker.name)
        elif move.policy.no_recipients:
            self._put_back(worker, self._why_stuck(worker) or "no other worker could take over its results")

    def _finish(self, move: _Move, outcome: str, why: str) -> None:
        self._moves.pop(move.worker.address, None)
        if not move.answer.done():
            move.answer.set_result((outcome, why))


class _Round:
    """What is looked up at most once for all the workers of one request."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._shuffling = claims.in_shuffles(scheduler)
        self._tied: list[Any] | None = None

    def why_in_use(self, worker: WorkerState) -> str:
        # A shuffle assigns its outputs to workers by itself. On one that gets no tasks they would wait for ever.
        return "it takes part in a shuffle" if worker in self._shuffling else ""

    def why_needed(self, worker: WorkerState) -> str:
        if self._tied is None:
            self._tied = claims.tied_tasks(self._scheduler)
        return claims.only_here(self._scheduler, worker, self._tied)

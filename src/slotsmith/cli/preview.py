"""`slotsmith run --dry-run`: one look at every pool, and what a pass would do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from slotsmith.cli.books import open_readable
from slotsmith.cli.output import console, table, write_json

if TYPE_CHECKING:
    from slotsmith.config import Config, PoolSettings
    from slotsmith.config.assembly import Assembly
    from slotsmith.model.decision import Decision
    from slotsmith.store.sql import SqlStore

LOOK_DEADLINE = 120.0
"""Seconds for the look at one pool: its set-up, one listing and one view."""


def preview(settings: Config, json_output: bool) -> int:
    """Print what would be done now; the exit status is 1 when a pool could not be looked at."""
    from slotsmith import logs
    from slotsmith.config.assembly import Assembly

    logs.setup(settings.log.format, "warning")
    with _books(settings.store.url) as store, Assembly(settings, store) as assembly:
        reports = asyncio.run(_look_at_all(assembly))
    if json_output:
        write_json({"pools": reports})
    else:
        _print(reports)
    return 1 if any(report["error"] for report in reports) else 0


def _books(url: str) -> SqlStore:
    """The store, read only; before the first run there is none, and what stands in for it is empty."""
    from slotsmith.store.place import Place

    path = Place.of(url).path
    if path is not None and not path.exists():
        from slotsmith.store.sql import open_store

        return open_store("sqlite://")
    return open_readable(url)


async def _look_at_all(assembly: Assembly) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_look(assembly, pool) for pool in assembly.config.pools)))


async def _look(assembly: Assembly, pool: PoolSettings) -> dict[str, Any]:
    try:
        async with asyncio.timeout(LOOK_DEADLINE):
            provisioner = assembly.provisioner(pool)
            try:
                await provisioner.setup()
                decision = await provisioner.preview()
            finally:
                await provisioner.close()
    except Exception as error:  # noqa: BLE001 - one pool's trouble is told beside what the others would do
        return _report(pool.name, None, " ".join(str(error).split()) or type(error).__name__)
    return _report(pool.name, decision, None)


def _report(name: str, decision: Decision | None, error: str | None) -> dict[str, Any]:
    report: dict[str, Any] = {"pool": name, "error": error, "launch": [], "terminate": [], "unmet": [], "moves": []}
    if decision is not None:
        report |= {
            "at": decision.at,
            "desired_new": decision.desired_new,
            "launch": [
                {"offering": launch.offering.name, "count": launch.count, "reason": launch.reason}
                for launch in decision.launches
            ],
            "terminate": [{"id": each.id, "reason": each.reason.value} for each in decision.terminations],
            "unmet": [
                {"what": str(unmet.tasks or "instances"), "count": unmet.count, "reason": unmet.reason}
                for unmet in decision.unmet
            ],
            "moves": [asdict(each) for each in decision.proposals],
            "next_deadline": decision.next_deadline,
        }
    return report


def _print(reports: Sequence[dict[str, Any]]) -> None:
    rows = [row for report in reports for row in _rows(report)]
    console().print(table(("pool", "would", "what", "reason"), rows))


def _rows(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    name = report["pool"]
    kinds: tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...] = (
        ("launch", "launch", lambda each: f"{each['count']} x {each['offering']}"),
        ("terminate", "terminate", lambda each: str(each["id"])),
        ("unmet", "leave unmet", lambda each: str(each["what"])),
    )
    rows = [(name, word, text(each), each["reason"]) for key, word, text in kinds for each in report[key]]
    for move in report["moves"]:
        if move["held"]:
            saves = f"{move['what']}, which would save ${move['saves']:,.2f} per hour; {move['held']}"
            rows.append((name, "keep for now", move["id"], saves))
    if report["error"]:
        return [(name, "-", "-", report["error"])]
    return rows or [(name, "do nothing", "-", "the pool is as it should be")]

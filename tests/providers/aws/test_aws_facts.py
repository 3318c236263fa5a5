"""What is known of types and prices: kept between runs, refreshed while one lasts, and told to the planner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.command_line import CommandLine
from cli.conftest import kept_logging, slotsmith
from providers.aws.ec2_catalogue import TYPES
from providers.aws.ec2_world import Ticking, World
from providers.aws.test_aws_check import config
from providers.aws.test_aws_launch import opened, run
from slotsmith.model.launch_error import ErrorKind
from slotsmith.providers.aws.catalogue import Prices, read_prices
from slotsmith.providers.aws.kept import KEPT_FOR, LAST, Kept
from slotsmith.providers.base import ProviderError, market_of
from waiting import until

__all__ = ["kept_logging", "slotsmith"]

TWO = {"instance_types": ["g4dn.xlarge", "g5.xlarge"]}
_ASKED = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "GetProducts")


def asked(world: World) -> list[int]:
    return [world.journal.counts[name] for name in _ASKED]


def test_a_second_start_asks_for_no_facts_again(tmp_path: Path) -> None:
    clock = Ticking()
    world = World(tmp_path, clock)

    async def check() -> None:
        async with opened(world, **TWO) as provider:
            first = provider.offerings()
        assert asked(world) == [1, 1, 2]
        clock.ahead = 3600.0
        async with opened(world, **TWO) as provider:
            assert provider.offerings() == first
            # The age of the prices is that of their answer.
            priced_at = market_of(provider).priced_at
            assert priced_at is not None
            assert 3600 <= clock.now() - priced_at < 3700
        assert asked(world) == [1, 1, 2]
        clock.ahead = LAST + 60.0
        async with opened(world, **TWO):
            assert asked(world) == [2, 2, 4]
            clock.ahead *= 2.0
        # Asked in vain: what was told before is better than no pool.
        for name in _ASKED:
            world.journal.fault("cut", name, count=3)
        async with opened(world, **TWO) as provider:
            assert provider.offerings() == first

    try:
        run(check())
    finally:
        world.close()


@pytest.mark.parametrize("text", ["", "null", "[]", '{"form": 1}', '{"form": 1, "answers": {"a": 5}}', '{"form": 99}'])
def test_a_file_that_makes_no_sense_is_asked_for_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "facts" / "facts.json"
    path.parent.mkdir()
    path.write_text(text)

    async def answer() -> str:
        return "fresh"

    async def check() -> None:
        kept = Kept(path)
        assert await kept.get("a", answer, 5.0) == ("fresh", 5.0)
        kept.save(5.0)
        assert json.loads(path.read_text())["answers"] == {"a": [5.0, "fresh"]}
        # Nobody has asked for it in a long time.
        await kept.get("b", answer, 5.0 + KEPT_FOR)
        kept.save(5.0 + KEPT_FOR)
        assert list(json.loads(path.read_text())["answers"]) == ["b"]

    run(check())


def test_a_refusal_is_not_answered_from_memory_and_a_full_disk_stops_nothing(tmp_path: Path) -> None:
    async def answer() -> int:
        return 1

    async def refuse() -> int:
        raise ProviderError(ErrorKind.INVALID, "there is no such type")

    async def check() -> None:
        (tmp_path / "file").write_text("")
        kept = Kept(tmp_path / "file" / "facts.json")
        await kept.get("a", answer, 0.0)
        kept.save(0.0)
        with pytest.raises(ProviderError, match="no such type"):
            await kept.get("a", refuse, LAST)
        # A clock that was wrong when it was asked: what is from the future is not believed.
        await kept.get("b", answer, 1e12)
        with pytest.raises(ProviderError, match="no such type"):
            await kept.get("b", refuse, 0.0)

    run(check())


def test_prices_of_a_file_are_as_old_as_the_file_and_reach_a_provider_that_runs(tmp_path: Path) -> None:
    clock = Ticking()
    world = World(tmp_path, clock)
    path = tmp_path / "prices.csv"
    path.write_text("instance_type,price_per_hour,market\ng4dn.xlarge,0.6,on-demand\ng5.xlarge,1.0,on-demand\n")

    async def check() -> None:
        async with opened(world, **TWO, catalog=path) as provider:
            assert [each.price for each in provider.offerings()] == [0.6, 1.0]
            assert provider.offerings() is provider.offerings()
            assert market_of(provider).priced_at == path.stat().st_mtime
            path.write_text("instance_type,price_per_hour\ng4dn.xlarge,0.6\ng5.xlarge,0.4\n")
            clock.ahead = 3700.0
            await provider.list_instances()
            await until(lambda: provider.offerings()[0].price == 0.4, what="the new price")
            # A file that is gone changes nothing.
            path.unlink()
            clock.ahead *= 2.0
            await provider.list_instances()
            await provider.list_instances()
            assert [each.price for each in provider.offerings()] == [0.4, 0.6]

    try:
        run(check())
    finally:
        world.close()


def test_a_spot_price_without_a_zone_is_that_of_all_zones(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("instance_type,price_per_hour,market,zone\na,0.6,spot,\na,0.5,spot,z\nb,1,,\n")
    found = read_prices(path)
    assert found == Prices({"b": 1.0}, {("a", ""): 0.6, ("a", "z"): 0.5}, path.stat().st_mtime)


@pytest.mark.parametrize("price", ["0", "-1", "nan", "inf", "x", ""])
def test_a_price_that_is_none_is_told_with_its_line(tmp_path: Path, price: str) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(f"instance_type,price_per_hour\na,1\nb,{price}\n")
    with pytest.raises(ProviderError, match=r"prices.csv:3: ") as caught:
        read_prices(path)
    assert caught.value.kind is ErrorKind.INVALID


def test_the_catalogue_of_a_pool_is_one_for_plans(aws: World, tmp_path: Path, slotsmith: CommandLine) -> None:
    said = slotsmith("aws", "catalog", "-c", config(aws, tmp_path, markets=["spot", "on-demand"]))
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [
        "instance_type,gpus,cpus,mem_gib,price_per_hour,zone,market,gpu_type",
        f"g4dn.xlarge,1,4,16,{TYPES['g4dn.xlarge'][5]:g},eu-west-1a,spot,T4",
        f"g4dn.xlarge,1,4,16,{TYPES['g4dn.xlarge'][4]:g},eu-west-1a,on-demand,T4",
        f"c5.large,0,2,4,{TYPES['c5.large'][5]:g},eu-west-1a,spot,",
        f"c5.large,0,2,4,{TYPES['c5.large'][4]:g},eu-west-1a,on-demand,",
    ]
    (tmp_path / "catalog.csv").write_text(said.out)
    (tmp_path / "tasks.csv").write_text("gpus,cpus,mem_gib,count\n1,2,4,3\n")
    plan = slotsmith("plan", "--tasks", "tasks.csv", "--catalog", "catalog.csv", "--json")
    assert json.loads(plan.out)["launch"] == [
        {"instance_type": "g4dn.xlarge", "zone": "eu-west-1a", "market": "spot", "count": 3}
    ]
    aws.ec2.denied.add("DescribeInstanceTypes")
    said = slotsmith("aws", "catalog", "-c", "slotsmith.yaml")
    assert said.status == 1
    assert said.errors[0].startswith("slotsmith: pool gpu: DescribeInstanceTypes: UnauthorizedOperation")


def test_off_line_a_small_catalogue_of_ours_will_do(tmp_path: Path, slotsmith: CommandLine) -> None:
    said = slotsmith("aws", "catalog", "--offline")
    assert said.status == 0
    (tmp_path / "catalog.csv").write_text(said.out)
    (tmp_path / "tasks.csv").write_text("gpus,cpus,mem_gib,count\n1,2,4,4\n")
    plan = slotsmith("plan", "--tasks", "tasks.csv", "--catalog", "catalog.csv", "--json")
    told = json.loads(plan.out)
    assert [(each["instance_type"], each["count"]) for each in told["launch"]] == [("g4dn.xlarge", 4)]
    assert told["gap"] == 0

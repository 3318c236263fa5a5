"""The local provider's settings, and what `setup` checks."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from providers.local_world import LocalWorld, launch
from slotsmith.model.launch_error import ErrorKind
from slotsmith.model.resources import Resources
from slotsmith.providers.base import LaunchRequest, ProviderError
from slotsmith.providers.local import LocalSettings, plugin
from slotsmith.providers.local.settings import find_program


def _settings(command: str = "sleep 600", **more: Any) -> LocalSettings:
    return LocalSettings.model_validate({"type": "local", "command": command, **more})


def test_the_plugin_owns_what_it_finds_without_a_cluster() -> None:
    assert plugin.settings is LocalSettings
    assert not plugin.owns_by_cluster


def test_capacity_and_durations_are_read() -> None:
    settings = _settings(slots=2, cpus=2, mem_gib=4.5, extras={"licence": 3}, boot_time="1m30s", stop_grace="0s")
    assert settings.types[0].offering.capacity == Resources(2, 2.0, 4.5, (("licence", 3.0),))
    assert (settings.boot_time, settings.stop_grace) == (90.0, 0.0)


def test_values_are_filled_into_each_word() -> None:
    settings = _settings(
        "agent --name={instance_id} '{pool} of {cluster}' {slots}/{cpus}/{mem_gib} "
        """sh -c 'echo ${{HOME}} {{"a": 1}}' """,
        slots=2,
        cpus=1.5,
        mem_gib=4_000_000,
    )
    assert settings.words(settings.types[0], instance_id="gpu-1", pool="my gpus", cluster="o'team") == [
        "agent",
        "--name=gpu-1",
        "my gpus of o'team",
        "2/1.5/4000000",
        "sh",
        "-c",
        'echo ${HOME} {"a": 1}',
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "the command is empty"),
        ("  ", "the command is empty"),
        ("'' x", "the command is empty"),
        (
            "agent {name}",
            "unknown placeholder {name} in the command; known are {instance_id}, {instance_type}, {slots}",
        ),
        ("agent {}", "unknown placeholder {} in the command"),
        ("agent {slots:d}", "unknown placeholder {slots:d} in the command"),
        ("sh -c 'echo ${HOME}'", "unknown placeholder {HOME} in the command"),
        ("agent {", "a single { in the command"),
        ("agent {{}", "a single } in the command"),
        ("agent 'x", "the command cannot be split into words: no closing quotation"),
        ("agent \0", "the command has a NUL character in it"),
        ("x" * 40_000, "at most 32000 characters"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(command: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _settings(command)
    (error,) = caught.value.errors()
    assert error["loc"] == ("command",)
    assert message in error["msg"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("slots", -1),
        ("slots", 1.5),
        ("cpus", -0.5),
        ("mem_gib", float("nan")),
        ("extras", {"licence": -1}),
        ("boot_time", 5),
        ("stop_grace", "-1s"),
        ("bootime", "5s"),
        ("type", "aws"),
    ],
)
def test_a_bad_value_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        _settings(**{key: value})
    assert caught.value.errors()[0]["loc"][0] == key


def test_programs_are_found_on_the_path_as_a_path_and_beside_the_running_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\n")
    assert find_program(str(program)) is None
    program.chmod(0o755)
    assert find_program(str(program)) == str(program)
    assert find_program("agent") is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("agent") == str(program)
    assert find_program(Path(sys.executable).name) == sys.executable


def test_setup_names_a_program_that_does_not_exist(world: LocalWorld) -> None:
    with pytest.raises(ProviderError, match=r"program 'no-such-agent' is not an executable file") as caught:
        asyncio.run(world.provider("no-such-agent --name {instance_id}").setup())
    assert caught.value.kind is ErrorKind.INVALID


def test_setup_names_a_state_directory_that_cannot_be_used(world: LocalWorld, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ProviderError, match=r"state directory .*file/team@gpu cannot be used: Not a directory"
    ) as caught:
        asyncio.run(world.provider(state_dir=str(tmp_path / "file")).setup())
    assert caught.value.kind is ErrorKind.INVALID


def test_the_state_directory_of_the_settings_goes_before_the_one_of_the_daemon(
    world: LocalWorld, tmp_path: Path
) -> None:
    async def check() -> None:
        provider = world.provider(state_dir=str(tmp_path / "state" / "elsewhere"))
        await provider.setup()
        (instance_id,) = await launch(provider, "token")
        assert (tmp_path / "state" / "elsewhere" / "team@gpu" / "live" / instance_id).is_dir()
        await provider.close()

    asyncio.run(check())


def test_a_program_that_has_vanished_is_a_definite_refusal(world: LocalWorld, tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)

    async def check() -> None:
        provider = world.provider(str(program))
        await provider.setup()
        program.unlink()
        request = LaunchRequest("token", provider.offerings()[0], 2)
        with pytest.raises(ProviderError, match="is not an executable file") as caught:
            await provider.launch(request)
        assert caught.value.kind is ErrorKind.INVALID
        # Definite means for good: a repetition does not launch what was reported as refused.
        program.write_text("#!/bin/sh\nexec sleep 600\n")
        program.chmod(0o755)
        with pytest.raises(ProviderError, match="earlier call with this token"):
            await provider.launch(request)
        assert await provider.list_instances() == []
        await provider.close()

    asyncio.run(check())


def test_several_types_have_their_own_commands_and_prices() -> None:
    settings = _settings(
        "agent {instance_type} {slots}",
        instance_types=[
            {"name": "small", "price_per_hour": 1},
            {"name": "big", "slots": 4, "price_per_hour": 3, "command": "large-agent {instance_type}"},
        ],
    )
    small, big = settings.types
    assert (small.offering.name, small.offering.price) == ("small/on-demand", 1.0)
    assert big.offering.capacity.slots == 4
    names = {"instance_id": "i", "pool": "p", "cluster": "c"}
    assert settings.words(small, **names) == ["agent", "small", "1"]
    assert settings.words(big, **names) == ["large-agent", "big"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"instance_types": [{"name": "a"}, {"name": "b", "price_per_hour": 1}]},
            "a has no price_per_hour",
        ),
        ({"instance_types": [{"name": "a", "price_per_hour": 1}] * 2}, "a stands twice"),
        ({"instance_types": [{"name": "a"}], "slots": 2}, "slots stands beside instance_types"),
        ({"instance_types": [{"name": "a b"}]}, "match pattern"),
        ({"instance_types": [{"name": "a", "command": "x {y}"}]}, "unknown placeholder {y}"),
    ],
)
def test_types_that_cannot_be_compared_are_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _settings(**more)
    assert message in caught.value.errors()[0]["msg"]

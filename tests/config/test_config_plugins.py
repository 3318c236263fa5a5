"""Providers and schedulers are found among the installed packages."""

import pytest

from config.sample_plugins import points
from slotsmith.config.plugins import PluginError, Plugins


def test_what_slotsmith_brings_is_found() -> None:
    assert "local" in Plugins("provider").names()
    assert {"dask", "push"} <= set(Plugins("scheduler").names())


def test_a_scheduler_is_not_a_provider() -> None:
    plugins = Plugins("provider", points("provider", q="config.sample_plugins:queue"))
    with pytest.raises(PluginError, match="is not a ProviderPlugin"):
        plugins.get("q")


def test_one_plugin_in_two_copies_of_the_metadata_is_one() -> None:
    twice = [*points("provider", b="config.sample_plugins:bench"), *points("provider", b="config.sample_plugins:bench")]
    plugins = Plugins("provider", twice)
    assert plugins.names() == ["b"]
    assert plugins.get("b") is plugins.get("b")


def test_two_packages_with_one_type_are_a_conflict() -> None:
    both = [*points("provider", b="config.sample_plugins:bench"), *points("provider", b="config.sample_plugins:cloud")]
    with pytest.raises(PluginError, match=r"twice: config.sample_plugins:bench and config.sample_plugins:cloud$"):
        Plugins("provider", both).get("b")


def test_an_unknown_type_names_the_known_ones() -> None:
    with pytest.raises(PluginError, match=r"no provider 'x' is installed, expected one of: b$"):
        Plugins("provider", points("provider", b="config.sample_plugins:bench")).get("x")

"""Whatever a file holds, the answer is settings or lines that say what is wrong."""

from io import StringIO
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from config.sample_plugins import sample_plugins
from slotsmith.config import Config, ConfigError, public_view, read_config

PLUGINS = sample_plugins()
GOOD: dict[str, Any] = {
    "cluster": "team",
    "pools": [
        {
            "name": "gpu",
            "scheduler": {"type": "queue"},
            "provider": {"type": "cloud", "region": "north", "disk": {"size_gib": 3}},
            "min_instances": 1,
            "max_idle_agent_period": "20m",
        }
    ],
}
KEYS = st.sampled_from(
    [
        "cluster",
        "pools",
        "store",
        "log",
        "url",
        "keep",
        "name",
        "scheduler",
        "provider",
        "type",
        "region",
        "disk",
        "pins",
        "min_instances",
        "max_instances",
        "max_idle_agent_period",
        "launch_error_timeout",
        "format",
        "tags",
        "image",
    ]
)
WORDS = st.sampled_from(
    [
        "queue",
        "cloud",
        "bench",
        "odd",
        "gpu",
        "20m",
        "0s",
        "1h",
        "json",
        "info",
        "sqlite:///x",
        "ssd",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
CHARACTERS = st.sampled_from("abc:-[]{}&*!|>%@`'\"#?,\n\t \\<=~019.e+\x00\x85\ufeff\u2028é\U0001f600")
SEQUENCES = st.sampled_from(
    ["\n  ", "!!", "<<: ", "*a", "&a ", "? ", "---\n", "...\n", "%YAML 1.1\n", "!!int ", "!!float "]
)
MARKS = CHARACTERS | SEQUENCES


def answer(text: str) -> Config | None:
    try:
        config = read_config(text, "f", PLUGINS)
    except ConfigError as error:
        problems, lines = error.problems, str(error).split("\n")
    else:
        public_view(config)
        return config
    assert lines == [str(problem) for problem in problems]
    assert all(line.startswith("f:") and line.isprintable() for line in lines)
    return None


def written(value: Any) -> str:
    stream = StringIO()
    YAML(typ="safe", pure=True).dump(value, stream)
    return stream.getvalue()


@settings(max_examples=80, deadline=None)
@given(VALUES)
def test_any_values(value: Any) -> None:
    answer(written(value))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(["", "pools", "provider", "scheduler", "disk"]), max_size=3),
    st.dictionaries(KEYS, VALUES, max_size=3),
)
def test_a_good_file_with_some_keys_changed(places: list[str], changed: dict[str, Any]) -> None:
    pool = GOOD["pools"][0]
    top: dict[str, Any] = {**GOOD, "pools": [{**pool, "provider": {**pool["provider"]}}]}
    targets = {"": top, "pools": top["pools"][0], "provider": top["pools"][0]["provider"]}
    for place in places or [""]:
        targets.get(place, top).update(changed)
    config = answer(written(top))
    if config is not None:
        assert all(0 <= each.min_instances <= each.max_instances for each in config.pools)
        assert all(each.max_idle_agent_period > 0 for each in config.pools)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), MARKS), max_size=8))
def test_a_good_file_with_characters_changed(edits: list[tuple[int, int, str]]) -> None:
    text = written(GOOD)
    for at, cut, mark in edits:
        text = text[:at] + mark + text[at + cut :]
    answer(text)


@settings(max_examples=80, deadline=None)
@given(st.lists(MARKS | st.text(max_size=4), max_size=30))
def test_any_text(parts: list[str]) -> None:
    answer("".join(parts))


def test_the_good_file_is_good() -> None:
    assert answer(written(GOOD)) is not None

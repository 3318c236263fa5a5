"""What the pages on GCE and on Determined files say is so."""

from __future__ import annotations

import re

from docs.pages import blocks, literal, page, rows, section
from slotsmith.config import public_view, read_config
from slotsmith.model.instance import InstanceState
from slotsmith.providers.gcp import GcpSettings
from slotsmith.providers.gcp.launching import AT_ONCE
from slotsmith.providers.gcp.listing import STATES
from slotsmith.providers.gcp.names import LONGEST_PREFIX


def test_every_key_is_told_with_its_default() -> None:
    told = {
        literal(row[0]): row[2].strip("`")
        for row in rows(section(page("docs/gcp.md"), "## The keys"))
        if row[0] != "Key"
    }
    least = GcpSettings.model_validate({"type": "gcp", "instance_type": {"machine_type": "n1-standard-8"}})
    view = public_view(least)
    assert told.keys() == GcpSettings.model_fields.keys()
    for key, default in told.items():
        if default not in ("required", "see below"):
            value = view.get(key)
            assert default == ("none" if value in (None, "") else str(value)), key


def test_the_numbers_of_names_are_told() -> None:
    for name in ("docs/gcp.md", "docs/determined.md"):
        assert f"{LONGEST_PREFIX} characters" in page(name)
    assert "eight at a time" in page("docs/architecture.md")
    assert AT_ONCE == 8


def test_every_state_is_told() -> None:
    told = {}
    for words, state in list(rows(section(page("docs/gcp.md"), "## States")))[1:]:
        for word in re.findall(r"[A-Z_]{4,}", words):
            told[word] = InstanceState(literal(re.split(r"[,:]", state)[0]))
    assert told == STATES


def test_the_file_that_is_shown_is_read_as_it_is() -> None:
    (block,) = blocks(page("docs/determined.md"), "yaml")
    config = read_config(block.text, "master.yaml", environ={})
    assert [(pool.name, pool.max_instances, pool.max_idle_agent_period) for pool in config.pools] == [
        ("gpu", 4, 1800.0),
        ("aux", 5, 1200.0),
    ]

"""Reading DescribeInstances: the quick way gives what the XML says, or steps aside."""

from __future__ import annotations

from typing import Any
from xml.dom import minidom

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.aws import ec2_wire as wire
from providers.aws.ec2_backend import Ec2
from providers.aws.ec2_catalogue import IMAGE
from slotsmith.providers.aws.rows import parse_rows, read_rows, scan_rows

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
TAGS = st.dictionaries(TEXT.filter(bool), TEXT, max_size=5)
NASTY = {"a<b&c": "</tagSet><item>", "key": "<instanceId>i-1</instanceId>", "quote": "\"'&amp;", "empty": ""}


def page(tags: list[dict[str, str]], **how: Any) -> bytes:
    """A page of one instance for each of the tags, some of them on the spot market, ended or stopped."""
    ec2 = Ec2()
    for index, each in enumerate(tags):
        told = [{"Key": key, "Value": value} for key, value in each.items()]
        spec = {"ImageId": IMAGE, "TagSpecifications": [{"ResourceType": "instance", "Tags": told}] if told else []}
        (one,) = ec2.make(("g5.xlarge", "eu-west-1b", ("spot", "on-demand")[index % 2]), 1, spec, "")
        if index % 3 == 2:
            ec2.end(one, "Server.SpotInstanceTermination: price & capacity")
    return wire.write_answer("DescribeInstances", ec2.call("DescribeInstances", how), "request")


@settings(deadline=None, max_examples=40)
@given(st.lists(TAGS, max_size=4))
def test_both_ways_give_the_same(tags: list[dict[str, str]]) -> None:
    body = page(tags)
    rows, token = parse_rows(body)
    assert [dict(row.tags) for row in rows] == tags
    assert token == ""
    assert scan_rows(body) == (rows, token)
    pretty = minidom.parseString(body).toprettyxml(encoding="utf-8")
    if not any(key.strip() != key or value.strip() != value for each in tags for key, value in each.items()):
        assert read_rows(pretty) == (rows, token)


def test_pages_and_nasty_texts() -> None:
    body = page([NASTY] * 7, MaxResults=5)
    rows, token = read_rows(body)
    assert (len(rows), token) == (5, "5")
    assert rows[0].tags == NASTY
    assert (rows[0].spot, rows[0].request, rows[0].zone) == (True, "sir-00000001", "eu-west-1b")
    assert (rows[1].spot, rows[1].request) == (False, "")
    assert (rows[2].state, rows[2].reason) == ("terminated", "Server.SpotInstanceTermination: price & capacity")
    assert scan_rows(body) == parse_rows(body)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<launchTime>", b"<!-- a comment --><launchTime>"),
        (b"<key>", b"<other/><key>"),
        (b"<instanceId>", b"<other/><instanceId>"),
        (b"<instanceState>", b"<instanceState><other/>"),
        (b"<value>two</value>", b"<value><![CDATA[two]]></value>"),
    ],
)
def test_what_is_written_in_another_way_is_parsed(before: bytes, after: bytes) -> None:
    plain = page([{"one": "two"}, {"three": "four"}])
    changed = plain.replace(before, after)
    assert changed != plain
    assert scan_rows(changed) is None
    assert read_rows(changed) == read_rows(plain)


def test_no_instances() -> None:
    assert read_rows(page([])) == ([], "")

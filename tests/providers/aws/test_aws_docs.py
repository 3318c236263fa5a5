"""What `docs/aws.md` says of keys, rights and events is so."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel

from docs.pages import ROOT, blocks, literal, page, rows, section
from slotsmith.boot import AgentSettings
from slotsmith.providers.aws import AwsSettings, notices

AGENT = AgentSettings(command="x")
TABLES: list[tuple[str, BaseModel, tuple[str, ...]]] = [
    (
        "### `provider: {type: aws}`",
        AwsSettings.model_validate({"type": "aws", "image_id": "ami-1", "instance_type": "x", "agent": AGENT}),
        ("agent",),
    ),
    ("### `agent`", AGENT, ()),
]


@pytest.mark.parametrize(("heading", "model", "required"), TABLES, ids=["provider", "agent"])
def test_every_key_is_told_with_its_default(heading: str, model: BaseModel, required: tuple[str, ...]) -> None:
    told = {
        literal(row[0]): row[2].strip("`") for row in rows(section(page("docs/aws.md"), heading)) if row[0] != "Key"
    }
    given = {"image_id", "instance_type", "command"}
    expected = {
        name: "required" if name in required else '""' if name in given else _written(getattr(model, name))
        for name in type(model).model_fields
        if name != "type"
    }
    assert told == expected


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return json.dumps(value.model_dump())
    if hasattr(value, "get_secret_value") or value == "":
        return '""'
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_policy_has_every_right_that_is_used() -> None:
    (policy,) = [block for block in blocks(page("docs/aws.md"), "json") if block.title == "policy"]
    actions: set[str] = set()
    for statement in json.loads(policy.text)["Statement"]:
        given = statement["Action"]
        actions |= {given} if isinstance(given, str) else set(given)
    sources = "".join(file.read_text() for file in (ROOT / "src/slotsmith/providers/aws").glob("*.py"))
    called = set(re.findall(r'(?:call|pages|dry_run)\(\s*"(\w+)"', sources))
    assert {"RunInstances", "DescribeInstances", "ReceiveMessage"} <= called
    elsewhere = {"GetProducts": "pricing", "GetServiceQuota": "servicequotas", "ReceiveMessage": "sqs",
                 "DeleteMessageBatch": "sqs", "GetQueueAttributes": "sqs"}  # fmt: skip
    needed = {
        f"{elsewhere.get(name, 'ec2')}:{'DeleteMessage' if name == 'DeleteMessageBatch' else name}"
        # Needs no right.
        for name in called - {"GetCallerIdentity"}
    }
    assert needed <= actions
    # To hand the instances their role.
    assert actions - needed == {"iam:PassRole"}


def test_the_rules_send_what_is_understood() -> None:
    (template,) = [block for block in blocks(page("docs/aws.md"), "json") if block.title == "queue.json"]
    resources = json.loads(template.text)["Resources"]
    kinds = set(resources["Instances"]["Properties"]["EventPattern"]["detail-type"])
    assert kinds == {notices._INTERRUPTION, notices._REBALANCE, notices._STATE}

"""From a Determined file to the agent that its instance becomes: the reference's own case of a boot script."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

from boot.machine import Machine, options
from config.test_determined_vectors import PLUGINS
from core.vector_files import vector_cases
from slotsmith.boot import BootSettings, TypeFacts, parse_address
from slotsmith.config import read_config
from slotsmith.providers.gcp import GcpSettings


def test_the_agent_of_the_reference(tmp_path: Path) -> None:
    """Different on purpose: nothing is printed (W76), and TLS follows from https, not from a certificate (W77)."""
    (case,) = vector_cases("agent_setup")
    given, expected = case["input"], case["expect"]
    text = {
        name: b64decode(given[f"{name}_base64"]).decode() for name in ("startup_script", "container_startup_script")
    }
    provider = {
        "type": "gcp",
        "zone": "us-east1-b",
        "master_url": f"https://{given['master_host']}:{given['master_port']}",
        "master_cert_name": given["master_cert_name"],
        **text,
        **{key: given[key] for key in ("agent_docker_image", "agent_docker_runtime", "agent_reconnect_attempts")},
        "agent_reconnect_backoff": given["agent_reconnect_backoff"],
        "agent_docker_network": given["agent_network"],
    }
    file = {"resource_pools": [{"pool_name": given["resource_pool"], "provider": provider}]}
    (pool,) = read_config(json.dumps(file), "master.yaml", PLUGINS, {}).pools
    assert isinstance(pool.provider, GcpSettings)
    assert pool.provider.agent is not None
    certificate = b64decode(given["master_cert_base64"]).decode()
    agent = pool.provider.agent.model_copy(update={"tls_certificate": certificate})
    types = {"n1-standard-4": TypeFacts(4, 4, 15, given["slot_type"])}
    machine = Machine(tmp_path, BootSettings("gce", "c", pool.name, agent, types, parse_address(agent.scheduler)))
    machine.stub("docker-run", 'kill "$PPID"')
    result = machine.boot()

    container = expected["container"]
    assert machine.container_environment == {**container["env"], "DET_AGENT_ID": "vm-1"}
    (call,) = machine.calls("docker", "run")
    assert call[-1] == container["image"]
    for option in ("name", "restart", "network", "runtime", "gpus"):
        assert options(call, f"--{option}") == [container[option]]
    mounts = {
        tuple(each.replace(str(machine.files), expected["directory"]).split(":")) for each in options(call, "--volume")
    }
    # An empty agent.yaml is not written.
    assert mounts == {tuple(mount) for mount in container["mounts"] if "agent.yaml" not in mount[0]}
    for path, content in expected["files"].items():
        if content:
            assert (machine.files / Path(path).name).read_text() == content
    # `sleep`, the other script, is a word of the boot script, too.
    assert "hello world" not in machine.printed(result)

"""What each preset runs: lines of Bash that fill the arrays AGENT, DOCKER and ENVIRONMENT on the instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from slotsmith.boot.address import Address
from slotsmith.boot.settings import AgentSettings, ContainerSettings
from slotsmith.boot.words import as_bash, split_words

_DASK = (
    "dask worker {scheduler} --name {instance_id} --no-nanny --nthreads {threads} "
    "--memory-limit 0.95 --resources slot={slots}"
)

# What a Determined agent needs of its host: to shut it down, to see its devices, and to start containers.
_DETERMINED_MOUNTS = (
    "/usr/sbin/shutdown",
    "/run/systemd/system",
    "/var/run/dbus/system_bus_socket",
    "/sys/fs/cgroup",
    "/var/run/docker.sock",
)
_DETERMINED_FILES = "/usr/local/determined"


def container_name(agent: AgentSettings) -> str:
    """The container's name on its host."""
    return "determined-agent" if agent.preset == "determined" else "slotsmith-agent"


def restarts_always(agent: AgentSettings) -> bool:
    """Whether an agent that ended without an error is started again. A Dask worker that was retired must stay away."""
    return agent.preset == "determined"


def set_up(agent: AgentSettings, scheduler: Address | None, log_options: Sequence[str]) -> Iterator[str]:
    """Lines for the instance; they run when its identity is known and all files are written."""
    yield from _array("ENVIRONMENT", [*_environment(agent, scheduler)])
    yield from _array("AGENT", _command(agent))
    if agent.container is not None:
        yield from _array("DOCKER", [*_docker(agent, agent.container, [*log_options, *agent.log_options])])
        yield from _optional_parts(agent)
        # The name alone: docker takes the value from its own environment.
        yield 'for each in "${ENVIRONMENT[@]}"; do DOCKER+=(--env "${each%%=*}"); done'
        if agent.preset != "determined":
            # The agent's name must be the instance's, not the container's host name.
            yield 'DOCKER+=(--hostname "$INSTANCE_ID")'


def _array(name: str, words: Sequence[str]) -> Iterator[str]:
    yield f"{name}=("
    yield from (f"  {word}" for word in words)
    yield ")"


def _command(agent: AgentSettings) -> list[str]:
    if agent.preset == "determined":
        # The image's own entry point.
        return []
    if agent.preset == "dask":
        threads = [part if part != "{threads}" else "" for part in _DASK.split()]
        words = [as_bash(word) if word else '"$(( SLOTS > 0 ? SLOTS : 1 ))"' for word in threads]
        if agent.tls_certificate:
            words += ["--tls-ca-file", '"$FILES/master.crt"']
        return words
    return [as_bash(word) for word in split_words(agent.command)]


def _environment(agent: AgentSettings, scheduler: Address | None) -> Iterator[str]:
    """Words `NAME=value` of Bash."""
    if agent.preset == "determined":
        yield from _determined_environment(agent, scheduler)
    for name, value in agent.environment.items():
        yield quote(f"{name}={value.get_secret_value()}")


def _determined_environment(agent: AgentSettings, scheduler: Address | None) -> Iterator[str]:
    yield 'DET_AGENT_ID="$INSTANCE_ID"'
    yield 'DET_MASTER_HOST="$SCHEDULER_HOST"'
    yield 'DET_MASTER_PORT="$SCHEDULER_PORT"'
    yield 'DET_RESOURCE_POOL="$POOL"'
    yield f"DET_SECURITY_TLS_MASTER_CERT_NAME={quote(agent.tls_certificate_name)}"
    yield f"DET_AGENT_RECONNECT_ATTEMPTS={agent.reconnect_attempts}"
    yield f"DET_AGENT_RECONNECT_BACKOFF={agent.reconnect_backoff}"
    yield 'DET_SLOT_TYPE="$SLOT_TYPE"'
    # By the scheme, not by whether there is a certificate: behind a public one there is none to hand over.
    if scheduler is not None and scheduler.encrypted:
        yield "DET_SECURITY_TLS_ENABLED=true"
        if agent.tls_certificate:
            yield f"DET_SECURITY_TLS_MASTER_CERT={_DETERMINED_FILES}/master.crt"


def _docker(agent: AgentSettings, container: ContainerSettings, log_options: Sequence[str]) -> Iterator[str]:
    """Words for `docker run`, before the image."""
    yield '--name "$CONTAINER_NAME"'
    yield "--init"
    if container.privileged or agent.preset == "determined":
        yield "--privileged"
    if restarts_always(agent):
        yield "--restart always"
    yield f"--network {quote(container.network)}"
    yield f"--runtime {quote(container.runtime)}"
    if agent.preset == "determined":
        yield from (f"--volume {mount}:{mount}" for mount in _DETERMINED_MOUNTS)
    yield from (quote(option) for option in (*log_options, *container.options))


def _optional_parts(agent: AgentSettings) -> Iterator[str]:
    yield 'if [ "$SLOT_TYPE" = cuda ]; then DOCKER+=(--gpus all); fi'
    mounts = {
        "container_startup_script": '"$FILES/container_startup_script:$FILES/container_startup_script"',
        "agent.yaml": '"$FILES/agent.yaml:/etc/determined/agent.yaml"',
        "master.crt": '"$FILES/master.crt:$FILES/master.crt"',
    }
    if agent.preset != "determined":
        mounts["agent.yaml"] = '"$FILES/agent.yaml:$FILES/agent.yaml"'
    for name, mount in mounts.items():
        yield f'if [ -e "$FILES/{name}" ]; then DOCKER+=(--volume {mount}); fi'

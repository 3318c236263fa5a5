"""What the boot script does on an instance: it is run in Bash, with stubs for what is outside of it."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from boot.machine import Machine, options
from slotsmith.boot import AgentSettings, BootSettings, Cloud, TypeFacts, parse_address, script

GPU = {"g4dn.xlarge": TypeFacts(1, 4, 16, "cuda"), "c5.large": TypeFacts(2, 2, 4, "cpu")}
NASTY = 'it\'s "quoted" $(touch /tmp/x) `id` \\ & ; | # *'


def settings(
    agent: dict[str, Any], *, cloud: Cloud = "ec2", types: dict[str, TypeFacts] = GPU, **more: Any
) -> BootSettings:
    block = AgentSettings.model_validate({"failed_boot_grace": "7s", "lost_scheduler_period": "0s", **agent})
    address = parse_address(block.scheduler) if block.scheduler else None
    return BootSettings(cloud, more.pop("cluster", "team"), more.pop("pool", "gpu"), block, types, address, **more)


COMMAND = {"preset": "command", "command": "agent --name {instance_id} --slots={slots} '{pool}' '{{x}}' '$HOME'"}
DASK = {"preset": "dask", "scheduler": "tcp://10.0.0.5:8786"}
DETERMINED: dict[str, Any] = {
    "preset": "determined",
    "scheduler": "http://test.master:8080",
    "container": {"image": "test_docker_image"},
}
EVERYTHING = {
    "startup_script": "echo up",
    "container_startup_script": "echo in",
    "config_file": "a: 1",
    "tls_certificate": "---- cert ----",
    "environment": {"KEY": NASTY},
    "log_options": ["--log-driver=awslogs", f"--log-opt=awslogs-group={NASTY}"],
}
EVERY = {
    "command": settings({**COMMAND, **EVERYTHING, "container": {"image": NASTY}}, pool=NASTY),
    "determined": settings({**DETERMINED, **EVERYTHING, "scheduler": "https://m:8443"}, cluster=NASTY),
    "gce": settings(
        {**DASK, "startup_script_from": "gs://b/x", "config_file_from": "gcp-secret:y"},
        cloud="gce",
        types={"": TypeFacts(4)},
    ),
}


def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    for name, each in EVERY.items():
        (tmp_path / f"{name}.sh").write_text(script(each))
    program = str(Path(sys.executable).with_name("shellcheck"))
    result = subprocess.run([program, *(str(path) for path in tmp_path.glob("*.sh"))], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_same_settings_give_the_same_text() -> None:
    assert script(settings(DASK)) == script(settings(DASK))


def test_a_command_runs_with_what_the_instance_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings(COMMAND))
    result = machine.boot()
    assert result.returncode == 0, result.stderr
    assert machine.calls("agent") == [["agent", "--name", "i-0abc", "--slots=1", "gpu", "{x}", "$HOME"]]
    assert not machine.calls("docker")


def test_a_dask_worker_has_the_name_of_its_instance_and_its_slots(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings(DASK))
    machine.boot()
    (call,) = machine.calls("dask")
    assert call[:5] == ["dask", "worker", "tcp://10.0.0.5:8786", "--name", "i-0abc"]
    assert options(call, "--resources") == ["slot=1"]
    assert options(call, "--nthreads") == ["1"]


def test_the_determined_agent_gets_what_the_reference_gave_it(tmp_path: Path) -> None:
    """`vectors/agent_setup.json`, but that nothing is printed, and TLS follows from the address."""
    machine = Machine(
        tmp_path,
        settings(
            {
                **DETERMINED,
                "startup_script": 'sleep 5\n echo "hello world"',
                "container_startup_script": "sleep",
                "tls_certificate": "==== cert ====",
                "tls_certificate_name": "certname",
                "scheduler": "https://test.master:8080",
                "slot_type": "cuda",
            },
            pool="test-pool",
        ),
    )
    machine.stub("docker-run", 'touch "$LOG.ran"; kill "$PPID"')
    result = machine.boot()
    (call,) = machine.calls("docker", "run")
    assert call[-1] == "test_docker_image"
    assert options(call, "--name") == ["determined-agent"]
    assert options(call, "--restart") == ["always"]
    assert options(call, "--network") == ["default"]
    assert options(call, "--runtime") == ["runc"]
    assert options(call, "--gpus") == ["all"]
    assert {"--init", "--privileged"} <= set(call)
    assert not {"-d", "--detach"} & set(call)
    where = str(machine.files)
    assert {tuple(each.replace(where, "/usr/local/determined").split(":")) for each in options(call, "--volume")} == {
        ("/usr/sbin/shutdown", "/usr/sbin/shutdown"),
        ("/run/systemd/system", "/run/systemd/system"),
        ("/var/run/dbus/system_bus_socket", "/var/run/dbus/system_bus_socket"),
        ("/sys/fs/cgroup", "/sys/fs/cgroup"),
        ("/var/run/docker.sock", "/var/run/docker.sock"),
        ("/usr/local/determined/container_startup_script", "/usr/local/determined/container_startup_script"),
        ("/usr/local/determined/master.crt", "/usr/local/determined/master.crt"),
    }
    assert machine.container_environment == {
        "DET_AGENT_ID": "i-0abc",
        "DET_MASTER_HOST": "test.master",
        "DET_MASTER_PORT": "8080",
        "DET_SECURITY_TLS_MASTER_CERT_NAME": "certname",
        "DET_RESOURCE_POOL": "test-pool",
        "DET_AGENT_RECONNECT_ATTEMPTS": "5",
        "DET_AGENT_RECONNECT_BACKOFF": "5",
        "DET_SLOT_TYPE": "cuda",
        "DET_SECURITY_TLS_ENABLED": "true",
        "DET_SECURITY_TLS_MASTER_CERT": "/usr/local/determined/master.crt",
    }
    assert (machine.files / "startup_script").read_text() == 'sleep 5\n echo "hello world"'
    assert (machine.files / "container_startup_script").read_text() == "sleep"
    assert (machine.files / "master.crt").read_text() == "==== cert ===="
    assert "hello world" not in machine.printed(result)


@pytest.mark.parametrize(
    ("scheduler", "certificate", "encrypted"),
    [("https://m", "", True), ("http://m", "a certificate", False), ("https://m", "a certificate", True)],
)
def test_w77_encryption_follows_from_the_address(
    tmp_path: Path, scheduler: str, certificate: str, encrypted: bool
) -> None:
    machine = Machine(tmp_path, settings({**DETERMINED, "scheduler": scheduler, "tls_certificate": certificate}))
    machine.stub("docker-run", 'kill "$PPID"')
    machine.boot()
    assert (machine.container_environment.get("DET_SECURITY_TLS_ENABLED") == "true") is encrypted


def test_w78_values_are_quoted(tmp_path: Path) -> None:
    agent = {
        "preset": "command",
        "command": "agent '{pool}'",
        "container": {"image": NASTY, "network": NASTY, "runtime": NASTY, "options": [NASTY]},
        "log_options": [NASTY],
        "environment": {"VALUE": f"{NASTY}\nline 2"},
        "slot_type": "cpu",
    }
    machine = Machine(tmp_path, settings(agent, pool=NASTY, cluster=NASTY))
    machine.boot()
    (call,) = machine.calls("docker", "run")
    assert call[-3:] == [NASTY, "agent", NASTY]
    assert options(call, "--network") == options(call, "--runtime") == [NASTY]
    assert call.count(NASTY) == 6
    assert machine.container_environment == {"VALUE": f"{NASTY}\nline 2"}
    assert "--gpus" not in call


def test_w76_secrets_are_never_printed(tmp_path: Path) -> None:
    secret = "xyzzy-plugh"
    agent = {
        **COMMAND,
        "startup_script": f"#!/bin/bash\necho {secret}; echo {secret} >&2",
        "container_startup_script": f"echo {secret}",
        "config_file": f"password: {secret}",
        "environment": {"PASSWORD": secret},
        "container": {"image": "x"},
    }
    machine = Machine(tmp_path, settings(agent))
    assert secret not in machine.printed(machine.boot())
    assert machine.container_environment == {"PASSWORD": secret}
    for name in ("startup_script", "container_startup_script", "agent.yaml"):
        assert secret in (machine.files / name).read_text()
        assert stat.S_IMODE((machine.files / name).stat().st_mode) & 0o077 == 0


def test_w79_a_startup_script_that_fails_is_told_and_ends_the_instance(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings({**COMMAND, "startup_script": "#!/bin/bash\nexit 3"}))
    result = machine.boot()
    assert result.returncode == 1
    assert "startup script ended with status 3" in machine.stage
    assert machine.stage in (tmp_path / "console").read_text().replace("slotsmith: ", "")
    assert any("slotsmith-boot" in word for word in machine.calls("aws", "ec2", "create-tags")[-1])
    assert machine.calls("sleep")[-1] == ["sleep", "7"]
    assert machine.calls("shutdown") == [["shutdown", "-h", "now"]]
    assert not machine.calls("agent")


def test_w79_an_image_is_pulled_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings({**COMMAND, "container": {"image": "x"}}))
    machine.stub("docker-pull", 'echo x >>"$LOG.pulls"; [ "$(wc -l <"$LOG.pulls")" -ge 3 ]')
    assert machine.boot().returncode == 0
    assert len(machine.calls("docker", "pull")) == 3
    assert len(machine.calls("docker", "run")) == 1
    machine.stub("docker", "exit 1")
    (tmp_path / "stubs" / "docker-pull").write_text("exit 1")
    assert machine.boot().returncode == 1
    assert "cannot be pulled" in machine.stage
    assert machine.calls("shutdown")


def test_w41_no_agent_without_the_right_name(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings(COMMAND))
    machine.stub("curl", 'case "$*" in *instance-id*) exit 22 ;; *) echo x ;; esac')
    assert machine.boot().returncode == 1
    assert "which instance this is" in machine.stage
    assert not machine.calls("agent")
    assert machine.calls("shutdown")


def test_a_type_that_the_pool_does_not_know_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings(COMMAND, types={"p4d.24xlarge": TypeFacts(8)}))
    assert machine.boot().returncode == 1
    assert "g4dn.xlarge" in machine.stage


def test_an_agent_that_fails_at_once_is_given_up_after_five_starts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings(COMMAND))
    machine.stub("agent", "exit 9")
    assert machine.boot().returncode == 1
    assert len(machine.calls("agent")) == 5
    assert "status 9" in machine.stage
    assert machine.calls("shutdown")


def test_i4_an_agent_that_was_given_up_does_not_join_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings(DASK))
    assert machine.boot().returncode == 0
    assert len(machine.calls("dask")) == 1
    assert machine.stage.startswith("ended")
    assert machine.calls("shutdown")


def test_w80_a_second_boot_is_harmless(tmp_path: Path) -> None:
    agent = {**COMMAND, "container": {"image": "x"}, "startup_script": "#!/bin/bash\necho up >>$LOG.startup"}
    machine = Machine(tmp_path, settings(agent))
    assert machine.boot().returncode == 0
    assert machine.boot().returncode == 0
    assert (tmp_path / "log.startup").read_text() == "up\n"
    assert len(machine.calls("docker", "rm")) == len(machine.calls("docker", "run")) == 2


def test_what_is_fetched_comes_from_where_it_is_kept(tmp_path: Path) -> None:
    agent = {**COMMAND, "startup_script_from": "ssm:/team/up", "config_file_from": "secretsmanager:conf"}
    machine = Machine(tmp_path, settings(agent))
    machine.stub("aws", 'case "$1" in ssm) echo "#!/bin/sh" ;; secretsmanager) echo "a: 1" ;; esac')
    assert machine.boot().returncode == 0
    assert (machine.files / "startup_script").read_text() == "#!/bin/sh\n"
    assert (machine.files / "agent.yaml").read_text() == "a: 1\n"
    (tmp_path / "stubs" / "aws").write_text("exit 1")
    assert machine.boot().returncode == 1
    assert "cannot be fetched from ssm:/team/up" in machine.stage


def test_the_dead_mans_switch_ends_an_instance_whose_scheduler_is_gone(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    agent = {**COMMAND, "scheduler": f"tcp://127.0.0.1:{port}", "lost_scheduler_period": "40s"}
    machine = Machine(tmp_path, settings(agent))
    machine.stub("agent", 'until [ -e "$LOG.off" ]; do /bin/sleep 0.02; done; kill "$PPID"')
    machine.stub("shutdown", 'touch "$LOG.off"')
    machine.boot()
    assert machine.calls("shutdown")
    assert f"no answer from 127.0.0.1:{port} for 45 s" in machine.stage


def test_the_dead_mans_switch_waits_while_the_scheduler_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        agent = {**COMMAND, "scheduler": f"tcp://127.0.0.1:{server.getsockname()[1]}", "lost_scheduler_period": "20s"}
        machine = Machine(tmp_path, settings(agent))
        machine.stub("agent", 'until [ "$(tr "\\1" "\\n" <"$LOG" | grep -ac sleep)" -ge 6 ]; do /bin/sleep 0.02; done')
        machine.stub("sleep", "/bin/sleep 0.02")
        machine.boot()
    assert machine.stage.startswith("ended")


def test_gce_has_metadata_of_its_own(tmp_path: Path) -> None:
    machine = Machine(tmp_path, settings(COMMAND, cloud="gce", types={"": TypeFacts(4)}))
    assert machine.boot().returncode == 0
    assert machine.calls("agent")[0][:4] == ["agent", "--name", "vm-1", "--slots=4"]
    assert any("guest-attributes/slotsmith/boot" in call[-1] for call in machine.calls("curl", "-sf"))

"""Jobs at times of the day, on agents that are there only while something is to be done.

    python3 timetable.py DIRECTORY view               print what waits and who is there: for `command`
    python3 timetable.py DIRECTORY drain              give agents up: for `drain_command`
    python3 timetable.py DIRECTORY agent NAME SLOTS   be an agent, until it is ended

DIRECTORY/timetable has a line for each job: when it is due, its slots and its command, such as `02:30 2 ./report all`.
Nothing of slotsmith is needed, so that any Python 3 will do. All that changes is in one file under one lock.
"""

import fcntl
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

GONE = 30.0  # seconds without a sign of life, after which an agent is gone and its job waits again


@contextmanager
def locked(directory):
    """What is known of agents and jobs; what is changed in it is kept."""
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = directory / "state.json"
        state = json.loads(file.read_text()) if file.exists() else {"agents": {}, "done": {}}
        state["agents"] = {name: it for name, it in state["agents"].items() if it["seen"] > time.time() - GONE}
        yield state
        new = file.with_suffix(".new")
        new.write_text(json.dumps(state))
        new.replace(file)


def due(directory, state):
    """The jobs that wait: their time of today has come, they are not done, and nobody works on them."""
    clock, today = time.strftime("%H:%M"), time.strftime("%Y-%m-%d")
    taken = {agent["job"] for agent in state["agents"].values()}
    for line in (directory / "timetable").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            when, slots, command = line.split(maxsplit=2)
            if when <= clock and state["done"].get(line) != today and line not in taken:
                yield line, int(slots), command


def view(directory):
    """What slotsmith is told."""
    with locked(directory) as state:
        agents = [
            {
                "name": name,
                "idle": not it["job"],
                "capacity": {"slots": it["slots"]},
                "used": {"slots": it["uses"]},
                "draining": not it["open"],
                "activity": it["taken"],
            }
            for name, it in state["agents"].items()
        ]
        tasks = [{"id": command[:100], "resources": {"slots": slots}} for _, slots, command in due(directory, state)]
    return {"agents": agents, "tasks": tasks}


def drain(directory, asked):
    """Look whether agents work, and close them, under the lock under which they take their jobs."""
    answer = {"released": [], "waiting": [], "refused": []}
    with locked(directory) as state:
        for name in asked.get("cancel", ()):
            if name in state["agents"]:
                state["agents"][name]["open"] = True
        for name in asked.get("drain", ()):
            agent = state["agents"].get(name)
            works = agent is not None and agent["job"]
            if works and not asked["when_done"]:
                answer["refused"].append(name)
                continue
            if agent is not None:
                agent["open"] = False
            answer["waiting" if works else "released"].append(name)
    return answer


def work(directory, name, slots):
    """Take what is due and fits, one after the other."""
    while True:
        with locked(directory) as state:
            new = {"open": True, "job": None, "uses": 0, "taken": 0, "slots": slots}
            agent = state["agents"].setdefault(name, new)
            agent["seen"] = time.time()
            job = next((job for job in due(directory, state) if job[1] <= slots), None) if agent["open"] else None
            if job is not None:
                agent.update(job=job[0], uses=job[1], taken=agent["taken"] + 1)
        if job is None:
            time.sleep(0.5)
            continue
        running = subprocess.Popen(job[2], shell=True, cwd=directory)  # the lines are those of the table's owner
        while running.poll() is None:
            with locked(directory) as state:
                state["agents"].setdefault(name, agent)["seen"] = time.time()
            time.sleep(0.5)
        with locked(directory) as state:
            state["agents"].setdefault(name, agent).update(job=None, uses=0, seen=time.time())
            state["done"][job[0]] = time.strftime("%Y-%m-%d")


def main():
    directory, what = Path(sys.argv[1]), sys.argv[2]
    if what == "view":
        print(json.dumps(view(directory)))
    elif what == "drain":
        print(json.dumps(drain(directory, json.load(sys.stdin))))
    else:
        work(directory, sys.argv[3], int(sys.argv[4]))


if __name__ == "__main__":
    main()

"""Says what waits in a Celery queue and which workers are there, for `scheduler: {type: http}`.

    python celery_view.py MODULE:APP [QUEUE]

Workers are started with `celery -A MODULE worker --hostname {instance_id}@%h --prefetch-multiplier 1`: the part of the
name before the @ is the agent's. It works with every broker that Celery has, Redis among them; each task is one slot.
"""

import json
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module

PATIENCE = 1.0  # seconds for workers to answer


class CeleryView:
    """One queue of a Celery app. Calls may come from several threads; they are served one after the other."""

    def __init__(self, app, queue="celery"):
        self._app = app
        self._queue = queue
        self._known = set()
        self._turn = threading.Lock()

    def view(self):
        """The whole view of it, as slotsmith takes it."""
        with self._turn:
            workers = self._workers()
            waiting = self._waiting()
        agents = [
            {
                "name": name,
                "idle": not it["works"],
                "capacity": {"slots": it["slots"]},
                "used": {"slots": min(it["works"], it["slots"])},
                "draining": not it["open"],
                "activity": it["taken"],
            }
            for name, it in sorted(workers.items())
        ]
        tasks = [{"id": self._queue, "resources": {"slots": 1}, "count": waiting}] if waiting else []
        return {"agents": agents, "tasks": tasks}

    def drains(self, asked):
        """Give workers up, or let them work again.

        Celery cannot look and close in one step. So a worker is closed first, looked at then, and opened again when it
        is at work and was to go only if it is not.
        """
        with self._turn:
            workers = self._workers()
            back = [name for name in asked.get("cancel", ()) if name in workers]
            wanted = [name for name in asked.get("drain", ()) if name in workers]
            self._tell("cancel_consumer", wanted, workers)
            workers.update({name: it for name, it in self._workers().items() if name in wanted})
            busy = [name for name in wanted if workers[name]["works"]]
            refused = [] if asked.get("when_done", True) else busy
            self._tell("add_consumer", refused + back, workers)
            silent = [name for name in asked.get("drain", ()) if name not in workers and name in self._known]
        waiting = [name for name in busy if name not in refused]
        released = [name for name in asked.get("drain", ()) if name not in busy and name not in silent]
        why = "it works, or does not answer" if refused or silent else ""
        return {"released": released, "waiting": waiting, "refused": refused + silent, "why": why}

    def _workers(self):
        """Every worker that answers: its full name, how many tasks it has and may have, whether it takes more."""
        everybody = self._app.control.inspect(timeout=PATIENCE).stats() or {}
        if not everybody:
            return {}
        # Who they are is known now, so nobody is waited for longer than it takes.
        inspect = self._app.control.inspect(destination=list(everybody), timeout=2 * PATIENCE, limit=len(everybody))
        # What a worker has taken from the queue and not begun is lost with it, too.
        having = [(getattr(inspect, kind)() or {}) for kind in ("active", "reserved", "scheduled")]
        queues = inspect.active_queues() or {}
        found = {}
        for node, stats in everybody.items():
            found[node.partition("@")[0]] = {
                "node": node,
                "slots": stats["pool"]["max-concurrency"],
                # One that does not answer may be at work.
                "works": sum(len(each.get(node, ("?",))) for each in having),
                "open": any(each["name"] == self._queue for each in queues.get(node, ())),
                "taken": sum(stats["total"].values()),
            }
        self._known.update(found)
        return found

    def _waiting(self):
        with self._app.connection_for_read() as connection:
            channel = connection.default_channel
            try:
                return channel.queue_declare(queue=self._queue, passive=True).message_count
            except connection.channel_errors:
                return 0  # nobody has used the queue yet

    def _tell(self, what, names, workers):
        if names:
            nodes = [workers[name]["node"] for name in names]
            getattr(self._app.control, what)(self._queue, destination=nodes, reply=True, timeout=PATIENCE)


def serve(view, port):
    """An HTTP server on this machine: GET /view, POST /drains. `serve_forever` runs it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(view.view)

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(lambda: view.drains(asked))

        def _answer(self, work):
            try:
                status, body = 200, work()
            except Exception as error:  # noqa: BLE001 - slotsmith shows it, and asks again
                status, body = 503, {"error": f"{type(error).__name__}: {error}"}
            content = json.dumps(body).encode()
            with suppress(ConnectionError):  # who asked may have given up by now
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_):
            """Nothing: this is asked every few seconds."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    sys.path.insert(0, "")
    serve(CeleryView(getattr(import_module(module), name), *sys.argv[2:3]), 9000).serve_forever()

"""trimtab itself: started on the sample plans, listened to over its event stream, asked over its API."""
import http.client
import json
import os
import threading
import time

from tt_run import net
from tt_run.procs import Failure, wait_for


def start(group, program, ports, state_dir, rules):
    if not os.access(program, os.X_OK):
        raise Failure(f"{program} is not there: build it first (scripts/run does)")
    data = os.path.join(state_dir, "trimtab")
    os.makedirs(data, exist_ok=True)
    p = group.start("trimtab", [
        program, "serve", "--rules", rules, "--state", data, "--listen", f"{net.HOST}:{ports['trimtab']}",
        "--prometheus", f"http://{net.HOST}:{ports['prometheus']}",
    ])
    wait_for(lambda: net.request(ports["trimtab"], "/-/ready")[0] == 200, "trimtab becoming ready", group)
    return p


class Events(threading.Thread):
    """Follows /v1/events for as long as the run lasts; a broken stream is taken up where it broke."""

    def __init__(self, port, queue):
        super().__init__(daemon=True)
        self.port, self.queue = port, queue
        self.last_id = None
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            try:
                self._follow()
            except (OSError, http.client.HTTPException, ValueError):
                pass
            self.ending.wait(0.2)

    def stop(self):
        self.ending.set()

    def _follow(self):
        con = http.client.HTTPConnection(net.HOST, self.port, timeout=15)
        headers = {"Accept": "text/event-stream"}
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        try:
            con.request("GET", "/v1/events", headers=headers)
            answer = con.getresponse()
            if answer.status != 200:
                return
            kind, data, event_id = "", [], None
            while not self.ending.is_set():
                line = answer.readline()
                if not line:
                    return
                line = line.decode("utf-8", "replace").rstrip("\r\n")
                if line == "":
                    if data:
                        self._deliver(kind, "\n".join(data))
                        if event_id is not None:
                            self.last_id = event_id
                    kind, data, event_id = "", [], None
                    continue
                name, _, value = line.partition(":")
                value = value[1:] if value.startswith(" ") else value
                if name == "event":
                    kind = value
                elif name == "data":
                    data.append(value)
                elif name == "id":
                    event_id = value
        finally:
            con.close()

    def _deliver(self, kind, text):
        body = json.loads(text)
        self.queue.put(("tick" if kind == "tick" else "event", body, time.time()))


def open_loops(port):
    """Loops not closed, or None when the daemon does not answer."""
    answer = net.get_json(port, "/v1/loops?state=open")
    return None if answer is None else answer.get("items", [])


def in_force(port):
    """Actions in force anywhere, the standing envelope aside; None when the daemon does not answer."""
    answer = net.get_json(port, "/v1/decisions")
    if answer is None:
        return None
    return [
        (d.get("target", {}), a)
        for d in answer.get("decisions", []) if not d.get("armed")
        for a in d.get("actions", [])
    ]

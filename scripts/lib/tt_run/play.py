"""One run: everything started fresh, one incident (or none) played on it, the figures taken, everything stopped."""
import json
import os
import queue
import shutil
import threading
import time

from tt_run import daemon, mesh, prometheus, summary
from tt_run.procs import Failure, Group

MARKER = ".trimtab-run"


def own_dir(path):
    """A directory of ours: new, empty, or made by an earlier run. Another one is not touched."""
    if os.path.isdir(path) and os.listdir(path) and not os.path.exists(os.path.join(path, MARKER)):
        raise Failure(f"{path} is not empty and not made by scripts/run: choose another with --state DIR")
    try:
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, MARKER), "w", encoding="utf-8"):
            pass
    except OSError as e:
        raise Failure(f"the state directory {path} is not writable ({e.strerror}): choose another with --state DIR") from e
    return path


def fresh_dir(path):
    """One of ours, and empty."""
    shutil.rmtree(own_dir(path))
    return own_dir(path)


class Unwell(Exception):
    """The mesh fails with nothing done to it: the host was kept from running it, and nothing measured now would mean anything."""


class _Lines(threading.Thread):
    """What the load generator prints, into the run's queue."""

    def __init__(self, pipe, out):
        super().__init__(daemon=True)
        self.pipe, self.out = pipe, out

    def run(self):
        for line in self.pipe:
            try:
                self.out.put(("load", json.loads(line), time.time()))
            except ValueError:
                pass
        self.out.put(("load", {"ended": True}, time.time()))


class Run:
    def __init__(self, mode, settings, term, must_be_well=False):
        self.mode, self.s, self.term, self.must_be_well = mode, settings, term, must_be_well
        self.dir = fresh_dir(os.path.join(settings.state, mode))
        self.group = Group(self.dir)
        self.queue = queue.Queue()
        self.events, self.ticks = [], 0
        self.events_thread = None
        self.load = self.load_summary = self.tail_at = None
        self.fault_ms = self.fault_end_ms = None
        self.zero_ms = None  # what the terminal counts from: the fault, or the start
        self.files = {}
        self.newest = []  # the last seconds of load
        self.cpu, self.cpu_at, self.cpu_peak, self.cpu_sum, self.cpu_n = {}, None, 0.0, 0.0, 0

    # ---- starting ----

    def start(self):
        s, ports = self.s, self.s.ports
        self.term.say(f"starting the mesh: {len(mesh.instance_names())} services on ports {ports[mesh.instance_names()[0]]} and up, library {mesh.LIBRARY[self.mode]}")
        self.mesh = mesh.Mesh(self.group, s.bin, ports, self.dir, self.mode, s.seed)
        self.mesh.start()
        self.term.say(f"starting Prometheus on http://127.0.0.1:{ports['prometheus']}")
        prometheus.start(self.group, ports, self.dir, mesh.instance_names())
        if self.mode == "with":
            self.term.say("starting trimtab")
            daemon.start(self.group, s.trimtab, ports, self.dir, s.rules)
            self.events_thread = daemon.Events(ports["trimtab"], self.queue)
            self.events_thread.start()
            self.term.say(f"dashboard: http://127.0.0.1:{ports['trimtab']}/")

    def _schedule(self):
        """The load, in the words of mesh-load; the same for every mode."""
        s, i = self.s, self.s.incident
        begin = s.warmup_s + s.before_s
        lines = [(s.warmup_s, "mark before")]
        if i:
            lines.append((begin, "mark during"))
            lines += [(begin + t, f"rate {factor * s.rate:g}") for t, factor in i.load]
            if i.fault_s < s.during_s:
                lines.append((begin + i.fault_s, "mark during"))
            lines += [(begin + s.during_s, "mark after"), (begin + s.during_s + s.after_s, "mark tail")]
        path = os.path.join(self.dir, "schedule")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(f"{t:g} {what}\n" for t, what in lines)
        return path

    def _tell(self, command):
        try:
            self.load.child.stdin.write(command.encode() + b"\n")
            self.load.child.stdin.flush()
        except OSError:
            pass

    # ---- what comes in ----

    def _t(self, at_ms):
        return round((at_ms - self.zero_ms) / 1000, 1) + 0.0 if self.zero_ms else 0.0  # + 0.0: no "-0.0"

    def _keep(self, name, record):
        f = self.files.get(name)
        if f is None:
            f = self.files[name] = open(os.path.join(self.dir, name), "w", encoding="utf-8")
        f.write(json.dumps(record) + "\n")
        f.flush()

    def _on_event(self, e):
        if any(e.get("seq") == x.get("seq") for x in self.events[-200:]):
            return
        self.events.append(e)
        self._keep("events.jsonl", e)
        where = summary.name_of(e["target"]) if e.get("target") else ""
        text = e.get("reason", "")
        if e["kind"] == "action":
            value = lambda v: "off" if v is None else f"{v:g}" if isinstance(v, (int, float)) else str(v)
            text = f"{e.get('action')} {value(e.get('from'))} -> {value(e.get('to'))} {e.get('unit') or ''}: {text}"
        self.term.line(self._t(e["at_ms"]), e["kind"], f"{where} {text}".strip())

    def _on_load(self, line):
        if "second" in line:
            self._keep("seconds.jsonl", line)
            self.newest = self.newest[-4:] + [line]
            self.term.second(self._t(line["at_ms"]), line)
        elif "summary" in line:
            self.load_summary = line["summary"]
        elif "ended" in line:
            raise Failure(f"the load generator ended early; the end of its log:\n{self.load.log_tail()}")

    def _pump(self, until):
        """Handles what comes in until `until` gives something; that is returned. `until` sees each item, and None every 0.2 s."""
        while True:
            try:
                kind, body, _ = self.queue.get(timeout=0.2)
            except queue.Empty:
                kind, body = None, None
            if kind == "event":
                self._on_event(body)
            elif kind == "load":
                self._on_load(body)
            self._sample_cpu()
            if kind is None:
                self.group.check()
            found = until(kind, body)
            if found:
                return found

    def _sample_cpu(self):
        now = time.monotonic()
        if self.cpu_at and now - self.cpu_at < 1:
            return
        used = {p.pid: p.cpu_s() for p in self.group.all}
        if self.cpu_at:
            span = now - self.cpu_at
            cores = {p.name: max(0.0, used[p.pid] - self.cpu.get(p.pid, used[p.pid])) / span for p in self.group.all}
            total = sum(cores.values())
            self.cpu_peak = max(self.cpu_peak, total)
            self.cpu_sum += total
            self.cpu_n += 1
            self._keep("cpu.jsonl", {"at_ms": int(time.time() * 1000), "cores": round(total, 3), **{k: round(v, 3) for k, v in cores.items()}})
        self.cpu, self.cpu_at = used, now

    def _wait_mark(self, name):
        return self._pump(lambda kind, body: kind == "load" and body.get("mark") == name and body)["at_ms"]

    # ---- playing ----

    def play(self):
        """The incident from warm-up to the end; the figures of it."""
        s, i = self.s, self.s.incident
        self._start_load()
        if i is None:
            return None
        fault_at = time.time() * 1000 + (s.warmup_s + s.before_s) * 1000
        self.zero_ms = fault_at
        self.term.say(f"load: {s.rate:g} requests a second; {i.name} in {s.warmup_s + s.before_s:.0f} s: {i.text}")
        self._wait_mark("before")
        self._check_well()
        self.fault_ms = self.zero_ms = self._wait_mark("during")
        self._check_well()
        i.begin(self.mesh)
        self.term.line(0.0, "fault", f"{i.name}: {i.text}")
        end_mark = "during" if i.fault_s < s.during_s else "after"
        at = self._wait_mark(end_mark)
        i.end(self.mesh)
        self.fault_end_ms = at
        self.term.line(self._t(at), "fault ends", i.name)
        if end_mark == "during":
            self._wait_mark("after")
        self._wait_mark("tail")
        self.tail_at = time.monotonic()
        undone = self._wait_undone() if self.mode == "with" else None
        return undone

    def _check_well(self):
        """Over the last seconds, before anything is done to it."""
        offered = sum(x["offered"] for x in self.newest)
        failed = offered - sum(x["ok"] for x in self.newest)
        if self.must_be_well and failed > 0.1 * offered:
            raise Unwell(f"{failed} of {offered} requests failed before anything was done to the mesh: this machine was busy with something else"
                         + (f", or {self.s.rate:g} requests a second are more than the mesh can carry" if self.s.rate > 220 else ""))

    def _start_load(self):
        s = self.s
        self.load = self.mesh.start_load(self._schedule(), s.rate)
        _Lines(self.load.child.stdout, self.queue).start()
        self.zero_ms = time.time() * 1000

    def _wait_undone(self):
        """Until every loop has closed and nothing is in force any more, a while at most."""
        port = self.s.ports["trimtab"]
        end = time.monotonic() + self.s.tail_s
        state = {"at": 0.0, "undone": False}

        def until(kind, body):
            if time.monotonic() - state["at"] >= 0.5:
                state["at"] = time.monotonic()
                state["undone"] = daemon.open_loops(port) == [] and daemon.in_force(port) == []
            return state["undone"] or time.monotonic() > end

        if daemon.open_loops(port) or daemon.in_force(port):
            self.term.say(f"waiting for everything to be taken back, {self.s.tail_s:.0f} s at most")
        self._pump(until)
        return state["undone"]

    def take_figures(self):
        """The load goes on meanwhile: whoever wants to look longer can."""
        time.sleep(max(0.0, self.tail_at + 1.5 - time.monotonic()))  # until the last request of the phase can no longer be open
        self._tell("report")
        self._pump(lambda kind, body: self.load_summary)

    def figures(self, undone):
        out = summary.of_run(self.load_summary)
        if self.mode == "with":
            out["first_action_s"] = summary.first_action_s(self.events, self.fault_ms)
            out["settled_s"] = summary.settled_s(self.events, self.fault_ms, self.fault_end_ms)
            out["needless_drop_ratio"] = self._needless()
            out["actions"] = summary.actions(self.events, self.fault_ms)
            out["all_undone"] = bool(undone)
        with open(os.path.join(self.dir, "summary.json"), "w", encoding="utf-8") as f:
            json.dump({"incident": self.s.incident.name, self.mode: out, "load": self.load_summary}, f, indent=1)
        if self.cpu_n:
            if self.mode == "with":
                self.term.note(f"repeat it, decision by decision: {self.s.trimtab} replay {os.path.join(self.dir, 'trimtab', 'recording')}")
            self.term.note(f"processor: {self.cpu_sum / self.cpu_n:.2f} cores on average, {self.cpu_peak:.2f} at most; figures by second in {self.dir}")
        return out

    def _needless(self):
        port = self.s.ports["prometheus"]
        from_ms, to_ms = int(self.fault_ms), int(self.fault_ms + (self.s.during_s + self.s.after_s) * 1000)
        shed = prometheus.by_second(port, 'sum by (dc) ({__name__=~"trimtab_(dropped|refused)_total", service!="edge"})', from_ms, to_ms, "dc")
        busy = prometheus.by_second(port, 'sum by (dc) (trimtab_busy_seconds_total{service="checkout"})', from_ms, to_ms, "dc")
        offered = sum(self.load_summary["phases"][p]["offered"] for p in ("during", "after"))
        return summary.needless_drop_ratio({"shed": shed, "busy": busy}, mesh.WORKERS["checkout"], offered)

    def keep_open(self):
        """The mesh goes on as it is, until Ctrl-C."""
        self.term.say("running until Ctrl-C" + (f"; dashboard: http://127.0.0.1:{self.s.ports['trimtab']}/" if self.mode == "with" else ""))
        self._pump(lambda kind, body: False)

    def stop(self):
        if self.events_thread:
            self.events_thread.stop()
        self.group.stop()
        for f in self.files.values():
            f.close()

"""The command line of scripts/run, after it has installed and built."""
import argparse
import fcntl
import json
import os
import sys

from tt_run import incidents, mesh, net, play
from tt_run.procs import Failure, Stopped, stop_on_signals
from tt_run.term import Terminal

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
MODES = ("without", "library_only", "with")  # as they are played: trimtab last, so that its dashboard stays open
TITLES = {"without": "without trimtab, its library linked and everything in it off", "library_only": "the library's inner loop alone", "with": "with trimtab"}


def _options():
    p = argparse.ArgumentParser(
        prog="scripts/run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Starts a small real mesh, a real Prometheus and trimtab on loopback, plays a fault, and shows what trimtab does about it.\n"
                    "Installs missing Debian packages and builds first. Ctrl-C stops everything it started.",
        epilog="incidents:\n" + "\n".join(f"  {i.name:<16} {i.text}" for i in incidents.catalog(45.0).values())
               + "\n\nWithout --incident the healthy mesh runs until Ctrl-C. Progress goes to stderr, the summary of --json to stdout.\n"
                 "In the summary error_ratio is the share of all requests that were not served within their time-out, p99_ms is of those that were.\n"
               "begun_again is how often the run was started over because requests failed before the fault: this machine was busy.\n"
                 "TRIMTAB_NO_INSTALL=1 leaves packages alone, TRIMTAB_NO_BUILD=1 uses what is built.")
    p.add_argument("--incident", choices=incidents.NAMES, metavar="NAME", help="the fault to play")
    p.add_argument("--compare", action="store_true", help="play it three times, fresh each time: without trimtab, the library alone, with trimtab")
    p.add_argument("--only", choices=MODES, metavar="MODE", help="play one of with, library_only, without (default: with)")
    p.add_argument("--exit", action="store_true", dest="leave", help="end when the incident is over and everything was taken back")
    p.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")
    p.add_argument("--base-port", default=os.environ.get("TRIMTAB_BASE_PORT", "7070"), metavar="N", help="first of the ports used: the dashboard's (7070); auto finds free ones")
    p.add_argument("--state", default=os.path.join(ROOT, "build", "run"), metavar="DIR", help="where logs, figures and trimtab's state go (build/run)")
    p.add_argument("--rules", default=os.path.join(ROOT, "scripts", "lib", "plans.yaml"), metavar="FILE", help="the plans (scripts/lib/plans.yaml)")
    p.add_argument("--seed", type=int, default=1, metavar="N", help="of load and work: the same seed, the same requests (1)")
    p.add_argument("--rate", type=float, default=200.0, metavar="RPS", help="base load (200)")
    g = p.add_argument_group("for trying things out")
    g.add_argument("--warmup", type=float, default=15.0, metavar="S", help="not counted (15)")
    g.add_argument("--before", type=float, default=15.0, metavar="S")
    g.add_argument("--during", type=float, default=45.0, metavar="S")
    g.add_argument("--after", type=float, default=45.0, metavar="S")
    g.add_argument("--tail", type=float, default=90.0, metavar="S", help="longest wait for everything to be taken back (90)")
    g.add_argument("--bin", default=os.path.join(ROOT, "build"), metavar="DIR", help="build directory (build)")
    g.add_argument("--trimtab", metavar="FILE", help="the daemon (BIN/server/trimtab)")
    return p


class Settings:
    """What a run needs, checked."""

    def __init__(self, o):
        self.state = os.path.abspath(o.state)
        self.bin, self.rules, self.seed, self.rate = os.path.abspath(o.bin), os.path.abspath(o.rules), o.seed, o.rate
        self.trimtab = os.path.abspath(o.trimtab) if o.trimtab else os.path.join(self.bin, "server", "trimtab")
        self.warmup_s, self.before_s, self.during_s, self.after_s, self.tail_s = o.warmup, o.before, o.during, o.after, o.tail
        if min(o.warmup, o.before, o.during, o.after) < 1 or o.rate <= 0:
            raise Failure("--warmup, --before, --during and --after are at least 1 s, --rate is above 0")
        self.incident = incidents.catalog(o.during)[o.incident] if o.incident else None
        self.ports = self._ports(o.base_port)
        self.lock = self._lock()

    @staticmethod
    def _ports(base):
        names = ["trimtab", "prometheus", "edge"] + mesh.instance_names()
        if base != "auto" and not (base.isdigit() and 1024 <= int(base) <= 65535 - len(names)):
            raise Failure(f"--base-port {base}: a number from 1024 to {65535 - len(names)}, or auto")
        return net.claim(base, names)

    def _lock(self):
        """Two runs must not empty each other's state."""
        f = open(os.path.join(play.own_dir(self.state), "lock"), "w", encoding="utf-8")
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise Failure(f"another scripts/run uses {self.state}: choose another with --state DIR, and --base-port auto") from e
        return f


def _say_result(out, term, as_json, summary):
    if len(summary) > 1:
        term.table(summary)
    if as_json and out is not None:
        json.dump(summary, sys.stdout, indent=2)
        print(flush=True)


def _play(mode, settings, term, summary, last, o, tries_left=2):
    """One run. The last one is told about at its end, and stays unless it was to leave."""
    run = play.Run(mode, settings, term, must_be_well=tries_left > 0)
    try:
        run.start()
        undone = run.play()
        if settings.incident:
            run.take_figures()
            summary[mode] = run.figures(undone)
            summary[mode]["begun_again"] = 2 - tries_left
        if last:
            _say_result(summary.get(mode), term, o.json, summary)
            if not o.leave:
                try:
                    run.keep_open()
                except Stopped:
                    term.note("")
                    term.say("stopping what was started")
        return
    except play.Unwell as e:
        term.say(f"{e}; starting this run again, {tries_left} more {'try' if tries_left == 1 else 'tries'}")
    finally:
        run.stop()
    _play(mode, settings, term, summary, last, o, tries_left - 1)


def main():
    o = _options().parse_args()
    term = Terminal()
    stop_on_signals()
    try:
        if not o.incident and (o.compare or o.leave or o.json):
            raise Failure("--compare, --exit and --json need an --incident to play: " + ", ".join(incidents.NAMES))
        if o.compare and o.only:
            raise Failure("--compare plays all three, --only one of them: give one of the two")
        settings = Settings(o)
        modes = MODES if o.compare else (o.only or "with",)
        summary = {"incident": o.incident} if o.incident else {}
        for m in modes:
            if len(modes) > 1:
                term.say(f"{o.incident}, {modes.index(m) + 1} of {len(modes)}: {TITLES[m]}")
            _play(m, settings, term, summary, m == modes[-1], o)
    except Failure as e:
        term.note(f"error: {e}")
        return 1
    except Stopped as e:
        term.note(f"stopped by {e}: everything that was started has been ended")
        return 130
    if "with" in summary and not summary["with"]["all_undone"]:
        term.note(f"error: not everything was taken back within {settings.tail_s:.0f} s after the incident")
        return 3
    return 0

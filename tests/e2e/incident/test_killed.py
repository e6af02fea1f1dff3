"""kill -9 of the daemon in the middle of an incident: agents keep the last decision, traffic does not notice, the restarted daemon resumes its loops,
loses no event it had told, and takes everything back in the end."""
import argparse
import os
import queue
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.join(ROOT, "build")
sys.path.insert(0, os.path.join(ROOT, "scripts", "lib"))

from tt_run import cli, daemon, net, play, term  # noqa: E402


def journal(port):
    items, after = [], 0
    while True:
        page = net.get_json(port, f"/v1/events?after={after}&limit=500")
        if page is None:
            raise AssertionError("the daemon does not answer")
        items += page["items"]
        if not page.get("next"):
            return items
        after = page["next"]


class Killed(unittest.TestCase):
    def setUp(self):
        state = tempfile.mkdtemp(prefix="trimtab-e2e-")
        o = cli._options().parse_args(["--incident", "overload", "--only", "with", "--exit", "--base-port", "auto", "--state", state, "--bin", BUILD,
                                       "--during", "45", "--after", "20"])
        self.settings = cli.Settings(o)
        self.run_ = play.Run("with", self.settings, term.Terminal())
        self.addCleanup(self.run_.stop)

    def test_the_loop_goes_on(self):
        run, port = self.run_, self.settings.ports["trimtab"]
        run.start()
        before = {}
        steps = iter(("kill", "restart", "done"))
        state = {"next": next(steps), "at": 0.0}
        original = run._pump

        def pump(until):
            def watching(kind, body):
                self._drive(run, port, state, steps, before)
                return until(kind, body)
            return original(watching)

        run._pump = pump
        undone = run.play()
        self.assertEqual(state["next"], "done", "the daemon was killed and restarted within the fault")
        self.assertTrue(undone, "everything is taken back by the restarted daemon")
        self._check_journal(port, before)
        self._check_traffic(run, before)
        self._check_replay(run)

    def _check_replay(self, run):
        """Both lives of the daemon: the one that was killed up to its last whole frame, and the one that took its loops up."""
        import json
        import subprocess
        p = subprocess.run([self.settings.trimtab, "replay", os.path.join(run.dir, "trimtab", "recording"), "--json"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        self.assertEqual(p.returncode, 0, p.stdout[-6000:] + p.stderr[-2000:])
        seen = json.loads(p.stdout)
        self.assertTrue(seen["identical"])
        self.assertEqual(seen["runs"], 2)

    def _drive(self, run, port, state, steps, before):
        """In the fault, once the mesh has acknowledged a limit: kill; three seconds later: start again on the same state."""
        if state["next"] == "kill" and any(e["kind"] == "action" and e["action"] == "limit" for e in run.events):
            before["events"] = journal(port)
            before["loops"] = {loop["id"] for loop in daemon.open_loops(port)}
            before["decisions"] = daemon.in_force(port)
            before["killed_ms"] = time.time() * 1000
            victim = next(p for p in run.group.all if p.name == "trimtab")
            run.group.all.remove(victim)
            victim.child.kill()
            victim.child.wait()
            state["next"], state["at"] = next(steps), time.monotonic()
        elif state["next"] == "restart" and time.monotonic() - state["at"] >= 3:
            daemon.start(run.group, self.settings.trimtab, self.settings.ports, run.dir, self.settings.rules)
            before["up_ms"] = time.time() * 1000
            resumed = {loop["id"] for loop in daemon.open_loops(port)}
            self.assertTrue(before["loops"] and before["loops"] <= resumed, f"the open loops {before['loops']} are resumed, found {resumed}")
            state["next"] = next(steps)

    def _check_journal(self, port, before):
        after = {e["seq"]: e for e in journal(port)}
        for e in before["events"]:
            self.assertEqual(after.get(e["seq"]), e, "an event that was told is in the journal as it was told")
        seqs = sorted(after)
        self.assertEqual(seqs, list(range(seqs[0], seqs[0] + len(seqs))), "no gap in the journal")

    def _check_traffic(self, run, before):
        """Seconds without a daemon look like the seconds before it was killed."""
        import json
        with open(os.path.join(run.dir, "seconds.jsonl"), encoding="utf-8") as f:
            seconds = [json.loads(line) for line in f]
        def kept(lo, hi):
            part = [s for s in seconds if lo <= s["at_ms"] < hi]
            return sum(s["ok"] for s in part) / max(1, sum(s["offered"] for s in part))
        k = before["killed_ms"]
        with_it, without_it = kept(k - 4000, k - 500), kept(k + 500, before["up_ms"])
        self.assertGreater(without_it, with_it - 0.06, f"served {without_it:.3f} without the daemon, {with_it:.3f} before")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        BUILD = sys.argv.pop(1)
    unittest.main(verbosity=2)

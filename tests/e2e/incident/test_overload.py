"""One incident as a newcomer plays it, with the command line of scripts/run: noticed, mitigated, settled, taken back, and summed up in the promised keys.
While it acts, Chromium looks at every page of the dashboard that the daemon serves."""
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.join(ROOT, "build")


WEB = os.path.join(ROOT, "tests", "e2e", "web")


def look(url, result):
    """The browser checks that need a running daemon with something to show."""
    if not os.path.isdir(os.path.join(WEB, "node_modules", "playwright-core")):
        subprocess.run(["npm", "ci", "--no-fund", "--no-audit", "--loglevel=error"], cwd=WEB, check=True, stdout=subprocess.DEVNULL)
    result["look"] = subprocess.run(["node", "--test", "--test-name-pattern=a running daemon", "axe.test.mjs"], cwd=WEB, env=dict(os.environ, TRIMTAB_URL=url),
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200, check=False)


def play(incident, *more):
    """Plays it and gives (exit code, stdout, stderr, what the browser found, the run's directory)."""
    state = tempfile.mkdtemp(prefix="trimtab-e2e-")
    env = dict(os.environ, PYTHONPATH=os.path.join(ROOT, "scripts", "lib"))
    p = subprocess.Popen(
        ["/usr/bin/python3", "-B", "-m", "tt_run", "--incident", incident, "--exit", "--json", "--base-port", "auto", "--state", state, "--bin", BUILD, *more],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, told, result, looking, url = [], [], {}, None, None
    reader = threading.Thread(target=lambda: out.append(p.stdout.read()), daemon=True)
    reader.start()
    for line in p.stderr:
        told.append(line)
        found = re.search(r"dashboard: (http://\S+)", line)
        url = url or (found and found.group(1).rstrip("/"))
        if url and looking is None and re.search(r"s  action ", line):
            looking = threading.Thread(target=look, args=(url, result))
            looking.start()
    p.wait()
    reader.join()
    if looking:
        looking.join()
    return p.returncode, out[0], "".join(told), result.get("look"), os.path.join(state, "with")


class Overload(unittest.TestCase):
    def test_is_mitigated_and_taken_back(self):
        code, stdout, told, seen, run = play("overload", "--only", "with", "--during", "30", "--after", "30")
        self.assertEqual(code, 0, told[-6000:])
        self.assertIsNotNone(seen, "the dashboard was looked at")
        self.assertRegex(seen.stdout, r"# pass 1\b", seen.stdout[-6000:])
        self.assertRegex(seen.stdout, r"# fail 0\b", seen.stdout[-6000:])
        out = json.loads(stdout)
        self.assertEqual(out["incident"], "overload")
        w = out["with"]
        for phase in ("before", "during", "after"):
            for key in ("goodput_rps", "error_ratio", "p99_ms"):
                self.assertIn(key, w[phase])
                for priority in ("normal", "batch"):
                    self.assertIn(key, w[phase]["by_priority"][priority])
        for key in ("first_action_s", "settled_s", "needless_drop_ratio", "actions", "all_undone", "goodput_kept"):
            self.assertIn(key, w)
        self.assertTrue(w["all_undone"], told[-6000:])
        self.assertTrue(w["actions"], "an overload calls for actions")
        for a in w["actions"]:
            self.assertTrue(a["reason"], "every action carries its reason")
        self.assertLess(w["before"]["error_ratio"], 0.02, "the mesh was well before")
        during = w["during"]["by_priority"]
        self.assertGreater(during["batch"]["error_ratio"], during["normal"]["error_ratio"], "batch is shed before normal")
        self.check_replay(run)
        # What is in force at the end of the fault lifts the mesh over its undegraded capacity of about 1.45 times the base load.
        self.assertGreater(w["during"]["goodput_rps"], 1.45 * w["before"]["goodput_rps"], told[-6000:])

    def check_replay(self, run):
        """The recording of this very incident gives every decision and event again, byte for byte."""
        p = subprocess.run([os.path.join(BUILD, "server", "trimtab"), "replay", os.path.join(run, "trimtab", "recording"), "--json"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        self.assertEqual(p.returncode, 0, p.stdout[-6000:] + p.stderr[-2000:])
        seen = json.loads(p.stdout)
        self.assertTrue(seen["identical"])
        self.assertGreater(seen["ticks"], 60)
        self.assertGreater(seen["decisions"], 3)
        with open(os.path.join(run, "events.jsonl"), encoding="utf-8") as f:
            told = [json.loads(line) for line in f]
        self.assertGreaterEqual(seen["events"], sum(e["kind"] in ("action", "loop_opened", "loop_closed", "loop_phase") for e in told))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        BUILD = sys.argv.pop(1)
    unittest.main(verbosity=2)

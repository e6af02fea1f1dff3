"""One incident as a newcomer plays it, with the command line of scripts/run: noticed, mitigated, settled, taken back, and summed up in the promised keys."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.join(ROOT, "build")


def play(incident, *more):
    state = tempfile.mkdtemp(prefix="trimtab-e2e-")
    env = dict(os.environ, PYTHONPATH=os.path.join(ROOT, "scripts", "lib"))
    p = subprocess.run(
        ["/usr/bin/python3", "-B", "-m", "tt_run", "--incident", incident, "--exit", "--json", "--base-port", "auto", "--state", state, "--bin", BUILD, *more],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=380, check=False)
    return p


class Overload(unittest.TestCase):
    def test_is_mitigated_and_taken_back(self):
        p = play("overload", "--only", "with", "--during", "30", "--after", "30")
        self.assertEqual(p.returncode, 0, p.stderr[-6000:])
        out = json.loads(p.stdout)
        self.assertEqual(out["incident"], "overload")
        w = out["with"]
        for phase in ("before", "during", "after"):
            for key in ("goodput_rps", "error_ratio", "p99_ms"):
                self.assertIn(key, w[phase])
                for priority in ("normal", "batch"):
                    self.assertIn(key, w[phase]["by_priority"][priority])
        for key in ("first_action_s", "settled_s", "needless_drop_ratio", "actions", "all_undone", "goodput_kept"):
            self.assertIn(key, w)
        self.assertTrue(w["all_undone"], p.stderr[-6000:])
        self.assertTrue(w["actions"], "an overload calls for actions")
        for a in w["actions"]:
            self.assertTrue(a["reason"], "every action carries its reason")
        self.assertLess(w["before"]["error_ratio"], 0.02, "the mesh was well before")
        during = w["during"]["by_priority"]
        self.assertGreater(during["batch"]["error_ratio"], during["normal"]["error_ratio"], "batch is shed before normal")
        # What is in force at the end of the fault lifts the mesh over its undegraded capacity of about 1.45 times the base load.
        self.assertGreater(w["during"]["goodput_rps"], 1.45 * w["before"]["goodput_rps"], p.stderr[-6000:])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        BUILD = sys.argv.pop(1)
    unittest.main(verbosity=2)

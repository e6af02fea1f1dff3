"""What scripts/run makes of a run: its figures from events and counters, its ports, its state directory."""
import os
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, sys.argv.pop(1))

from tt_run import net, play, summary  # noqa: E402
from tt_run.procs import Failure, Group, wait_for  # noqa: E402


def event(seq, at_s, kind, loop="L1", reason="", **more):
    return {"seq": seq, "at_ms": 1_000_000 + int(at_s * 1000), "kind": kind, "loop": loop, "reason": reason, **more}


FAULT = 1_000_000


class Settled(unittest.TestCase):
    def of(self, *events):
        return summary.settled_s(list(events), FAULT, FAULT + 45_000)

    def test_one_loop(self):
        self.assertEqual(9.0, self.of(
            event(1, 2, "loop_opened"), event(2, 3, "loop_phase", reason="acting -> settling: x"), event(3, 9, "loop_phase", reason="settling -> settled: x"),
            event(4, 60, "loop_phase", reason="settled -> recovering: x"), event(5, 80, "loop_closed")))

    def test_a_relapse_during_the_fault_counts(self):
        self.assertEqual(30.0, self.of(
            event(1, 2, "loop_opened"), event(2, 9, "loop_phase", reason="settling -> settled: x"), event(3, 20, "loop_phase", reason="settled -> acting: x"),
            event(4, 30, "loop_phase", reason="settling -> settled: x")))

    def test_all_loops_must_have_settled(self):
        self.assertEqual(12.0, self.of(
            event(1, 2, "loop_opened"), event(2, 3, "loop_opened", "L2"), event(3, 5, "loop_phase", reason="settling -> settled: x"),
            event(4, 12, "loop_phase", "L2", "settling -> settled: x")))

    def test_never(self):
        self.assertIsNone(self.of(event(1, 2, "loop_opened"), event(2, 4, "loop_phase", reason="detected -> acting: x")))
        self.assertIsNone(self.of())


class Needless(unittest.TestCase):
    def test_only_while_there_was_room(self):
        series = {"shed": {"dc-a": {t: 10 * t for t in range(10)}},
                  # busy with 12 of 12 workers up to second 5, with 6 from then on
                  "busy": {"dc-a": {t: 12 * min(t, 5) + 6 * max(0, t - 5) for t in range(10)}}}
        # Seconds 6 to 9: the first of them is half busy over its two seconds.
        self.assertEqual(0.04, summary.needless_drop_ratio(series, 12, 1000))

    def test_a_restarted_counter_is_no_drop(self):
        series = {"shed": {"dc-a": {0: 500, 1: 3}}, "busy": {"dc-a": {0: 0, 1: 0}}}
        self.assertEqual(0.0, summary.needless_drop_ratio(series, 12, 1000))


class Actions(unittest.TestCase):
    def test_list_and_first(self):
        events = [event(1, 1, "anomaly_opened"),
                  event(2, 4.2, "action", reason="why", target={"service": "checkout", "dc": "dc-a"}, action="degrade:recommendations", **{"from": None, "to": 2})]
        self.assertEqual(4.2, summary.first_action_s(events, FAULT))
        self.assertEqual([{"time_s": 4.2, "target": "checkout/dc-a", "action": "degrade:recommendations", "from": None, "to": 2, "reason": "why"}],
                         summary.actions(events, FAULT))
        self.assertIsNone(summary.first_action_s(events[:1], FAULT))


class Ports(unittest.TestCase):
    def test_a_busy_port_is_named_with_its_user_and_the_way_out(self):
        with socket.socket() as s:
            s.bind((net.HOST, 0))
            s.listen(1)
            port = s.getsockname()[1]
            with self.assertRaises(Failure) as e:
                net.claim(str(port), ["trimtab"])
        for part in (str(port), "trimtab", "--base-port", f"process {os.getpid()}"):
            self.assertIn(part, str(e.exception))


class State(unittest.TestCase):
    def test_only_our_own_directory_is_emptied(self):
        with tempfile.TemporaryDirectory() as d:
            mine, theirs = os.path.join(d, "mine"), os.path.join(d, "theirs")
            play.fresh_dir(mine)
            open(os.path.join(mine, "old"), "w").close()
            play.fresh_dir(mine)
            self.assertNotIn("old", os.listdir(mine))
            os.makedirs(theirs)
            open(os.path.join(theirs, "precious"), "w").close()
            with self.assertRaises(Failure):
                play.fresh_dir(theirs)
            self.assertEqual(["precious"], os.listdir(theirs))


class Processes(unittest.TestCase):
    def test_one_that_ends_early_is_told_with_its_log(self):
        with tempfile.TemporaryDirectory() as d:
            g = Group(d)
            g.start("breaks", ["/bin/sh", "-c", "echo the reason; exit 3"])
            with self.assertRaises(Failure) as e:
                wait_for(lambda: False, "nothing", g)
            self.assertIn("breaks ended with status 3", str(e.exception))
            self.assertIn("the reason", str(e.exception))

    def test_stop_ends_all_even_the_deaf(self):
        with tempfile.TemporaryDirectory() as d:
            g = Group(d)
            p = g.start("deaf", ["/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"])
            wait_for(lambda: "up" in p.log_tail(), "the start", g)
            g.stop(patience_s=0.2)
            self.assertFalse(os.path.exists(f"/proc/{p.pid}"))


if __name__ == "__main__":
    unittest.main()

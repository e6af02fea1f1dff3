"""What is shown while it happens: all of it on stderr, so that stdout is the summary's alone."""
import os
import sys

_MARK = {"anomaly_opened": "31", "anomaly_cleared": "32", "action": "36;1", "loop_opened": "33", "loop_closed": "32;1", "judged": "34", "relapse": "31",
         "page": "31;1", "guardrail": "35", "hold": "35", "frozen": "31;1", "fault": "41;97", "fault ends": "42;97", "source_down": "31", "rules_refused": "31"}


class Terminal:
    def __init__(self, out=sys.stderr):
        self.out = out
        self.tty = out.isatty()
        self.color = self.tty and "NO_COLOR" not in os.environ
        self.status_shown = False

    def _write(self, text):
        if self.status_shown:
            self.out.write("\r\x1b[K")
            self.status_shown = False
        self.out.write(text + "\n")
        self.out.flush()

    def paint(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and code else text

    def say(self, text):
        self._write(self.paint("1", "==>") + " " + text)

    def note(self, text):
        self._write(text)

    def line(self, t, kind, text):
        self._write(f"{t:+8.1f} s  {self.paint(_MARK.get(kind, ''), f'{kind:<15}')} {text}")

    def second(self, t, s, every=5):
        """One second of load: rewritten in place on a terminal, one in five in a log."""
        p99 = "-" if s["p99_ms"] is None else f"{s['p99_ms']:.0f} ms"
        text = (f"{t:+8.1f} s  {'load':<15} {s['offered']} asked, {s['ok']} served (p99 {p99}), {s['failed']} failed, "
                f"{s['dropped']} dropped, {s['refused']} refused, {s['degraded']} degraded")
        if self.tty:
            self.out.write("\r\x1b[K" + text)
            self.out.flush()
            self.status_shown = True
        elif s["second"] % every == 0:
            self._write(text)

    def table(self, result):
        modes = [m for m in ("with", "library_only", "without") if m in result]
        names = {"with": "with trimtab", "library_only": "library alone", "without": "without"}
        self._write("")
        self._write(f"{'':16}{'before':>22}{'during':>22}{'after':>22}{'kept':>8}")
        for m in modes:
            r = result[m]
            cells = "".join(
                f"{r[p]['goodput_rps']:>10.0f} rps{100 * r[p]['error_ratio']:>6.1f} %" for p in ("before", "during", "after")
            )
            self._write(f"{names[m]:<16}{cells}{100 * r['goodput_kept']:>6.1f} %")
        self._write("goodput and share not served; kept: served within its time-out, of what was asked during the fault")

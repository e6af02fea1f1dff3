"""The figures of a run: from the load generator's own count, the daemon's events, and Prometheus."""
import re

UNSETTLED = {"detected", "awaiting_approval", "acting", "settling", "frozen"}


def _figures(p):
    keys = ("goodput_rps", "error_ratio", "p99_ms")
    return {k: round(p[k], 4) if isinstance(p[k], float) else p[k] for k in keys}


def phase(p):
    """error_ratio: of all that was offered, what was not served within its time-out, for whatever reason; p99_ms: of what was."""
    out = _figures(p)
    out["by_priority"] = {name: _figures(q) for name, q in p["by_priority"].items()}
    out["offered_rps"] = p["offered_rps"]
    out["degraded_ratio"] = p["degraded_ratio"]
    return out


def of_run(load):
    phases = load["phases"]
    out = {name: phase(phases[name]) for name in ("before", "during", "after")}
    during = phases["during"]
    out["goodput_kept"] = round(during["ok"] / during["offered"], 4) if during["offered"] else None
    return out


def name_of(target):
    return target.get("service", "?") + ("/" + target["dc"] if target.get("dc") else "")


def actions(events, fault_ms):
    return [
        {"time_s": round((e["at_ms"] - fault_ms) / 1000, 1), "target": name_of(e.get("target", {})), "action": e.get("action"),
         "from": e.get("from"), "to": e.get("to"), "reason": e.get("reason")}
        for e in events if e["kind"] == "action"
    ]


def first_action_s(events, fault_ms):
    times = [e["at_ms"] for e in events if e["kind"] == "action" and e["at_ms"] >= fault_ms]
    return round((min(times) - fault_ms) / 1000, 1) if times else None


def settled_s(events, fault_ms, fault_end_ms):
    """From the fault to the end of the last time, begun while it lasted, that any loop was not settled. None: nothing to settle, or never did."""
    unsettled, since, last_end = set(), None, None
    for e in sorted(events, key=lambda x: x.get("seq", 0)):
        loop = e.get("loop")
        if e["kind"] == "loop_opened":
            unsettled.add(loop)
        elif e["kind"] == "loop_closed":
            unsettled.discard(loop)
        elif e["kind"] == "loop_phase":
            to = re.match(r"\S+ -> (\w+)", e.get("reason", ""))
            if to and to.group(1) in UNSETTLED:
                unsettled.add(loop)
            elif to:
                unsettled.discard(loop)
        if unsettled and since is None:
            since = e["at_ms"]
        elif not unsettled and since is not None:
            if fault_ms <= e["at_ms"] and since <= fault_end_ms:
                last_end = e["at_ms"]
            since = None
    if since is not None and since <= fault_end_ms:
        return None
    return round((last_end - fault_ms) / 1000, 1) if last_end is not None else None


def needless_drop_ratio(series, workers, offered):
    """Of all that was offered, what was dropped or refused in seconds when the bottleneck of that data center was less than 90 % busy.
    series: {"shed": {dc: {second: counter}}, "busy": {dc: {second: counter}}}, by_second() of sums over the instances."""
    needless = 0.0
    for dc, shed in series["shed"].items():
        busy = series["busy"].get(dc, {})
        for t in sorted(shed):
            if t - 1 not in shed or t - 1 not in busy or t not in busy:
                continue
            # Over two seconds: scrapes of the instances are spread over one.
            back = t - 2 if t - 2 in busy else t - 1
            if max(0.0, busy[t] - busy[back]) / (workers * (t - back)) < 0.9:
                needless += max(0.0, shed[t] - shed[t - 1])
    return round(needless / offered, 5) if offered else 0.0

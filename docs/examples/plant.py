#!/usr/bin/env python3
"""A plant for `trimtab rehearse --plant 'python3 plant.py [SEED]'`: the mesh model that trimtab is rehearsed against.

One service, checkout, in two data centers. Requests wait in a queue; what waited longer than its time-out is still worked on and worth nothing, and most
failures come back as retries. At 120 s demand doubles for a minute. Left alone, the retries keep the service down long after that.

With --do-nothing decisions are ignored: what the service loses then is what trimtab has to beat. docs/plant.md explains the protocol.
"""
import collections, json, random, sys

DCS, SECONDS, STEP = {"dc-a": 0.5, "dc-b": 0.5}, 600, 0.1
PRIORITIES = {"critical": 0.2, "normal": 0.5, "batch": 0.3}  # highest first, with their share of the demand
CAPACITY, DEMAND, TIMEOUT, QUEUE, RETRIED = 1000, 1300, 1.0, 3000, 0.7  # rps of a data center; rps of all clients; s; requests; share of failures
SCRAPE, WINDOW, INGEST, APPLY = 5, 10, 2, 1  # s
GAIN = [1.0, 1.14, 1.33]  # capacity at each level of doing without recommendations
FIGURES = ("offered", "admitted", "ok", "dropped")

args = [a for a in sys.argv[1:] if a != "--do-nothing"]
rng, idle = random.Random(int(args[0]) if args else 1), "--do-nothing" in sys.argv


class Site:
    def __init__(self, dc):
        self.dc, self.queue, self.retries = dc, collections.deque(), dict.fromkeys(PRIORITIES, 0.0)
        self.limit, self.keep, self.drop, self.level = None, [], {}, 0
        self.count, self.past = collections.Counter(), collections.deque(maxlen=WINDOW // SCRAPE + 1)

    def step(self, now, demand):
        """A tenth of a second. Returns what was answered well."""
        room, failed = self.limit * STEP if self.limit else float("inf"), dict.fromkeys(PRIORITIES, 0.0)
        waiting = sum(n for _, _, n in self.queue)
        for p in [p for p in self.keep if p in PRIORITIES] + [p for p in PRIORITIES if p not in self.keep]:
            offered = demand * PRIORITIES[p] * STEP + self.retries[p]
            admitted = min(offered * (1 - self.drop.get(p, 0)), room)
            if self.limit and p not in self.keep:
                admitted = 0
            room -= admitted
            taken = min(admitted, QUEUE - waiting)  # a full queue fails the rest at once
            waiting += taken
            self.queue.append((now, p, taken))
            failed[p] += (admitted - taken) * RETRIED + (offered - admitted) * 0.2  # who is told no seldom tries again
            self.count.update({("offered", p): offered, ("admitted", p): admitted, ("dropped", p): offered - admitted, "arrived": admitted})
        work, good = CAPACITY * GAIN[self.level] * STEP, 0.0
        self.count["possible"] += work
        while work > 1e-9 and self.queue:
            born, p, n = self.queue.popleft()
            done = min(n, work)
            work -= done
            self.count.update({"completed": done, "busy": done, "waited": done * (now - born)})
            if now - born < TIMEOUT:
                good += done
                self.count["ok", p] += done
            else:
                failed[p] += done * RETRIED
            if n > done:
                self.queue.appendleft((born, p, n - done))
        self.retries = failed
        return good

    def scrape(self, now):
        """Rates over the last WINDOW seconds, as monitoring would tell them."""
        self.past.append((now, collections.Counter(self.count)))
        (t0, was), span = self.past[0], max(now - self.past[0][0], 1e-9)
        rate = lambda key: (self.count[key] - was[key]) / span * rng.gauss(1, 0.01)
        labels = {"service": "checkout", "dc": self.dc}
        values = [(f + "_rps", {**labels, "priority": p}, rate((f, p))) for f in FIGURES for p in PRIORITIES]
        values += [("arrived_rps", labels, rate("arrived")), ("completed_rps", labels, rate("completed"))]
        values += [("utilization", labels, rate("busy") / max(rate("possible"), 1e-9))]
        values += [("latency_mean_ms", labels, 20 + 1000 * rate("waited") / rate("completed") if rate("completed") else None)]
        return [{"signal": s, "labels": l, "value": v, "at_ms": now * 1000, "window_ms": span * 1000} for s, l, v in values] if t0 < now else []


sites = {dc: Site(dc) for dc in DCS}
weights, now, wanted, good = dict(DCS), 0, 0.0, 0.0
pipeline, orders, versions = [], [], {}  # measurements and decisions on their way; the newest version of each target
topology = {"priorities": list(PRIORITIES), "timing": {"scrape_ms": SCRAPE * 1000, "ingest_ms": INGEST * 1000, "apply_ms": APPLY * 1000},
            "services": [{"name": "checkout", "dcs": {dc: {"weight": w} for dc, w in DCS.items()}, "features": {"recommendations": {"levels": 2, "gain": GAIN[1:]}}}]}

for line in sys.stdin:
    for d in json.loads(line)["decisions"]:  # all that is in force; each comes into force APPLY seconds after it was first told
        key = (d["target"]["service"], d["target"].get("dc"))
        if not idle and versions.get(key) != d["version"]:
            versions[key] = d["version"]
            orders.append((now + APPLY, d))
    acks = []
    for _, d in [o for o in orders if o[0] <= now]:
        actions = {a["action"]: a for a in d["actions"]}
        if "dc" in d["target"]:
            site, limit = sites[d["target"]["dc"]], actions.get("limit")
            site.limit, site.keep = (limit["rps"], limit["keep"]) if limit else (None, [])
            site.drop = {a["priority"]: a["ratio"] for a in d["actions"] if a["action"] == "drop"}
            site.level = actions.get("degrade", {"level": 0})["level"]
        else:
            weights = actions.get("weights", {"dcs": DCS})["dcs"]
        acks.append({"target": d["target"], "version": d["version"], "state": "applied", "share": 1.0})
    orders = [o for o in orders if o[0] > now]
    for i in range(int(1 / STEP)):
        demand = DEMAND * (2 if 120 <= now < 180 else 1) * rng.gauss(1, 0.02)
        wanted += demand * STEP
        good += sum(site.step(now + i * STEP, demand * weights[dc]) for dc, site in sites.items())
    now += 1
    if now % SCRAPE == 0:
        pipeline += [(now + INGEST, m) for site in sites.values() for m in site.scrape(now)]
    answer = {"now_ms": now * 1000, "measurements": [m for due, m in pipeline if due <= now], "acks": acks, "done": now >= SECONDS}
    pipeline = [(due, m) for due, m in pipeline if due > now]
    if now == 1:
        answer["topology"] = topology
    if answer["done"]:
        answer["score"] = {"goodput": round(good / wanted, 4), "wanted": round(wanted), "good": round(good)}
    print(json.dumps(answer), flush=True)
    if answer["done"]:
        break

// A stand-in for the daemon, for looking at the dashboard and testing it: it speaks docs/contract.md and plays one incident.
// A test fixture only. Run by hand: node fixture.mjs [--port 9181] [--warm 70] [--calm]
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = join(dirname(fileURLToPath(import.meta.url)), "../../../web/dist");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
export const LOOP = "01J9ZC8Q6W3V2K5M7N8P9Q0R1S";
export const ASKS = "01J9ZCFA4T8H6J2K9M3N5P7Q0V";
const FRONT = { service: "front", dc: "dc-a" };

// The same noise every run.
const wobble = (t, k) => Math.sin(t * 1.7 + k) * 0.5 + Math.sin(t * 0.61 + k * 3) * 0.5;

export class Incident {
  constructor({ calm = false, startMs = Date.now() } = {}) {
    Object.assign(this, { calm, t: 0, now: startMs, startMs, seq: 0, version: 1000, frozen: null });
    this.events = [];
    this.loops = [];
    this.anomaly = null;
    this.commands = [];
    this.sourceDown = false;
    this.emit("started", { reason: "trimtab 0.1.0 started, epoch 3, rules 9f2c01aa from plans.yaml" });
  }

  emit(kind, more = {}) {
    const l = more.of;
    const ev = {
      seq: ++this.seq, at_ms: this.now, kind,
      ...(l ? { loop: l.id, plan: l.plan, target: l.target } : {}),
      reason: "", detail: {}, ...more,
    };
    delete ev.of;
    this.events.push(ev);
    this.fresh?.push(ev);
  }

  act(l, target, action, from, to, unit, reason, detail = {}) {
    const a = l.actuators.find((x) => x.action === action);
    a.value = to;
    a.resting = false;
    this.version++;
    this.emit("action", { of: l, target, action, from, to, unit, reason, detail });
  }

  enter(l, phase, why, next = null, inMs = null) {
    l.phase = phase;
    l.phase_since_ms = this.now;
    l.why = why;
    this.plan(l, next, inMs);
    this.emit("loop_phase", { of: l, reason: `${phase}: ${why}` });
  }

  plan(l, next, inMs) {
    l.next = next;
    l.next_ms = inMs === null ? null : this.now + inMs;
  }

  close(l, ended, why) {
    l.phase = "closed";
    l.closed_ms = this.now;
    l.ended = ended;
    l.why = why;
    l.next = null;
    l.next_ms = null;
    l.allowed = [];
    this.emit("loop_closed", { of: l, reason: `${ended}: ${why}` });
  }

  loop(id, plan, mode, anomaly, target, keep, actuators, steps, allowed, why) {
    const l = {
      id, plan, mode, anomaly, target, phase: "detected", opened_ms: this.now, phase_since_ms: this.now, closed_ms: null, ended: null,
      why, next: "choose the step", next_ms: this.now + 1000, keep, actuators, capacity: null, reversals: 0, rung: 0, steps, allowed, history: [],
    };
    this.loops.unshift(l);
    this.emit("loop_opened", { of: l, reason: why });
    return l;
  }

  get front() {
    return this.loops.find((l) => l.id === LOOP);
  }
  get asks() {
    return this.loops.find((l) => l.id === ASKS);
  }

  // What the site would measure now: load by the script, results by what is in force.
  measure() {
    const t = this.t;
    const surge = this.calm ? 0 : t < 20 ? 0 : t < 26 ? (t - 20) / 6 : t < 88 ? 1 : t < 100 ? 1 - (t - 88) / 12 : 0;
    const offered = 112 + 92 * surge + 3 * wobble(t, 1);
    const level = this.front?.actuators[0].value ?? 0;
    const limit = this.front?.actuators[1].value ?? null;
    const capacity = 141 * [1, 1.14, 1.33][level];
    const admitted = limit === null ? offered : Math.min(offered, limit);
    const over = Math.max(0, admitted - capacity) / capacity;
    const want = over > 0 ? 0.02 + over * 0.55 : 0.002 + 0.002 * Math.abs(wobble(t, 2));
    this.error = this.error === undefined ? want : this.error + (want - this.error) * 0.45;
    const p99want = over > 0 ? 380 + over * 900 : 120 + 90 * Math.min(1, admitted / capacity) ** 6;
    this.p99 = this.p99 === undefined ? p99want : this.p99 + (p99want - this.p99) * 0.5 + 3 * wobble(t, 4);
    this.m = { offered, admitted, ok: admitted * (1 - this.error), error: this.error, p99: this.p99, capacity, blind: t >= 58 && t < 62 };
  }

  tick(ms = 1000) {
    this.fresh = [];
    this.t++;
    this.now += ms;
    this.measure();
    for (const c of this.commands.splice(0)) this.obey(c);
    if (!this.calm && !this.frozen) this.script();
    const f = this.front;
    if (f && f.phase !== "closed") {
      const [e, p] = f.keep;
      e.value = this.m.error;
      e.holds = this.m.error <= e.bound;
      p.quality = this.m.blind ? "stale" : "ok";
      p.value = this.m.blind ? null : this.m.p99;
      p.holds = this.m.blind ? null : this.m.p99 <= p.bound;
      f.capacity = this.t < 31 ? { rps: 150, source: "learned", age_ms: 3600e3 * 5 } : { rps: 141 * [1, 1.14, 1.33][f.actuators[0].value], source: "measured", age_ms: (this.t - 31) * 1000 };
      const load = { offered_rps: this.m.offered, ok_rps: this.m.ok, dropped_rps: this.m.offered - this.m.admitted };
      f.history.push({
        at_ms: this.now, phase: f.phase,
        signals: { error_ratio: e.value, p99_ms: p.value },
        load,
        actuators: { degrade: f.actuators[0].value, limit: f.actuators[1].value },
      });
    }
    const a = this.asks;
    if (a && a.phase !== "closed") {
      a.history.push({ at_ms: this.now, phase: a.phase, signals: { error_ratio: 0.018 }, load: { offered_rps: 40, ok_rps: 39 }, actuators: { weights: a.actuators[0].value } });
      if (a.phase === "awaiting_approval" && this.now >= a.next_ms) this.close(a, "refused", "nobody approved the plan in time; nothing was done");
    }
    const out = this.fresh;
    this.fresh = null;
    return out;
  }

  obey({ kind, id, reason }) {
    const l = this.loops.find((x) => x.id === id);
    if (kind === "freeze") {
      this.frozen = { reason, by: "api", since_ms: this.now };
      this.emit("frozen", { reason: `paused by api: ${reason}` });
    } else if (kind === "resume") {
      this.frozen = null;
      this.emit("unfrozen", { reason: `resumed by api: ${reason}` });
    } else if (kind === "abort") {
      this.emit("command", { of: l, reason: `aborted by api: ${reason}` });
      for (const a of l.actuators)
        if (a.value !== null && a.value !== 0) this.act(l, a.target, a.action, a.value, a.action === "limit" ? null : 0, a.unit, "stopped by a person: taking everything back");
      this.close(l, "aborted", `stopped by a person: ${reason}`);
    } else if (kind === "approve") {
      this.emit("command", { of: l, reason: `approved by api: ${reason}` });
      this.enter(l, "acting", "approved: move payments to dc-b in steps of 10 %", "judge the step", 12000);
      l.allowed = ["abort"];
      this.act(l, { service: "payments" }, "weights:dc-b", 0.5, 0.6, "ratio", "spare capacity at dc-b is 44 rps; 10 % of 40 rps fits");
    } else if (kind === "refuse") {
      this.emit("command", { of: l, reason: `refused by api: ${reason}` });
      this.close(l, "refused", "a person refused the plan; nothing was done");
    }
  }

  script() {
    const t = this.t;
    const { m } = this;
    const f = this.front;
    const checkout = { service: "front", dc: "dc-a" };
    const pct = (x) => `${(x * 100).toFixed(1)} %`;
    if (t === 24) this.anomaly = { name: "overload", labels: FRONT, state: "pending", since_ms: this.now, value: m.error, text: "error_ratio > 5% and offered_rps > 50" };
    if (t === 27) {
      Object.assign(this.anomaly, { state: "open", since_ms: this.now, value: m.error });
      this.emit("anomaly_opened", { target: FRONT, reason: `overload at front dc-a: error_ratio ${pct(m.error)} above 5 % and offered_rps ${m.offered.toFixed(0)} above 50, for 3 s` });
      this.loop(LOOP, "shed-then-shift", "auto", "overload", FRONT,
        [
          { expr: "error_ratio <= 1%", signal: "error_ratio", op: "<=", bound: 0.01, value: m.error, quality: "ok", holds: false },
          { expr: "p99_ms <= 250", signal: "p99_ms", op: "<=", bound: 250, value: m.p99, quality: "ok", holds: false },
        ],
        [
          { target: checkout, action: "degrade:recommendations", value: 0, unit: "level", max: 2 },
          { target: FRONT, action: "limit", value: null, unit: "rps", max: null },
        ],
        ["degrade", "limit", "shift"], ["abort"], `error_ratio ${pct(m.error)} above 5 % for 3 s`);
    }
    if (!f || f.phase === "closed") {
      if (f && t > 140 && this.anomaly) this.anomaly = null;
    } else {
      if (t === 28) {
        f.rung = 1;
        this.enter(f, "acting", `error_ratio ${pct(m.error)} above 1 %: degrade recommendations to level 1, then judge`, "judge the step", 7000);
        this.act(f, checkout, "degrade:recommendations", 0, 1, "level", `offered ${m.offered.toFixed(0)} rps over safe capacity 150 rps (learned); level 1 frees 14 %`, {
          offered_rps: m.offered, capacity_rps: 150, source: "learned", gain: 1.14, dead_time_s: 6.5, quality: "ok",
        });
        this.emit("not_chosen", { of: f, reason: "shift: dc-b has 12 rps to spare after its reserve of 20 %, 50 rps are needed" });
      }
      if (t === 31) this.emit("judged", { of: f, reason: "saturated: the bottleneck completes 141 rps, which is now the measured capacity", detail: { completed_rps: 141, flow: 0.71, was_rps: 150 } });
      if (t === 36) {
        this.enter(f, "acting", `error_ratio ${pct(m.error)} still above 1 % after level 1: degrade recommendations to level 2, then judge`, "judge the step", 7000);
        this.act(f, checkout, "degrade:recommendations", 1, 2, "level", `offered ${m.offered.toFixed(0)} rps over 161 rps at level 1; level 2 frees 33 %`, { offered_rps: m.offered, capacity_rps: 160.7, gain: 1.33 });
      }
      if (t === 43) {
        f.rung = 2;
        this.emit("judged", { of: f, reason: `level 2 took effect: error_ratio ${pct(m.error)}, still above 1 %; 188 rps fit, ${m.offered.toFixed(0)} rps come` });
        this.act(f, FRONT, "limit", null, 178, "rps", "what fits is 188 rps, less 5 % reserve: admit 178 rps, batch first to wait", { capacity_rps: 187.5, reserve: 0.05, keep: ["critical", "normal"], clamp: "none" });
        this.plan(f, "judge the limit", 7000);
      }
      if (t === 52) this.enter(f, "settling", "what the plan keeps holds again", "call it settled", 20000);
      if (t === 58) this.emit("hold", { of: f, reason: "p99_ms is stale: nothing new is done on it" });
      if (t === 72) this.enter(f, "settled", "holds; the actions stay until it is safe to take them back", "try to give back", 26000);
      if (t === 98) {
        if (this.anomaly) this.anomaly.state = "clearing";
        this.enter(f, "recovering", "objective kept for 26 s and offered load fell to 112 rps", "raise the limit", 4000);
      }
      if (t === 102) {
        this.act(f, FRONT, "limit", 178, null, "rps", "offered 113 rps is 60 % of capacity: the limit binds nobody");
        this.anomaly = null;
        this.emit("anomaly_cleared", { target: FRONT, reason: "overload at front dc-a is over: error_ratio 0.3 %" });
        this.plan(f, "give back a level", 8000);
      }
      if (t === 110) this.act(f, checkout, "degrade:recommendations", 2, 1, "level", "load at level 1 would be 70 % of capacity");
      if (t === 118) this.act(f, checkout, "degrade:recommendations", 1, 0, "level", "load at level 0 would be 80 % of capacity");
      if (t === 126) this.close(f, "recovered", "everything is taken back and the objective holds");
    }
    if (t === 64) {
      const l = this.loop(ASKS, "payments-cutover", "approve", "dc-latency", { service: "payments" },
        [{ expr: "error_ratio <= 1%", signal: "error_ratio", op: "<=", bound: 0.01, value: 0.018, quality: "ok", holds: false }],
        [{ target: { service: "payments" }, action: "weights:dc-b", value: 0.5, unit: "ratio", max: 1, resting: true }],
        ["shift", "cutover"], ["approve", "refuse", "abort"], "error_ratio 1.8 % above 1 % for 30 s at dc-a");
      this.enter(l, "awaiting_approval", "move 10 % of payments from dc-a to dc-b: error_ratio 1.8 % above 1 % for 30 s; dc-b has 44 rps to spare", "refuse by itself", 250000);
    }
  }

  status() {
    const open = this.loops.filter((l) => l.phase !== "closed");
    const by = {};
    for (const l of open) by[l.phase] = (by[l.phase] ?? 0) + 1;
    return {
      now_ms: this.now, started_ms: this.startMs, version: "0.1.0", epoch: 3, tick_ms: 0.4,
      rules: { files: ["plans.yaml"], plans: 2, loaded_ms: this.startMs, hash: "9f2c01aa", error: null },
      sources: [{ name: "prometheus", url: "http://127.0.0.1:9090", state: this.sourceDown ? "down" : "ok", last_ok_ms: this.now - 1000, error: this.sourceDown ? "connection refused" : null }],
      store: { kind: "sqlite", state: "ok", error: null },
      agents: { connected: 12, behind: this.t === 29 ? 2 : 0 },
      loops: { open: open.length, by_phase: by }, frozen: this.frozen,
    };
  }

  decisions() {
    const out = [
      { target: { service: "front", dc: "dc-b" }, epoch: 3, version: 990, armed: true, loops: [], actions: [{ action: "limit", rps: 150, keep: ["critical", "normal", "batch"] }] },
      { target: { service: "payments" }, epoch: 3, version: 992, armed: false, loops: [], actions: [{ action: "weights", dcs: { "dc-a": 0.5, "dc-b": 0.5 } }] },
    ];
    const f = this.front;
    const actions = [];
    if (f?.actuators[0].value) actions.push({ action: "degrade", feature: "recommendations", level: f.actuators[0].value, probe_ratio: 0.02 });
    if (f && f.actuators[1].value !== null) actions.push({ action: "limit", rps: f.actuators[1].value, keep: ["critical", "normal"] });
    if (actions.length) out.push({ target: FRONT, epoch: 3, version: this.version, armed: false, loops: [LOOP], actions });
    else out.push({ target: FRONT, epoch: 3, version: 989, armed: true, loops: [], actions: [{ action: "limit", rps: 150, keep: ["critical", "normal", "batch"] }] });
    return { epoch: 3, version: this.version, now_ms: this.now, instances: 0, decisions: out };
  }

  signals() {
    const { m } = this;
    const b = 96 + 2 * wobble(this.t, 9);
    const s = (name, service, dc, value, quality = "ok") => ({ name, labels: { service, dc }, value: quality === "ok" ? value : null, quality, age_ms: 1200 });
    if (!m) return [];
    return [
      s("offered_rps", "front", "dc-a", m.offered), s("admitted_rps", "front", "dc-a", m.admitted), s("ok_rps", "front", "dc-a", m.ok),
      s("offered_rps", "front", "dc-b", b), s("admitted_rps", "front", "dc-b", b), s("ok_rps", "front", "dc-b", b * 0.998),
      s("offered_rps", "payments", "dc-a", 20), s("ok_rps", "payments", "dc-a", 19.6), s("offered_rps", "payments", "dc-b", 20), s("ok_rps", "payments", "dc-b", 20),
      s("error_ratio", "front", "dc-a", m.error), s("error_ratio", "front", "dc-b", 0.002), s("error_ratio", "payments", "dc-a", 0.018),
      s("p99_ms", "front", "dc-a", m.p99, m.blind ? "stale" : "ok"), s("p99_ms", "front", "dc-b", 131),
      s("utilization", "front", "dc-a", Math.min(1, m.admitted / m.capacity)),
    ];
  }

  capacity() {
    const c = (service, dc, rps, source, used, offered = null, ok = null, dropped = null) => ({
      service, dc, rps, source, age_ms: 4000, utilization: used, offered_rps: offered, ok_rps: ok, dropped_rps: dropped, share: 0.5, cap_rps: null, degrade_level: 0,
    });
    const { m } = this;
    const front = m ? [m.offered, m.ok, m.offered - m.admitted] : [];
    return [
      c("front", "dc-a", this.front?.capacity?.rps ?? 150, this.front?.capacity?.source ?? "learned", m ? Math.min(1, m.admitted / m.capacity) : 0, ...front),
      c("front", "dc-b", 150, "learned", 0.64), c("payments", "dc-a", 80, "configured", 0.25), c("payments", "dc-b", 80, "configured", 0.25),
    ];
  }
}

// As the daemon says it: only the actuators in force.
const without = (l) => ({ ...l, history: undefined, actuators: l.phase === "closed" ? [] : l.actuators.filter((a) => a.value !== null && a.value !== 0 && !a.resting) });

export async function startFixture({ port = 0, tickMs = 0, warm = 0, calm = false, lastSeq = false } = {}) {
  const world = new Incident({ calm, startMs: Date.now() - warm * 1000 });
  const streams = new Set();
  const seen = { lastEventIds: [], posts: [] };
  for (let i = 0; i < warm; i++) world.tick();

  const tickText = () => {
    const status = { ...world.status(), ...(lastSeq ? { last_seq: world.seq } : {}) };
    const loops = world.loops.filter((l) => l.phase !== "closed" || world.now - l.closed_ms < 60000).map(without);
    return `event: tick\ndata: ${JSON.stringify({ status, loops })}\n\n`;
  };
  const sendEvent = (res, ev) => res.write(`id: ${ev.seq}\nevent: ${ev.kind}\ndata: ${JSON.stringify(ev)}\n\n`);
  const advance = (n = 1) => {
    for (let i = 0; i < n; i++) {
      const fresh = world.tick();
      for (const res of streams) for (const ev of fresh) sendEvent(res, ev);
    }
    for (const res of streams) res.write(tickText());
  };

  const problem = (res, status, title, detail) => {
    res.writeHead(status, { "Content-Type": "application/problem+json" });
    res.end(JSON.stringify({ type: "about:blank", title, status, detail, errors: [] }));
  };
  const json = (res, body, status = 200) => {
    res.writeHead(status, { "Content-Type": "application/json" });
    res.end(JSON.stringify(body));
  };

  const server = createServer(async (req, res) => {
    const url = new URL(req.url, "http://fixture");
    const path = decodeURIComponent(url.pathname);
    const q = url.searchParams;
    if (req.method === "POST") {
      let text = "";
      for await (const chunk of req) text += chunk;
      if (req.headers["content-type"] !== "application/json") return problem(res, 415, "Unsupported media type", "Send application/json.");
      const body = JSON.parse(text || "{}");
      seen.posts.push({ path, body });
      const m = path.match(/^\/v1\/(?:automation:(freeze|resume)|loops\/([^:]+):(abort|approve|refuse))$/);
      if (!m) return problem(res, 404, "Not found", path);
      const kind = m[1] ?? m[3];
      if (m[2]) {
        const l = world.loops.find((x) => x.id === m[2]);
        if (!l) return problem(res, 404, "No such loop", m[2]);
        if (!l.allowed.includes(kind)) return problem(res, 409, "Not possible now", `the loop is ${l.phase}`);
      }
      world.commands.push({ kind, id: m[2], reason: body.reason });
      return json(res, { accepted: true }, 202);
    }
    if (path === "/v1/events" && (req.headers.accept ?? "").includes("text/event-stream")) {
      res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      const from = req.headers["last-event-id"] ?? q.get("after");
      seen.lastEventIds.push(from ?? null);
      if (from) for (const ev of world.events.filter((e) => e.seq > Number(from))) sendEvent(res, ev);
      res.write(tickText());
      streams.add(res);
      res.on("close", () => streams.delete(res));
      return;
    }
    if (path === "/v1/events") {
      const limit = Number(q.get("limit") ?? 100);
      const after = Number(q.get("after") ?? 0);
      const items = world.events.filter((e) => e.seq > after).slice(0, limit);
      const more = items.length && items.at(-1).seq < world.seq;
      return json(res, { items, next: more ? items.at(-1).seq : null });
    }
    if (path === "/v1/status") return json(res, { ...world.status(), ...(lastSeq ? { last_seq: world.seq } : {}) });
    if (path === "/v1/loops") {
      const state = q.get("state") ?? "all";
      const items = world.loops.filter((l) => state === "all" || (state === "closed") === (l.phase === "closed")).map(without);
      return json(res, { items, next: null });
    }
    const one = path.match(/^\/v1\/loops\/([^/]+)(\/events)?$/);
    if (one) {
      const l = world.loops.find((x) => x.id === one[1]);
      if (!l) return problem(res, 404, "No such loop", one[1]);
      return json(res, one[2] ? { items: world.events.filter((e) => e.loop === l.id), next: null } : { ...without(l), history: l.history.slice(-600) });
    }
    if (path === "/v1/signals") return json(res, { items: world.signals() });
    if (path === "/v1/capacity") return json(res, { items: world.capacity() });
    if (path === "/v1/anomalies") return json(res, { items: world.anomaly ? [world.anomaly] : [] });
    if (path === "/v1/decisions") return json(res, world.decisions());
    if (path === "/v1/agents") {
      const items = Array.from({ length: 12 }, (_, i) => ({
        service: i < 8 ? "front" : "payments", dc: i % 2 ? "dc-b" : "dc-a", instance: `10.0.${i % 2}.${10 + i}:8080`,
        version: world.version - (i === 3 && world.t === 29 ? 2 : 0), behind: i === 3 && world.t === 29 ? 2 : 0, last_heard_ms: world.now - 400 - i * 37, library: "0.1.0",
      }));
      return json(res, { items });
    }
    if (path === "/v1/plans")
      return json(res, {
        items: [
          { name: "shed-then-shift", mode: "auto", anomaly: "overload", target: { service: "$svc", dc: "$dc" }, keep: ["error_ratio <= 1%", "p99_ms <= 250"], steps: ["degrade", "limit", "shift"], file: "plans.yaml", line: 31, hash: "1f0c22ab" },
          { name: "payments-cutover", mode: "approve", anomaly: "dc-latency", target: { service: "payments" }, keep: ["error_ratio <= 1%"], steps: ["shift", "cutover"], hash: "77ab01fe" },
        ],
      });
    if (path.startsWith("/v1/")) return problem(res, 404, "Not found", path);
    const file = normalize(path === "/" ? "/index.html" : path);
    try {
      const data = await readFile(join(DIST, file));
      res.writeHead(200, {
        "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
        "Content-Security-Policy": "default-src 'self'; style-src 'self'; img-src 'self' data:",
        "X-Content-Type-Options": "nosniff",
      });
      res.end(data);
    } catch {
      problem(res, 404, "Not found", path);
    }
  });
  const listen = (p) => new Promise((ok, no) => server.once("error", no).listen(p, "127.0.0.1", ok));
  await listen(port);
  const at = server.address().port;
  // Without a beat of its own the world stands still, and says so once a second: no check has to hurry.
  const timer = setInterval(() => {
    if (tickMs) return advance(1);
    for (const res of streams) res.write(tickText());
  }, tickMs || 1000);
  const down = () =>
    new Promise((ok) => {
      server.close(ok);
      server.closeAllConnections();
    });
  return {
    url: `http://127.0.0.1:${at}`, world, streams, seen, advance,
    down,
    up: () => listen(at),
    stop: async () => {
      clearInterval(timer);
      await down();
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const arg = (name, otherwise) => {
    const i = process.argv.indexOf(`--${name}`);
    return i < 0 ? otherwise : Number(process.argv[i + 1]);
  };
  const f = await startFixture({ port: arg("port", 9181), tickMs: 1000, warm: arg("warm", 20), calm: process.argv.includes("--calm") });
  console.log(`fixture at ${f.url}`);
}

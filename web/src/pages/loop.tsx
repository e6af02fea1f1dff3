import { useMemo, useState } from "preact/hooks";
import { cursor, marked, Pane, type Frame, type PaneSpec, type Rows } from "../parts/chart";
import { Markers, Phases, type Numbered } from "../parts/strip";
import { LoopButtons } from "../parts/commands";
import { Ago, At, Badge, Empty, Panel } from "../parts/ui";
import { useDetail } from "../detail";
import { absolute, actionName, bound, capacityNote, clock, countdown, inForce, num, percent, prose, span, unitOf, value, where, withUnit } from "../format";
import { Icon } from "../icons";
import { isOpen, serverNow } from "../live";
import { DECISIVE, KIND_LOOKS, look, lookOf } from "../phase";
import type { Actuator, Event, HistoryEntry, Loop } from "../types";

const ROWS_SHOWN = 60;

export function LoopPage({ id }: { id: string }) {
  const { loop, points, journal, error } = useDetail(id);
  if (!loop) {
    return error ? (
      <Empty whole icon="cross" title="This loop cannot be shown">
        {error} <a href="#/">Back to the overview</a>
      </Empty>
    ) : (
      <p class="loading">Loading…</p>
    );
  }
  const numbered: Numbered[] = journal.filter((e) => DECISIVE.has(e.kind)).map((ev, i) => ({ n: i + 1, ev }));
  return (
    <div class="loop-page">
      <Head loop={loop} />
      <div class="loop-columns">
        <div class="loop-main">
          <Charts loop={loop} points={points} journal={journal} numbered={numbered} />
          <HistoryTable loop={loop} points={points} />
        </div>
        <Journal loop={loop} journal={journal} numbered={numbered} />
      </div>
    </div>
  );
}

function Head({ loop }: { loop: Loop }) {
  const l = lookOf(loop);
  const open = isOpen(loop);
  return (
    <section class="panel loop-head" aria-labelledby="loop-title">
      <div class="loop-top">
        <a class="back" href="#/" aria-label="Back to the overview">
          <Icon name="home" />
        </a>
        <Badge word={l.word} icon={l.icon} tone={l.tone} />
        <h1 id="loop-title">
          {loop.plan} <span class="muted">at</span> {where(loop.target)}
        </h1>
        <LoopButtons loop={loop} />
      </div>
      <p class="why">
        {prose(loop.why) || "No reason given."}
      </p>
      <dl class="facts">
        <div>
          <dt>Next</dt>
          <dd>
            <Next loop={loop} />
          </dd>
        </div>
        {loop.keep.map((k) => (
          <div key={k.expr}>
            <dt>
              {k.signal || "objective"}
              {open ? "" : ", now"}
            </dt>
            <dd class={k.holds === false ? "broken" : ""}>
              <Icon name={k.holds === null || k.quality !== "ok" ? "dash" : k.holds ? "check" : "alert"} size={14} />
              {k.quality !== "ok" ? k.quality.replace(/_/g, " ") : value(k.signal ?? "", k.value)}{" "}
              <span class="muted">{k.bound === null ? k.expr : `goal ${bound(k.op, k.signal ?? "", k.bound)}`}</span>
            </dd>
          </div>
        ))}
        <div>
          <dt>Safe capacity</dt>
          <dd>
            {loop.capacity ? (
              <>
                {withUnit(loop.capacity.rps, "rps")} <span class="muted">
                  {capacityNote(loop.capacity.source, isDegraded(loop))}
                  {loop.capacity.age_ms > 0 ? `, ${span(loop.capacity.age_ms)} ago` : ""}
                </span>
              </>
            ) : (
              <span class="muted">not known yet</span>
            )}
          </dd>
        </div>
        <div>
          <dt>{open ? "Open for" : "Was open"}</dt>
          <dd title={absolute(loop.opened_ms)}>
            {span((loop.closed_ms ?? serverNow()) - loop.opened_ms)}
            <span class="muted"> mode {loop.mode}, on {loop.anomaly}</span>
          </dd>
        </div>
        <div>
          <dt>Reversals</dt>
          <dd>{loop.reversals}</dd>
        </div>
      </dl>
      <Ladder loop={loop} />
    </section>
  );
}

export const isDegraded = (l: Loop) => l.actuators.some((a) => a.action.startsWith("degrade") && Boolean(a.value));

export function Next({ loop }: { loop: Loop }) {
  if (!isOpen(loop)) return <>nothing: {loop.ended ?? "closed"} <Ago ms={loop.closed_ms} /></>;
  if (!loop.next) return <span class="muted">waits for the next measurement</span>;
  const left = loop.next_ms === null ? null : loop.next_ms - serverNow();
  return (
    <>
      {loop.next}
      {left === null ? null : left > 500 ? (
        <>
          {" "}
          in <b>{countdown(left)}</b>
        </>
      ) : (
        <b> now</b>
      )}
    </>
  );
}

function Ladder({ loop }: { loop: Loop }) {
  return (
    <div class="ladder">
      <span class="muted">ladder</span>
      <ol>
        {loop.steps.map((s, i) => {
          const verb = s.split(":")[0];
          // Both shift and cutover end in weights: nothing left for some data center is a cutover.
          const emptied = loop.actuators.some((a) => a.action.startsWith("weights") && a.value === 0);
          const live = loop.actuators.filter((a) => {
            const av = a.action.split(":")[0];
            return (av === verb || (av === "weights" && verb === (emptied && loop.steps.includes("cutover") ? "cutover" : "shift"))) && inForce(a);
          });
          return (
            <li key={i} class={live.length ? "on" : i < loop.rung ? "tried" : ""}>
              <span class="rung">{i + 1}</span> {s}
              {live.map((a) => (
                <b key={a.action + where(a.target)} title={`${where(a.target)}: ${actionName(a.action)}`}>
                  {withUnit(a.value, a.unit)}
                </b>
              ))}
            </li>
          );
        })}
      </ol>
    </div>
  );
}

// ---- charts ----

const byKey = (loop: Loop, key: string): Actuator | undefined =>
  loop.actuators.find((a) => a.action === key) ?? loop.actuators.find((a) => a.action.split(":")[0] === key.split(":")[0]);

function unitOfActuator(loop: Loop, key: string): string {
  const a = byKey(loop, key);
  if (a) return a.unit;
  const verb = key.split(":")[0];
  return verb === "limit" ? "rps" : verb === "timeout" ? "ms" : verb === "degrade" || verb === "eject" || verb === "hedge" ? "level" : "ratio";
}

function keysOf(points: HistoryEntry[], of: (p: HistoryEntry) => Record<string, unknown>): string[] {
  const keys = new Set<string>();
  for (const p of points) for (const k of Object.keys(of(p) ?? {})) keys.add(k);
  return [...keys];
}

// Time without a measurement is a hole in the line, also when the ticks themselves are missing.
function withHoles(points: HistoryEntry[]): (HistoryEntry | number)[] {
  const out: (HistoryEntry | number)[] = [];
  const steps = points.slice(1).map((p, i) => p.at_ms - points[i]!.at_ms).sort((a, b) => a - b);
  const usual = steps[steps.length >> 1] ?? 1000;
  points.forEach((p, i) => {
    const before = points[i - 1];
    if (before && p.at_ms - before.at_ms > Math.max(5_000, usual * 3.5)) out.push(before.at_ms + usual);
    out.push(p);
  });
  return out;
}

function Charts({ loop, points, journal, numbered }: { loop: Loop; points: HistoryEntry[]; journal: Event[]; numbered: Numbered[] }) {
  const data = useMemo(() => {
    const items = withHoles(points);
    const xs = items.map((p) => (typeof p === "number" ? p : p.at_ms) / 1000);
    // null is a gap: it was not measured. undefined is a tick that does not say, and the line goes on.
    const column = (of: (p: HistoryEntry) => number | null | undefined) => items.map((p) => (typeof p === "number" ? null : of(p)));
    const rows: Rows = {};
    for (const k of keysOf(points, (p) => p.signals)) rows[`s:${k}`] = column((p) => p.signals?.[k]);
    for (const k of keysOf(points, (p) => p.load)) rows[`l:${k}`] = column((p) => p.load?.[k]);
    for (const k of keysOf(points, (p) => p.actuators)) rows[`a:${k}`] = column((p) => p.actuators?.[k]);
    return { xs, rows };
  }, [points.length, points.at(-1)?.at_ms, points.at(0)?.at_ms, loop.id, points]);

  if (!points.length)
    return (
      <Panel title="Course">
        <Empty icon="hourglass" title="No measurements yet">
          The first one arrives with the next tick.
        </Empty>
      </Panel>
    );

  const first = data.xs[0]!;
  const last = Math.max(data.xs.at(-1)!, isOpen(loop) ? serverNow() / 1000 : 0);
  const frame: Frame = { from: first, to: Math.max(last, first + 30) };
  const panes: PaneSpec[] = [];
  const shown = new Set<string>();
  for (const k of loop.keep) {
    if (!k.signal || shown.has(k.signal)) continue;
    shown.add(k.signal);
    panes.push({
      id: `s:${k.signal}`,
      title: k.signal,
      unit: unitOf(k.signal),
      height: panes.length ? 100 : 176,
      lines: [{ label: k.signal, key: `s:${k.signal}`, color: "--line-main" }],
      bound: k.bound === null || !k.op ? undefined : { op: k.op, value: k.bound, text: bound(k.op, k.signal, k.bound) },
    });
  }
  for (const key of Object.keys(data.rows)) {
    if (!key.startsWith("s:") || shown.has(key.slice(2))) continue;
    panes.push({ id: key, title: key.slice(2), unit: unitOf(key.slice(2)), height: 96, lines: [{ label: key.slice(2), key, color: "--line-main" }] });
  }
  const limit = Object.keys(data.rows).find((k) => k.startsWith("a:limit"));
  let limitShown = false;
  if (data.rows["l:offered_rps"] || data.rows["l:ok_rps"]) {
    const lines: PaneSpec["lines"] = [];
    if (data.rows["l:offered_rps"]) lines.push({ label: "offered", key: "l:offered_rps", color: "--line-soft" });
    if (data.rows["l:ok_rps"]) lines.push({ label: "served well", key: "l:ok_rps", color: "--line-main", fill: true });
    if (data.rows["l:dropped_rps"]) lines.push({ label: "held back", key: "l:dropped_rps", color: "--line-alt", dash: [3, 3] });
    limitShown = Boolean(limit);
    if (limit) lines.push({ label: "limit", key: limit, color: "--line-act", stepped: true });
    panes.push({
      id: "load",
      title: "traffic",
      unit: "rps",
      height: 150,
      lines,
      level: loop.capacity ? { value: loop.capacity.rps, text: `safe capacity ${withUnit(loop.capacity.rps, "rps")}, ${capacityNote(loop.capacity.source, isDegraded(loop))}` } : undefined,
    });
  }
  for (const key of Object.keys(data.rows)) {
    if (!key.startsWith("a:") || (key === limit && limitShown)) continue;
    const name = key.slice(2);
    const unit = unitOfActuator(loop, name);
    // The history says "degrade"; what was degraded is in the loop while it is in force, and in its journal afterwards.
    const full = byKey(loop, name)?.action ?? [...journal].reverse().find((e) => e.action?.split(":")[0] === name)?.action ?? name;
    panes.push({
      id: key,
      title: name === "weights" && loop.target.dc ? `share of ${loop.target.dc}` : actionName(full),
      unit,
      height: 62,
      lines: [{ label: name, key, color: "--line-act", stepped: true, fill: true }],
      top: byKey(loop, name)?.max ?? (unit === "ratio" ? 1 : unit === "level" ? 1 : null),
      whole: unit === "level",
    });
  }
  const marks = numbered.map((x) => x.ev.at_ms / 1000);
  const at = cursor.value;
  return (
    <Panel title="Course" count={at === null ? `${points.length} ticks` : `at ${clock(at * 1000)}`}>
      <div class="charts">
        <Markers items={numbered} frame={frame} onPick={pick} />
        <Phases points={points} frame={frame} />
        {panes.map((spec, i) => (
          <Pane key={spec.id} spec={spec} xs={data.xs} rows={data.rows} frame={frame} marks={marks} axis={i === panes.length - 1} group={loop.id} />
        ))}
      </div>
    </Panel>
  );
}

function pick(seq: number) {
  const row = document.getElementById(`ev-${seq}`);
  row?.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  row?.focus({ preventScroll: true });
}

// ---- the journal of this loop ----

function Journal({ loop, journal, numbered }: { loop: Loop; journal: Event[]; numbered: Numbered[] }) {
  const [all, setAll] = useState(false);
  const n = new Map(numbered.map((x) => [x.ev.seq, x.n]));
  const rows = [...journal].reverse().filter((e) => all || e.kind !== "hold" || n.size < 12);
  const hidden = journal.length - rows.length;
  return (
    <Panel title="Decisions" class="journal" count={`${journal.length} events, newest first`}>
      {rows.length ? (
        <ol class="events" role="list">
          {rows.map((e) => (
            <EventRow key={e.seq} ev={e} n={n.get(e.seq)} home={where(loop.target)} />
          ))}
        </ol>
      ) : (
        <Empty icon="list" title="Nothing decided yet" />
      )}
      {hidden > 0 ? (
        <button class="button more" onClick={() => setAll(true)}>
          Show {hidden} holds
        </button>
      ) : null}
    </Panel>
  );
}

function EventRow({ ev, n, home }: { ev: Event; n: number | undefined; home: string }) {
  const k = KIND_LOOKS[ev.kind] ?? { word: ev.kind.replace(/_/g, " "), icon: "ring", tone: "quiet" as const };
  const on = marked.value?.seq === ev.seq;
  const point = () => {
    if (n !== undefined) marked.value = { seq: ev.seq, at: ev.at_ms / 1000 };
  };
  const leave = () => {
    if (marked.peek()?.seq === ev.seq) marked.value = null;
  };
  return (
    <li
      id={`ev-${ev.seq}`}
      class={`event ${on ? "on" : ""} ${n === undefined ? "minor" : ""}`}
      tabIndex={0}
      data-row
      onMouseEnter={point}
      onMouseLeave={leave}
      onFocus={point}
      onBlur={leave}
    >
      <span class={`event-n ${n === undefined ? "none" : ev.kind === "action" ? "acts" : ""}`}>{n ?? ""}</span>
      <div>
        <p class="event-head">
          <Badge {...k} />
          <span class="event-at">
            <At ms={ev.at_ms} />
          </span>
        </p>
        {ev.action ? (
          <p>
            <Change ev={ev} />
            {ev.target && where(ev.target) !== home ? <span class="muted"> at {where(ev.target)}</span> : null}
          </p>
        ) : null}
        <p class="event-why">{prose(ev.reason)}</p>
        <Terms detail={ev.detail} />
      </div>
    </li>
  );
}

export function Change({ ev }: { ev: Event }) {
  const unit = ev.unit ?? "";
  const none = ev.action?.startsWith("limit") ? "none" : "0";
  const show = (v: number | null | undefined) => (v === null || v === undefined ? none : unit === "ratio" ? percent(v) : unit === "level" ? num(v) : withUnit(v, unit));
  return (
    <b class="change">
      {actionName(ev.action ?? "")} {show(ev.from)} → {show(ev.to)}
    </b>
  );
}

// The law's inputs and terms, flat: what an engineer wants next morning.
export function Terms({ detail }: { detail: Record<string, unknown> | null | undefined }) {
  const entries = Object.entries(detail ?? {});
  if (!entries.length) return null;
  const text = (v: unknown) => (typeof v === "number" ? num(v) : typeof v === "string" ? v : JSON.stringify(v));
  return (
    <details class="terms">
      <summary>terms</summary>
      <dl>
        {entries.map(([k, v]) => (
          <div key={k}>
            <dt>{k}</dt>
            <dd>{text(v)}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

function HistoryTable({ loop, points }: { loop: Loop; points: HistoryEntry[] }) {
  const [open, setOpen] = useState(false);
  const [all, setAll] = useState(false);
  const signals = open ? keysOf(points, (p) => p.signals) : [];
  const loads = open ? keysOf(points, (p) => p.load) : [];
  const acts = open ? keysOf(points, (p) => p.actuators) : [];
  const rows = open ? [...points].reverse().slice(0, all ? undefined : ROWS_SHOWN) : [];
  return (
    <details class="panel table-details" onToggle={(e) => setOpen((e.currentTarget as HTMLDetailsElement).open)}>
      <summary>The same figures as a table ({points.length} ticks)</summary>
      {open ? (
        <div class="scroll" tabIndex={0} role="region" aria-label="Figures of this loop, newest first">
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">time</th>
                <th scope="col">phase</th>
                {[...signals, ...loads, ...acts].map((k) => (
                  <th scope="col" class="n" key={k}>
                    {k}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((p) => (
                <tr key={p.at_ms}>
                  <th scope="row">
                    <At ms={p.at_ms} />
                  </th>
                  <td>{look(p.phase).word}</td>
                  {signals.map((k) => (
                    <td class="n" key={k}>{value(k, p.signals?.[k])}</td>
                  ))}
                  {loads.map((k) => (
                    <td class="n" key={k}>{value(k, p.load?.[k])}</td>
                  ))}
                  {acts.map((k) => (
                    <td class="n" key={k}>{withUnit(p.actuators?.[k], unitOfActuator(loop, k))}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
          {points.length > rows.length ? (
            <button class="button more" onClick={() => setAll(true)}>
              Show all {points.length}
            </button>
          ) : null}
        </div>
      ) : null}
    </details>
  );
}

import { useState } from "preact/hooks";
import { capacityNote, num, percent, withUnit } from "../format";
import { Icon } from "../icons";
import type { Action, Capacity, Decision, Loop, Signal } from "../types";
import { Empty, Panel } from "./ui";

// Where the requests go: callers, service, data centers. A line is as wide as its rate; what is held back is dashed and
// does not arrive; what is in force is written on the data center it is in force at.

const DC_HEIGHT = 66;
const DC_GAP = 8;
const MAX_WIDTH = 16;
const SHOWN = 4;

interface Dc {
  name: string;
  offered: number | null;
  admitted: number | null;
  ok: number | null;
  capacity: Capacity | null;
  share: number | null;
  actions: { text: string; armed: boolean }[];
  loop: boolean;
}

interface Service {
  name: string;
  dcs: Dc[];
  offered: number | null;
  loop: boolean;
}

function phrase(a: Action): string | null {
  switch (a.action) {
    case "limit":
      return a.rps === undefined ? `limit ${num(a.concurrency ?? 0)} in flight` : `limit ${withUnit(a.rps, "rps")}`;
    case "drop":
      return `drop ${a.priority} ${percent(a.ratio)}`;
    case "degrade":
      return a.level ? `${a.feature} level ${num(a.level)}` : null;
    case "eject":
      return `eject ${a.instance}`;
    case "retry":
      return `retries ${percent(a.budget)}`;
    case "timeout":
      return `time-out ${withUnit(a.ms, "ms")}`;
    case "hedge":
      return a.enabled ? null : "no hedging";
    case "isolate":
      return `isolate ${a.caller} ${percent(a.ratio ?? 1)}`;
    case "versions":
      return Object.entries(a.shares).map(([v, share]) => `${v} ${percent(share)}`).join(" · ");
    default:
      return null;
  }
}

export function picture(signals: readonly Signal[], capacity: readonly Capacity[], decisions: readonly Decision[], open: readonly Loop[]): Service[] {
  const names = new Map<string, Set<string>>();
  const note = (service?: string, dc?: string) => {
    if (!service) return;
    const dcs = names.get(service) ?? new Set<string>();
    if (dc) dcs.add(dc);
    names.set(service, dcs);
  };
  for (const c of capacity) note(c.service, c.dc);
  for (const s of signals) if (/_rps$/.test(s.name)) note(s.labels.service, s.labels.dc);
  for (const d of decisions) {
    note(d.target.service, d.target.dc);
    for (const a of d.actions) if (a.action === "weights") for (const dc of Object.keys(a.dcs)) note(d.target.service, dc);
  }
  for (const l of open) note(l.target.service, l.target.dc);

  // By priority or as one: what is there is added up, and what is not measured stays unknown.
  const rate = (name: string, service: string, dc: string): number | null => {
    const found = signals.filter((s) => s.name === name && s.labels.service === service && (s.labels.dc ?? "") === dc && s.quality === "ok" && s.value !== null);
    return found.length ? found.reduce((sum, s) => sum + (s.value ?? 0), 0) : null;
  };
  const services = [...names].map(([name, set]): Service => {
    const weights = decisions.find((d) => d.target.service === name && !d.target.dc)?.actions.find((a) => a.action === "weights");
    const dcs = [...set].sort().map((dc): Dc => {
      const cap = capacity.find((c) => c.service === name && c.dc === dc) ?? null;
      const offered = cap?.offered_rps ?? rate("offered_rps", name, dc);
      const dropped = cap?.dropped_rps ?? null;
      const here = decisions.filter((d) => d.target.service === name && d.target.dc === dc);
      return {
        name: dc,
        offered,
        admitted: offered !== null && dropped !== null ? offered - dropped : rate("admitted_rps", name, dc),
        ok: cap?.ok_rps ?? rate("ok_rps", name, dc),
        capacity: cap,
        share: weights?.action === "weights" ? (weights.dcs[dc] ?? 0) : null,
        actions: here.flatMap((d) => d.actions.flatMap((a) => {
          const text = phrase(a);
          return text ? [{ text, armed: d.armed }] : [];
        })),
        loop: open.some((l) => l.target.service === name && (!l.target.dc || l.target.dc === dc)),
      };
    });
    const known = dcs.filter((d) => d.offered !== null);
    return { name, dcs, offered: known.length ? known.reduce((s, d) => s + (d.offered ?? 0), 0) : null, loop: dcs.some((d) => d.loop) };
  });
  return services
    .filter((s) => s.dcs.length)
    .sort((a, b) => Number(b.loop) - Number(a.loop) || (b.offered ?? -1) - (a.offered ?? -1) || a.name.localeCompare(b.name));
}

export function Traffic(props: { signals: readonly Signal[]; capacity: readonly Capacity[]; decisions: readonly Decision[]; open: readonly Loop[] }) {
  const [all, setAll] = useState(false);
  const services = picture(props.signals, props.capacity, props.decisions, props.open);
  const most = Math.max(1, ...services.map((s) => s.offered ?? 0));
  const shown = all ? services.slice(0, 40) : services.slice(0, SHOWN);
  return (
    <Panel
      title="Traffic"
      count="what is offered, what arrives, what holds it back"
      tools={
        services.length > SHOWN ? (
          <button class="button" onClick={() => setAll(!all)}>
            {all ? "Show less" : `All ${services.length} services`}
          </button>
        ) : null
      }
    >
      {shown.length ? (
        <div class="traffic">
          {shown.map((s) => (
            <ServiceRow key={s.name} service={s} most={most} />
          ))}
        </div>
      ) : (
        <Empty icon="wave" title="No traffic is known yet">
          Rates appear when agents report, or when signals named offered_rps and ok_rps have a query.
        </Empty>
      )}
    </Panel>
  );
}

const wide = (rps: number | null, most: number) => (rps === null ? 1.5 : rps <= 0 ? 0 : Math.max(1.5, (rps / most) * MAX_WIDTH));

function ServiceRow({ service, most }: { service: Service; most: number }) {
  const height = service.dcs.length * DC_HEIGHT + (service.dcs.length - 1) * DC_GAP;
  const mid = height / 2;
  return (
    <div class={`svc ${service.loop ? "hot" : ""}`}>
      <div class="svc-callers">
        <span class="muted">callers</span>
        <b>{withUnit(service.offered, "rps")}</b>
      </div>
      <svg class="svc-in" viewBox={`0 0 40 ${height}`} preserveAspectRatio="none" height={height} aria-hidden="true">
        <line x1="0" x2="40" y1={mid} y2={mid} class="flow" stroke-width={wide(service.offered, most)} />
      </svg>
      <div class="svc-name">
        <b>{service.name}</b>
        <span class="muted only-narrow">{withUnit(service.offered, "rps")} offered</span>
        {service.loop ? (
          <span class="hot-word">
            <Icon name="bolt" size={12} /> loop open
          </span>
        ) : null}
      </div>
      <svg class="svc-out" viewBox={`0 0 100 ${height}`} preserveAspectRatio="none" height={height} aria-hidden="true">
        {service.dcs.map((dc, i) => {
          const y = i * (DC_HEIGHT + DC_GAP) + DC_HEIGHT / 2;
          const through = dc.admitted ?? dc.ok ?? dc.offered;
          const held = dc.offered !== null && through !== null ? Math.max(0, dc.offered - through) : 0;
          const start = mid + (i - (service.dcs.length - 1) / 2) * Math.min(18, DC_HEIGHT / 2);
          const w = wide(through, most);
          const h = held > 0.01 * most ? Math.max(2, wide(held, most)) : 0;
          return (
            <g key={dc.name}>
              <path d={`M0 ${start} C50 ${start} 50 ${y} 100 ${y}`} class={`flow ${through === null ? "unknown" : ""}`} stroke-width={w} />
              {h ? (
                <path
                  d={`M0 ${start + (w + h) / 2 + 1} C45 ${start + (w + h) / 2 + 1} 45 ${y + (w + h) / 2 + 2} 78 ${y + (w + h) / 2 + 2}`}
                  class="held"
                  stroke-width={h}
                />
              ) : null}
            </g>
          );
        })}
      </svg>
      <ul class="svc-dcs">
        {service.dcs.map((dc) => (
          <DcBox key={dc.name} dc={dc} />
        ))}
      </ul>
    </div>
  );
}

function DcBox({ dc }: { dc: Dc }) {
  const cap = dc.capacity?.rps ?? null;
  const full = Math.max(cap ?? 0, dc.offered ?? 0, 1) * 1.05;
  const pct = (v: number | null) => `${Math.min(100, ((v ?? 0) / full) * 100)}`;
  const held = dc.offered !== null && dc.ok !== null ? Math.max(0, dc.offered - dc.ok) : 0;
  return (
    <li class={`dc ${dc.loop ? "hot" : ""}`}>
      <div class="dc-top">
        <b>{dc.name}</b>
        {dc.share !== null ? <span class="chip on">share {percent(dc.share)}</span> : null}
        <span class="dc-rate">
          {dc.offered === null ? <span class="muted">rate not measured</span> : <>{withUnit(dc.offered, "rps")} offered</>}
          {dc.ok !== null ? <> · {num(dc.ok)} served well</> : null}
        </span>
      </div>
      <svg class="dc-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect x="0" y="0" width="100" height="8" class="track" />
        <rect x="0" y="0" width={pct(dc.ok ?? dc.offered)} height="8" class="good" />
        {held ? <rect x={pct(dc.ok)} y="0" width={String(Math.min(100, (held / full) * 100))} height="8" class="over" /> : null}
        {cap !== null ? <line x1={pct(cap)} x2={pct(cap)} y1="0" y2="8" class="cap" /> : null}
      </svg>
      <div class="dc-bottom">
        <span class="muted">{cap === null ? "capacity not known" : `capacity ${withUnit(cap, "rps")}, ${capacityNote(dc.capacity?.source, Boolean(dc.capacity?.degrade_level))}`}</span>
        {dc.actions.map((a) => (
          <span key={a.text} class={`chip ${a.armed ? "armed" : "on"}`}>
            {a.armed ? <Icon name="shield" size={11} /> : <Icon name="bolt" size={11} />}
            {a.armed ? `armed: ${a.text}` : a.text}
          </span>
        ))}
      </div>
    </li>
  );
}

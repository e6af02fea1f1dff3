import { useState } from "preact/hooks";
import { useDetail } from "../detail";
import { actionName, bound, countdown, inForce, plural, prose, span, value, where, withUnit } from "../format";
import { Icon } from "../icons";
import { closedLoops, events, loaded, loops, openLoops, serverNow, status } from "../live";
import { KIND_LOOKS, look, lookOf } from "../phase";
import { useResource } from "../resource";
import { loopHref } from "../route";
import type { Anomaly, Capacity, Decision, HistoryEntry, Keep, Loop, Page, Signal } from "../types";
import { LoopButtons } from "../parts/commands";
import { Spark, trend } from "../parts/spark";
import { Traffic } from "../parts/traffic";
import { Ago, At, Badge, Empty, Find, matches, Panel } from "../parts/ui";
import { Change, isDegraded, Next } from "./loop";
import { told } from "./signals";

const LOOPS_SHOWN = 100;

export function Overview() {
  const acted = events.value.filter((e) => e.kind === "action").at(-1)?.seq ?? 0;
  const signals = useResource<Page<Signal>>("/v1/signals", 2_000);
  const capacity = useResource<Page<Capacity>>("/v1/capacity", 4_000);
  const anomalies = useResource<Page<Anomaly>>("/v1/anomalies", 2_000);
  const decisions = useResource<{ decisions: Decision[] }>("/v1/decisions", 5_000, acted);
  const open = openLoops.value;
  const lead = open[0];
  const detail = useDetail(lead?.id ?? null);
  const all = signals.data?.items ?? [];
  const standing = decisions.data?.decisions ?? [];

  return (
    <div class="overview">
      {lead ? (
        <Lead loop={lead} points={detail.points} signals={all} capacity={capacity.data?.items ?? []} />
      ) : (
        <Calm signals={all} anomalies={anomalies.data?.items ?? []} />
      )}
      <Loops />
      <div class="two">
        <Traffic signals={all} capacity={capacity.data?.items ?? []} decisions={standing} open={open} />
        <Latest />
      </div>
    </div>
  );
}

// ---- what an operator has to know in five seconds ----

function Counts() {
  const by = status.value?.loops.by_phase ?? {};
  const rows = Object.entries(by).filter(([phase, n]) => n > 0 && phase !== "closed");
  if (rows.length < 2 && openLoops.value.length < 2) return null;
  return (
    <p class="counts">
      {rows.map(([phase, n]) => {
        const l = look(phase);
        return (
          <span key={phase} class={`count-of ${l.tone}`}>
            <Icon name={l.icon} size={14} /> {n} {l.word}
          </span>
        );
      })}
    </p>
  );
}

// What the loop's target receives: from the loop itself where it says so, else its last tick, else the signals.
function trafficOf(loop: Loop, points: HistoryEntry[], signals: readonly Signal[], capacity: readonly Capacity[]): { offered: number | null; ok: number | null } {
  const own = loop.load ?? [...points].reverse().find((p) => p.load && typeof p.load.offered_rps === "number")?.load;
  if (own) return { offered: own.offered_rps ?? null, ok: own.ok_rps ?? null };
  const sites = capacity.filter((c) => c.service === loop.target.service && (!loop.target.dc || c.dc === loop.target.dc) && typeof c.offered_rps === "number");
  if (sites.length) return { offered: sites.reduce((t, c) => t + (c.offered_rps ?? 0), 0), ok: sites.reduce((t, c) => t + (c.ok_rps ?? 0), 0) };
  const sum = (name: string) => {
    const found = signals.filter(
      (s) => s.name === name && s.quality === "ok" && s.labels.service === loop.target.service && (!loop.target.dc || s.labels.dc === loop.target.dc),
    );
    return found.length ? found.reduce((t, s) => t + (s.value ?? 0), 0) : null;
  };
  return { offered: sum("offered_rps"), ok: sum("ok_rps") };
}

const worst = (loop: Loop): Keep | undefined => loop.keep.find((k) => k.holds === false) ?? loop.keep[0];

function Lead({ loop, points, signals, capacity }: { loop: Loop; points: HistoryEntry[]; signals: readonly Signal[]; capacity: readonly Capacity[] }) {
  const l = look(loop.phase);
  const paused = status.value?.frozen;
  const k = worst(loop);
  const flow = trafficOf(loop, points, signals, capacity);
  const t = trend(points, k?.signal ?? null);
  const others = openLoops.value.length - 1;
  const alike = openLoops.value.filter((x) => x.id !== loop.id && x.phase === loop.phase).length;
  const asks = loop.phase === "awaiting_approval";
  const called = loop.phase === "escalated" || loop.phase === "failed";
  const standing = loop.actuators.filter(inForce);
  return (
    <section class={`lead ${paused ? "need" : l.tone}`} aria-labelledby="lead-title">
      <div class="lead-top">
        <span class="lead-icon">
          <Icon name={paused ? "pause" : l.icon} size={22} />
        </span>
        <div class="lead-words">
          <h1 id="lead-title">
            {paused ? "Automation is paused; it holds" : `Automation is ${l.says}`} {where(loop.target)}
            {alike ? ` and ${alike} more` : ""}
          </h1>
          <p class="why">
            {prose(loop.why)}
          </p>
        </div>
      </div>
      <dl class="answers">
        <div>
          <dt>{k?.signal ?? "Objective"}</dt>
          <dd class={`figure ${k?.holds === false ? "broken" : ""}`}>
            {k ? (k.quality === "ok" ? value(k.signal ?? "", k.value) : k.quality.replace(/_/g, " ")) : "–"}
            <span class="muted"> {k && k.bound !== null ? `goal ${bound(k.op, k.signal ?? "", k.bound)}` : (k?.expr ?? "")}</span>
          </dd>
          <dd class="sub">
            {k ? (
              <span class="with-spark">
                <Spark points={points} keep={k} width={110} height={26} />
                <span class="state">
                  <Icon name={k.quality !== "ok" ? "unplug" : k.holds ? "check" : "alert"} size={13} />
                  {k.quality !== "ok" ? "not measured" : k.holds ? "holds" : "broken"}
                  {t && !k.holds ? `, ${t}` : ""}
                </span>
              </span>
            ) : null}
          </dd>
        </div>
        <div>
          <dt>Traffic</dt>
          <dd class="figure">
            {withUnit(flow.offered, "rps")} <span class="muted">offered</span>
          </dd>
          <dd class="sub">
            {flow.ok === null ? "" : `${withUnit(flow.ok, "rps")} served well`}
            {loop.capacity ? ` · capacity ${withUnit(loop.capacity.rps, "rps")}${isDegraded(loop) ? " undegraded" : ""}` : ""}
          </dd>
        </div>
        <div>
          <dt>Next</dt>
          <dd class="figure text">
            <Next loop={loop} />
          </dd>
          <dd class="sub">{standing.length ? `in force: ${standing.map((a) => `${actionName(a.action)} ${withUnit(a.value, a.unit)}`).join(", ")}` : "nothing in force"}</dd>
        </div>
        <div>
          <dt>Needs you?</dt>
          <dd class={`figure ${asks || called ? "asks" : ""}`}>
            {asks ? (
              <>
                <Icon name="hand" /> Yes, decide
              </>
            ) : called ? (
              <>
                <Icon name="bell" /> Yes, take over
              </>
            ) : paused ? (
              "Resume when ready"
            ) : (
              "No"
            )}
          </dd>
          <dd class="sub">
            {asks && loop.next_ms ? (
              <>nothing is done until you approve, for {countdown(loop.next_ms - serverNow())} more</>
            ) : (
              `open for ${span(serverNow() - loop.opened_ms)}, plan ${loop.plan}`
            )}
          </dd>
        </div>
      </dl>
      <div class="lead-buttons">
        <a class="button big" href={loopHref(loop.id)}>
          <Icon name="next" /> Open the loop
        </a>
        <LoopButtons loop={loop} />
        {others > 0 ? <span class="muted">{plural(others, "more loop")} open below</span> : null}
        <Counts />
      </div>
    </section>
  );
}

function Calm({ signals, anomalies }: { signals: readonly Signal[]; anomalies: readonly Anomaly[] }) {
  const s = status.value;
  if (!s) return <section class="lead quiet">{loaded.value ? <h1>No answer from the daemon yet</h1> : <h1>Connecting…</h1>}</section>;
  const bad = anomalies.filter((a) => a.state !== "clearing");
  const blind = signals.filter((x) => x.quality !== "ok").length;
  const names = new Set(signals.map((x) => x.name)).size;
  const current = s.agents.connected - s.agents.behind;
  const paused = s.frozen;
  const title = paused ? "Automation is paused" : bad.length ? `${plural(bad.length, "anomaly", "anomalies")}, nothing acted on` : "Nothing is wrong";
  return (
    <section class={`lead ${paused ? "need" : bad.length ? "act" : "calm"}`} aria-labelledby="lead-title">
      <div class="lead-top">
        <span class="lead-icon">
          <Icon name={paused ? "pause" : bad.length ? "wave" : "check"} size={22} />
        </span>
        <div class="lead-words">
          <h1 id="lead-title">{title}.</h1>
          <p class="why">
            {plural(names, "signal")} watched, {plural(current, "agent")} current{s.agents.behind ? `, ${s.agents.behind} behind` : ""}.{" "}
            {bad.length
              ? bad.slice(0, 3).map((a) => `${a.name}: ${told(a)}`).join("; ")
              : s.rules.plans
                ? `${plural(s.rules.plans, "plan")} stand ready; a loop opens by itself when a signal leaves its bounds.`
                : "No plan is loaded, so nothing will be acted on."}
          </p>
        </div>
      </div>
      <dl class="answers">
        <div>
          <dt>Signals</dt>
          <dd class="figure">
            {signals.length} <span class="muted">series</span>
          </dd>
          <dd class="sub">{blind ? `${blind} without a good measurement` : "all measured well"}</dd>
        </div>
        <div>
          <dt>Agents</dt>
          <dd class="figure">{s.agents.connected}</dd>
          <dd class="sub">{s.agents.behind ? `${s.agents.behind} behind` : "all have the newest decision"}</dd>
        </div>
        <div>
          <dt>Next</dt>
          <dd class="figure text">watching</dd>
          <dd class="sub">rules {s.rules.hash.slice(0, 8)}, loaded <Ago ms={s.rules.loaded_ms} /></dd>
        </div>
        <div>
          <dt>Needs you?</dt>
          <dd class="figure">{paused ? "Resume when ready" : "No"}</dd>
          <dd class="sub">up for {span(s.now_ms - s.started_ms)}</dd>
        </div>
      </dl>
    </section>
  );
}

// ---- loops, one line each ----

function Loops() {
  const [find, setFind] = useState("");
  const open = openLoops.value;
  const closed = closedLoops.value;
  const wanted = (l: Loop) => !find || matches(find, l.plan, where(l.target), l.phase, l.anomaly, l.mode, l.ended, l.id);
  const rows = [...open, ...closed].filter(wanted);
  return (
    <Panel title="Loops" count={`${open.length} open, ${closed.length} closed lately`} tools={loops.value.size > 1 ? <Find value={find} onInput={setFind} label="Find a loop" /> : null}>
      {rows.length ? (
        <table class="grid loops">
          <thead>
            <tr>
              <th scope="col">State</th>
              <th scope="col">Loop</th>
              <th scope="col">Signal</th>
              <th scope="col">In force</th>
              <th scope="col">Next</th>
              <th scope="col">Since</th>
              <th scope="col">
                <span class="sr">Commands</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, LOOPS_SHOWN).map((l) => (
              <Row key={l.id} loop={l} />
            ))}
          </tbody>
        </table>
      ) : loops.value.size ? (
        <Empty icon="ring" title="No loop matches">
          “{find}” is not in any plan, target or state shown.
        </Empty>
      ) : (
        <Empty icon="check" title="No loops">
          A loop is born when an anomaly matches a plan. It stays listed here for a while after it has closed.
        </Empty>
      )}
      {rows.length > LOOPS_SHOWN ? <p class="muted pad">{rows.length - LOOPS_SHOWN} more: narrow them down with the search.</p> : null}
    </Panel>
  );
}

function Row({ loop }: { loop: Loop }) {
  const l = lookOf(loop);
  const k = worst(loop);
  const on = loop.actuators.filter(inForce);
  const over = loop.phase === "closed";
  return (
    <tr class={over ? "over" : ""}>
      <td class="c-state">
        <Badge word={l.word} icon={l.icon} tone={l.tone} />
      </td>
      <th scope="row" class="c-loop">
        <a href={loopHref(loop.id)} data-row>
          {where(loop.target)}
        </a>
        <span class="muted">{loop.plan}</span>
      </th>
      <td class="c-signal">
        {k && !over ? (
          <>
            <b class={k.holds === false ? "broken" : ""}>{k.quality === "ok" ? value(k.signal ?? "", k.value) : k.quality.replace(/_/g, " ")}</b>
            <span class="muted">
              {k.signal} {k.bound !== null ? bound(k.op, k.signal ?? "", k.bound) : ""}
            </span>
          </>
        ) : (
          <span class="muted">{loop.anomaly}</span>
        )}
      </td>
      <td class="c-force">
        {on.length ? (
          on.map((a) => (
            <span class="chip on" key={a.action + where(a.target)}>
              {actionName(a.action)} {withUnit(a.value, a.unit)}
            </span>
          ))
        ) : (
          <span class="muted">nothing</span>
        )}
      </td>
      <td class="c-next">{over ? <span class="muted">–</span> : <Next loop={loop} />}</td>
      <td class="c-since">
        <Ago ms={over ? loop.closed_ms : loop.opened_ms} short={!over} />
      </td>
      <td class="c-buttons">
        <LoopButtons loop={loop} small />
      </td>
    </tr>
  );
}

// ---- what changed ----

const TOLD = new Set(["not_chosen", "hold", "judged"]);

function Latest() {
  const rows = [...events.value].reverse().filter((e) => !TOLD.has(e.kind)).slice(0, 12);
  return (
    <Panel title="What changed" tools={<a href="#/events">all events</a>}>
      {rows.length ? (
        <ol class="feed" role="list">
          {rows.map((e) => {
            const k = KIND_LOOKS[e.kind] ?? { word: e.kind.replace(/_/g, " "), icon: "ring", tone: "quiet" as const };
            return (
              <li key={e.seq}>
                <span class="feed-at">
                  <At ms={e.at_ms} />
                </span>
                <span class={`feed-icon ${k.tone}`}>
                  <Icon name={k.icon} size={14} />
                </span>
                <span class="feed-text">
                  {e.loop ? <a href={loopHref(e.loop)}>{where(e.target)}</a> : <b>{k.word}</b>} {e.action ? <Change ev={e} /> : null}
                  {e.action ? "" : ` ${prose(e.reason) || k.word}`}
                </span>
              </li>
            );
          })}
        </ol>
      ) : (
        <Empty icon="list" title="Nothing has happened yet" />
      )}
    </Panel>
  );
}

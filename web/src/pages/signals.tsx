import { useState } from "preact/hooks";
import { num, percent, span, value, withUnit } from "../format";
import { Icon } from "../icons";
import { useResource } from "../resource";
import type { Anomaly, Capacity, Page, Signal } from "../types";
import { Ago, Badge, Empty, Find, matches, Panel } from "../parts/ui";
import type { Tone } from "../phase";

const SHOWN = 200;

const FIRST = ["service", "dc", "instance", "priority"];
const rank = (k: string) => (FIRST.indexOf(k) + 1 || FIRST.length + 1);
const labels = (l: Record<string, string>) => Object.entries(l ?? {}).sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b));
const place = (s: Signal) => labels(s.labels).map(([, v]) => v).join(" ");

export function Labels({ of }: { of: Record<string, string> }) {
  return (
    <span class="labels">
      {labels(of).map(([k, v]) => (
        <span key={k} class="label">
          <span class="muted">{k}</span> {v}
        </span>
      ))}
    </span>
  );
}

const STATES: Record<string, { word: string; icon: string; tone: Tone }> = {
  pending: { word: "pending", icon: "hourglass", tone: "quiet" },
  open: { word: "open", icon: "alert", tone: "act" },
  clearing: { word: "clearing", icon: "undo", tone: "calm" },
};

// The rule as written, with what its first signal is now: "error_ratio > 5%" says which one and in which unit.
export function told(a: Anomaly): string {
  if (a.value === null || a.value === undefined) return a.text;
  const name = a.text.match(/[a-z_][a-z0-9_]*/)?.[0] ?? "";
  return a.text ? `${a.text}, now ${value(name, a.value)}` : num(a.value);
}

const QUALITY: Record<string, string> = {
  no_data: "no data",
  stale: "stale",
  too_few_samples: "too few samples",
  source_down: "source down",
};

export function SignalsPage() {
  const [find, setFind] = useState("");
  const [bad, setBad] = useState(false);
  const signals = useResource<Page<Signal>>("/v1/signals", 2_000);
  const anomalies = useResource<Page<Anomaly>>("/v1/anomalies", 2_000);
  const capacity = useResource<Page<Capacity>>("/v1/capacity", 4_000);
  const all = signals.data?.items ?? [];
  const rows = all
    .filter((s) => (!bad || s.quality !== "ok") && (!find || matches(find, s.name, s.quality, ...Object.values(s.labels ?? {}))))
    .sort((a, b) => Number(a.quality === "ok") - Number(b.quality === "ok") || a.name.localeCompare(b.name) || place(a).localeCompare(place(b)));
  const unwell = all.filter((s) => s.quality !== "ok").length;
  return (
    <>
      <h1 class="sr">Signals and anomalies</h1>
      <Panel title="Anomalies" count={anomalies.data ? `${anomalies.data.items.length}` : ""}>
        {anomalies.data?.items.length ? (
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">State</th>
                <th scope="col">Anomaly</th>
                <th scope="col">Where</th>
                <th scope="col">What</th>
                <th scope="col">For</th>
              </tr>
            </thead>
            <tbody>
              {anomalies.data.items.slice(0, SHOWN).map((a) => (
                <tr key={a.name + JSON.stringify(a.labels)}>
                  <td>
                    <Badge {...(STATES[a.state] ?? { word: a.state, icon: "ring", tone: "quiet" })} />
                  </td>
                  <th scope="row">{a.name}</th>
                  <td>
                    <Labels of={a.labels} />
                  </td>
                  <td class="wide">{told(a)}</td>
                  <td data-l="for">
                    <Ago ms={a.since_ms} short />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <Loaded of={anomalies} icon="check" title="No anomaly">
            Every signal is inside its bounds.
          </Loaded>
        )}
      </Panel>
      <Panel
        title="Signals"
        count={signals.data ? `${all.length} series${unwell ? `, ${unwell} not measured well` : ""}` : ""}
        tools={
          <>
            <label class="check">
              <input type="checkbox" checked={bad} onChange={(e) => setBad((e.currentTarget as HTMLInputElement).checked)} /> only without a good measurement
            </label>
            <Find value={find} onInput={setFind} label="Find a signal" />
          </>
        }
      >
        {rows.length ? (
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">Signal</th>
                <th scope="col">Labels</th>
                <th scope="col" class="n">
                  Value
                </th>
                <th scope="col">Quality</th>
                <th scope="col" class="n">
                  Age
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, SHOWN).map((s) => (
                <tr key={s.name + JSON.stringify(s.labels)} class={s.quality === "ok" ? "" : "unwell"}>
                  <th scope="row">{s.name}</th>
                  <td>
                    <Labels of={s.labels} />
                  </td>
                  <td class="n">{s.quality === "ok" ? value(s.name, s.value) : "–"}</td>
                  <td>
                    <span class={`quality ${s.quality === "ok" ? "" : "broken"}`}>
                      <Icon name={s.quality === "ok" ? "check" : "unplug"} size={13} /> {QUALITY[s.quality] ?? s.quality}
                    </span>
                  </td>
                  <td class="n" data-l="age">{s.age_ms === null ? "–" : span(s.age_ms)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <Loaded of={signals} icon="wave" title={all.length ? "No signal matches" : "No signal has a value yet"}>
            {all.length ? "Change the search above." : "They appear after the first answer of a source or the first report of an agent."}
          </Loaded>
        )}
        {rows.length > SHOWN ? <p class="muted pad">{rows.length - SHOWN} more: narrow them down with the search.</p> : null}
      </Panel>
      <Panel title="Safe capacity" count="what every step is sized from">
        {capacity.data?.items.length ? (
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">Service</th>
                <th scope="col">Data center</th>
                <th scope="col" class="n">
                  Capacity
                </th>
                <th scope="col">Known from</th>
                <th scope="col" class="n">
                  Utilization
                </th>
                <th scope="col" class="n">
                  Age
                </th>
              </tr>
            </thead>
            <tbody>
              {capacity.data.items.slice(0, SHOWN).map((c) => (
                <tr key={c.service + c.dc}>
                  <th scope="row">{c.service}</th>
                  <td>{c.dc}</td>
                  <td class="n">{withUnit(c.rps, "rps")}</td>
                  <td>{c.source ?? "–"}</td>
                  <td class="n" data-l="utilization">{percent(c.utilization)}</td>
                  <td class="n" data-l="age">{c.age_ms === null ? "–" : span(c.age_ms)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        ) : (
          <Loaded of={capacity} icon="scale" title="No capacity known">
            It is configured for a service, learned from good hours, or measured while saturated.
          </Loaded>
        )}
      </Panel>
    </>
  );
}

// Empty because nothing is there, because it is on its way, or because it failed: three different sentences.
export function Loaded(props: { of: { data: unknown; error: string | null }; icon: string; title: string; children?: preact.ComponentChildren }) {
  if (props.of.error && !props.of.data)
    return (
      <Empty icon="cross" title="Could not be loaded">
        {props.of.error}
      </Empty>
    );
  if (!props.of.data) return <p class="loading">Loading…</p>;
  return (
    <Empty icon={props.icon} title={props.title}>
      {props.children}
    </Empty>
  );
}

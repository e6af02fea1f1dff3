import { useState } from "preact/hooks";
import { actionName } from "../format";
import { openLoops, status } from "../live";
import { useResource } from "../resource";
import type { Page, Plan } from "../types";
import { Ago, Badge, Find, matches, Panel } from "../parts/ui";
import type { Tone } from "../phase";
import { Loaded } from "./signals";

const MODES: Record<string, { icon: string; tone: Tone; says: string }> = {
  auto: { icon: "bolt", tone: "act", says: "acts by itself" },
  approve: { icon: "hand", tone: "need", says: "acts when a person approves" },
  advise: { icon: "person", tone: "calm", says: "says what it would do" },
  observe: { icon: "ring", tone: "quiet", says: "watches and writes down" },
};

// A plan's parts come as text or as small documents; both read as one line.
function line(v: unknown): string {
  if (v === null || v === undefined) return "";
  if (typeof v === "string") return v;
  if (typeof v !== "object") return String(v);
  if (Array.isArray(v)) return v.map(line).join(", ");
  const o = v as Record<string, unknown>;
  for (const k of ["expr", "text", "name"]) if (typeof o[k] === "string") return o[k] as string;
  const kind = o.kind ?? o.step ?? o.action;
  if (typeof kind === "string") {
    const rest = Object.entries(o).filter(([k, x]) => k !== "kind" && k !== "step" && k !== "action" && x !== null && x !== false);
    return rest.length ? `${actionName(kind)} (${rest.map(([k, x]) => `${k} ${line(x)}`).join(", ")})` : actionName(kind);
  }
  return Object.entries(o)
    .filter(([, x]) => x !== null && x !== "")
    .map(([k, x]) => `${k} ${line(x)}`)
    .join(" · ");
}

const lines = (v: unknown): string[] => (Array.isArray(v) ? v.map(line) : v === undefined || v === null ? [] : [line(v)]);

export function PlansPage() {
  const [find, setFind] = useState("");
  const plans = useResource<Page<Plan>>("/v1/plans", 15_000, status.value?.rules.hash);
  const rules = status.value?.rules;
  const all = plans.data?.items ?? [];
  const rows = all.filter((p) => !find || matches(find, JSON.stringify(p)));
  return (
    <>
      <h1 class="sr">Plans</h1>
      <Panel
        title="Plans"
        count={rules ? `${rules.plans} from ${rules.files.map((f) => f.split("/").at(-1)).join(", ")}, rules ${rules.hash.slice(0, 8)}` : ""}
        tools={<Find value={find} onInput={setFind} label="Find a plan" />}
      >
        {rules ? (
          <p class="muted pad">
            Loaded <Ago ms={rules.loaded_ms} />. Plans are files: change them in git, try them with <code>trimtab check</code> and <code>trimtab rehearse</code>, then
            reload.
          </p>
        ) : null}
        {rows.length ? (
          <table class="grid plans">
            <thead>
              <tr>
                <th scope="col">Mode</th>
                <th scope="col">Plan</th>
                <th scope="col">Answers</th>
                <th scope="col">Keeps</th>
                <th scope="col">Steps, in order</th>
                <th scope="col" class="n">
                  Open loops
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((p) => {
                const mode = String(p.mode ?? "advise");
                const m = MODES[mode] ?? { icon: "ring", tone: "quiet" as Tone, says: "" };
                return (
                  <tr key={p.name}>
                    <td title={m.says}>
                      <Badge word={mode} icon={m.icon} tone={m.tone} />
                    </td>
                    <th scope="row">
                      {p.name}
                      <span class="muted">{line(p.target)}</span>
                      {typeof p.file === "string" && p.file ? (
                        <span class="muted mono" title={p.file}>
                          {p.file.split("/").at(-1)}
                          {typeof p.line === "number" ? `:${p.line}` : ""}
                        </span>
                      ) : null}
                    </th>
                    <td class="wide" data-l="answers">{line(p.anomaly ?? p.on)}</td>
                    <td class="wide">
                      {lines(p.keep).map((k) => (
                        <code key={k}>{k}</code>
                      ))}
                    </td>
                    <td class="wide">
                      <ol class="steps">
                        {lines(p.steps).map((s, i) => (
                          <li key={i}>
                            <span class="rung">{i + 1}</span> {s}
                          </li>
                        ))}
                      </ol>
                    </td>
                    <td class="n" data-l="open loops">{openLoops.value.filter((l) => l.plan === p.name).length}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        ) : (
          <Loaded of={plans} icon="book" title={all.length ? "No plan matches" : "No plan is loaded"}>
            {all.length ? "Change the search above." : "Without a plan anomalies are shown and nothing is acted on. Start one from the catalog."}
          </Loaded>
        )}
      </Panel>
    </>
  );
}

import { useState } from "preact/hooks";
import { plural } from "../format";
import { serverNow } from "../live";
import { useResource } from "../resource";
import type { Agent, Page } from "../types";
import { Ago, Badge, Find, matches, Panel } from "../parts/ui";
import { Loaded } from "./signals";

const SHOWN = 300;
const SILENT_MS = 5_000;

const behind = (a: Agent) => (typeof a.behind === "number" ? a.behind : a.behind ? 1 : 0);

function stateOf(a: Agent, silentMs: number) {
  if (a.refused) return { word: "refused", icon: "cross", tone: "bad" as const };
  if (silentMs > SILENT_MS) return { word: "silent", icon: "unplug", tone: "bad" as const };
  const n = behind(a);
  if (n) return { word: typeof a.behind === "number" ? `behind ${n}` : "behind", icon: "hourglass", tone: "act" as const };
  return { word: "current", icon: "check", tone: "calm" as const };
}

export function AgentsPage() {
  const [find, setFind] = useState("");
  const agents = useResource<Page<Agent>>("/v1/agents", 2_000);
  const all = agents.data?.items ?? [];
  const late = all.filter((a) => behind(a)).length;
  const rows = all
    .filter((a) => !find || matches(find, a.service, a.dc, a.instance, a.library, behind(a) ? "behind" : "current"))
    .sort((a, b) => Number(Boolean(b.refused)) - Number(Boolean(a.refused)) || behind(b) - behind(a) || a.service.localeCompare(b.service) || a.dc.localeCompare(b.dc) || a.instance.localeCompare(b.instance));
  return (
    <>
      <h1 class="sr">Agents</h1>
      <Panel
        title="Agents"
        count={agents.data ? `${plural(all.length, "agent")}, ${late ? `${late} behind` : "all current"}` : ""}
        tools={<Find value={find} onInput={setFind} label="Find an agent" />}
      >
        {rows.length ? (
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">State</th>
                <th scope="col">Service</th>
                <th scope="col">Data center</th>
                <th scope="col">Instance</th>
                <th scope="col" class="n">
                  Enforces version
                </th>
                <th scope="col">Heard</th>
                <th scope="col">Library</th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, SHOWN).map((a) => {
                // Either a moment or an age, as the daemon likes it.
                const at = a.last_heard_ms > 1e12 ? a.last_heard_ms : serverNow() - a.last_heard_ms;
                return (
                  <tr key={`${a.service} ${a.dc} ${a.instance}`}>
                    <td>
                      <Badge {...stateOf(a, serverNow() - at)} />
                    </td>
                    <th scope="row">{a.service}</th>
                    <td>{a.dc}</td>
                    <td>
                      <span class="mono">{a.instance}</span>
                      {a.refused ? <span class="broken"> {a.refused}</span> : null}
                    </td>
                    <td class="n" data-l="version">{a.version}</td>
                    <td data-l="heard">
                      <Ago ms={at} />
                    </td>
                    <td data-l="library">{a.library ?? "–"}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        ) : (
          <Loaded of={agents} icon="plug" title={all.length ? "No agent matches" : "No agent is connected"}>
            {all.length
              ? "Change the search above."
              : "Agents are the part of the data-plane library that takes decisions and reports load. Without them trimtab can see, and can act on nothing."}
          </Loaded>
        )}
        {rows.length > SHOWN ? <p class="muted pad">{rows.length - SHOWN} more: narrow them down with the search.</p> : null}
      </Panel>
    </>
  );
}

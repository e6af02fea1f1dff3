import { useState } from "preact/hooks";
import { list } from "../api";
import { prose, where } from "../format";
import { events } from "../live";
import { KIND_LOOKS } from "../phase";
import { loopHref } from "../route";
import type { Event } from "../types";
import { At, Badge, Empty, Find, matches, Panel, say } from "../parts/ui";
import { Change, Terms } from "./loop";

const PAGE = 100;

// The journal, newest first. What is new comes by itself; what is older is asked for by its number.
export function EventsPage() {
  const [find, setFind] = useState("");
  const [kind, setKind] = useState("");
  const [older, setOlder] = useState<Event[]>([]);
  const [busy, setBusy] = useState(false);
  const recent = events.value;
  const first = Math.min(recent[0]?.seq ?? Infinity, older[0]?.seq ?? Infinity);
  const bySeq = new Map<number, Event>();
  for (const e of older) bySeq.set(e.seq, e);
  for (const e of recent) bySeq.set(e.seq, e);
  const all = [...bySeq.values()].sort((a, b) => b.seq - a.seq);
  const rows = all.filter(
    (e) => (!kind || e.kind === kind) && (!find || matches(find, e.kind, e.plan, e.loop, e.action, e.reason, e.target ? where(e.target) : "", String(e.seq))),
  );
  const more = Number.isFinite(first) && first > 1;
  const load = async () => {
    setBusy(true);
    try {
      const after = Math.max(0, first - PAGE - 1);
      const page = await list<Event>(`/v1/events?after=${after}&limit=${first - 1 - after}`);
      setOlder((have) => [...page.items.filter((e) => e.seq < first), ...have]);
    } catch (e) {
      say(`Older events could not be loaded. ${e instanceof Error ? e.message : e}`, "bad");
    }
    setBusy(false);
  };
  return (
    <>
      <h1 class="sr">Events</h1>
      <Panel
        title="Events"
        count={`the journal, newest first, ${all.length} shown`}
        tools={
          <>
            <label class="check">
              <span class="sr">Kind</span>
              <select value={kind} onChange={(e) => setKind((e.currentTarget as HTMLSelectElement).value)}>
                <option value="">every kind</option>
                {Object.entries(KIND_LOOKS).map(([k, v]) => (
                  <option key={k} value={k}>
                    {v.word}
                  </option>
                ))}
              </select>
            </label>
            <Find value={find} onInput={setFind} label="Find an event" />
          </>
        }
      >
        {rows.length ? (
          <table class="grid audit">
            <thead>
              <tr>
                <th scope="col" class="n">
                  #
                </th>
                <th scope="col">When</th>
                <th scope="col">Kind</th>
                <th scope="col">Where</th>
                <th scope="col">What and why</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((e) => {
                const k = KIND_LOOKS[e.kind] ?? { word: e.kind.replace(/_/g, " "), icon: "ring", tone: "quiet" as const };
                return (
                  <tr key={e.seq}>
                    <td class="n muted">{e.seq}</td>
                    <td>
                      <At ms={e.at_ms} />
                    </td>
                    <td>
                      <Badge {...k} />
                    </td>
                    <td>
                      {e.loop ? (
                        <a href={loopHref(e.loop)} data-row>
                          {where(e.target)}
                        </a>
                      ) : (
                        <span class="muted">{e.target ? where(e.target) : "–"}</span>
                      )}
                    </td>
                    <td class="wide">
                      {e.action ? <Change ev={e} /> : null} {prose(e.reason)}
                      <Terms detail={e.detail} />
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        ) : (
          <Empty icon="list" title={all.length ? "No event matches" : "The journal is empty"}>
            {all.length ? "Change the search or the kind, or load older ones." : "Everything trimtab sees, decides and is told is written here."}
          </Empty>
        )}
        {more ? (
          <button class="button more" disabled={busy} onClick={load}>
            {busy ? "Loading…" : "Load older events"}
          </button>
        ) : null}
      </Panel>
    </>
  );
}

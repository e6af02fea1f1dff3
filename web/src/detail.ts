import { useEffect, useState } from "preact/hooks";
import { get, list, Problem } from "./api";
import { events, isOpen, loops, reconnects, status } from "./live";
import type { Event, HistoryEntry, Loop } from "./types";

export interface Detail {
  loop: Loop | null;
  points: HistoryEntry[];
  journal: Event[]; // of this loop, oldest first
  error: string | null;
}

const REFRESH_MS = 2_000;

// The history names an actuator of the loop's own target by its verb; the loop's list has those of every target, and only what is in force.
function setting(l: Loop, key: string, before: number | null): number | null {
  const verb = key.split(":")[0];
  const mine = l.actuators.filter((a) => a.action === key || a.action.split(":")[0] === verb);
  if (verb === "weights") return mine.find((a) => a.action === `weights:${l.target.dc}` || a.action === key)?.value ?? before;
  const here = mine.filter((a) => (!l.target.dc || a.target.dc === l.target.dc) && (key === verb || a.action === key));
  if (here.length) return Math.max(...here.map((a) => a.value ?? 0));
  return verb === "limit" ? null : 0;
}

function asEntry(l: Loop, atMs: number, before: HistoryEntry | undefined): HistoryEntry {
  return {
    at_ms: atMs,
    phase: l.phase,
    signals: Object.fromEntries(l.keep.filter((k) => k.signal).map((k) => [k.signal!, k.quality === "ok" ? k.value : null])),
    load: l.load ?? {},
    actuators: Object.fromEntries(Object.entries(before?.actuators ?? {}).map(([k, v]) => [k, setting(l, k, v)])),
  };
}

// One loop with its history: the document now and then, and each tick's state on top of it in between.
export function useDetail(id: string | null): Detail {
  const [whole, setWhole] = useState<Loop | null>(null);
  const [later, setLater] = useState<HistoryEntry[]>([]);
  const [journal, setJournal] = useState<Event[]>([]);
  const [error, setError] = useState<string | null>(null);
  const again = reconnects.value;
  const live = id ? loops.value.get(id) : undefined;
  const now = status.value?.now_ms ?? 0;
  const history = whole?.history ?? [];
  const closed = live ? !isOpen(live) : whole ? !isOpen(whole) : false;

  useEffect(() => {
    setWhole(null);
    setLater([]);
    setJournal([]);
    setError(null);
  }, [id]);

  useEffect(() => {
    if (!id) return;
    let over = false;
    let timer: ReturnType<typeof setTimeout>;
    const turn = async () => {
      try {
        const l = await get<Loop>(`/v1/loops/${encodeURIComponent(id)}`);
        if (over) return;
        setWhole(l);
        setError(null);
        const end = l.history?.at(-1)?.at_ms ?? 0;
        setLater((have) => have.filter((p) => p.at_ms > end + 500));
      } catch (e) {
        if (over) return;
        if (e instanceof Problem && e.status === 404) setError("There is no such loop. Closed loops are kept for a while; the journal keeps their events.");
        else setError(e instanceof Error ? e.message : String(e));
      }
      if (!over && !closed) timer = setTimeout(turn, REFRESH_MS);
    };
    void turn();
    void list<Event>(`/v1/loops/${encodeURIComponent(id)}/events`)
      .then((p) => !over && setJournal(p.items))
      .catch(() => {
        // the live events below still come
      });
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [id, again, closed]);

  useEffect(() => {
    if (!live || !isOpen(live) || !now) return;
    setLater((have) => (have.at(-1)?.at_ms === now ? have : [...have, asEntry(live, now, history.at(-1))].slice(-60)));
  }, [live, now]);

  const end = history.at(-1)?.at_ms ?? 0;
  const points = [...history, ...later.filter((p) => p.at_ms > end + 500)];
  const bySeq = new Map<number, Event>();
  for (const e of journal) bySeq.set(e.seq, e);
  for (const e of events.value) if (e.loop === id) bySeq.set(e.seq, e);
  return {
    loop: live ? { ...live, history } : whole,
    points,
    journal: [...bySeq.values()].sort((a, b) => a.seq - b.seq),
    error,
  };
}


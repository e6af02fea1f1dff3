import { batch, computed, effect, signal } from "@preact/signals";
import { get, list } from "./api";
import type { Event, Loop, Page, Status } from "./types";

// One event stream per tab feeds everything that is live. Ages are measured on this machine's monotonic clock from the
// moment a message came in, so neither machine's wall clock can make old data look new.

const KINDS = [
  "anomaly_opened", "anomaly_cleared", "loop_opened", "loop_phase", "loop_closed", "action", "judged", "relapse", "hold",
  "guardrail", "not_chosen", "page", "command", "frozen", "unfrozen", "rules_changed", "limit_reached", "started", "resumed",
  "source_down", "source_up", "rules_refused", "alert", "store_up",
] as const;

const STALE_AFTER_MS = 5_000;
const SILENT_AFTER_MS = 20_000;
const EVENTS_KEPT = 500;
const LOOPS_AGAIN_MS = 2_000;

export const status = signal<Status | null>(null);
export const loops = signal<ReadonlyMap<string, Loop>>(new Map());
export const events = signal<readonly Event[]>([]); // oldest first
export const loaded = signal(false);
export const now = signal(performance.now()); // moves twice a second; what shows an age reads it
const heardAt = signal<number | null>(null);
const streamOpen = signal(false);
export const reconnects = signal(0); // grows when a stream opens again: whoever keeps a copy fetches it anew
let skewMs = 0;
let loopsAskedAt = 0;

export const heardAgeMs = computed(() => (heardAt.value === null ? null : Math.max(0, now.value - heardAt.value)));
export const stale = computed(() => {
  const age = heardAgeMs.value;
  return age === null ? now.value > STALE_AFTER_MS : age > STALE_AFTER_MS || (!streamOpen.value && age > 1_500);
});
// The oldest of what is on the screen: how long the stream has been silent, plus how old the sources' own data was then.
export const dataAgeMs = computed(() => {
  const heard = heardAgeMs.value;
  const s = status.value;
  if (heard === null || !s) return null;
  const ages = s.sources.filter((x) => x.state === "ok" && x.last_ok_ms).map((x) => s.now_ms - (x.last_ok_ms ?? s.now_ms));
  return heard + Math.max(0, ...ages);
});

export function serverNow(): number {
  void now.value;
  return Date.now() + skewMs;
}

const URGENCY: Record<string, number> = {
  awaiting_approval: 0, failed: 1, escalated: 2, acting: 3, detected: 4, frozen: 5, recovering: 6, settling: 7, settled: 8, closed: 9,
};

export const isOpen = (l: Loop) => l.phase !== "closed" && l.closed_ms === null;
export const openLoops = computed(() =>
  [...loops.value.values()]
    .filter(isOpen)
    .sort((a, b) => (URGENCY[a.phase] ?? 5) - (URGENCY[b.phase] ?? 5) || b.opened_ms - a.opened_ms),
);
export const closedLoops = computed(() =>
  [...loops.value.values()].filter((l) => !isOpen(l)).sort((a, b) => (b.closed_ms ?? b.opened_ms) - (a.closed_ms ?? a.opened_ms)),
);

function takeStatus(s: Status) {
  status.value = s;
  skewMs = s.now_ms - Date.now();
}

function heard() {
  heardAt.value = performance.now();
  now.value = performance.now();
}

function takeTick(tick: { status: Status; loops: Loop[] }) {
  batch(() => {
    heard();
    takeStatus(tick.status);
    const next = new Map<string, Loop>();
    let unsure = false;
    const here = new Set(tick.loops.map((l) => l.id));
    // With very many loops open a tick carries only the newest: the others stay as they were.
    const partly = tick.status.loops.open > tick.loops.filter(isOpen).length;
    for (const [id, l] of loops.value) {
      if (here.has(id)) continue;
      if (isOpen(l)) unsure = true; // it closed while nobody told us how, or was left out: ask
      if (!isOpen(l) || partly) next.set(id, l);
    }
    for (const l of tick.loops) next.set(l.id, l);
    loops.value = next;
    if ((unsure || partly) && performance.now() - loopsAskedAt > LOOPS_AGAIN_MS) void loadLoops();
  });
}

export function takeEvents(items: readonly Event[]) {
  if (!items.length) return;
  const have = new Set(events.value.map((e) => e.seq));
  const fresh = items.filter((e) => !have.has(e.seq));
  if (!fresh.length) return;
  events.value = [...events.value, ...fresh].sort((a, b) => a.seq - b.seq).slice(-EVENTS_KEPT);
}

export function lastSeq(): number {
  return Math.max(status.value?.last_seq ?? 0, events.value.at(-1)?.seq ?? 0);
}

async function loadLoops() {
  loopsAskedAt = performance.now();
  try {
    const [open, closed] = await Promise.all([
      list<Loop>("/v1/loops?state=open&limit=500"),
      list<Loop>("/v1/loops?state=closed&limit=20"),
    ]);
    loops.value = new Map([...closed.items, ...open.items].map((l) => [l.id, l]));
  } catch {
    // the stream brings them, or the banner says that it cannot
  }
}

// The journal reads forward only, so its end has to be known or found: by doubling, then by halving.
async function findLastSeq(): Promise<number> {
  const known = lastSeq();
  if (known) return known;
  const beyond = async (seq: number) => (await list<Event>(`/v1/events?after=${seq}&limit=1`)).items.length > 0;
  if (!(await beyond(0))) return 0;
  let high = 64;
  while (await beyond(high)) high *= 4;
  let low = high === 64 ? 0 : high / 4;
  while (high - low > 1) {
    const mid = Math.floor((low + high) / 2);
    if (await beyond(mid)) low = mid;
    else high = mid;
  }
  return high;
}

// `seen` is the last event that came before the stream broke: what followed is read up to the end.
async function loadEvents(seen: number) {
  try {
    let after: number | null = seen || Math.max(0, (await findLastSeq()) - 150);
    while (after !== null) {
      const page: Page<Event> = await list<Event>(`/v1/events?after=${after}&limit=${EVENTS_KEPT}`);
      takeEvents(page.items);
      after = page.next === null || page.next === undefined ? null : Number(page.next);
    }
  } catch {
    // as above
  }
}

async function loadAll(seen: number) {
  try {
    takeStatus(await get<Status>("/v1/status"));
    heard();
    streamOpen.value = true;
  } catch {
    // as above
  }
  await Promise.all([loadLoops(), loadEvents(seen)]);
  loaded.value = true;
}

let source: EventSource | null = null;
let retryMs = 1_000;
let opened = 0;

function connect() {
  source?.close();
  const from = events.value.at(-1)?.seq;
  // EventSource repeats Last-Event-ID by itself; a stream that we make anew has to say where it was.
  source = new EventSource(opened && from ? `/v1/events?after=${from}` : "/v1/events");
  source.addEventListener("open", () => {
    retryMs = 1_000;
    streamOpen.value = true;
    if (opened++) {
      reconnects.value++;
      void loadAll(lastSeq());
    }
  });
  source.addEventListener("error", () => {
    streamOpen.value = false;
    if (source?.readyState === EventSource.CLOSED) {
      setTimeout(connect, retryMs);
      retryMs = Math.min(retryMs * 2, 10_000);
    }
  });
  source.addEventListener("tick", (e) => {
    try {
      takeTick(JSON.parse((e as MessageEvent<string>).data));
    } catch {
      // a half-written document: the next tick is whole
    }
  });
  for (const kind of KINDS)
    source.addEventListener(kind, (e) => {
      try {
        const ev = JSON.parse((e as MessageEvent<string>).data) as Event;
        const id = Number((e as MessageEvent<string>).lastEventId);
        batch(() => {
          heard();
          takeEvents([{ ...ev, seq: ev.seq ?? id, kind: ev.kind ?? kind }]);
        });
      } catch {
        // as above
      }
    });
}

export function start() {
  void loadAll(0);
  connect();
  setInterval(() => {
    now.value = performance.now();
    const age = heardAgeMs.value ?? now.value;
    // A connection that is open and says nothing is as good as none.
    if (age > SILENT_AFTER_MS && streamOpen.value) {
      streamOpen.value = false;
      connect();
    }
  }, 500);
}

// The tab's title tells at a glance, also when the tab is in the background.
effect(() => {
  const open = openLoops.value;
  const needs = open.filter((l) => l.phase === "awaiting_approval").length;
  const acting = open.filter((l) => l.phase === "acting").length;
  const lead = stale.value
    ? "? "
    : status.value?.frozen
      ? "‖ paused · "
      : needs
        ? `! ${needs} needs you · `
        : acting
          ? `▲ ${acting} acting · `
          : open.length
            ? `${open.length} open · `
            : "";
  document.title = `${lead}trimtab`;
});

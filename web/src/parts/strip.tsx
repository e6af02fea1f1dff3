import { absolute, clock } from "../format";
import type { Event, HistoryEntry } from "../types";
import { look } from "../phase";
import { LEFT, RIGHT, type Frame, marked, useWidth } from "./chart";

// Two lanes over the panes, on their time axis: the numbered decisions, and the phases.

export interface Numbered {
  n: number;
  ev: Event;
}

const MARK = 22;

export function Markers({ items, frame, onPick }: { items: Numbered[]; frame: Frame; onPick: (seq: number) => void }) {
  const [host, width] = useWidth<HTMLDivElement>();
  const inner = Math.max(1, width - LEFT - RIGHT);
  const x = (ms: number) => LEFT + ((ms / 1000 - frame.from) / (frame.to - frame.from)) * inner;
  // Markers that would cover one another are drawn as one, with how many more there are.
  const groups: { x: number; items: Numbered[] }[] = [];
  for (const it of items) {
    const at = x(it.ev.at_ms);
    if (at < LEFT - 1) continue;
    const last = groups.at(-1);
    const need = last && last.items.length > 1 ? MARK + 14 : MARK;
    if (last && at - last.x < need) last.items.push(it);
    else groups.push({ x: at, items: [it] });
  }
  const m = marked.value;
  return (
    <div ref={host} class="lane">
      <span class="lane-name">decided</span>
      {width ? (
        <svg width={width} height={26} aria-hidden="true">
          {groups.map((g) => {
            const first = g.items[0]!;
            const last = g.items.at(-1)!;
            const on = g.items.some((i) => i.ev.seq === m?.seq);
            const text = g.items.length > 1 ? `${first.n}–${last.n}` : String(first.n);
            const w = Math.max(20, 10 + text.length * 6.6);
            const left = Math.min(g.x - 10, width - w - 1);
            return (
              <g
                key={first.ev.seq}
                class={`marker ${on ? "on" : ""} ${g.items.some((i) => i.ev.kind === "action") ? "acts" : ""}`}
                onMouseEnter={() => (marked.value = { seq: last.ev.seq, at: last.ev.at_ms / 1000 })}
                onMouseLeave={() => (marked.value = null)}
                onClick={() => onPick(last.ev.seq)}
              >
                <rect x={left - 2} y={0} width={w + 4} height={26} class="hit" />
                <rect x={left} y={3} width={w} height={20} rx={10} />
                <text x={left + w / 2} y={17} text-anchor="middle">
                  {text}
                </text>
                <title>
                  {g.items.map((i) => `${i.n}. ${clock(i.ev.at_ms)} ${i.ev.reason ?? i.ev.kind}`).join("\n")}
                </title>
              </g>
            );
          })}
        </svg>
      ) : null}
    </div>
  );
}

export function Phases({ points, frame }: { points: HistoryEntry[]; frame: Frame }) {
  const [host, width] = useWidth<HTMLDivElement>();
  const inner = Math.max(1, width - LEFT - RIGHT);
  const x = (s: number) => LEFT + Math.min(1, Math.max(0, (s - frame.from) / (frame.to - frame.from))) * inner;
  const spans: { phase: string; from: number; to: number }[] = [];
  points.forEach((p, i) => {
    const t = p.at_ms / 1000;
    const next = points[i + 1];
    const end = next ? next.at_ms / 1000 : t;
    const last = spans.at(-1);
    if (last && last.phase === p.phase) last.to = end;
    else spans.push({ phase: p.phase, from: t, to: end });
  });
  return (
    <div ref={host} class="lane">
      <span class="lane-name">phase</span>
      {width ? (
        <svg width={width} height={24} role="img" aria-label={`Phases: ${spans.map((s) => look(s.phase).word).join(", ")}`}>
          {spans.map((s) => {
            const a = x(s.from);
            const w = Math.max(2, x(s.to) - a);
            const { word, tone } = look(s.phase);
            return (
              <g key={s.from} class={`phase ${tone}`}>
                <rect x={a} y={2} width={Math.max(1, w - 1)} height={20} rx={2} />
                {w > word.length * 6.5 + 10 ? (
                  <text x={a + 6} y={16}>
                    {word}
                  </text>
                ) : null}
                <title>{`${word}, from ${absolute(s.from * 1000)}`}</title>
              </g>
            );
          })}
        </svg>
      ) : null}
    </div>
  );
}

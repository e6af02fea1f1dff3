import type { HistoryEntry, Keep } from "../types";

// The last minutes of one signal against its objective, without an axis: whether it is getting there.
export function Spark({ points, keep, width = 160, height = 34 }: { points: HistoryEntry[]; keep: Keep; width?: number; height?: number }) {
  const signal = keep.signal;
  if (!signal || points.length < 2) return null;
  const recent = points.slice(-120);
  const values = recent.map((p) => p.signals?.[signal] ?? null);
  const top = Math.max(...values.map((v) => v ?? 0), keep.bound ?? 0) * 1.1 || 1;
  const from = recent[0]!.at_ms;
  const to = Math.max(recent.at(-1)!.at_ms, from + 1);
  const x = (ms: number) => (((ms - from) / (to - from)) * (width - 4)).toFixed(1);
  const y = (v: number) => (height - 2 - (v / top) * (height - 4)).toFixed(1);
  let d = "";
  let pen = false;
  recent.forEach((p, i) => {
    const v = values[i] ?? null;
    if (v === null) pen = false;
    else {
      d += `${pen ? "L" : "M"}${x(p.at_ms)} ${y(v)}`;
      pen = true;
    }
  });
  const last = values.at(-1) ?? null;
  return (
    <svg class="spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      {keep.bound !== null ? (
        <>
          {keep.op?.startsWith("<") ? <rect x="0" y="0" width={width} height={y(keep.bound)} class="spark-bad" /> : null}
          <line x1="0" x2={width} y1={y(keep.bound)} y2={y(keep.bound)} class="spark-bound" />
        </>
      ) : null}
      <path d={d} class="spark-line" />
      {last !== null ? <circle cx={x(recent.at(-1)!.at_ms)} cy={y(last)} r="2.5" class="spark-dot" /> : null}
    </svg>
  );
}

// "falling", "rising", "steady": the mean of the last five measurements against the five before.
export function trend(points: HistoryEntry[], signal: string | null): "falling" | "rising" | "steady" | null {
  if (!signal) return null;
  const v = points.slice(-10).map((p) => p.signals?.[signal]).filter((x): x is number => typeof x === "number");
  if (v.length < 6) return null;
  const half = v.length >> 1;
  const mean = (a: number[]) => a.reduce((s, x) => s + x, 0) / a.length;
  const before = mean(v.slice(0, half));
  const after = mean(v.slice(half));
  const scale = Math.max(Math.abs(before), Math.abs(after), 1e-9);
  if (Math.abs(after - before) < 0.05 * scale) return "steady";
  return after < before ? "falling" : "rising";
}

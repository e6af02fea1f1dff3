import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { clock, withUnit } from "../format";
import { dark, zone } from "../prefs";

// The panes of a loop: one time axis, one cursor, gaps stay gaps. uPlot draws; what it drew is also a table on the page.

export const LEFT = 58;
export const RIGHT = 14;

export interface Line {
  label: string;
  key: string;
  color: Color;
  stepped?: boolean;
  fill?: boolean;
  dash?: number[];
  width?: number;
}

export interface PaneSpec {
  id: string;
  title: string;
  unit: string;
  height: number;
  lines: Line[];
  bound?: { op: string; value: number; text: string };
  level?: { value: number; text: string }; // a horizontal line of reference, as the capacity
  top?: number | null; // the least the axis reaches to
  whole?: boolean; // whole numbers only: levels
}

export type Color = "--line-main" | "--line-soft" | "--line-act" | "--line-alt";
export type Rows = Record<string, (number | null | undefined)[]>;
export interface Frame {
  from: number; // seconds
  to: number;
}

export const cursor = signal<number | null>(null); // seconds
export const marked = signal<{ seq: number; at: number } | null>(null); // the decision pointed at, in the list or on the chart

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function useWidth<E extends HTMLElement>() {
  const ref = useRef<E>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const el = ref.current;
    if (!el) return;
    const seen = new ResizeObserver(() => setWidth(Math.floor(el.clientWidth)));
    seen.observe(el);
    setWidth(Math.floor(el.clientWidth));
    return () => seen.disconnect();
  }, []);
  return [ref, width] as const;
}

function nearest(xs: readonly number[], x: number): number {
  let low = 0;
  let high = xs.length - 1;
  while (high - low > 1) {
    const mid = (low + high) >> 1;
    if ((xs[mid] ?? 0) < x) low = mid;
    else high = mid;
  }
  return Math.abs((xs[low] ?? 0) - x) <= Math.abs((xs[high] ?? 0) - x) ? low : high;
}

interface Held {
  spec: PaneSpec;
  frame: Frame;
  marks: number[];
}

// Everything that is not a line: the forbidden side of the bound, reference lines, the decisions' moments.
function drawGround(u: uPlot, held: Held) {
  const { ctx, bbox } = u;
  const { spec, marks } = held;
  const dpr = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const horizontal = (v: number, color: string, dash: number[]) => {
    const y = Math.round(u.valToPos(v, "y", true)) + 0.5;
    ctx.strokeStyle = color;
    ctx.lineWidth = 1.5 * dpr;
    ctx.setLineDash(dash.map((d) => d * dpr));
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.setLineDash([]);
  };
  if (spec.bound) {
    const y = u.valToPos(spec.bound.value, "y", true);
    const below = spec.bound.op.startsWith(">");
    ctx.fillStyle = css("--chart-bad");
    if (below) ctx.fillRect(bbox.left, y, bbox.width, bbox.top + bbox.height - y);
    else ctx.fillRect(bbox.left, bbox.top, bbox.width, y - bbox.top);
    horizontal(spec.bound.value, css("--orange"), [6, 4]);
  }
  if (spec.level) horizontal(spec.level.value, css("--text"), [2, 3]);
  ctx.lineWidth = dpr;
  ctx.strokeStyle = css("--chart-mark");
  ctx.setLineDash([2 * dpr, 3 * dpr]);
  for (const at of marks) {
    const x = Math.round(u.valToPos(at, "x", true)) + 0.5;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  const m = marked.peek();
  if (m) {
    const x = Math.round(u.valToPos(m.at, "x", true)) + 0.5;
    ctx.setLineDash([]);
    ctx.lineWidth = 2 * dpr;
    ctx.strokeStyle = css("--text");
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

// The names of the horizontal lines, over everything else, with a rim that keeps them legible where a line passes.
function drawNames(u: uPlot, spec: PaneSpec) {
  const { ctx, bbox } = u;
  const dpr = devicePixelRatio || 1;
  const name = (v: number, text: string, color: string, right: boolean) => {
    const y = u.valToPos(v, "y", true);
    const above = y - bbox.top > 17 * dpr;
    const x = right ? bbox.left + bbox.width - 6 * dpr : bbox.left + 6 * dpr;
    ctx.textAlign = right ? "right" : "left";
    ctx.textBaseline = above ? "bottom" : "top";
    ctx.strokeStyle = css("--panel");
    ctx.lineWidth = 4 * dpr;
    ctx.lineJoin = "round";
    ctx.strokeText(text, x, y + (above ? -3 : 3) * dpr);
    ctx.fillStyle = color;
    ctx.fillText(text, x, y + (above ? -3 : 3) * dpr);
  };
  ctx.save();
  ctx.font = `${11 * dpr}px system-ui, sans-serif`;
  if (spec.bound) name(spec.bound.value, spec.bound.text, css("--orange"), true);
  if (spec.level) name(spec.level.value, spec.level.text, css("--text"), false);
  ctx.restore();
}

export function Pane(props: { spec: PaneSpec; xs: number[]; rows: Rows; frame: Frame; marks: number[]; axis: boolean; group: string }) {
  const { spec, xs, rows, frame, marks, axis, group } = props;
  const [host, width] = useWidth<HTMLDivElement>();
  const plot = useRef<uPlot | null>(null);
  const held = useRef<Held>({ spec, frame, marks });
  held.current = { spec, frame, marks };
  const isDark = dark.value;
  const inZone = zone.value;
  const m = marked.value;
  const height = spec.height + (axis ? 26 : 0);
  const shape = JSON.stringify([spec.lines, spec.unit, spec.whole, axis]);

  useEffect(() => {
    const el = host.current;
    if (!el || !width) return;
    const text = css("--muted");
    const grid = { stroke: css("--chart-grid"), width: 1 };
    const options: uPlot.Options = {
      width,
      height,
      padding: [6, RIGHT, axis ? 0 : 4, 0],
      legend: { show: false },
      cursor: {
        sync: { key: group, setSeries: false },
        drag: { x: false, y: false },
        points: { size: 6 },
        y: false,
      },
      scales: {
        x: { time: true, range: () => [held.current.frame.from, held.current.frame.to] },
        y: {
          range: (_u, min, max) => {
            const s = held.current.spec;
            const high = Math.max(max ?? 0, s.bound?.value ?? 0, s.level?.value ?? 0, s.top ?? 0);
            if (s.whole) return [0, Math.max(1, high) * 1.15];
            return [Math.min(0, min ?? 0), high > 0 ? high * 1.15 : 1];
          },
        },
      },
      axes: [
        {
          show: axis,
          size: 26,
          stroke: text,
          grid,
          ticks: { ...grid, size: 4 },
          font: "11px system-ui, sans-serif",
          space: 80,
          values: (_u, splits) => splits.map((v) => clock(v * 1000)),
        },
        {
          size: LEFT,
          stroke: text,
          grid,
          ticks: { show: false },
          gap: 6,
          font: "11px system-ui, sans-serif",
          space: spec.height > 100 ? 30 : 22,
          incrs: spec.whole ? [1, 2, 5, 10, 20, 50] : undefined,
          values: (_u, splits) => splits.map((v) => (spec.unit === "level" ? String(v) : withUnit(v, spec.unit))),
        },
      ],
      series: [
        {},
        ...spec.lines.map((l): uPlot.Series => {
          const color = css(l.color);
          return {
            label: l.label,
            stroke: color,
            width: l.width ?? 2,
            dash: l.dash,
            fill: l.fill ? css(`${l.color}-fill`) : undefined,
            spanGaps: false,
            points: { show: (u, i) => {
              // A lone measurement between two gaps has no line: show it as a point.
              const d = u.data[i];
              return Boolean(d && d.length < 3);
            } },
            paths: l.stepped ? uPlot.paths.stepped?.({ align: 1 }) : undefined,
          };
        }),
      ],
      tzDate: (ts) => (inZone === "utc" ? uPlot.tzDate(new Date(ts * 1e3), "Etc/UTC") : new Date(ts * 1e3)),
      hooks: {
        drawAxes: [(u) => drawGround(u, held.current)],
        draw: [(u) => drawNames(u, held.current.spec)],
        setCursor: [
          (u) => {
            const left = u.cursor.left ?? -1;
            cursor.value = left < 0 ? null : u.posToVal(left, "x");
          },
        ],
      },
    };
    const u = new uPlot(options, [[], ...spec.lines.map(() => [])] as unknown as uPlot.AlignedData, el);
    plot.current = u;
    return () => {
      u.destroy();
      plot.current = null;
    };
  }, [width, height, isDark, inZone, shape, group]);

  useEffect(() => {
    const u = plot.current;
    if (!u) return;
    u.setData([xs, ...spec.lines.map((l) => rows[l.key] ?? xs.map(() => null))] as unknown as uPlot.AlignedData, true);
  }, [xs, rows, frame.from, frame.to, width, height, isDark, inZone, shape, spec.bound?.value, spec.level?.value, marks, m]);

  const at = cursor.value;
  const index = at === null || !xs.length ? xs.length - 1 : nearest(xs, at);
  const readings = spec.lines.map((l) => ({ l, v: valueAt(rows[l.key], index) }));
  const summary =
    `${spec.title}: ` +
    spec.lines.map((l) => `${l.label} ${withUnit(valueAt(rows[l.key], xs.length - 1), spec.unit)}`).join(", ") +
    (spec.bound ? `; objective ${spec.bound.text}` : "") +
    (spec.level ? `; ${spec.level.text}` : "");
  return (
    <div class="pane">
      <div class="pane-head">
        <span class="pane-title">{spec.title}</span>
        {readings.map(({ l, v }) => (
          <span class="reading" key={l.key}>
            <span class={`swatch ${l.color.slice(2)} ${l.dash ? "dashed" : ""}`} aria-hidden="true" />
            {spec.lines.length > 1 ? `${l.label} ` : ""}
            <b>{v === null ? (l.stepped ? "none" : "no data") : withUnit(v, spec.unit)}</b>
          </span>
        ))}
        {spec.bound ? <span class="reading goal">objective {spec.bound.text}</span> : null}
      </div>
      <div ref={host} class="plot" role="img" aria-label={summary} />
    </div>
  );
}

// What a tick does not say is what was said last; what was not measured stays so.
function valueAt(row: (number | null | undefined)[] | undefined, index: number): number | null {
  for (let i = index; row && i >= 0 && i > index - 5; i--) if (row[i] !== undefined) return row[i] ?? null;
  return null;
}

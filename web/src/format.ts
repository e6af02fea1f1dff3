import { zone } from "./prefs";
import type { Actuator, Target } from "./types";

const NBSP = "\u00a0";

// Three significant digits, as the daemon's own sentences have them.
export function num(v: number | null | undefined): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return "–";
  const a = Math.abs(v);
  if (a >= 10_000_000) return `${(v / 1e6).toFixed(0)}M`;
  if (a >= 1_000_000) return `${(v / 1e6).toFixed(1)}M`;
  if (a >= 100_000) return `${(v / 1e3).toFixed(0)}k`;
  if (a >= 10_000) return `${(v / 1e3).toFixed(1)}k`;
  if (a >= 100 || a === 0) return v.toFixed(0);
  const s = a >= 10 ? v.toFixed(1) : a >= 1 ? v.toFixed(2) : v.toPrecision(2);
  return s.includes(".") && !s.includes("e") ? s.replace(/\.?0+$/, "") : s;
}

export function percent(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return "–";
  const p = ratio * 100;
  const a = Math.abs(p);
  const s = a >= 100 || a === 0 ? p.toFixed(0) : a >= 0.1 ? p.toFixed(1) : p.toPrecision(1);
  return `${s.includes(".") ? s.replace(/\.?0+$/, "") : s}${NBSP}%`;
}

export type Unit = "ratio" | "ms" | "rps" | "level" | "";

// A signal's unit is in its name: `error_ratio`, `p99_ms`, `offered_rps`.
export function unitOf(name: string): Unit {
  if (/(_ratio|^utilization|_share)$/.test(name)) return "ratio";
  if (/_ms$/.test(name)) return "ms";
  if (/_rps$/.test(name)) return "rps";
  return "";
}

export function withUnit(v: number | null | undefined, unit: string): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return "–";
  switch (unit) {
    case "ratio":
      return percent(v);
    case "level":
      return `level${NBSP}${num(v)}`;
    case "":
      return num(v);
    default:
      return `${num(v)}${NBSP}${unit}`;
  }
}

export function value(name: string, v: number | null | undefined): string {
  return withUnit(v, unitOf(name));
}

export function bound(op: string | null, name: string, v: number | null): string {
  const sign = op === "<=" ? "≤" : op === ">=" ? "≥" : (op ?? "");
  return `${sign}${NBSP}${value(name, v)}`;
}

export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s}${NBSP}s`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 && m < 10 ? `${m}${NBSP}min ${s % 60}${NBSP}s` : `${m}${NBSP}min`;
  const h = Math.floor(m / 60);
  if (h < 48) return m % 60 ? `${h}${NBSP}h ${m % 60}${NBSP}min` : `${h}${NBSP}h`;
  return `${Math.floor(h / 24)}${NBSP}d`;
}

export function countdown(ms: number): string {
  const s = Math.max(0, Math.ceil(ms / 1000));
  return s < 60 ? `${s}${NBSP}s` : `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
}

export function clock(ms: number): string {
  const d = new Date(ms);
  const p = (n: number) => String(n).padStart(2, "0");
  return zone.value === "utc"
    ? `${p(d.getUTCHours())}:${p(d.getUTCMinutes())}:${p(d.getUTCSeconds())}`
    : `${p(d.getHours())}:${p(d.getMinutes())}:${p(d.getSeconds())}`;
}

export function zoneName(): string {
  if (zone.value === "utc") return "UTC";
  const off = -new Date().getTimezoneOffset();
  if (off === 0) return "UTC+0";
  const a = Math.abs(off);
  return `UTC${off < 0 ? "−" : "+"}${Math.floor(a / 60)}${a % 60 ? `:${String(a % 60).padStart(2, "0")}` : ""}`;
}

export function absolute(ms: number): string {
  const d = new Date(ms);
  const p = (n: number) => String(n).padStart(2, "0");
  const day =
    zone.value === "utc"
      ? `${d.getUTCFullYear()}-${p(d.getUTCMonth() + 1)}-${p(d.getUTCDate())}`
      : `${d.getFullYear()}-${p(d.getMonth() + 1)}-${p(d.getDate())}`;
  return `${day} ${clock(ms)} ${zoneName()}`;
}

export function where(t: Target | null | undefined): string {
  if (!t || !t.service) return t?.dc ?? "everywhere";
  const at = t.dc ? `${t.service} · ${t.dc}` : t.service;
  return t.instance ? `${at} · ${t.instance}` : at;
}

export function actionName(action: string): string {
  const [verb, ...rest] = action.split(":");
  const what = rest.join(":");
  switch (verb) {
    case "limit":
      return "rate limit";
    case "drop":
      return what ? `drop ${what}` : "drop";
    case "degrade":
      return what ? `degrade ${what}` : "degrade";
    case "weights":
      return what ? `share of ${what}` : "share";
    case "eject":
      return what ? `eject ${what}` : "eject";
    case "retry":
      return "retry budget";
    case "timeout":
      return "time-out";
    case "hedge":
      return "hedging off";
    case "isolate":
      return what ? `isolate ${what}` : "isolate";
    case "version":
      return what ? `share of ${what}` : "share";
    default:
      return action;
  }
}

// Does this actuator hold anything back at its value? `limit` does at any value, others when not zero.
export function inForce(a: Actuator): boolean {
  if (a.value === null || a.value === undefined) return false;
  return a.action === "limit" || a.action.startsWith("weights") ? true : a.value !== 0;
}

// The journal is plain ASCII; on the screen an arrow is an arrow.
export function prose(text: string | null | undefined): string {
  return (text ?? "").replace(/ -> /g, " → ");
}

// Capacity is told for a site with nothing degraded; while something is, more fits.
export function capacityNote(source: string | undefined, degraded: boolean): string {
  return degraded ? `${source ?? ""}, undegraded` : (source ?? "");
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

// The documents of docs/contract.md, as far as the dashboard reads them. Unknown members are ignored.

export interface Target {
  service?: string;
  dc?: string;
  instance?: string;
}

export interface SourceState {
  name: string;
  url?: string;
  state: "ok" | "down" | "starting";
  last_ok_ms: number | null;
  error: string | null;
}

export interface Frozen {
  reason: string;
  by: string;
  since_ms: number;
}

export interface Status {
  now_ms: number;
  started_ms: number;
  version: string;
  epoch: number;
  tick_ms?: number;
  rules: { files: string[]; plans: number; loaded_ms: number; hash: string; error: string | null };
  sources: SourceState[];
  store: { kind: string; state: string; error: string | null };
  agents: { connected: number; behind: number };
  loops: { open: number; by_phase: Record<string, number> };
  frozen: Frozen | null;
  last_seq?: number;
}

export type Phase =
  | "detected"
  | "awaiting_approval"
  | "acting"
  | "settling"
  | "settled"
  | "recovering"
  | "frozen"
  | "escalated"
  | "failed"
  | "closed";

export interface Keep {
  expr: string;
  signal: string | null;
  op: string | null;
  bound: number | null;
  value: number | null;
  quality: string;
  holds: boolean | null;
}

export interface Actuator {
  target: Target;
  action: string;
  value: number | null;
  unit: string;
  max?: number | null;
}

export interface HistoryEntry {
  at_ms: number;
  phase: Phase;
  signals: Record<string, number | null>;
  load: Record<string, number | null>;
  actuators: Record<string, number | null>;
}

export interface Loop {
  id: string;
  plan: string;
  mode: string;
  anomaly: string;
  target: Target;
  phase: Phase;
  opened_ms: number;
  phase_since_ms: number;
  closed_ms: number | null;
  ended: string | null;
  why: string;
  next: string | null;
  next_ms: number | null;
  keep: Keep[];
  actuators: Actuator[];
  capacity: { rps: number; source: string; age_ms: number } | null;
  load?: Record<string, number | null> | null;
  reversals: number;
  rung: number;
  steps: string[];
  allowed: string[];
  history?: HistoryEntry[];
}

export interface Event {
  seq: number;
  at_ms: number;
  kind: string;
  loop?: string | null;
  plan?: string | null;
  target?: Target | null;
  action?: string | null;
  from?: number | null;
  to?: number | null;
  unit?: string | null;
  reason?: string | null;
  detail?: Record<string, unknown> | null;
}

export interface Signal {
  name: string;
  labels: Record<string, string>;
  value: number | null;
  quality: string;
  age_ms: number | null;
}

export interface Anomaly {
  name: string;
  labels: Record<string, string>;
  state: "pending" | "open" | "clearing";
  since_ms: number;
  value: number | null;
  text: string;
}

export interface Capacity {
  service: string;
  dc: string;
  rps: number | null;
  source: "configured" | "learned" | "measured" | string;
  age_ms: number | null;
  utilization: number | null;
  offered_rps?: number | null;
  ok_rps?: number | null;
  dropped_rps?: number | null;
  degrade_level?: number;
}

export interface Agent {
  service: string;
  dc: string;
  instance: string;
  version: number;
  behind: number | boolean;
  last_heard_ms: number;
  library?: string | null;
  refused?: string | null;
}

export type Action =
  | { action: "limit"; rps?: number; concurrency?: number; keep?: string[] }
  | { action: "drop"; priority: string; ratio: number }
  | { action: "degrade"; feature: string; level: number; probe_ratio?: number }
  | { action: "eject"; instance: string }
  | { action: "retry"; budget: number }
  | { action: "timeout"; ms: number }
  | { action: "hedge"; enabled: boolean }
  | { action: "isolate"; caller: string; ratio?: number }
  | { action: "versions"; shares: Record<string, number> }
  | { action: "weights"; dcs: Record<string, number> };

export interface Decision {
  target: Target;
  epoch: number;
  version: number;
  armed: boolean;
  loops: string[];
  actions: Action[];
  expires?: { after_ms: number | null; then: string; over_ms?: number };
  age_ms?: number;
}

export type Plan = Record<string, unknown> & { name: string };

export interface Page<T> {
  items: T[];
  next?: string | number | null;
}

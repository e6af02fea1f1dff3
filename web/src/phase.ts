import type { Loop, Phase } from "./types";

export type Tone = "calm" | "act" | "need" | "quiet" | "bad";

interface Look {
  word: string;
  icon: string;
  tone: Tone;
  says: string; // what trimtab does in this phase, after "Automation is ..."
}

const LOOKS: Record<Phase, Look> = {
  detected: { word: "detected", icon: "ring", tone: "act", says: "looking at" },
  awaiting_approval: { word: "needs you", icon: "hand", tone: "need", says: "waiting for your decision on" },
  acting: { word: "acting", icon: "bolt", tone: "act", says: "acting on" },
  settling: { word: "settling", icon: "hourglass", tone: "calm", says: "watching whether it holds at" },
  settled: { word: "settled", icon: "check", tone: "calm", says: "holding" },
  recovering: { word: "recovering", icon: "undo", tone: "calm", says: "taking its actions back at" },
  frozen: { word: "frozen", icon: "pause", tone: "quiet", says: "holding still at" },
  escalated: { word: "escalated", icon: "bell", tone: "bad", says: "out of steps and has called a person for" },
  failed: { word: "failed", icon: "cross", tone: "bad", says: "unable to act on" },
  closed: { word: "closed", icon: "dash", tone: "quiet", says: "finished with" },
};

export function look(phase: string): Look {
  return LOOKS[phase as Phase] ?? { word: phase.replace(/_/g, " "), icon: "ring", tone: "quiet", says: "at" };
}

const ENDS: Record<string, { icon: string; tone: Tone }> = {
  recovered: { icon: "check", tone: "calm" },
  escalated: { icon: "bell", tone: "bad" },
  aborted: { icon: "person", tone: "quiet" },
  refused: { icon: "person", tone: "quiet" },
  failed: { icon: "cross", tone: "bad" },
};

export function lookOf(l: Loop): Look {
  if (l.phase === "closed" && l.ended) {
    const end = ENDS[l.ended];
    return { ...LOOKS.closed, word: l.ended, ...(end ?? {}) };
  }
  return look(l.phase);
}

export const KIND_LOOKS: Record<string, { word: string; icon: string; tone: Tone }> = {
  anomaly_opened: { word: "anomaly", icon: "wave", tone: "act" },
  anomaly_cleared: { word: "anomaly over", icon: "wave", tone: "calm" },
  loop_opened: { word: "loop opened", icon: "ring", tone: "act" },
  loop_phase: { word: "phase", icon: "level", tone: "quiet" },
  loop_closed: { word: "loop closed", icon: "check", tone: "calm" },
  action: { word: "action", icon: "bolt", tone: "act" },
  judged: { word: "judged", icon: "scale", tone: "calm" },
  relapse: { word: "relapse", icon: "undo", tone: "bad" },
  hold: { word: "hold", icon: "pause", tone: "quiet" },
  guardrail: { word: "guardrail", icon: "shield", tone: "need" },
  not_chosen: { word: "not chosen", icon: "dash", tone: "quiet" },
  page: { word: "page", icon: "bell", tone: "bad" },
  command: { word: "command", icon: "person", tone: "need" },
  frozen: { word: "paused", icon: "pause", tone: "need" },
  unfrozen: { word: "resumed", icon: "play", tone: "calm" },
  rules_changed: { word: "rules changed", icon: "book", tone: "quiet" },
  rules_refused: { word: "rules refused", icon: "cross", tone: "bad" },
  limit_reached: { word: "limit reached", icon: "alert", tone: "bad" },
  started: { word: "started", icon: "play", tone: "quiet" },
  resumed: { word: "taken up again", icon: "play", tone: "quiet" },
  source_down: { word: "source down", icon: "unplug", tone: "bad" },
  source_up: { word: "source up", icon: "plug", tone: "calm" },
  alert: { word: "alert", icon: "bell", tone: "act" },
};

// What gets a number on the chart: everything trimtab or a person decided. Openings and phases are in the strip.
export const DECISIVE = new Set(["action", "judged", "relapse", "hold", "guardrail", "not_chosen", "page", "command"]);

import { commandAutomation, commandLoop } from "../api";
import { where } from "../format";
import { Icon } from "../icons";
import { openLoops, stale, status } from "../live";
import type { Loop } from "../types";
import { ask } from "./ui";

export function askPause() {
  const n = openLoops.value.length;
  if (status.value?.frozen) {
    ask({
      title: "Resume automation?",
      effect: (
        <p>
          Plans may act again, from the next tick on. {n ? `${n} open ${n === 1 ? "loop goes" : "loops go"} on from where ${n === 1 ? "it is" : "they are"}.` : ""}
        </p>
      ),
      confirm: "Resume",
      icon: "play",
      tone: "calm",
      run: (r) => commandAutomation("resume", r),
      done: "Accepted: automation resumes at the next tick.",
    });
    return;
  }
  ask({
    title: "Pause all automation?",
    effect: (
      <p>
        What is in force <b>stays in force</b>; nothing new is done until somebody resumes. To take actions back, abort the loop instead.
        {n ? ` This holds ${n} open ${n === 1 ? "loop" : "loops"} where ${n === 1 ? "it is" : "they are"}.` : ""}
      </p>
    ),
    confirm: "Pause all",
    icon: "pause",
    tone: "act",
    run: (r) => commandAutomation("freeze", r),
    done: "Accepted: automation pauses at the next tick.",
  });
}

export function PauseButton() {
  const paused = Boolean(status.value?.frozen);
  return (
    <button class={`button solid big ${paused ? "calm" : "act"}`} id="pause" disabled={stale.value || !status.value} onClick={askPause} title="Shift+P">
      <Icon name={paused ? "play" : "pause"} />
      {paused ? "RESUME" : "PAUSE ALL"}
    </button>
  );
}

function askAbort(l: Loop) {
  ask({
    title: `Abort ${l.plan} and undo?`,
    effect: (
      <p>
        Everything this loop has put in force at <b>{where(l.target)}</b> is taken back now. An anomaly that is still open is not answered again before it has
        cleared; a new one is. To keep trimtab from acting at all, pause it.
      </p>
    ),
    confirm: "Abort & undo",
    icon: "undo",
    tone: "act",
    run: (r) => commandLoop(l.id, "abort", r),
    done: "Accepted: the loop's actions are being taken back.",
  });
}

function askApprove(l: Loop) {
  ask({
    title: `Approve ${l.plan}?`,
    effect: (
      <p>
        trimtab acts on <b>{where(l.target)}</b>: {l.why || l.steps.join(", ")}
      </p>
    ),
    confirm: "Approve",
    icon: "check",
    tone: "need",
    run: (r) => commandLoop(l.id, "approve", r),
    done: "Approved: it acts at the next tick.",
  });
}

function askRefuse(l: Loop) {
  ask({
    title: `Refuse ${l.plan}?`,
    effect: (
      <p>
        The step is left out at <b>{where(l.target)}</b>. What is in force already stays.
      </p>
    ),
    confirm: "Refuse",
    icon: "cross",
    tone: "calm",
    run: (r) => commandLoop(l.id, "refuse", r),
    done: "Refused.",
  });
}

// The server says what is allowed; what is not allowed is not shown.
export function LoopButtons({ loop, small }: { loop: Loop; small?: boolean }) {
  const may = new Set(loop.allowed ?? []);
  const size = small ? "" : "big";
  const off = stale.value;
  if (!may.size) return null;
  return (
    <div class="buttons">
      {may.has("approve") ? (
        <button class={`button solid need ${size}`} disabled={off} onClick={() => askApprove(loop)}>
          <Icon name="check" /> Approve
        </button>
      ) : null}
      {may.has("refuse") ? (
        <button class={`button ${size}`} disabled={off} onClick={() => askRefuse(loop)}>
          <Icon name="cross" /> Refuse
        </button>
      ) : null}
      {may.has("abort") ? (
        <button class={`button warn ${size}`} disabled={off} onClick={() => askAbort(loop)}>
          <Icon name="undo" /> Abort & undo
        </button>
      ) : null}
    </div>
  );
}

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../api";
import { absolute, clock, span } from "../format";
import { Icon } from "../icons";
import { serverNow, stale } from "../live";
import type { Tone } from "../phase";

export function Badge({ word, icon, tone }: { word: string; icon: string; tone: Tone }) {
  return (
    <span class={`badge ${tone}`}>
      <Icon name={icon} size={14} />
      {word}
    </span>
  );
}

// How long ago, with the absolute time on hover and for readers.
export function Ago({ ms, short }: { ms: number | null | undefined; short?: boolean }) {
  if (!ms) return <span class="muted">–</span>;
  const text = span(serverNow() - ms);
  return (
    <time dateTime={new Date(ms).toISOString()} title={absolute(ms)}>
      {short ? text : `${text} ago`}
    </time>
  );
}

export function At({ ms }: { ms: number }) {
  return (
    <time dateTime={new Date(ms).toISOString()} title={`${absolute(ms)}, ${span(serverNow() - ms)} ago`}>
      {clock(ms)}
    </time>
  );
}

export function Empty({ icon, title, children, whole }: { icon: string; title: string; children?: ComponentChildren; whole?: boolean }) {
  return (
    <div class="empty">
      <Icon name={icon} size={22} />
      {whole ? <h1 class="empty-title">{title}</h1> : <p class="empty-title">{title}</p>}
      {children ? <p class="muted">{children}</p> : null}
    </div>
  );
}

export function Panel(props: { title: string; id?: string; count?: string; tools?: ComponentChildren; children: ComponentChildren; class?: string }) {
  const id = props.id ?? `p-${props.title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return (
    <section class={`panel ${props.class ?? ""}`} aria-labelledby={id}>
      <header class="panel-head">
        <h2 id={id}>{props.title}</h2>
        {props.count ? <span class="muted">{props.count}</span> : null}
        {props.tools ? <div class="panel-tools">{props.tools}</div> : null}
      </header>
      {props.children}
    </section>
  );
}

export function Find({ value, onInput, label }: { value: string; onInput: (v: string) => void; label: string }) {
  return (
    <input
      class="find"
      type="search"
      data-find
      placeholder={`${label}  /`}
      aria-label={label}
      value={value}
      onInput={(e) => onInput((e.currentTarget as HTMLInputElement).value)}
    />
  );
}

export function matches(find: string, ...texts: (string | null | undefined)[]): boolean {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const all = texts.join(" ").toLowerCase();
  return words.every((w) => all.includes(w));
}

// ---- one dialog that asks for a reason, for every command ----

export interface Asked {
  title: string;
  effect: ComponentChildren; // what will happen, in a sentence or two
  confirm: string;
  icon: string;
  tone: "act" | "calm" | "need";
  run: (reason: string) => Promise<unknown>;
  done: string;
}

const asked = signal<Asked | null>(null);
export const toast = signal<{ text: string; tone: "calm" | "bad"; n: number } | null>(null);
let toasts = 0;

export function say(text: string, tone: "calm" | "bad" = "calm") {
  const n = ++toasts;
  toast.value = { text, tone, n };
  setTimeout(() => {
    if (toast.value?.n === n) toast.value = null;
  }, 6_000);
}

export function ask(a: Asked) {
  if (!stale.value) asked.value = a;
}

export function AskDialog() {
  const a = asked.value;
  const box = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  useLayoutEffect(() => {
    if (!a) return;
    setReason("");
    setError(null);
    setBusy(false);
    box.current?.showModal();
    box.current?.querySelector("textarea")?.focus();
  }, [a]);
  if (!a) return null;
  const close = () => {
    box.current?.close();
    asked.value = null;
  };
  const ready = reason.trim().length > 0 && !busy && !stale.value;
  const submit = async () => {
    if (!ready) return;
    setBusy(true);
    setError(null);
    try {
      await a.run(reason.trim());
      close();
      say(a.done);
    } catch (e) {
      setError(e instanceof Problem ? e.message : String(e));
      setBusy(false);
    }
  };
  return (
    <dialog ref={box} class="ask" aria-labelledby="ask-title" aria-describedby="ask-effect" onClose={() => (asked.value = null)}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          void submit();
        }}
      >
        <h2 id="ask-title">{a.title}</h2>
        <div id="ask-effect" class="ask-effect">{a.effect}</div>
        <label for="ask-reason">Reason, kept in the journal</label>
        <textarea
          id="ask-reason"
          rows={2}
          maxLength={400}
          required
          value={reason}
          onInput={(e) => setReason((e.currentTarget as HTMLTextAreaElement).value)}
          onKeyDown={(e) => {
            if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) void submit();
          }}
        />
        {error ? (
          <p class="ask-error" role="alert">
            <Icon name="cross" /> Not done. {error}
          </p>
        ) : null}
        {stale.value ? (
          <p class="ask-error" role="alert">
            <Icon name="unplug" /> The connection is lost; nothing can be sent.
          </p>
        ) : null}
        <div class="ask-buttons">
          <button type="button" class="button" onClick={close}>
            Cancel
          </button>
          <button type="submit" class={`button solid ${a.tone}`} disabled={!ready}>
            <Icon name={a.icon} />
            {busy ? "Sending…" : a.confirm}
          </button>
        </div>
      </form>
    </dialog>
  );
}

export function Toast() {
  const t = toast.value;
  return (
    <div class="toasts" role="status" aria-live="polite">
      {t ? (
        <div class={`toast ${t.tone}`} key={t.n}>
          <Icon name={t.tone === "bad" ? "cross" : "check"} />
          {t.text}
        </div>
      ) : null}
    </div>
  );
}

import type { Page } from "./types";

// What the daemon says went wrong: RFC 9457 problem+json, as one sentence for people.
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

async function explain(res: Response): Promise<Problem> {
  let text = `${res.status} ${res.statusText}`.trim();
  try {
    const p = (await res.json()) as { title?: string; detail?: string; errors?: { message?: string }[] };
    const parts = [p.title, p.detail, ...(p.errors ?? []).map((e) => e.message)].filter(Boolean);
    if (parts.length) text = parts.join(": ");
  } catch {
    // not JSON: the status line has to do
  }
  return new Problem(res.status, text);
}

async function ask<T>(path: string, init: RequestInit, timeoutMs = 10_000): Promise<T> {
  let res: Response;
  try {
    res = await fetch(path, { ...init, signal: AbortSignal.timeout(timeoutMs), cache: "no-store" });
  } catch (e) {
    const late = e instanceof DOMException && e.name === "TimeoutError";
    throw new Problem(0, late ? "The daemon did not answer in 10 s." : "The daemon cannot be reached.");
  }
  if (!res.ok) throw await explain(res);
  if (res.status === 204) return undefined as T;
  const text = await res.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

export function get<T>(path: string): Promise<T> {
  return ask<T>(path, { headers: { Accept: "application/json" } });
}

export function list<T>(path: string): Promise<Page<T>> {
  return get<Page<T>>(path);
}

export function post(path: string, body: unknown): Promise<unknown> {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
}

export type LoopCommand = "abort" | "approve" | "refuse";

export function commandLoop(id: string, command: LoopCommand, reason: string): Promise<unknown> {
  return post(`/v1/loops/${encodeURIComponent(id)}:${command}`, { reason });
}

export function commandAutomation(command: "freeze" | "resume", reason: string): Promise<unknown> {
  return post(`/v1/automation:${command}`, { reason });
}

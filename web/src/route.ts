import { computed, signal } from "@preact/signals";

export type Route =
  | { page: "overview" | "signals" | "plans" | "agents" | "events" | "unknown" }
  | { page: "loop"; id: string };

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  hash.value = location.hash;
  scrollTo(0, 0);
});

export const route = computed<Route>(() => {
  const parts = hash.value.replace(/^#\/?/, "").split("/").filter(Boolean);
  if (!parts.length) return { page: "overview" };
  if (parts[0] === "loops" && parts[1]) {
    try {
      return { page: "loop", id: decodeURIComponent(parts[1]) };
    } catch {
      return { page: "unknown" };
    }
  }
  const page = parts[0];
  if (parts.length === 1 && (page === "signals" || page === "plans" || page === "agents" || page === "events")) return { page };
  return { page: "unknown" };
});

export const loopHref = (id: string) => `#/loops/${encodeURIComponent(id)}`;

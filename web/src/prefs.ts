import { effect, signal } from "@preact/signals";

export type Theme = "auto" | "dark" | "light";
export type Zone = "local" | "utc";

function read<T extends string>(key: string, allowed: readonly T[], otherwise: T): T {
  try {
    const v = localStorage.getItem(key) as T | null;
    return v && allowed.includes(v) ? v : otherwise;
  } catch {
    return otherwise; // storage may be forbidden: the choice then lasts as long as the tab
  }
}

function keep(key: string, value: string) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // as above
  }
}

export const theme = signal<Theme>(read("trimtab.theme", ["auto", "dark", "light"] as const, "auto"));
export const zone = signal<Zone>(read("trimtab.zone", ["local", "utc"] as const, "local"));

const systemDark = matchMedia("(prefers-color-scheme: dark)");
export const dark = signal(systemDark.matches);

function apply() {
  dark.value = theme.value === "auto" ? systemDark.matches : theme.value === "dark";
}
systemDark.addEventListener("change", apply);

effect(() => {
  keep("trimtab.theme", theme.value);
  apply();
  document.documentElement.dataset.theme = dark.value ? "dark" : "light";
});
effect(() => keep("trimtab.zone", zone.value));

export function toggleTheme() {
  theme.value = dark.value ? "light" : "dark";
}

export function toggleZone() {
  zone.value = zone.value === "utc" ? "local" : "utc";
}

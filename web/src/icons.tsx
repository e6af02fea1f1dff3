// 16-unit line icons. Each stands beside a word: none carries a meaning alone, so all are hidden from readers.
const PATHS: Record<string, string> = {
  ring: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 0 0 0-11zM8 6.5a1.5 1.5 0 1 0 0 3a1.5 1.5 0 0 0 0-3z",
  hand: "M8 1.8v7.4M8 12.4v1.6",
  bolt: "M9 1.5 3.5 9H8l-1 5.5L12.5 7H8z",
  hourglass: "M4 2h8M4 14h8M4.5 2c0 3.5 7 4.5 7 12M11.5 2c0 3.5-7 4.5-7 12",
  check: "M3 8.5l3.2 3.2L13 4.5",
  undo: "M6 3 2.5 6.5 6 10M2.5 6.5H10a3.5 3.5 0 0 1 0 7H7",
  pause: "M5 3v10M11 3v10",
  bell: "M8 2a4 4 0 0 0-4 4c0 4-1.5 5-1.5 5h11S12 10 12 6a4 4 0 0 0-4-4zM6.5 13.5a1.6 1.6 0 0 0 3 0",
  cross: "M4 4l8 8M12 4l-8 8",
  dash: "M3 8h10",
  play: "M5 3l7.5 5L5 13z",
  sun: "M8 5a3 3 0 1 0 0 6a3 3 0 0 0 0-6zM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1.1 1.1M11.9 11.9 13 13M13 3l-1.1 1.1M4.1 11.9 3 13",
  moon: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7z",
  clock: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 4.5V8l2.5 1.5",
  help: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM6.2 6.3a1.9 1.9 0 1 1 2.7 1.9c-.6.3-.9.7-.9 1.3M8 11.3v.2",
  wave: "M1.5 8c1.5-5 3-5 4.5 0s3 5 4.5 0 2.5-4 4-2",
  plug: "M5.5 1.5V5M10.5 1.5V5M3.5 5h9v2.5a4.5 4.5 0 0 1-9 0zM8 12v2.5",
  unplug: "M2 2l12 12M5.5 2.5V5H4M10.5 1.5V5M6 5h6.5v2.5c0 .8-.2 1.5-.5 2M10 11.5a4.5 4.5 0 0 1-6.5-4V5M8 12v2.5",
  list: "M5 4h9M5 8h9M5 12h9M2 4h.5M2 8h.5M2 12h.5",
  book: "M3 2.5h8.5a1 1 0 0 1 1 1v10H4.5A1.5 1.5 0 0 1 3 12zM3 12a1.5 1.5 0 0 1 1.5-1.5h8",
  home: "M2.5 7.5 8 2.5l5.5 5M4 6.5v7h8v-7",
  shield: "M8 1.5 3 3.5V8c0 3.5 2.5 5.5 5 6.5 2.5-1 5-3 5-6.5V3.5z",
  person: "M8 2.5a2.7 2.7 0 1 0 0 5.4a2.7 2.7 0 0 0 0-5.4zM2.8 14c.5-3 2.5-4.3 5.2-4.3s4.7 1.3 5.2 4.3",
  scale: "M8 2v12M4 14h8M3 5l5-1.5L13 5M1.5 9.5 3 5l1.5 4.5zM11.5 9.5 13 5l1.5 4.5z",
  alert: "M8 2 1.5 13.5h13zM8 6.5v3.2M8 11.6v.2",
  up: "M8 13V3.5M4 7l4-4 4 4",
  down: "M8 3v9.5M4 9l4 4 4-4",
  level: "M2.5 8h11M10 4.5 13.5 8 10 11.5",
  next: "M6 3.5 10.5 8 6 12.5",
};

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: string; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name] ?? PATHS.dash} fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}

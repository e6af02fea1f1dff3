import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { askPause } from "./commands";

const help = signal(false);
export const showHelp = () => {
  help.value = true;
};

const KEYS: [string, string][] = [
  ["/", "find on this page"],
  ["j  k", "next, previous row"],
  ["Enter", "open the row"],
  ["Shift + P", "pause all, or resume"],
  ["Esc", "close a dialog; back to the overview"],
  ["?", "this help"],
];

function move(by: 1 | -1) {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")].filter((r) => r.offsetParent !== null);
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const to = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[to]?.focus();
  rows[to]?.scrollIntoView({ block: "nearest" });
}

export function listenForKeys() {
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
    const el = e.target as HTMLElement;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(el.tagName)) {
      if (e.key === "Escape") el.blur();
      return;
    }
    switch (e.key) {
      case "/": {
        const find = document.querySelector<HTMLInputElement>("[data-find]");
        if (!find) return;
        find.focus();
        find.select();
        break;
      }
      case "j":
        move(1);
        break;
      case "k":
        move(-1);
        break;
      case "?":
        showHelp();
        break;
      case "P":
        askPause();
        break;
      case "Escape":
        if (location.hash.startsWith("#/loops/")) location.hash = "#/";
        break;
      default:
        return;
    }
    e.preventDefault();
  });
}

export function HelpDialog() {
  const box = useRef<HTMLDialogElement>(null);
  const open = help.value;
  useEffect(() => {
    if (open) box.current?.showModal();
  }, [open]);
  if (!open) return null;
  return (
    <dialog ref={box} class="ask" aria-labelledby="help-title" onClose={() => (help.value = false)}>
      <h2 id="help-title">Keys</h2>
      <table class="keys">
        <tbody>
          {KEYS.map(([k, what]) => (
            <tr key={k}>
              <th scope="row">
                <kbd>{k}</kbd>
              </th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <div class="ask-buttons">
        <button class="button" onClick={() => box.current?.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}

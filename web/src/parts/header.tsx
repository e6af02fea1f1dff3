import { absolute, span, zoneName } from "../format";
import { Icon } from "../icons";
import { dataAgeMs, heardAgeMs, openLoops, stale, status } from "../live";
import { dark, toggleTheme, toggleZone } from "../prefs";
import { route } from "../route";
import { PauseButton } from "./commands";
import { showHelp } from "./keys";

const PAGES = [
  ["overview", "Overview", "#/", "home"],
  ["signals", "Signals", "#/signals", "wave"],
  ["plans", "Plans", "#/plans", "book"],
  ["agents", "Agents", "#/agents", "plug"],
  ["events", "Events", "#/events", "list"],
] as const;

function Freshness() {
  const age = dataAgeMs.value;
  if (stale.value) {
    return (
      <span class="fresh lost" id="freshness">
        <Icon name="unplug" size={14} /> {age === null ? "no data" : `data ${span(age)} old`} · <b>lost</b>
      </span>
    );
  }
  return (
    <span class="fresh" id="freshness">
      <span class="pulse" aria-hidden="true" /> {age === null ? "connecting" : `data ${span(age)} old`} · live
    </span>
  );
}

export function Nav() {
  const at = route.value.page === "loop" ? "overview" : route.value.page;
  return (
    <nav class="nav" aria-label="Pages">
      {PAGES.map(([page, name, href, icon]) => (
        <a key={page} href={href} aria-current={at === page ? "page" : undefined}>
          <Icon name={icon} />
          <span>{name}</span>
          {page === "overview" && openLoops.value.length ? <span class="count">{openLoops.value.length}</span> : null}
        </a>
      ))}
    </nav>
  );
}

export function Header() {
  return (
    <header class="top">
      <a class="brand" href="#/" aria-label="trimtab, overview">
        <svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true">
          <path d="M5 7h21v5h-8v14h-5V12H5z" fill="currentColor" />
          <path d="M20 26l8-5v5z" class="tab" />
        </svg>
        <span>trimtab</span>
      </a>
      <Nav />
      <div class="top-right">
        <Freshness />
        <div class="tools">
          <button class="tool" onClick={toggleZone} title="Show times in UTC or local time" aria-label={`Times are ${zoneName()}: switch between UTC and local time`}>
            <Icon name="clock" />
            <span>{zoneName()}</span>
          </button>
          <button class="tool" onClick={toggleTheme} aria-label={dark.value ? "Light theme" : "Dark theme"} title={dark.value ? "Light theme" : "Dark theme"}>
            <Icon name={dark.value ? "sun" : "moon"} />
          </button>
          <button class="tool less" onClick={showHelp} aria-label="Keyboard help" title="Keyboard help (?)">
            <Icon name="help" />
          </button>
        </div>
        <PauseButton />
      </div>
    </header>
  );
}

// What everybody has to know whatever page they are on.
export function Banners() {
  const s = status.value;
  const heard = heardAgeMs.value;
  const down = s?.sources.filter((x) => x.state === "down") ?? [];
  if (!stale.value && !s?.frozen && !down.length && !s?.rules.error && (!s || s.store.state === "ok")) return null;
  return (
    <section class="banners" aria-label="Notices">
      {stale.value ? (
        <p class="banner bad" role="alert" id="stale">
          <Icon name="unplug" />
          <span>
            <b>Connection lost.</b> {heard === null ? "Nothing has been received." : `What you see is ${span(heard)} old.`} Trying again; buttons are off until it
            is back. trimtab and its agents go on without this page.
          </span>
        </p>
      ) : null}
      {s?.frozen ? (
        <p class="banner need" id="frozen-banner">
          <Icon name="pause" />
          <span>
            <b>Automation is paused</b> by {s.frozen.by || "somebody"}, <span title={absolute(s.frozen.since_ms)}>{span(s.now_ms - s.frozen.since_ms)}</span>:
            “{s.frozen.reason}”. What is in force stays; nothing new is done.
          </span>
        </p>
      ) : null}
      {s && s.store.state !== "ok" ? (
        <p class="banner bad">
          <Icon name="alert" />
          <span>
            <b>The store ({s.store.kind}) is {s.store.state}.</b> Nothing is decided that cannot be journalled. {s.store.error ?? ""}
          </span>
        </p>
      ) : null}
      {down.map((x) => (
        <p class="banner bad" key={x.name}>
          <Icon name="unplug" />
          <span>
            <b>Source {x.name} is down</b>
            {x.last_ok_ms && s ? `, last heard ${span(s.now_ms - x.last_ok_ms)} ago` : ""}. Loops hold what they have. {x.error ?? ""}
          </span>
        </p>
      ))}
      {s?.rules.error ? (
        <p class="banner need">
          <Icon name="book" />
          <span>
            <b>The newest rules were refused;</b> the ones before stay in force. {s.rules.error}
          </span>
        </p>
      ) : null}
    </section>
  );
}

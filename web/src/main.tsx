import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { actionName, where } from "./format";
import { events, openLoops, start, status } from "./live";
import { Banners, Header } from "./parts/header";
import { HelpDialog, listenForKeys } from "./parts/keys";
import { AskDialog, Empty, Toast } from "./parts/ui";
import { route } from "./route";
import { AgentsPage } from "./pages/agents";
import { EventsPage } from "./pages/events";
import { LoopPage } from "./pages/loop";
import { Overview } from "./pages/overview";
import { PlansPage } from "./pages/plans";
import { SignalsPage } from "./pages/signals";

function Page() {
  const r = route.value;
  switch (r.page) {
    case "overview":
      return <Overview />;
    case "loop":
      return <LoopPage key={r.id} id={r.id} />;
    case "signals":
      return <SignalsPage />;
    case "plans":
      return <PlansPage />;
    case "agents":
      return <AgentsPage />;
    case "events":
      return <EventsPage />;
    default:
      return (
        <Empty whole icon="cross" title="There is no such page">
          <a href="#/">Go to the overview</a>
        </Empty>
      );
  }
}

// For those who listen instead of look: decisions politely, what needs a person at once.
function Spoken() {
  const last = events.value.filter((e) => e.kind === "action" || e.kind === "loop_opened" || e.kind === "loop_closed").at(-1);
  const asks = openLoops.value.find((l) => l.phase === "awaiting_approval" || l.phase === "escalated");
  return (
    <>
      <div class="sr" aria-live="polite">
        {last ? `${where(last.target)}: ${last.action ? actionName(last.action) : last.kind.replace(/_/g, " ")}. ${last.reason ?? ""}` : ""}
      </div>
      <div class="sr" aria-live="assertive">
        {asks ? `${asks.plan} at ${where(asks.target)} needs a person.` : ""}
      </div>
    </>
  );
}

function App() {
  const s = status.value;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => {
        e.preventDefault();
        document.getElementById("main")?.focus();
      }}>
        Skip to the content
      </a>
      <Header />
      <Banners />
      <main id="main" tabIndex={-1}>
        <Page />
      </main>
      <footer class="foot muted">
        trimtab {s?.version ?? ""} {s ? `· epoch ${s.epoch} · store ${s.store.kind} ${s.store.state}` : ""}
        {s?.tick_ms !== undefined ? ` · tick ${s.tick_ms.toFixed(1)} ms` : ""}
      </footer>
      <Spoken />
      <AskDialog />
      <HelpDialog />
      <Toast />
    </>
  );
}

listenForKeys();
start();
render(<App />, document.getElementById("app")!);

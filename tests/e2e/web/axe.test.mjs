// WCAG 2.2 AA by axe-core: every page, in both themes, at both sizes; 4.5:1 text and 24 px targets are among its rules.
// With TRIMTAB_URL also against a running daemon, with whatever it has to show.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { hash, launch, open, until } from "./browser.mjs";
import { ASKS, LOOP, startFixture } from "./fixture.mjs";

const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
let browser;
let axe;
before(async () => {
  browser = await launch();
  axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
});
after(() => browser.close());

async function check(page, where) {
  if (!(await page.evaluate(() => "axe" in window))) await page.addScriptTag({ content: axe });
  const found = await page.evaluate(async (tags) => {
    const r = await window.axe.run(document, { runOnly: { type: "tag", values: tags } });
    return r.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 4).map((n) => `${n.target.join(" ")} (${n.any[0]?.message ?? v.help})`).join("; ")}`);
  }, TAGS);
  assert.deepEqual(found, [], where);
}

const PAGES = ["#/", `#/loops/${LOOP}`, `#/loops/${ASKS}`, "#/signals", "#/plans", "#/agents", "#/events", "#/loops/none"];

for (const scheme of ["dark", "light"])
  for (const size of ["desk", "hand"])
    test(`every page is accessible (${scheme}, ${size})`, async () => {
      const f = await startFixture({ warm: 66 });
      const page = await open(browser, f.url, { scheme, size, bypassCSP: true });
      try {
        f.advance(1);
        for (const p of PAGES) {
          await hash(page, p);
          await until(page, `${p} is drawn`, () => document.querySelector("main table.grid tbody tr, main .plot canvas, main .empty"));
          await check(page, p);
        }
        await hash(page, "#/");
        await page.keyboard.press("Shift+P");
        await page.waitForSelector("dialog[open]");
        await check(page, "the dialog");
        await page.keyboard.press("Escape");
        f.world.sourceDown = true;
        f.world.frozen = { reason: "a drill", by: "api", since_ms: f.world.now };
        f.advance(1);
        await page.waitForSelector("#frozen-banner");
        await check(page, "the banners");
        page.expectsLoss = true;
        await f.down();
        await page.waitForSelector("#stale");
        await check(page, "without a connection");
        await f.up();
      } finally {
        await page.context().close();
        await f.stop();
      }
    });

const URL_OF_DAEMON = process.env.TRIMTAB_URL;
test("a running daemon: live, one stream, every page without a fault", { skip: URL_OF_DAEMON ? false : "TRIMTAB_URL is not set" }, async () => {
  const url = URL_OF_DAEMON.replace(/\/$/, "");
  const loops = (await (await fetch(`${url}/v1/loops?state=all&limit=5`)).json()).items;
  for (const size of ["desk", "hand"]) {
    const plain = await open(browser, url, { size });
    let streams = 0;
    plain.on("request", (r) => {
      if (r.headers().accept?.includes("text/event-stream")) streams++;
    });
    const audited = await open(browser, url, { size, bypassCSP: true });
    try {
      for (const page of [plain, audited]) {
        await until(page, "live", () => document.querySelector("#freshness")?.textContent.includes("live"));
        for (const p of ["#/", ...loops.map((l) => `#/loops/${l.id}`), "#/signals", "#/plans", "#/agents", "#/events"]) {
          await hash(page, p);
          await until(page, `${p} is drawn`, () => document.querySelector("main table.grid tbody tr, main .plot canvas, main .empty"));
          if (page === audited) await check(page, p);
        }
        assert.deepEqual(page.faults, []);
      }
      assert.equal(streams, 0, "no second stream is opened while moving between pages");
    } finally {
      await plain.context().close();
      await audited.context().close();
    }
  }
});

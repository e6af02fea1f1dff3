// The dashboard in a real browser, against the fixture. The incident moves only when a check advances it, so nothing here waits for time to pass.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { hash, launch, open, SIZES, text, until } from "./browser.mjs";
import { ASKS, LOOP, startFixture } from "./fixture.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

async function using(options, run) {
  const { page: pageOptions, ...fixtureOptions } = options;
  const f = await startFixture(fixtureOptions);
  let page;
  try {
    page = await open(browser, `${f.url}/${pageOptions?.hash ?? ""}`, pageOptions);
    await until(page, "the page is live", () => document.querySelector("#freshness")?.textContent.includes("live"));
    await run(page, f);
    assert.deepEqual(page.faults, []);
  } finally {
    await page?.context().close();
    await f.stop();
  }
}

for (const size of Object.keys(SIZES))
  test(`five seconds: every answer is above the fold (${size})`, () =>
    using({ warm: 38, page: { size } }, async (page, f) => {
      f.advance(1);
      await until(page, "the lead loop is measured", () => /error_ratio/.test(document.querySelector(".lead .answers")?.textContent ?? ""));
      await until(page, "its history is there", () => document.querySelector(".lead .spark"));
      assert.match(await text(page, "#lead-title"), /Automation is acting on front · dc-a/);
      const answers = await text(page, ".lead .answers");
      assert.match(answers, /error_ratio.*%.*goal ≤ 1 %/, "is the signal near its objective");
      assert.match(answers, /20\d rps offered/, "how much traffic");
      assert.match(answers, /Next\s*judge the step in \d+ s/, "what is next, and when");
      assert.match(answers, /Needs you\?\s*No/, "does it need me");
      assert.match(await text(page, "#freshness"), /data \d+ s old · live/, "how old is the data");
      assert.equal(await text(page, "#pause"), "PAUSE ALL");
      const bottom = size === "hand" ? SIZES[size].height - 58 : SIZES[size].height;
      for (const selector of ["#lead-title", ".lead .answers", "#freshness", "#pause", ".lead .button.warn"]) {
        const box = await page.locator(selector).first().boundingBox();
        assert.ok(box && box.y >= 0 && box.y + box.height <= bottom && box.x >= 0 && box.x + box.width <= SIZES[size].width, `${selector} is on the first screen: ${JSON.stringify(box)}`);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= SIZES[size].width, `nothing is wider than the screen: ${wide}`);
    }));

test("nothing is wrong: the empty state says what is watched", () =>
  using({ warm: 5, calm: true }, async (page) => {
    await until(page, "signals are counted", () => /6 signals watched, 12 agents current/.test(document.querySelector(".lead")?.textContent ?? ""));
    assert.equal(await text(page, "#lead-title"), "Nothing is wrong.");
  }));

test("an incident from its first tick to its last, live", () =>
  using({ warm: 20 }, async (page, f) => {
    const headline = (words) => until(page, words, (w) => document.querySelector("#lead-title")?.textContent.replace(/\u00a0/g, " ").includes(w), words);
    await headline("Nothing is wrong");
    f.advance(9);
    await headline("acting on front");
    await until(page, "the title tells", () => document.title.startsWith("▲ 1 acting"));
    f.advance(24);
    await headline("watching whether it holds at front");
    f.advance(12);
    await headline("waiting for your decision on payments");
    await hash(page, `#/loops/${LOOP}`);
    await until(page, "the loop page", () => document.querySelector("#loop-title"));
    f.advance(10);
    await until(page, "settled", () => document.querySelector(".loop-head .badge")?.textContent === "settled");
    f.advance(52);
    await until(page, "recovered", () => document.querySelector(".loop-head .badge")?.textContent === "recovered");
    assert.equal(await page.locator(".loop-head button").count(), 0, "a closed loop has no commands");
  }));

test("the loop page: numbered markers and list agree, gaps stay gaps, the table has the same figures", () =>
  using({ warm: 66, page: { hash: `#/loops/${LOOP}` } }, async (page, f) => {
    f.advance(1);
    await page.waitForSelector(".plot canvas");
    const panes = await page.locator(".pane-title").allTextContents();
    assert.deepEqual(panes.map((p) => p.replace(/\u00a0/g, " ")), ["error_ratio", "p99_ms", "traffic", "degrade recommendations"]);
    const numbers = (await page.locator(".event-n:not(.none)").allTextContents()).map(Number).reverse();
    assert.deepEqual(numbers, numbers.map((_, i) => i + 1), "the list is numbered without a hole");
    const marks = await page.locator(".marker text").allTextContents();
    const covered = marks.flatMap((m) => {
      const [a, b = a] = m.split("–").map(Number);
      return Array.from({ length: b - a + 1 }, (_, i) => a + i);
    });
    assert.deepEqual(covered, numbers, "each number of the list is on the chart once");
    await page.locator(".marker").last().click();
    const focused = await page.evaluate(() => document.activeElement?.querySelector(".event-n")?.textContent);
    assert.equal(Number(focused), numbers.at(-1), "a marker leads to its line in the list");
    await page.locator(".table-details summary").click();
    await page.waitForSelector(".table-details table");
    const cells = await page.$$eval(".table-details tbody tr", (rows) => rows.map((r) => r.children[3].textContent));
    const blind = f.world.front.history.filter((h) => h.signals.p99_ms === null).length;
    assert.equal(blind, 4);
    assert.equal(cells.filter((c) => c === "–").length, blind, "what was not measured is not a number");
    // On the canvas: the columns of the gap hold no ink of the line.
    const gap = await page.evaluate(([from, to, a, b]) => {
      const canvas = document.querySelectorAll(".plot canvas")[1];
      const box = { left: 58, width: canvas.clientWidth - 58 - 14 };
      const scale = canvas.width / canvas.clientWidth;
      const x = (t) => Math.round((box.left + ((t - from) / (to - from)) * box.width) * scale);
      const probe = document.createElement("span");
      probe.style.color = "var(--line-main)";
      document.body.append(probe);
      const line = getComputedStyle(probe).color.match(/\d+/g).map(Number);
      probe.remove();
      const ink = (t) => {
        const d = canvas.getContext("2d").getImageData(x(t), 0, 1, canvas.height).data;
        for (let i = 0; i < d.length; i += 4) if (Math.abs(d[i] - line[0]) + Math.abs(d[i + 1] - line[1]) + Math.abs(d[i + 2] - line[2]) < 30 && d[i + 3] > 200) return true;
        return false;
      };
      return { inside: ink(a), before: ink(b) };
    }, (() => {
      const h = f.world.front.history;
      const first = h.find((p) => p.signals.p99_ms === null).at_ms;
      return [h[0].at_ms, f.world.now, first + 1500, first - 4500];
    })());
    assert.deepEqual(gap, { inside: false, before: true });
  }));

test("one stream a tab; a lost connection is said, its age grows, buttons are off; it comes back where it was", () =>
  using({ warm: 42 }, async (page, f) => {
    f.advance(1); // a tick that decides: the stream has an id to come back to
    await page.waitForSelector(".lead .button.warn:enabled");
    await until(page, "the event came", () => document.querySelector(".feed")?.textContent.includes("rate limit"));
    for (const h of ["#/signals", "#/plans", `#/loops/${LOOP}`, "#/"]) await hash(page, h);
    await page.waitForSelector(".lead .button.warn:enabled");
    assert.equal(f.streams.size, 1);
    page.expectsLoss = true;
    const last = f.world.seq;
    await f.down();
    await page.waitForSelector("#stale");
    const age = async () => Number((await text(page, "#stale")).match(/is (\d+) s old/)[1]);
    const first = await age();
    assert.equal(await page.locator("button.warn:enabled, #pause:enabled").count(), 0);
    await page.keyboard.press("Shift+P");
    assert.equal(await page.locator("dialog[open]").count(), 0, "no command without a connection");
    await until(page, "the age grows", (n) => Number(document.querySelector("#stale").textContent.replace(/\u00a0/g, " ").match(/is (\d+) s old/)[1]) > n, first);
    for (let i = 0; i < 12; i++) f.world.tick(); // what happens while nobody is listening
    assert.ok(f.world.seq > last);
    await f.up();
    await until(page, "it is back", () => !document.querySelector("#stale"));
    assert.equal(Number(f.seen.lastEventIds.at(-1)), last, "resumed by Last-Event-ID");
    f.advance(1);
    await hash(page, "#/events");
    await until(page, "what was missed is there", (n) => document.querySelector(".audit tbody td")?.textContent === String(n), f.world.seq);
    assert.equal(f.streams.size, 1);
  }));

test("pause and resume by keyboard alone, with a reason", () =>
  using({ warm: 45 }, async (page, f) => {
    f.advance(1);
    await page.waitForSelector("#pause:enabled");
    await page.keyboard.press("Shift+P");
    await page.waitForSelector("dialog[open]");
    assert.equal(await page.evaluate(() => document.activeElement.id), "ask-reason");
    assert.equal(await page.locator("dialog button[type=submit]:enabled").count(), 0, "no reason, no command");
    await page.keyboard.type("db failover running");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await until(page, "accepted", () => document.querySelector(".toast")?.textContent.includes("Accepted"));
    assert.deepEqual(f.seen.posts, [{ path: "/v1/automation:freeze", body: { reason: "db failover running" } }]);
    f.advance(1);
    await page.waitForSelector("#frozen-banner");
    assert.match(await text(page, "#frozen-banner"), /paused by api.*db failover running/);
    assert.equal(await text(page, "#pause"), "RESUME");
    await page.keyboard.press("Shift+P");
    await page.waitForSelector("dialog[open]");
    await page.keyboard.type("done");
    await page.keyboard.press("Control+Enter");
    await until(page, "accepted", () => !document.querySelector("dialog[open]"));
    f.advance(1);
    await until(page, "resumed", () => !document.querySelector("#frozen-banner"));
    assert.equal(f.seen.posts[1].path, "/v1/automation:resume");
  }));

test("abort, approve and refuse: only what the server allows, and its own words when it says no", () =>
  using({ warm: 70, page: { hash: `#/loops/${ASKS}` } }, async (page, f) => {
    f.advance(1);
    await page.waitForSelector(".loop-head button");
    assert.deepEqual((await page.locator(".loop-head button").allTextContents()).map((t) => t.trim()), ["Approve", "Refuse", "Abort & undo"]);
    f.world.asks.allowed = [];
    page.expectsLoss = true; // Chromium writes each 409 to the console
    await page.locator(".loop-head button", { hasText: "Approve" }).click();
    await page.waitForSelector("dialog[open]");
    await page.keyboard.type("go");
    await page.keyboard.press("Control+Enter");
    await page.waitForSelector(".ask-error");
    assert.match(await text(page, ".ask-error"), /Not possible now: the loop is awaiting_approval/);
    await page.keyboard.press("Escape");
    f.world.asks.allowed = ["approve", "refuse", "abort"];
    f.advance(1);
    await page.locator(".loop-head button", { hasText: "Approve" }).click();
    await page.waitForSelector("dialog[open]");
    await page.keyboard.type("dc-b has room");
    await page.keyboard.press("Control+Enter");
    await until(page, "sent", () => !document.querySelector("dialog[open]"));
    f.advance(1);
    await until(page, "acting", () => document.querySelector(".loop-head .badge")?.textContent === "acting");
    assert.deepEqual((await page.locator(".loop-head button").allTextContents()).map((t) => t.trim()), ["Abort & undo"]);
    assert.deepEqual(f.seen.posts.at(-1), { path: `/v1/loops/${ASKS}:approve`, body: { reason: "dc-b has room" } });
  }));

test("keys: j, k and Enter open a loop, / finds, Escape goes back, ? helps", () =>
  using({ warm: 70 }, async (page, f) => {
    f.advance(1);
    await page.waitForSelector(".loops [data-row]");
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await until(page, "the second loop", (id) => location.hash.endsWith(id), LOOP);
    await page.waitForSelector("#loop-title");
    await page.keyboard.press("Escape");
    await page.waitForSelector(".loops");
    await page.keyboard.press("/");
    await page.keyboard.type("payments");
    await until(page, "one row", () => document.querySelectorAll(".loops tbody tr").length === 1);
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    await page.waitForSelector("dialog[open] kbd");
    await page.keyboard.press("Escape");
    await until(page, "closed", () => !document.querySelector("dialog[open]"));
  }));

test("text from outside is text", () =>
  using({ warm: 40 }, async (page, f) => {
    const evil = `<img src=x onerror="window.hurt=1"><b>x</b>`;
    Object.assign(f.world.front, { why: evil, plan: evil });
    f.world.fresh = null;
    f.world.emit("hold", { of: f.world.front, reason: evil, detail: { [evil]: evil } });
    f.advance(1);
    await until(page, "it is shown", () => document.querySelector(".lead .why")?.textContent.includes("<img"));
    await hash(page, `#/loops/${LOOP}`);
    await until(page, "on the loop page too", () => document.querySelector("#loop-title")?.textContent.includes("<img"));
    await hash(page, "#/events");
    await page.waitForSelector(".audit");
    assert.equal(await page.evaluate(() => window.hurt), undefined);
    assert.equal(await page.locator("img").count(), 0);
  }));

test("the journal is read back to its beginning, whatever its length", () =>
  using({ warm: 0, calm: true, page: { hash: "#/events" } }, async (page, f) => {
    // The page found an end; now there is a long journal that it has to find again.
    f.world.events.length = 0;
    f.world.seq = 0;
    for (let i = 0; i < 431; i++) f.world.emit("alert", { reason: `alert ${i + 1}` });
    await page.reload();
    await until(page, "the newest", () => document.querySelector(".audit tbody td")?.textContent === "431");
    for (let i = 0; i < 3; i++) {
      const rows = await page.locator(".audit tbody tr").count();
      await page.locator("button.more").click();
      await until(page, "more rows", (n) => document.querySelectorAll(".audit tbody tr").length > n, rows);
    }
    assert.equal(await page.locator(".audit tbody tr").count(), 431);
    assert.equal(await page.locator("button.more").count(), 0);
  }));

test("UTC and local time, dark and light, both kept", () =>
  using({ warm: 40, page: { hash: "#/events", scheme: "light", timezoneId: "Asia/Kolkata" } }, async (page, f) => {
    await page.waitForSelector(".audit time");
    const iso = await page.getAttribute(".audit time", "datetime");
    const utc = iso.slice(11, 19);
    assert.notEqual(await text(page, ".audit time"), utc);
    assert.match(await page.getAttribute(".audit time", "title"), /UTC\+5:30/);
    await page.locator(".tool").first().click();
    await until(page, "UTC", (t) => document.querySelector(".audit time").textContent === t, utc);
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
    await page.locator(".tool").nth(1).click();
    await page.reload();
    await page.waitForSelector(".audit time");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    assert.equal(await text(page, ".audit time"), utc);
    void f;
  }));

test("reduced motion: nothing moves by itself", () =>
  using({ warm: 40, page: { motion: "reduce" } }, async (page) => {
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  }));

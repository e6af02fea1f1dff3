// A picture of one page of a running daemon: node shot.mjs URL [#/route] [out.png] [1280x800] [dark|light]
// The route `loop` is the newest loop's page.
import { launch } from "./browser.mjs";

const [, , url, route = "#/", out = "page.png", size = "1280x800", scheme = "dark"] = process.argv;
if (!url) {
  console.error("usage: node shot.mjs URL [#/route | loop] [out.png] [1280x800] [dark|light]");
  process.exit(2);
}
const base = url.replace(/\/$/, "");
let hash = route;
if (route === "loop") {
  const { items } = await (await fetch(`${base}/v1/loops?state=all&limit=1`)).json();
  if (!items.length) {
    console.error(`${base} has no loop to show yet`);
    process.exit(1);
  }
  hash = `#/loops/${items[0].id}`;
}
const [width, height] = size.split("x").map(Number);
const browser = await launch();
const page = await browser.newPage({ viewport: { width, height }, colorScheme: scheme });
await page.goto(`${base}/${hash}`);
await page.waitForSelector("main table.grid tbody tr, main .plot canvas, main .empty, main .lead");
await page.waitForTimeout(2500); // two ticks, so that what is live has come; a picture, not a check
await page.screenshot({ path: out, fullPage: route === "loop" || hash.startsWith("#/loops/") });
await browser.close();

// One Chromium for all checks, and what every page of it is held to: no error, no blocked resource, nothing asked of another host.
import { chromium } from "playwright-core";

export const SIZES = { desk: { width: 1280, height: 800 }, hand: { width: 390, height: 844 } };
const FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS.split(" ") });

export async function open(browser, url, { size = "desk", scheme = "dark", motion = "no-preference", bypassCSP = false, timezoneId = "Europe/Berlin" } = {}) {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: scheme, reducedMotion: motion, bypassCSP, timezoneId });
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (e) => faults.push(`exception: ${e.message}`));
  page.on("console", (m) => {
    if (m.type() === "error" && !page.expectsLoss) faults.push(`console: ${m.text()}`);
  });
  page.on("request", (r) => {
    if (!r.url().startsWith(new URL(url).origin) && !r.url().startsWith("data:")) faults.push(`asks another host: ${r.url()}`);
  });
  page.faults = faults;
  await page.goto(url);
  await page.waitForSelector("main > *");
  return page;
}

export const hash = async (page, to) => {
  await page.evaluate((h) => {
    location.hash = h;
  }, to);
};

export const text = async (page, selector) => (await page.textContent(selector))?.replace(/\u00a0/g, " ").replace(/\s+/g, " ").trim();

export async function until(page, what, check, arg) {
  try {
    await page.waitForFunction(check, arg, { timeout: 15_000, polling: 100 });
  } catch {
    throw new Error(`never happened: ${what}. The page says: ${(await page.innerText("body")).slice(0, 1500)}`);
  }
}

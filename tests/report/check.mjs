// Opens the report of a run, and holds what it shows to the journal, which is counted here anew.
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import puppeteer from 'puppeteer-core';

const journal = new Map();
for (const line of readFileSync('run/out.jsonl.journal', 'utf8').trim().split('\n')) {
  const { row } = JSON.parse(line);
  if (row) journal.set(row.key, row);
}
const rows = [...journal.values()];
const failed = rows.filter((row) => row.result.error);
const calls = rows.flatMap((row) => row.time.calls);
const retries = calls.reduce((sum, call) => sum + call[5].length, 0);
const output = rows.reduce((sum, row) => sum + (row.result.answer?.usage.output_tokens ?? 0), 0);
const cost = rows.reduce((sum, row) => sum + (row.cost_usd ?? 0), 0);
assert.equal(rows.length, 500);
assert.ok(retries > 20 && failed.length > 0, 'the run had faults');

const figures = JSON.parse(readFileSync('run/figures.json', 'utf8'));
assert.deepEqual(
  [figures.rows, figures.failed, figures.calls, figures.retries, figures.output_tokens],
  [500, failed.length, calls.length, retries, output],
);
assert.ok(Math.abs(figures.cost_usd - cost) < 1e-9);

const trace = JSON.parse(readFileSync('run/trace.json', 'utf8')).traceEvents;
assert.equal(trace.filter((event) => event.name.startsWith('row-')).length, 500);
assert.equal(trace.filter((event) => event.name === 'openai/gpt-5-mini').length, calls.length + retries);
assert.ok(trace.every((event) => event.ph === 'X' && event.dur > 0 && event.ts >= 0));

const page_url = new URL('run/report.html', import.meta.url).href;
assert.ok(statSync('run/report.html').size < 400_000);
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage();
  const asked = [];
  const complaints = [];
  page.on('request', (request) => asked.push(request.url()));
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', () => complaints.push('a script of the run was run'));
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(page_url);

  const text = (selector) => page.$eval(selector, (element) => element.innerText);
  const shown = await text('#figures');
  for (const wanted of ['500', String(failed.length), `${retries} retries`, output.toLocaleString('en')]) {
    assert.ok(shown.includes(wanted), `${wanted} in ${shown}`);
  }
  const drawn = await page.evaluate(() => window.fanweave);
  assert.equal(drawn.blocks, calls.length);
  assert.ok(drawn.lanes >= 16 && drawn.lanes <= 32, `${drawn.lanes} lanes, at most 32 rows in flight`);
  const colours = await page.$eval('#waterfall', (canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
    return [...seen];
  });
  for (const colour of ['143,176,243', '200,57,47', '178,106,0']) assert.ok(colours.includes(colour), `${colour} is drawn`);
  await page.screenshot({ path: 'light.png', fullPage: true });

  // The pointer finds a call.
  const box = await (await page.$('#waterfall')).boundingBox();
  let tip = '';
  for (let x = 20; x < box.width && !tip.includes('row-'); x += 15) {
    await page.mouse.move(box.x + x, box.y + 26);
    tip = await page.$eval('#tip', (element) => (element.hidden ? '' : element.innerText));
  }
  assert.match(tip, /row-\d+ · openai\/gpt-5-mini · line \d+[\s\S]*took[\s\S]*Write a sentence about topic/);

  // Search, failures alone, order.
  assert.equal(await text('#count'), '500 of 500 rows');
  await page.type('#search', 'topic 123 ');
  assert.equal(await text('#count'), '1 of 500 rows');
  assert.ok((await text('#rows tbody')).includes('</script><img src=x'), 'what was asked is shown as it was');
  await page.$eval('#search', (input) => { input.value = ''; input.dispatchEvent(new Event('input')); });
  await page.click('#only-failed');
  assert.equal(await text('#count'), `${failed.length} of 500 rows`);
  await page.click('#only-failed');
  await page.click('th[data-key=latency] button');
  await page.click('th[data-key=latency] button');
  const slowest = rows.reduce((a, b) => (b.latency_ms > a.latency_ms ? b : a));
  assert.ok((await text('#rows tbody tr')).includes(slowest.id), 'the slowest row is on top');

  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(20, 22, 26)');
  await page.screenshot({ path: 'dark.png', fullPage: true });
  await page.setViewport({ width: 390, height: 844 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `${width} pixels wide on a screen of 390`);
  await page.screenshot({ path: 'narrow.png', fullPage: true });

  assert.deepEqual(asked, [page_url], 'nothing else is asked for');
  assert.deepEqual(complaints, []);

  // The page of a chain has the figures of its steps; that of one model and one step has none.
  assert.equal(await page.$eval('#parts-section', (section) => section.hidden), true);
  await page.goto(new URL('run/chain.html', import.meta.url).href);
  const steps = await page.$eval('#parts', (table) => [...table.rows].map((row) => [row.cells[0].innerText, row.cells[1].innerText]));
  assert.deepEqual(steps, [['step', 'calls'], ['points', '10'], ['summary', '10'], ['model', 'calls'], ['gpt-5-mini', '20']]);
} finally {
  await browser.close();
}
console.log(`the report of ${rows.length} rows, ${calls.length} calls and ${retries} retries: all as it must be`);

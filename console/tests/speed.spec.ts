// How soon the overview is there, on a warm server; and that nothing blocks the page while it comes. CONSOLE_USERS says
// how many people the organization has: some hundreds in the usual run, 20,000 for the measured figure.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, makeOrganization, open, test } from './support.ts';

const run = promisify(execFile);
const ROUNDS = 5;

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Infinity;

test('the overview paints within a second', async ({ page }) => {
  test.setTimeout(600_000);
  const organization = await makeOrganization('speed');
  await run(process.env.ROLECALL_TEST_BINARY ?? '', [
    ...['simulate', '--base-url', organization.scimUrl, '--token', organization.scimToken],
    ...['--idp', 'okta', '--users', process.env.CONSOLE_USERS ?? '200', '--movers', '0', '--leavers', '0'],
  ]);
  await open(page, organization, 'overview');
  const paints: number[] = [];
  const facts: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await page.goto(`/o/${organization.slug}/overview`);
    const paint = await page.evaluate(
      () =>
        new Promise<number>((resolve) => {
          new PerformanceObserver((list) => {
            const [paint] = list.getEntriesByName('first-contentful-paint');
            if (paint) resolve(paint.startTime);
          }).observe({ type: 'paint', buffered: true });
        }),
    );
    paints.push(paint);
    await page.getByLabel('API key', { exact: true }).fill(organization.key);
    const began = Date.now();
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator('#configuration .facts').waitFor();
    facts.push(Date.now() - began);
  }
  console.log(`first contentful paint ${Math.round(median(paints))} ms, from signing in to the figures ${median(facts)} ms`);
  expect(median(paints)).toBeLessThan(1_000);
  expect(median(facts)).toBeLessThan(1_500);
});

// What all specs use: organizations of their own, signing in, and a watch over what no screen may do.
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import AxeBuilder from '@axe-core/playwright';
import { type Locator, type Page, test as base, expect } from '@playwright/test';

const run = promisify(execFile);
const serverUrl = process.env.SERVER_URL ?? '';
const binary = process.env.ROLECALL_TEST_BINARY ?? '';
const listed = new Set(
  Object.keys(JSON.parse(readFileSync(new URL('../persisted-documents.json', import.meta.url), 'utf8')) as object),
);

export { expect };

export interface Organization {
  slug: string;
  /** A key with every permission. */
  key: string;
  scimUrl: string;
  scimToken: string;
  connectionId: string;
  /** Asks the management API, with the key that has every permission unless another is given. Fails on errors. */
  graphql: <T = any>(query: string, variables?: object, key?: string) => Promise<T>;
  /** Writes as the identity provider. */
  scim: (method: string, path: string, body?: object, token?: string) => Promise<{ status: number; body: any }>;
  /** A key with exactly these permissions. */
  issueKey: (...permissions: string[]) => Promise<string>;
  /** Makes users over SCIM, and returns their SCIM ids. */
  addUsers: (count: number, prefix?: string) => Promise<string[]>;
}

/** A new organization with one active connection. */
export async function makeOrganization(name = 'org', provider = 'ENTRA_ID'): Promise<Organization> {
  const slug = `${name}-${randomBytes(4).toString('hex')}`;
  const { stdout } = await run(binary, [
    ...['bootstrap', '--organization', slug, '--provider', provider],
    ...['--public-url', serverUrl, '--json'],
  ]);
  const made = JSON.parse(stdout);
  const key: string = made.graphql.api_key;
  const scimUrl: string = made.scim.base_url;
  const scimToken: string = made.scim.token;

  const graphql: Organization['graphql'] = async (query, variables = {}, asKey = key) => {
    const response = await fetch(`${serverUrl}/graphql`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${asKey}` },
      body: JSON.stringify({ query, variables }),
    });
    const answer = await response.json();
    if (answer.errors) throw new Error(JSON.stringify(answer.errors));
    return answer.data;
  };
  const scim: Organization['scim'] = async (method, path, body, token = scimToken) => {
    const response = await fetch(scimUrl + path, {
      method,
      headers: { 'Content-Type': 'application/scim+json', Authorization: `Bearer ${token}` },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text ? JSON.parse(text) : undefined };
  };
  const issueKey = async (...permissions: string[]) => {
    const { apiKeyIssue } = await graphql(
      'mutation($input: ApiKeyIssueInput!) { apiKeyIssue(input: $input) { secret userErrors { message } } }',
      { input: { name: permissions.join(' ').slice(0, 60), permissions } },
    );
    if (!apiKeyIssue.secret) throw new Error(JSON.stringify(apiKeyIssue.userErrors));
    return apiKeyIssue.secret as string;
  };
  const addUsers = async (count: number, prefix = 'person') => {
    const add = async (number: number): Promise<string> => {
      const { status, body } = await scim('POST', '/Users', {
        schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
        userName: `${prefix}${number}@${slug}.example`,
        externalId: `${prefix}-${number}`,
        active: true,
        displayName: `${prefix} ${number}`,
      });
      if (status !== 201) throw new Error(JSON.stringify(body));
      return body.id;
    };
    const ids: string[] = [];
    // A few come one after the other; many would take long that way.
    const atOnce = count > 20 ? 10 : 1;
    for (let first = 1; first <= count; first += atOnce) {
      const numbers = Array.from({ length: Math.min(atOnce, count - first + 1) }, (_, place) => first + place);
      ids.push(...(await Promise.all(numbers.map(add))));
    }
    return ids;
  };
  const { organization } = await graphql('{ organization { connections(first: 1) { nodes { id } } } }');
  const connectionId: string = organization.connections.nodes[0].id;
  return { slug, key, scimUrl, scimToken, connectionId, graphql, scim, issueKey, addUsers };
}

export interface Watch {
  /** The browser reports an answer with this status in its console; here it is expected. */
  allowStatus: (...statuses: number[]) => void;
}

/** Every test fails on an error in the console, a request to another origin, or a document that is not listed. */
export const test = base.extend<{ watch: Watch }>({
  watch: [
    async ({ page, baseURL }, use) => {
      const problems: string[] = [];
      const allowed = new Set<number>();
      const origin = new URL(baseURL ?? '').origin;
      page.on('pageerror', (error) => problems.push(`error: ${error.message}`));
      page.on('console', (message) => {
        if (message.type() !== 'error' && message.type() !== 'warning') return;
        const status = /status of (\d+)/.exec(message.text())?.[1];
        if (status === undefined || !allowed.has(Number(status))) problems.push(`console: ${message.text()}`);
      });
      page.on('request', (request) => {
        const url = new URL(request.url());
        if (url.protocol !== 'data:' && url.protocol !== 'blob:' && url.origin !== origin) problems.push(`foreign: ${request.url()}`);
        if (url.pathname !== '/graphql' || request.method() !== 'POST') return;
        const { query } = (request.postDataJSON() ?? {}) as { query?: string };
        if (query === undefined || !listed.has(createHash('sha256').update(query).digest('hex'))) {
          problems.push(`not in persisted-documents.json: ${query}`);
        }
      });
      await use({ allowStatus: (...statuses) => statuses.forEach((status) => allowed.add(status)) });
      expect(problems).toEqual([]);
    },
    { auto: true },
  ],
});

/** Opens a screen: signs in there with a key, as after a reload. */
export async function open(page: Page, organization: Organization, path: string, key = organization.key) {
  await page.goto(`/o/${organization.slug}/${path}`);
  await page.getByLabel('API key', { exact: true }).or(page.getByLabel('API-Schlüssel', { exact: true })).fill(key);
  await page.locator('button[type=submit]').click();
  await page.locator('.page h1, .full-page h1').first().waitFor();
  await expect(page.locator('.skeleton')).toHaveCount(0);
}

/** Leads to another screen by the sidebar. */
export async function follow(page: Page, item: string) {
  await page.getByRole('navigation', { name: 'Settings' }).getByRole('link', { name: item, exact: true }).click();
  await expect(page.locator('.skeleton')).toHaveCount(0);
}

/**
 * A copy button says for a moment that it has copied, it alone. The page itself watches for that moment: a test that asks
 * from outside may come too late on a busy machine.
 */
export async function expectCopied(page: Page, label: string | RegExp) {
  await page.waitForFunction(
    ([source, whole]) => {
      const [button, ...others] = document.querySelectorAll('.copied');
      const name = button?.getAttribute('aria-label') ?? '';
      return others.length === 0 && (whole ? name === source : new RegExp(source).test(name));
    },
    typeof label === 'string' ? ([`Copied: ${label}`, true] as const) : ([label.source.replace('^', '^Copied: '), false] as const),
  );
}

/** Presses a copy button within `scope`, and returns what the clipboard holds when the button says that it has copied. */
export async function copyText(page: Page, scope: Locator, label: string | RegExp) {
  const name = typeof label === 'string' ? `Copy: ${label}` : new RegExp(label.source.replace('^', '^Copy: '));
  await Promise.all([expectCopied(page, label), scope.getByRole('button', { name, exact: true }).click()]);
  return readClipboard(page);
}

/** What the console copied. Its own pages may not read the clipboard, so a page beside them does. */
export async function readClipboard(page: Page) {
  const reader = await page.context().newPage();
  await reader.route('**/clipboard', (route) => route.fulfill({ contentType: 'text/html', body: '' }));
  await reader.goto('/clipboard');
  const text = await reader.evaluate(() => navigator.clipboard.readText());
  await reader.close();
  return text;
}

/** Rules whose answer depends on the theme; all others are asked once. */
const RULES_OF_COLOURS = ['color-contrast', 'link-in-text-block'];

/** No violation of WCAG 2.2 AA that axe can find, in both themes, now. `except` names rules that are left out. */
export async function expectAccessible(page: Page, except: string[] = []) {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // The colours of the other theme are there with the next frame.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50))));
    // No page has frames of other origins, for which axe would open a page of its own each time.
    const axe = new AxeBuilder({ page }).setLegacyMode(true);
    if (colorScheme === 'light') axe.withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']).disableRules(except);
    else axe.withRules(RULES_OF_COLOURS);
    const { violations, passes } = await axe.analyze();
    const found = violations.map((violation) => `${colorScheme} ${violation.id}: ${violation.nodes.map((node) => `${node.target} ${node.failureSummary}`).join('\n')}`);
    expect(found).toEqual([]);
    // Otherwise nothing was looked at.
    expect(passes.map(({ id }) => id)).toContain('color-contrast');
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'no-preference' });
}

/** Nothing sticks out to the side. */
export async function expectNoSideScroll(page: Page, width = 360) {
  await page.setViewportSize({ width, height: 800 });
  // Charts and lists take the new width with a later frame.
  await expect
    .poll(() => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), { message: `pixels that stick out at ${width}` })
    .toBeLessThanOrEqual(0);
  await page.setViewportSize({ width: 1280, height: 900 });
}

/** At 1280 pixels, too, no table has to be scrolled to the side. */
export async function expectNoTableScroll(page: Page) {
  await page.setViewportSize({ width: 1280, height: 900 });
  await expect
    .poll(() => page.locator('.table-scroll').evaluateAll((tables) => tables.map((table) => table.scrollWidth - table.clientWidth).filter((width) => width > 0)))
    .toEqual([]);
}

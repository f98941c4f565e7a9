// One-time links: one click, spent once, never left in the address.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Organization, expect, makeOrganization, test } from './support.ts';

const run = promisify(execFile);
let organization: Organization;

test.beforeAll(async () => {
  organization = await makeOrganization('link');
});

/** The link that an operator prints. It is printed on a terminal only, so `script` lends one. */
async function printLink(...permissions: string[]) {
  const command = [
    process.env.ROLECALL_TEST_BINARY,
    'console-link',
    ...['--organization', organization.slug, '--public-url', process.env.SERVER_URL],
    ...permissions.flatMap((permission) => ['--permission', permission]),
  ].join(' ');
  const { stdout } = await run('script', ['-qec', command, '/dev/null']);
  const path = /\/sign-in#link=\S+/.exec(stdout)?.[0];
  if (!path) throw new Error(stdout);
  return path;
}

test('a link opens the console by one click', async ({ page, request }) => {
  const link = await printLink();
  // What previews do: they open it, without running the page.
  expect((await request.get(link.replace(/#.*/, ''))).status()).toBe(200);
  await page.goto(link);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM overview');
  expect(page.url()).not.toContain('link=');
  expect(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]))).not.toContain('rc');
  await page.reload();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
});

test('a link works once, and says what to do then', async ({ page, watch }) => {
  watch.allowStatus(410, 404);
  const link = await printLink();
  await page.goto(link);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM overview');
  await page.goto('about:blank');
  await page.goto(link);
  await expect(page.getByRole('alert')).toContainText('LINK_ENDED');
  await expect(page.locator('#main')).toContainText('Ask for a new link, or sign in with an API key.');
  await expect(page.getByLabel('API key', { exact: true })).toBeVisible();
  await page.goto('/sign-in#link=rcl_no-such-link');
  await expect(page.getByRole('alert')).toBeVisible();
  expect(page.url()).not.toContain('link=');
});

test('a link for one permission opens no more', async ({ page }) => {
  await page.goto(await printLink('AUDIT_READ'));
  await page.goto(`/o/${organization.slug}/overview`);
  // The reload has forgotten the session.
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign in');
  await page.goto(await printLink('USER_READ'));
  await expect(page.getByRole('navigation', { name: 'Settings' }).getByRole('link', { name: 'SCIM overview' })).toHaveCount(0);
});

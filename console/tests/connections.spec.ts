// Connections: the list, one connection with its parts, tokens that are shown once, pausing, a source that is read.
import {
  copyText,
  expect,
  expectAccessible,
  expectNoSideScroll,
  makeOrganization,
  open,
  type Organization,
  test,
} from './support.ts';

let organization: Organization;
const hostile = '<img src=x onerror=alert(1)>"><script>alert(2)</script>';

test.beforeAll(async () => {
  organization = await makeOrganization('connections');
  await organization.addUsers(3, 'nurse');
  // Departs from the protocol, and then fails: the names in it must stay text.
  await organization.scim('POST', '/Users', { userName: `nurse1@${organization.slug}.example`, displayName: hostile });
  await organization.scim('POST', '/Users', { userName: 'no-mail@example.org', emails: [{ value: hostile.repeat(20) }] });
});

const at = (tab = '') => `connections/${encodeURIComponent(organization.connectionId)}${tab}`;

test('the list leads to a connection and back', async ({ page }) => {
  await open(page, organization, 'connections');
  const table = page.getByRole('region', { name: 'Connections' });
  await expect(table.getByRole('row')).toHaveCount(2);
  await expect(table.getByRole('img')).toHaveAttribute('aria-label', /Operations in each of the last 24 hours; [1-9]/);
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await table.getByRole('link').first().click();
  await expect(page).toHaveURL(new RegExp(`${at()}$`));
  await expect(page.getByRole('heading', { name: 'Health', level: 2, exact: true })).toBeVisible();
  await page.goBack();
  await expect(table).toBeVisible();
});

test('filters are in the address', async ({ page }) => {
  await open(page, organization, 'connections?state=INACTIVE');
  await expect(page.getByText('No connection matches these filters')).toBeVisible();
  await page.getByRole('button', { name: 'Remove filters' }).click();
  await expect(page.getByRole('region', { name: 'Connections' })).toBeVisible();
  await expect(page).toHaveURL(/\/connections$/);
});

test('the request log tells quirks and hostile text stays text', async ({ page }) => {
  await open(page, organization, at('/requests?only=troubles'));
  await expect(page.getByRole('region', { name: 'Request log: rows' })).toContainText('refused');
  await expect(page.locator('img')).toHaveCount(0);
  await page.goto(page.url().replace('?only=troubles', ''));
  await page.getByLabel('API key', { exact: true }).fill(organization.key);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('region', { name: 'Request log: rows' })).toContainText('does not name its schemas');
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

test('the test goes step by step', async ({ page }) => {
  await open(page, organization, at('/test'));
  await expect(page.locator('.steps').first()).toContainText('There is a valid token');
  await page.getByRole('button', { name: 'Start the test' }).click();
  await expect(page.getByRole('button', { name: 'Test again' })).toBeVisible({ timeout: 60_000 });
  await expect(page.getByRole('status').filter({ hasText: /answers as it should|Something needs you/ })).toBeVisible();
  await expectAccessible(page);
});

test('a token is issued, shown once, rotated and revoked', async ({ page }) => {
  test.slow();
  await open(page, organization, at('/tokens'));
  await page.getByRole('button', { name: 'Issue a token' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Issue a token' }).click();
  const dialog = page.getByRole('dialog', { name: 'The new token' });
  const secret = await dialog.locator('.secret code').innerText();
  expect(secret).toMatch(/^rcs_/);
  await expectAccessible(page);
  // Neither Escape nor a click beside it closes it.
  await page.keyboard.press('Escape');
  await expect(dialog).toBeVisible();
  expect(await copyText(page, dialog, 'Token')).toBe(secret);
  await expect(dialog.getByRole('button', { name: 'Done' })).toBeDisabled();
  await dialog.getByLabel('I have stored it').check();
  await dialog.getByRole('button', { name: 'Done' }).click();
  await expect(dialog).toHaveCount(0);
  expect(await page.content()).not.toContain(secret);
  expect((await organization.scim('GET', '/Users?count=1', undefined, secret)).status).toBe(200);

  await page.getByRole('button', { name: 'Rotate', exact: true }).click();
  const rotate = page.getByRole('alertdialog');
  await expect(rotate).toContainText('stop working at once');
  await rotate.getByLabel('The old tokens keep working').selectOption('one hour');
  await expect(rotate).toContainText('work for one hour more');
  await rotate.getByRole('button', { name: 'Rotate' }).click();
  const second = await dialog.locator('.secret code').innerText();
  expect(second).not.toBe(secret);
  await dialog.getByLabel('I have stored it').check();
  await dialog.getByRole('button', { name: 'Done' }).click();
  expect((await organization.scim('GET', '/Users?count=1', undefined, secret)).status).toBe(200);
  await expect(page.getByText('Being replaced').first()).toBeVisible();

  await page.getByRole('button', { name: `Revoke the token that ends in ${second.slice(-4)}` }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByRole('alertdialog')).toHaveCount(0);
  expect((await organization.scim('GET', '/Users?count=1', undefined, second)).status).toBe(401);
});

test('pausing asks again and resuming goes at once', async ({ page }) => {
  const other = await makeOrganization('pause');
  await open(page, other, `connections/${encodeURIComponent(other.connectionId)}`);
  await page.getByRole('button', { name: 'Pause', exact: true }).click();
  const dialog = page.getByRole('alertdialog');
  await expect(dialog).toContainText('No account, group or role is deleted');
  await dialog.getByRole('button', { name: 'Pause now' }).click();
  await expect(page.getByRole('button', { name: 'Resume', exact: true })).toBeVisible();
  expect((await other.scim('GET', '/Users?count=1')).status).toBe(403);
  await page.getByRole('button', { name: 'Resume', exact: true }).click();
  await expect(page.getByRole('button', { name: 'Pause', exact: true })).toBeVisible();
  expect((await other.scim('GET', '/Users?count=1')).status).toBe(200);
});

test('settings send only what changed', async ({ page }) => {
  const other = await makeOrganization('settings');
  await open(page, other, `connections/${encodeURIComponent(other.connectionId)}/settings`);
  await page.getByLabel('Days for coming back').fill('45');
  const sent = page.waitForRequest((request) => (request.postData() ?? '').includes('mutation ConnectionUpdate'));
  await page.getByRole('button', { name: 'Save' }).click();
  expect((await sent).postDataJSON().variables.input).toEqual({
    id: other.connectionId,
    expectedVersion: 1,
    revivalDays: 45,
  });
  await expect(page.getByRole('button', { name: 'Save' })).toBeDisabled();
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

test('a source is made, read with a dry run, and compared', async ({ page }) => {
  test.slow();
  const other = await makeOrganization('pull');
  await other.addUsers(2, 'source');
  await open(page, other, 'connections/new');
  await expectAccessible(page);
  await page.getByLabel('rolecall reads a SCIM server').check();
  await page.getByLabel('Name', { exact: true }).fill('Keycloak of the clinic');
  await page.getByLabel('Identity provider', { exact: true }).selectOption('Keycloak');
  await page.getByLabel('Base URL of the SCIM server').fill(other.scimUrl);
  await page.getByLabel('Token', { exact: true }).fill(other.scimToken);
  await page.getByRole('button', { name: 'Create the connection' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Keycloak of the clinic');
  await page.getByRole('button', { name: 'Start the test' }).click();
  await expect(page.getByRole('button', { name: 'Test again' })).toBeVisible({ timeout: 60_000 });
  await page.getByRole('navigation', { name: 'Parts of the connection' }).getByRole('link', { name: 'Runs' }).click();
  await page.getByLabel('What it does').selectOption('Dry run: count only');
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  const entry = page.locator('article.entry').first();
  await expect(entry).toContainText('Dry run');
  await expect(entry.locator('.badge')).toHaveText(/finished|failed/, { timeout: 60_000 });
  await expectAccessible(page);
  await page.getByRole('navigation', { name: 'Parts of the connection' }).getByRole('link', { name: 'Comparisons' }).click();
  await page.getByLabel('Hours between two comparisons').fill('24');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByText('1440 minutes')).toBeVisible();
});

test('a reader sees no button that changes', async ({ page }) => {
  const key = await organization.issueKey('IAM_READ', 'USER_READ');
  await open(page, organization, at('/tokens'), key);
  for (const name of ['Pause', 'Issue a token', 'Rotate']) {
    await expect(page.getByRole('button', { name, exact: true })).toHaveCount(0);
  }
  await page.getByRole('navigation', { name: 'Parts of the connection' }).getByRole('link', { name: 'Settings' }).click();
  await expect(page.getByRole('button', { name: 'Save' })).toHaveCount(0);
});

test('an export of the identity provider is compared', async ({ page }) => {
  test.slow();
  await open(page, organization, at('/comparisons'));
  const card = page.getByRole('region', { name: 'Compare an export' });
  const rows = ['userName,externalId,active', `nurse1@${organization.slug}.example,nurse-1,true`, `stranger@${organization.slug}.example,s-1,true`];
  await card.getByLabel('File').setInputFiles({ name: 'users.csv', mimeType: 'text/csv', buffer: Buffer.from(`${rows.join('\n')}\n`) });
  await card.getByLabel(/The export is complete/).check();
  await card.getByRole('button', { name: 'Compare the file' }).click();
  await expect(card.getByRole('status')).toContainText('2 rows compared');
  await expect(page.getByRole('region', { name: 'Comparisons', exact: true })).toContainText('Comparison with an export');
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

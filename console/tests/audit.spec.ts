// Audit and evidence: the ledger, its live tail, a subject's story, the chain, signed exports, leavers. Rows A14, N2, N4.
import { readFile } from 'node:fs/promises';
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const HOSTILE = '<script>document.title="hacked"</script>';

let organization: Organization;
let first: string;

test.beforeAll(async () => {
  organization = await makeOrganization('audit');
  const [one = '', two = ''] = await organization.addUsers(2, 'leaver');
  first = one;
  await organization.scim('POST', '/Users', {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
    userName: 'mallory@example.org',
    externalId: 'mallory',
    active: true,
    displayName: HOSTILE,
  });
  for (const id of [one, two]) {
    await organization.scim('PATCH', `/Users/${id}`, {
      schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
      Operations: [{ op: 'replace', path: 'active', value: false }],
    });
  }
});

test('the ledger filters by the address, and an event opens in full', async ({ page }) => {
  test.slow();
  await open(page, organization, 'audit');
  await expect(page.getByRole('table', { name: 'Audit log' })).toContainText('User created');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByLabel('What happened').selectOption({ label: 'User suspended' });
  await expect(page).toHaveURL(/actions=USER_SUSPENDED/);
  await expect(page.locator('.table-foot')).toContainText('2 shown');
  await page.getByRole('button', { name: 'User suspended' }).first().click();
  const dialog = page.getByRole('dialog', { name: 'User suspended' });
  await expect(dialog).toContainText('Hash in the chain');
  await expect(dialog).toContainText('active');
  await expectAccessible(page);
  await dialog.getByRole('link', { name: 'The whole story' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(/^The story of leaver/);
  await expect(page.getByRole('table', { name: 'Audit log' })).toContainText('User created');
});

test('members are named as they were called then, and lead to their pages', async ({ page }) => {
  const patch = (path: string, operation: object) =>
    organization.scim('PATCH', path, { schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations: [operation] });
  const made = await organization.scim('POST', '/Groups', {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
    displayName: 'Ward',
    externalId: 'ward',
  });
  const [member = ''] = await organization.addUsers(1, 'member');
  await patch(`/Groups/${made.body.id}`, { op: 'add', path: 'members', value: [{ value: member }] });
  await patch(`/Users/${member}`, { op: 'replace', path: 'displayName', value: 'Renamed' });
  await open(page, organization, 'audit?actions=GROUP_MEMBERS_CHANGED');
  await page.getByRole('button', { name: "Group's members changed" }).first().click();
  const dialog = page.getByRole('dialog', { name: "Group's members changed" });
  await expect(dialog.locator('.came')).toContainText('1 member added: member 1');
  await expect(dialog).not.toContainText(member);
  await expectAccessible(page);
  await dialog.locator('.came').getByRole('link', { name: 'member 1' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Renamed');
});

test('events are found by the name of what they are about', async ({ page }) => {
  await open(page, organization, 'audit');
  await page.getByLabel('Name', { exact: true }).fill('LEAVER 2');
  await expect(page).toHaveURL(/name=LEAVER/);
  const table = page.getByRole('table', { name: 'Audit log' });
  await expect(table).toContainText('leaver 2');
  await expect(table).not.toContainText('leaver 1');
  // Who may not read names is not asked for one.
  await open(page, organization, 'audit', await organization.issueKey('AUDIT_READ'));
  await expect(page.getByLabel('Request id')).toBeVisible();
  await expect(page.getByLabel('Name', { exact: true })).toHaveCount(0);
});

test('events arrive while one looks, and hostile names stay text', async ({ page }) => {
  await open(page, organization, 'audit?live=yes');
  await expect(page.getByRole('table', { name: 'Audit log' })).toContainText(HOSTILE);
  expect(await page.locator('#main script').count()).toBe(0);
  await organization.addUsers(1, 'newcomer');
  await expect(page.getByRole('table', { name: 'Audit log' })).toContainText('newcomer 1');
  await expect(page.locator('.tail-state')).toContainText('Live');
});

test('where the stream is blocked the tail asks again and again', async ({ page, watch }) => {
  watch.allowStatus(503);
  await page.route('**/graphql', (route) =>
    route.request().headers().accept === 'text/event-stream' ? route.fulfill({ status: 503, body: '' }) : route.continue(),
  );
  test.slow();
  await open(page, organization, 'audit?live=yes');
  await expect(page.locator('.tail-state')).toContainText('Asked every 5 seconds', { timeout: 60_000 });
  await organization.addUsers(1, 'polled');
  await expect(page.getByRole('table', { name: 'Audit log' })).toContainText('polled 1');
});

test('the signed end of the chain is shown, and an export is saved with its digest', async ({ page }) => {
  test.slow();
  await open(page, organization, 'evidence');
  await expect(page.getByRole('region', { name: 'State of the chain' })).toContainText('Last event');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByLabel('Report').selectOption('leavers');
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export', exact: true }).click();
  const saved = await waiting;
  expect(saved.suggestedFilename()).toMatch(/-leavers-.*\.csv$/);
  const text = await readFile(await saved.path(), 'utf8');
  expect(text).toContain('# attestation,');
  expect(text.split('\r\n').filter((line) => line.includes('user.suspended'))).toHaveLength(2);
  await expect(page.getByText('The SHA-256 of the table agrees with its attestation.')).toBeVisible();
  await expect(page.getByText('rolecall audit check FILE')).toBeVisible();
});

test('a broken export is not saved', async ({ page }) => {
  await open(page, organization, 'evidence');
  await page.route('**/evidence/access.csv*', (route) => route.fulfill({ status: 200, contentType: 'text/csv', body: 'user,role\r\na,b\r\n' }));
  let saved = false;
  page.on('download', () => {
    saved = true;
  });
  await page.getByRole('button', { name: 'Export', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('no attestation');
  expect(saved).toBe(false);
});

test('leavers: time until nothing was left, against the objective', async ({ page }) => {
  test.slow();
  await open(page, organization, 'leavers?objective=10');
  await expect(page.getByRole('region', { name: /^Time to revoke/ })).toContainText('100%');
  await expect(page.locator('.table-foot')).toContainText('2 of 2 shown');
  await page.getByText('The numbers as a table').click();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  expect(first).not.toBe('');
});

test('the chain of a leaver keeps received and confirmed apart', async ({ page }) => {
  test.slow();
  const { organization: found } = await organization.graphql(
    '{ organization { leavers(first: 1) { nodes { userId user { userName } } } } }',
  );
  const leaver = found.leavers.nodes[0];
  await open(page, organization, 'leavers');
  await page.getByRole('button', { name: `Step by step: ${leaver.user.userName}` }).click();
  const dialog = page.getByRole('dialog', { name: 'What happened, step by step' });
  await expect(dialog).toContainText('No role was left here');
  await expect(dialog).toContainText('No destination was notified');
  await expect(dialog).toContainText('No application has confirmed');
  await expectAccessible(page);
  await organization.graphql(
    'mutation($input: RevocationConfirmInput!) { revocationConfirm(input: $input) { userErrors { message } } }',
    { input: { userId: leaver.userId, endedAt: new Date().toISOString() } },
  );
  await dialog.getByRole('button', { name: 'Close' }).click();
  await page.getByRole('button', { name: `Step by step: ${leaver.user.userName}` }).click();
  await expect(dialog).toContainText('Sessions ended, as bootstrap says');
  await page.goBack();
  await expect(dialog).toBeHidden();
});

test('without AUDIT_READ a full 403 page', async ({ page }) => {
  const key = await organization.issueKey('IAM_READ', 'USER_READ');
  await open(page, organization, 'audit', key);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('403 Forbidden');
});

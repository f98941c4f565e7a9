// The access report and decisions: who has what and why, at an instant, as a signed file; may this person do that?
import { readFile } from 'node:fs/promises';
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const HOSTILE = '<img src=x onerror=alert(1)>';

let organization: Organization;
let roleId: string;

test.beforeAll(async () => {
  organization = await makeOrganization('report');
  const [first = ''] = await organization.addUsers(2, 'reader');
  const { body } = await organization.scim('POST', '/Groups', {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
    displayName: HOSTILE,
    members: [{ value: first }],
  });
  expect(body.id).toBeTruthy();
  const { roleCreate } = await organization.graphql(
    'mutation { roleCreate(input: { name: "Reader", permissions: ["charts:read"] }) { role { id } userErrors { message } } }',
  );
  roleId = roleCreate.role.id;
  const { organization: found } = await organization.graphql('{ organization { groups(first: 1) { nodes { id } } } }');
  const groupId: string = found.groups.nodes[0].id;
  const { roleMappingCreate } = await organization.graphql(
    'mutation($input: RoleMappingCreateInput!) { roleMappingCreate(input: $input) { userErrors { message } } }',
    { input: { groupId, roleId } },
  );
  expect(roleMappingCreate.userErrors).toEqual([]);
});

test('the access report says who has what and why', async ({ page }) => {
  test.slow();
  await open(page, organization, 'access-report');
  const table = page.getByRole('table', { name: 'Access report' });
  await expect(table).toContainText('reader 1');
  await expect(table).toContainText('Reader');
  await expect(table).toContainText(HOSTILE);
  await expect(page.locator('#main img')).toHaveCount(0);
  await expect(page.locator('.table-foot')).toContainText('1 of 1 shown');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByLabel('View').selectOption({ label: 'People × roles' });
  await expect(page).toHaveURL(/view=matrix/);
  await expect(page.getByRole('region', { name: 'Access report' })).toContainText('holds it:');
  await expectAccessible(page);
});

test('at an earlier instant nobody held it', async ({ page }) => {
  await open(page, organization, `access-report?asOf=2020-01-01T00:00:00Z&role=${encodeURIComponent(roleId)}`);
  await expect(page.getByText('No one held this role')).toBeVisible();
  await page.getByRole('button', { name: 'Remove filters' }).click();
  await expect(page.getByRole('table', { name: 'Access report' })).toContainText('reader 1');
});

test('the report is exported as a signed file', async ({ page }) => {
  await open(page, organization, 'access-report');
  const waiting = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export signed CSV' }).click();
  const saved = await waiting;
  const text = await readFile(await saved.path(), 'utf8');
  expect(text).toContain('Reader');
  expect(text).toContain('# attestation,');
  await expect(page.getByText('agrees with its attestation')).toBeVisible();
});

test('on paper every loaded row is there', async ({ page }) => {
  await open(page, organization, 'access-report');
  await expect(page.getByRole('table', { name: 'Access report' })).toContainText('reader 1');
  await page.emulateMedia({ media: 'print' });
  await expect(page.locator('.virtual-space .virtual-row').first()).toHaveCSS('position', 'static');
  await expect(page.locator('.sidebar')).toBeHidden();
  await page.emulateMedia({ media: 'screen' });
});

test('a decision says yes or no, and why', async ({ page }) => {
  test.slow();
  await open(page, organization, 'decision');
  await page.getByLabel('Person').fill(`reader1@${organization.slug}.example`);
  await page.getByLabel('Permission').fill('charts:read');
  await page.getByRole('button', { name: 'Ask' }).click();
  const answer = page.getByRole('region', { name: 'Answer' });
  await expect(answer).toContainText('Yes:');
  await expect(answer.getByRole('link', { name: 'Reader', exact: true })).toBeVisible();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByLabel('Person').fill(`reader2@${organization.slug}.example`);
  await page.getByRole('button', { name: 'Ask' }).click();
  await expect(answer).toContainText('NOT_GRANTED');
  await expect(answer.getByRole('link', { name: 'Reader', exact: true })).toBeVisible();
  await page.goBack();
  await expect(answer).toContainText('Yes:');
  await page.getByLabel('Person').fill('nobody@example.org');
  await page.getByRole('button', { name: 'Ask' }).click();
  await expect(answer).toContainText('There is no such person.');
});

test('a key that may only ask sees only that', async ({ page }) => {
  const key = await organization.issueKey('DECISION_READ');
  await open(page, organization, `decision?subject=reader1@${organization.slug}.example&permission=charts:read`, key);
  await expect(page.getByRole('region', { name: 'Answer' })).toContainText('GRANTED');
  await expect(page.getByRole('navigation', { name: 'Settings' }).getByRole('link')).toHaveCount(1);
  await open(page, organization, 'access-report', key);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('403 Forbidden');
});

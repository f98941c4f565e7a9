// Groups: members, nesting as a tree, the roles that they give, deletion with a preview and the way back.
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const HOSTILE = '"><svg onload="document.title=1"><b>Ward</b>';

let organization: Organization;
const ids: Record<string, string> = {};

test.beforeAll(async () => {
  organization = await makeOrganization('groups');
  const [first = '', second = ''] = await organization.addUsers(2, 'nurse');
  const group = async (displayName: string, members: string[]) => {
    const { status, body } = await organization.scim('POST', '/Groups', {
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
      displayName,
      externalId: displayName,
      members: members.map((value) => ({ value })),
    });
    expect(status).toBe(201);
    return body.id as string;
  };
  const night = await group('Night shift', [first]);
  const ward = await group(HOSTILE, [night, second]);
  await group('All nurses', [ward]);
  const { organization: read } = await organization.graphql('{ organization { groups(first: 50) { nodes { id displayName } } } }');
  for (const { id, displayName } of read.groups.nodes) ids[displayName] = id;
  const { roleCreate } = await organization.graphql('mutation { roleCreate(input: { name: "Nurse", permissions: ["charts:read"] }) { role { id } } }');
  await organization.graphql('mutation($i: RoleMappingCreateInput!) { roleMappingCreate(input: $i) { userErrors { message } } }', {
    i: { groupId: ids['All nurses'], roleId: roleCreate.role.id, reason: 'All of them' },
  });
});

const group = (name: string, query = '') => `groups/${encodeURIComponent(ids[name] ?? '')}${query}`;

test('the list filters, and hostile names stay text', async ({ page }) => {
  await open(page, organization, 'groups');
  await expect(page.locator('.table-foot')).toContainText('3 of 3 shown');
  await expect(page.getByRole('link', { name: HOSTILE })).toBeVisible();
  expect(await page.locator('#main svg[onload], #main b').count()).toBe(0);
  await expect(page.getByRole('row', { name: /All nurses/ })).toContainText('Nurse');
  await page.getByLabel('Search', { exact: true }).fill('night');
  await expect(page.locator('.table-foot')).toContainText('1 of 1 shown');
  await page.goBack();
  await expect(page.locator('.table-foot')).toContainText('3 of 3 shown');
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

test('nesting is a tree that the keyboard opens', async ({ page }) => {
  await open(page, organization, group('All nurses'));
  const tree = page.getByRole('treegrid', { name: 'Groups nested in All nurses' });
  await expect(tree.getByRole('row')).toHaveCount(2);
  await tree.getByRole('row').first().focus();
  await page.keyboard.press('ArrowDown');
  await expect(tree.getByRole('row').nth(1)).toBeFocused();
  await page.keyboard.press('ArrowRight');
  await expect(tree.getByRole('row', { name: 'Night shift' })).toBeVisible();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await tree.getByRole('link', { name: 'Night shift' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Night shift');
});

test('roles that come through nesting are drawn', async ({ page }) => {
  await open(page, organization, group('Night shift'));
  const why = page.getByRole('list', { name: 'Why Night shift holds Nurse' });
  for (const name of ['Night shift', HOSTILE, 'All nurses', 'All of them', 'Nurse']) await expect(why).toContainText(name);
});

test('members: direct ones, and those of nested groups', async ({ page }) => {
  await open(page, organization, group('All nurses'));
  const members = page.getByRole('region', { name: 'Members', exact: true });
  await expect(members.locator('.table-foot')).toContainText('1 of 1 shown');
  await members.getByLabel('Show').selectOption({ label: 'People, also of nested groups' });
  await expect(members.locator('.table-foot')).toContainText('2 of 2 shown');
  await expect(page).toHaveURL(/kind=all/);
  await expect(members.getByRole('link', { name: 'nurse 1' })).toBeVisible();
});

test('deletion shows who loses what, and the bin gives it back', async ({ page }) => {
  await open(page, organization, group('All nurses'));
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Delete All nurses?' });
  await expect(dialog.getByRole('list', { name: 'Who loses' }).getByRole('listitem')).toHaveCount(2);
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'Delete the group' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Groups');
  await expect(page.getByText('0 gained, 2 lost').first()).toBeVisible();
  await page.getByRole('link', { name: 'Deleted groups' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Deleted groups');
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Restore All nurses' }).click();
  const again = page.getByRole('dialog', { name: 'Restore All nurses?' });
  await expect(again.getByRole('list', { name: 'Who gains' }).getByRole('listitem')).toHaveCount(2);
  await again.getByRole('button', { name: 'Restore' }).click();
  await expect(page.getByText('No group is in the bin')).toBeVisible();
});

test('a reader sees no actions', async ({ page }) => {
  const key = await organization.issueKey('USER_READ', 'IAM_READ');
  await open(page, organization, group('All nurses'), key);
  await expect(page.locator('.page-head .actions button')).toHaveCount(0);
  await expect(page.getByRole('button', { name: /^Remove/ })).toHaveCount(0);
});

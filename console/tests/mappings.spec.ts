// Mappings and roles: a change is previewed with who gains and who loses, applied, taken back. Rows A9, N1.
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const HOSTILE = '<img src=x onerror="document.title=1">';

let organization: Organization;
let group: string;
let scimGroup: string;
let extra: string;
let nurse: string;
let mapping: string;

// The third test restores what the second removed.
test.describe.configure({ mode: 'serial' });

test.beforeAll(async () => {
  organization = await makeOrganization('mappings');
  const [first = '', second = '', third = ''] = await organization.addUsers(3, 'nurse');
  const { body } = await organization.scim('POST', '/Groups', {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
    displayName: HOSTILE,
    externalId: 'ward',
    members: [{ value: first }, { value: second }],
  });
  scimGroup = body.id;
  extra = third;
  group = (await organization.graphql('{ organization { groups(first: 1) { nodes { id } } } }')).organization.groups.nodes[0].id;
  const role = async (name: string, management: boolean) =>
    (await organization.graphql('mutation($i: RoleCreateInput!) { roleCreate(input: $i) { role { id } } }', { i: { name, management, permissions: ['charts:read'] } })).roleCreate.role.id;
  nurse = await role('Nurse', false);
  await role('Chief', true);
  mapping = (
    await organization.graphql('mutation($i: RoleMappingCreateInput!) { roleMappingCreate(input: $i) { roleMapping { id } } }', {
      i: { groupId: group, roleId: nurse, reason: 'Ward plan' },
    })
  ).roleMappingCreate.roleMapping.id;
});

test('a mapping is previewed with its warning, then applied', async ({ page }) => {
  test.slow();
  await open(page, organization, `mappings/edit?group=${encodeURIComponent(group)}`);
  await expect(page.getByRole('combobox', { name: 'Group' })).toHaveValue(HOSTILE);
  await page.getByRole('combobox', { name: 'Role' }).fill('chi');
  await page.getByRole('option', { name: /Chief/ }).click();
  await page.getByLabel('Reason').fill('Deputies');
  await page.getByRole('button', { name: 'Add to the change' }).click();
  await expect(page.getByRole('list', { name: 'Who gains' }).getByRole('listitem')).toHaveCount(2);
  await expect(page.getByText('2 gain the management role “Chief”')).toBeVisible();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Apply the change' }).click();
  await expect(page.getByText('2 gained, 0 lost').first()).toBeVisible();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Role mappings');
  await expect(page.getByRole('row', { name: /Deputies/ })).toContainText('Chief');
  expect(await page.locator('#main img').count()).toBe(0);
});

test('a preview that is stale by now is shown again', async ({ page }) => {
  test.slow();
  await open(page, organization, `mappings/${encodeURIComponent(mapping)}`);
  await page.getByRole('button', { name: 'Remove' }).click();
  const losers = page.getByRole('list', { name: 'Who loses' }).getByRole('listitem');
  await expect(losers).toHaveCount(2);
  const { status } = await organization.scim('PATCH', `/Groups/${scimGroup}`, {
    schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'],
    Operations: [{ op: 'add', path: 'members', value: [{ value: extra }] }],
  });
  expect(status).toBeLessThan(300);
  await page.getByRole('button', { name: 'Apply the change' }).click();
  await expect(page.getByText('Something has changed since the preview')).toBeVisible();
  await expect(losers).toHaveCount(3);
  await page.getByRole('button', { name: 'Apply the change' }).click();
  await expect(page.getByText('0 gained, 3 lost').first()).toBeVisible();
});

test('a removed mapping is restored from the bin, and its history stays', async ({ page }) => {
  test.slow();
  // Removed already if the test above has run.
  await organization.graphql('mutation($id: ID!) { roleMappingRemove(input: { id: $id }) { userErrors { message } } }', { id: mapping });
  await open(page, organization, 'mappings?bin=yes');
  await page.getByRole('button', { name: `Restore the mapping of ${HOSTILE} to Nurse` }).click();
  await page.getByRole('link', { name: 'See what they do' }).click();
  await expect(page.getByRole('list', { name: 'Who gains' })).toContainText('nurse 2');
  await page.getByRole('button', { name: 'Apply the change' }).click();
  await expect(page.getByText(/[23] gained, 0 lost/).first()).toBeVisible();
  await page.getByRole('link', { name: 'History of mappings' }).click();
  // What was previewed and applied together is one event; what was made alone has its own.
  await expect(page.locator('.story').getByText('Change of access applied').first()).toBeVisible();
  await expect(page.locator('.story')).toContainText('Role mapping created');
  await expectAccessible(page);
});

test('a role shows who holds it and through what', async ({ page }) => {
  test.slow();
  await organization.graphql('mutation($id: ID!) { roleMappingRestore(input: { id: $id }) { userErrors { message } } }', { id: mapping });
  await open(page, organization, 'roles');
  await expectAccessible(page);
  await page.getByRole('link', { name: 'Nurse' }).click();
  const holders = page.getByRole('table', { name: 'Who holds it' });
  await expect(holders).toContainText('nurse 1');
  await expect(holders).toContainText(`through ${HOSTILE}`);
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await expect(page.getByRole('list', { name: 'Who loses' })).toContainText('nurse 1');
});

test('a reader sees mappings and no editor', async ({ page }) => {
  const key = await organization.issueKey('IAM_READ');
  await open(page, organization, 'mappings', key);
  await expect(page.getByRole('link', { name: 'Edit mappings' })).toHaveCount(0);
  await expect(page.getByRole('button', { name: /^Remove the mapping/ })).toHaveCount(0);
});

// People: finding somebody, why a person holds a role or not, now and then, and what can be done. Rows A8.14, N2, N14.
import type { Page } from '@playwright/test';
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const HOSTILE = '<img src=x onerror="document.title=\'hacked\'"><script>document.title="hacked"</script>';

let organization: Organization;
let ada: string;
let hostile: string;
let nurse: string;
let surgeon: string;
let surgery: string;

const globalId = async (name: string): Promise<string> =>
  (await organization.graphql('query($u: String) { organization { user(userName: $u) { id } } }', { u: name })).organization.user.id;

test.beforeAll(async () => {
  test.setTimeout(300_000);
  organization = await makeOrganization('people');
  const person = async (userName: string, displayName: string) => {
    const { status, body } = await organization.scim('POST', '/Users', {
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
      userName,
      externalId: userName,
      active: true,
      displayName,
      name: { givenName: displayName.split(' ')[0], familyName: displayName.split(' ')[1] },
      emails: [{ value: userName, primary: true }],
    });
    expect(status).toBe(201);
    return body.id as string;
  };
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
  const adaScim = await person('ada@example.org', 'Ada Lovelace');
  await person('grace@example.org', 'Grace Hopper');
  const hostileScim = await person('mallory@example.org', HOSTILE);
  await organization.addUsers(120, 'extra');
  const ward = await group('Ward 7', [adaScim]);
  await group('Nurses', [ward]);
  await group(`Group ${HOSTILE}`, [hostileScim]);
  await group('Surgery', []);
  ada = await globalId('ada@example.org');
  hostile = await globalId('mallory@example.org');
  const role = async (name: string, permissions: string[]) =>
    (await organization.graphql('mutation($i: RoleCreateInput!) { roleCreate(input: $i) { role { id } userErrors { message } } }', { i: { name, permissions } }))
      .roleCreate.role.id as string;
  nurse = await role('Nurse', ['charts:read']);
  surgeon = await role('Surgeon', ['theatre:book']);
  const groups = (await organization.graphql('{ organization { groups(first: 50) { nodes { id displayName } } } }')).organization.groups.nodes as { id: string; displayName: string }[];
  const named = (name: string) => groups.find(({ displayName }) => displayName.startsWith(name))?.id ?? '';
  surgery = named('Surgery');
  const map = (groupId: string, roleId: string) =>
    organization.graphql('mutation($i: RoleMappingCreateInput!) { roleMappingCreate(input: $i) { userErrors { message } } }', { i: { groupId, roleId, reason: 'Ward plan' } });
  await map(named('Nurses'), nurse);
  await map(named('Group '), nurse);
  await map(surgery, surgeon);
});

const person = (id: string, query = '') => `people/${encodeURIComponent(id)}${query}`;
const chain = (page: Page, name: string) => page.getByRole('list', { name });

test('a person is found, opened, and back returns to the search', async ({ page }) => {
  await open(page, organization, 'people');
  await expect(page.locator('.table-foot')).toContainText('100 of 123 shown');
  await page.getByLabel('Search', { exact: true }).fill('love');
  await expect(page).toHaveURL(/q=love/);
  await expect(page.locator('.table-foot')).toContainText('1 of 1 shown');
  await page.getByRole('link', { name: 'Ada Lovelace' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Ada Lovelace');
  await page.goBack();
  await expect(page.getByLabel('Search', { exact: true })).toHaveValue('love');
  await expect(page.getByRole('link', { name: 'Ada Lovelace' })).toBeVisible();
});

test('filters are in the address and narrow the list', async ({ page }) => {
  await open(page, organization, `people?role=${nurse}&state=active`);
  await expect(page.locator('.table-foot')).toContainText('2 of 2 shown');
  await expect(page.getByRole('combobox', { name: 'Role' })).toHaveValue('Nurse');
  await page.getByRole('button', { name: 'Remove filters' }).click();
  await expect(page.locator('.table-foot')).toContainText('of 123 shown');
  await page.getByLabel('State').selectOption('suspended');
  await expect(page.getByText('No one matches these filters')).toBeVisible();
  await page.goBack();
  await expect(page.locator('.table-foot')).toContainText('of 123 shown');
});

test('more rows come while scrolling, few are in the document', async ({ page }) => {
  await open(page, organization, 'people');
  await page.locator('.virtual-scroll').evaluate((element) => element.scrollTo(0, 1e6));
  await expect(page.locator('.table-foot')).toContainText('123 of 123 shown');
  expect(await page.locator('[role=row]').count()).toBeLessThan(100);
});

test('why: person, nested groups, mapping, role, each with its author', async ({ page }) => {
  await open(page, organization, person(ada));
  const why = chain(page, 'Why Ada Lovelace holds Nurse');
  for (const name of ['Ada Lovelace', 'Ward 7', 'Nurses', 'Ward plan', 'Nurse']) await expect(why).toContainText(name);
  await expect(why).toContainText('is nested in');
  await expect(why).toContainText('by');
  await expect(why.getByRole('link', { name: /^event \d+/ }).first()).toBeVisible();
  await expect(page.getByRole('region', { name: 'What they may do' })).toContainText('charts:read');
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

test('why not: the missing link is named', async ({ page }) => {
  await open(page, organization, person(ada));
  const field = page.locator('#why-not').getByRole('combobox', { name: 'Role' });
  await field.fill('surg');
  await page.getByRole('option', { name: 'Surgeon' }).click();
  await expect(page).toHaveURL(/whyNot=/);
  const missing = chain(page, 'What is missing between Ada Lovelace and Surgeon');
  await expect(missing).toContainText('is not a member');
  await expect(missing).toContainText('Surgery');
  await expectAccessible(page);
});

test('the slider shows the roles of an earlier instant', async ({ page }) => {
  await open(page, organization, person(ada));
  await expect(page.getByRole('button', { name: 'Nurse', exact: false }).first()).toBeVisible();
  const slider = page.getByRole('slider');
  await slider.focus();
  await page.keyboard.press('Home');
  await expect(page).toHaveURL(/asOf=/);
  await expect(page.getByText('No role at that time')).toBeVisible();
  await page.getByRole('button', { name: 'Now', exact: true }).click();
  await expect(chain(page, 'Why Ada Lovelace holds Nurse')).toBeVisible();
  await page.goBack();
  await expect(page.getByText('No role at that time')).toBeVisible();
});

test('suspending says first what ends, and can be undone', async ({ page }) => {
  await open(page, organization, person(ada));
  await page.getByRole('button', { name: 'Suspend', exact: true }).click();
  const dialog = page.getByRole('alertdialog');
  await expect(dialog).toContainText('1 role ends at once: Nurse');
  await expect(dialog).toContainText('owns the account');
  await expectAccessible(page);
  await dialog.getByLabel('Reason').fill('Leave of absence');
  await dialog.getByRole('button', { name: 'Suspend', exact: true }).click();
  await expect(page.locator('.lead')).toContainText('Suspended');
  await expect(page.getByText('No role now')).toBeVisible();
  await expect(page.locator('.story')).toContainText('Leave of absence');
  await page.getByRole('button', { name: 'Reactivate', exact: true }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Reactivate', exact: true }).click();
  await expect(page.locator('.lead')).toContainText('Active');
  await expect(chain(page, 'Why Ada Lovelace holds Nurse')).toBeVisible();
});

test('a role is granted after a preview, and the grant ends', async ({ page }) => {
  await open(page, organization, person(ada));
  await page.getByRole('button', { name: 'Grant a role' }).click();
  const dialog = page.getByRole('dialog', { name: 'Grant Ada Lovelace a role' });
  await dialog.getByRole('combobox', { name: 'Role' }).fill('surg');
  await page.getByRole('option', { name: 'Surgeon' }).click();
  await dialog.getByLabel('Reason').fill('Night shift');
  await dialog.getByLabel(/^Ends/).fill('2099-12-31T12:00:00');
  await dialog.getByRole('button', { name: 'Show what follows' }).click();
  await expect(dialog).toContainText('1 person gains a role');
  await expect(dialog.getByRole('list', { name: 'Who gains' })).toContainText('Ada Lovelace');
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'Grant', exact: true }).click();
  await expect(page.getByText('Ada Lovelace holds Surgeon').first()).toBeVisible();
  await page.getByRole('button', { name: 'Surgeon', exact: false }).first().click();
  await expect(chain(page, 'Why Ada Lovelace holds Surgeon')).toContainText('Night shift');
  await page.getByRole('button', { name: 'More', exact: true }).click();
  await page.getByRole('menuitem', { name: 'Grants by hand' }).click();
  await page.getByRole('button', { name: 'End the grant of Surgeon' }).click();
  await expect(page.getByRole('dialog')).toContainText('1 person loses a role');
  await page.getByRole('dialog').getByRole('button', { name: 'End', exact: true }).click();
  await expect(page.getByRole('button', { name: 'Surgeon', exact: false })).toHaveCount(0);
  const { organization: read } = await organization.graphql('query($id: ID!) { organization { user(id: $id) { roles { role { name } } } } }', { id: ada });
  expect(read.user.roles.map(({ role }: { role: { name: string } }) => role.name)).toEqual(['Nurse']);
});

test('a person is added by hand, deleted and restored', async ({ page }) => {
  await open(page, organization, 'people');
  await page.getByRole('button', { name: 'Add a person' }).click();
  const dialog = page.getByRole('dialog', { name: 'Add a person by hand' });
  await dialog.getByLabel('User name').fill('zoe@example.org');
  await dialog.getByLabel('Display name').fill('Zoe Zwei');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Zoe Zwei');
  await page.getByRole('button', { name: 'More', exact: true }).click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('People');
  await page.getByRole('link', { name: 'Deleted people' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Deleted people');
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Restore Zoe Zwei' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Restore', exact: true }).click();
  await expect(page.getByText('Zoe Zwei was restored').first()).toBeVisible();
});

test('names that attack stay text', async ({ page }) => {
  await open(page, organization, 'people?q=mallory');
  await expect(page.getByRole('link', { name: '<img src=x' })).toBeVisible();
  await page.getByRole('link', { name: '<img src=x' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(HOSTILE);
  await page.getByRole('button', { name: 'Suspend', exact: true }).click();
  await expect(page.getByRole('alertdialog')).toContainText(HOSTILE);
  await page.keyboard.press('Escape');
  await expect(page).toHaveTitle(new RegExp('^<img src=x'));
  expect(await page.locator('#main img, #main script').count()).toBe(0);
  await expect(page.locator('.chain').first()).toContainText(`Group ${HOSTILE}`);
  expect(hostile).not.toBe('');
});

test('without IAM_READ there are people and no roles', async ({ page }) => {
  const key = await organization.issueKey('USER_READ');
  await open(page, organization, person(ada), key);
  await expect(page.getByText('Roles and groups need the permission IAM_READ.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Suspend' })).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Grant a role' })).toHaveCount(0);
});

test('a reader sees no actions', async ({ page }) => {
  const key = await organization.issueKey('USER_READ', 'IAM_READ');
  await open(page, organization, person(ada), key);
  await expect(chain(page, 'Why Ada Lovelace holds Nurse')).toBeVisible();
  await expect(page.locator('.page-head .actions button')).toHaveCount(0);
});

test('the list is accessible, narrow and German', async ({ page }) => {
  await open(page, organization, 'people');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: /^Profile of/ }).click();
  await page.getByRole('menuitemradio', { name: 'Deutsch' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Personen');
  await expect(page.getByRole('columnheader', { name: 'Abteilung' })).toBeVisible();
});

test('by keyboard alone: search, open, one change earlier', async ({ page }) => {
  await open(page, organization, 'people');
  await page.getByLabel('Search', { exact: true }).focus();
  await page.keyboard.type('love');
  await expect(page.locator('.table-foot')).toContainText('1 of 1 shown');
  const link = page.getByRole('link', { name: 'Ada Lovelace' });
  for (let tabs = 0; tabs < 25 && !(await link.evaluate((element) => element === document.activeElement)); tabs += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Ada Lovelace');
  await expect(page.getByRole('heading', { level: 1 })).toBeFocused();
  await page.getByRole('button', { name: 'One change earlier' }).press('Enter');
  await expect(page).toHaveURL(/asOf=/);
});

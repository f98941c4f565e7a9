// SCIM overview: screens.md, section 1, with its flows.
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

const card = (page: import('@playwright/test').Page) => page.locator('#configuration');
const fact = (page: import('@playwright/test').Page, name: string) =>
  card(page).locator('.facts > div', { has: page.getByText(name, { exact: true }) }).locator('dd');

test.describe('an organization in use', () => {
  let organization: Organization;

  test.beforeAll(async () => {
    organization = await makeOrganization('overview');
    await organization.addUsers(3);
    await organization.scim('POST', '/Groups', {
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'],
      displayName: '<img src=x onerror=alert(1)>',
      externalId: 'g1',
    });
    await organization.graphql(
      'mutation($input: UserCreateInput!) { userCreate(input: $input) { userErrors { message } } }',
      { input: { userName: 'by-hand@example.org', displayName: '<script>alert(2)</script>' } },
    );
  });

  test('after set-up: active, the count as expected, three addresses', async ({ page }) => {
    await open(page, organization, 'overview');
    await expect(fact(page, 'SCIM status')).toHaveText('Active');
    await expect(fact(page, 'SCIM users')).toHaveText('3');
    await expect(fact(page, 'SCIM groups')).toHaveText('1');
    for (const [label, address] of [
      ['Base URL', organization.scimUrl],
      ['Users endpoint', `${organization.scimUrl}/Users`],
      ['Groups endpoint', `${organization.scimUrl}/Groups`],
    ] as const) {
      // That one button is a green check for a moment.
      expect(await copyText(page, page.locator('#main'), label)).toBe(address);
      await expect(page.getByRole('button', { name: `Copy: ${label}` })).toBeVisible();
    }
    const { status } = await organization.scim('GET', '/Users');
    expect(status).toBe(200);
    await expectAccessible(page);
    await expectNoSideScroll(page);
    await expectNoSideScroll(page, 2560);
  });

  test('names from outside stay text', async ({ page }) => {
    await open(page, organization, 'overview');
    await expect(page.locator('#activity')).toContainText('<script>alert(2)</script>');
    await expect(page.locator('#activity')).toContainText('<img src=x onerror=alert(1)>');
    await expect(page.locator('#activity img, #activity script')).toHaveCount(0);
  });

  test('the counts are a snapshot until they are reloaded', async ({ page }) => {
    await open(page, organization, 'overview');
    const before = await fact(page, 'SCIM users').textContent();
    await organization.addUsers(1, 'late');
    // Another reading of the screen, for a change of its state, leaves the counts.
    const readAgain = page.waitForResponse((response) => response.request().postData()?.includes('query Overview') ?? false);
    await organization.graphql('mutation($input: ConnectionUpdateInput!) { connectionUpdate(input: $input) { userErrors { message } } }', {
      input: { id: organization.connectionId, revivalDays: 31 },
    });
    await readAgain;
    await expect(fact(page, 'SCIM users')).toHaveText(before ?? '');
    await expect(card(page)).toContainText('Users and groups counted');
    await card(page).getByRole('button', { name: 'Reload' }).click();
    await expect(fact(page, 'SCIM users')).toHaveText(String(Number(before) + 1));
  });

  test('pausing: one click, at once, in other tabs too', async ({ page, context }) => {
    await open(page, organization, 'overview');
    const other = await context.newPage();
    await open(other, organization, 'overview');
    await expect(card(page)).toContainText('no account is deleted or changed; new requests are refused until it is turned on again');
    await expect(card(page).getByRole('link', { name: 'Sign-in (SSO)' })).toHaveCount(1);
    await card(page).getByRole('button', { name: 'Deactivate' }).click();
    await expect(page.locator('.toast-success')).toContainText('SCIM is deactivated.');
    await expect(page.locator('.toast-success')).toContainText('No account was deleted or changed.');
    await expect(fact(page, 'SCIM status')).toHaveText('Inactive');
    await expect(card(page).getByRole('button', { name: 'Deactivate' })).toHaveCount(0);
    await expect(page.getByRole('button', { name: 'Activate', exact: true })).toHaveCount(0);
    await expect(fact(other, 'SCIM status')).toHaveText('Inactive');
    const { status } = await organization.scim('GET', '/Users');
    expect(status).toBe(403);
    // The way back is on the next screen but one.
    await card(page).getByRole('link', { name: 'Sign-in (SSO)' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('Sign-in (SSO)');
    await page.getByRole('button', { name: 'Activate' }).click();
    await expect(page.locator('.toast-success').last()).toContainText('SCIM is active again.');
    await expect(fact(other, 'SCIM status')).toHaveText('Active');
    expect((await organization.scim('GET', '/Users')).status).toBe(200);
    await page.goBack();
    await expect(fact(page, 'SCIM status')).toHaveText('Active');
    await other.close();
  });

  test('a reader sees facts and no action', async ({ page }) => {
    await open(page, organization, 'overview', await organization.issueKey('IAM_READ'));
    await expect(fact(page, 'SCIM status')).toHaveText('Active');
    await expect(page.getByRole('button', { name: 'Deactivate' })).toHaveCount(0);
    await expect(page.getByRole('button', { name: 'Delete all users' })).toHaveCount(0);
    await expect(page.getByRole('heading', { name: 'Recent activity' })).toHaveCount(0);
  });

  test('an auditor sees activity without names', async ({ page }) => {
    await open(page, organization, 'overview', await organization.issueKey('IAM_READ', 'AUDIT_READ'));
    await expect(page.locator('#activity')).toContainText('User created');
    await expect(page.locator('#activity')).not.toContainText('script');
  });

  test('the deletion right is apart from reading and writing', async ({ page }) => {
    await open(page, organization, 'overview', await organization.issueKey('IAM_READ', 'IAM_WRITE'));
    await expect(page.getByRole('button', { name: 'Deactivate' })).toBeVisible();
    await expect(page.getByRole('button', { name: 'Delete all users' })).toHaveCount(0);
    await open(page, organization, 'overview', await organization.issueKey('IAM_READ', 'DELETE_ALL'));
    await expect(page.getByRole('button', { name: 'Delete all users' })).toBeVisible();
    await expect(page.getByRole('button', { name: 'Deactivate' })).toHaveCount(0);
  });

  test('the breadcrumb leads to the neighbours', async ({ page }) => {
    await open(page, organization, 'overview');
    await page.getByRole('link', { name: 'Next: SCIM configuration' }).click();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM configuration');
    await expect(page.getByRole('navigation', { name: 'Where you are' })).toHaveCount(0);
    await page.goBack();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText('SCIM overview');
  });

  test('a count that does not move: the screen says why', async ({ page, watch }) => {
    watch.allowStatus(401);
    await organization.scim('POST', '/Users', { schemas: [], userName: '' });
    await open(page, organization, 'overview');
    await expect(page.locator('#connections')).toContainText('Last contact:');
    await expect(page.locator('#connections')).toContainText('Microsoft Entra ID');
  });
});

test.describe('retiring SCIM', () => {
  test('delete all: the number, the consequences, the progress, the total', async ({ page, context }) => {
    const organization = await makeOrganization('retire');
    await organization.addUsers(12);
    await open(page, organization, 'overview');
    const other = await context.newPage();
    await open(other, organization, 'overview');
    await page.getByRole('button', { name: 'Delete all users' }).click();
    const dialog = page.getByRole('alertdialog');
    await expect(dialog).toContainText('Delete all 12 provisioned users?');
    await expect(dialog).toContainText('This cannot be undone here');
    await expect(dialog).toContainText('Only accounts that came by provisioning are deleted');
    await expect(dialog).toContainText('lose their assignee');
    await expect(dialog).toContainText("Talk to the identity provider's administrator first");
    await expectAccessible(page);
    const confirm = dialog.getByRole('button', { name: 'Delete 12 users' });
    await expect(confirm).toBeDisabled();
    await dialog.getByLabel('To confirm, type the number 12:').fill('11');
    await expect(confirm).toBeDisabled();
    await dialog.getByLabel('To confirm, type the number 12:').fill('12');
    await confirm.click();
    await expect(page.locator('.toast-success')).toContainText('12 users deleted in total.', { timeout: 60_000 });
    await expect(fact(page, 'SCIM users')).toHaveText('0');
    await page.reload();
    await open(page, organization, 'overview');
    await expect(fact(page, 'SCIM users')).toHaveText('0');
    // The other tab still shows the old number; its prompt asks the server again.
    await other.getByRole('button', { name: 'Delete all users' }).click();
    await expect(other.locator('.toast')).toContainText('There is no provisioned user to delete.');
    await other.close();
  });

  test('accounts made by hand stay', async ({ page }) => {
    const organization = await makeOrganization('retire-hand');
    await organization.addUsers(1);
    await organization.graphql('mutation($input: UserCreateInput!) { userCreate(input: $input) { userErrors { message } } }', {
      input: { userName: 'by-hand@example.org' },
    });
    await open(page, organization, 'overview');
    await page.getByRole('button', { name: 'Delete all users' }).click();
    await expect(page.getByRole('alertdialog')).toContainText('1 account that was made by hand stays.');
    await page.getByRole('alertdialog').getByLabel(/To confirm/).fill('1');
    await page.getByRole('alertdialog').getByRole('button', { name: 'Delete 1 user' }).click();
    await expect(page.locator('.toast-success')).toContainText('1 user deleted in total.', { timeout: 60_000 });
    const { organization: after } = await organization.graphql('{ organization { users(first: 1) { totalCount } } }');
    expect(after.users.totalCount).toBe(1);
  });
});

test('while a deletion runs, no tab can start another', async ({ page }) => {
  const organization = await makeOrganization('running');
  await organization.addUsers(1);
  // The deletion of another tab, as the server tells it.
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query Overview')) return route.continue();
    const response = await route.fetch();
    const body = await response.json();
    if (body.data?.organization?.scim) body.data.organization.scim.runningDeletion = { __typename: 'DeletionJob', id: 'none' };
    return route.fulfill({ response, json: body });
  });
  await open(page, organization, 'overview');
  const button = page.getByRole('button', { name: 'Delete all users' });
  await expect(button).toBeDisabled();
  await expect(button.locator('svg')).toHaveClass(/spin/);
  await expect(card(page).getByRole('progressbar', { name: 'All provisioned users are being deleted' })).toBeVisible();
});

test('the native Entra ID integration takes the place of all', async ({ page }) => {
  const organization = await makeOrganization('native');
  await organization.graphql('mutation { organizationUpdate(input: { integrationMode: ENTRA_NATIVE }) { userErrors { message } } }');
  await open(page, organization, 'overview');
  await expect(page.locator('.banner-warning')).toContainText('The native Microsoft Entra ID integration is in use');
  await expect(page.locator('.banner-warning')).toContainText('decide for one of the two');
  await expect(page.locator('.banner-warning')).toContainText('ENTRA_NATIVE_INTEGRATION');
  await expect(page.locator('#main')).not.toContainText('/scim/v2/');
  await expect(page.getByRole('button', { name: /Deactivate|Delete all|Copy/ })).toHaveCount(0);
  await expectAccessible(page);
});

test('SCIM off for the installation: alike in look, other text and reason', async ({ page }) => {
  const organization = await makeOrganization('platform');
  // What such a server answers is tested there; here only what the screen makes of it.
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query Overview')) return route.continue();
    const response = await route.fetch();
    const body = await response.json();
    const { scim } = body.data.organization;
    scim.availability = {
      ...scim.availability,
      state: 'PLATFORM_DISABLED',
      code: 'PLATFORM_DISABLED',
      nextStep: 'Change the configuration of the deployment.',
    };
    scim.state = null;
    scim.endpoints = null;
    return route.fulfill({ response, json: body });
  });
  await open(page, organization, 'overview');
  await expect(page.locator('.banner-warning')).toContainText('SCIM is off for this whole installation');
  await expect(page.locator('.banner-warning')).toContainText("have the deployment's configuration changed, or ask support");
  await expect(page.locator('.banner-warning')).toContainText('PLATFORM_DISABLED');
  await expect(page.locator('#main')).not.toContainText('/scim/v2/');
  await expect(page.getByRole('button', { name: /Deactivate|Delete all|Copy/ })).toHaveCount(0);
});

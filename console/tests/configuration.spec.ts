// SCIM configuration: screens.md, section 2, with its flows.
import type { Page } from '@playwright/test';
import {
  copyText,
  expect,
  expectAccessible,
  expectNoSideScroll,
  expectNoTableScroll,
  makeOrganization,
  open,
  type Organization,
  test,
} from './support.ts';

const token = (page: Page) => page.locator('#token');

async function takeSecret(page: Page) {
  const dialog = page.getByRole('dialog', { name: 'Your new token' });
  await expect(dialog).toContainText('It is shown only now');
  const secret = await copyText(page, dialog, 'Bearer token');
  expect(secret).toMatch(/^rcs_/);
  // Only its own button closes it.
  await page.keyboard.press('Escape');
  await expect(dialog).toBeVisible();
  await dialog.getByRole('button', { name: 'I have stored it' }).click();
  await expect(dialog).toHaveCount(0);
  expect(await page.content()).not.toContain(secret);
  return secret;
}

test('first set-up: address, token once, first request, user and group', async ({ page }) => {
  const organization = await makeOrganization('first');
  // As before the first token: a connection without one.
  const made = await organization.graphql(
    'mutation { connectionCreate(input: { name: "Okta", provider: OKTA }) { connection { id } userErrors { message } } }',
  );
  const id = made.connectionCreate.connection.id;
  await open(page, organization, `configuration?connection=${id}`);
  await expect(token(page)).toContainText('No token was issued yet');
  await expect(page.getByRole('button', { name: 'Rotate token' })).toHaveCount(0);
  expect(await copyText(page, page.locator('#address'), 'Base URL')).toBe(organization.scimUrl);

  await token(page).getByRole('button', { name: 'Generate token' }).click();
  await expectAccessible(page);
  await page.getByRole('alertdialog').getByRole('button', { name: 'Generate token' }).click();
  const secret = await takeSecret(page);
  await expect(token(page)).toContainText('A token has been issued');
  await expect(token(page)).toContainText(`…${secret.slice(-4)}`);
  await expect(token(page).getByRole('button', { name: 'Generate token' })).toHaveCount(0);
  await expect(page.locator('#steps')).toContainText('In Okta');
  await expect(page.locator('#steps')).toContainText('Test API Credentials');
  await expect(page.locator('#steps').getByRole('link', { name: 'Open the console of Okta' })).toHaveAttribute('rel', 'noreferrer');

  const arrival = (name: string) => token(page).locator('.arrivals li', { hasText: name });
  await expect(arrival('First request')).toContainText('is awaited');
  expect((await organization.scim('GET', '/Users?count=1', undefined, secret)).status).toBe(200);
  await organization.scim(
    'POST',
    '/Users',
    { schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName: 'first@example.org', externalId: '1', active: true },
    secret,
  );
  await organization.scim(
    'POST',
    '/Groups',
    { schemas: ['urn:ietf:params:scim:schemas:core:2.0:Group'], displayName: 'First', externalId: '2' },
    secret,
  );
  for (const name of ['First request', 'First user', 'First group']) {
    await expect(arrival(name)).toHaveClass('arrived');
  }
  await page.reload();
  await open(page, organization, `configuration?connection=${id}`);
  expect(await page.content()).not.toContain(secret);
});

test.describe('with a token in use', () => {
  // They rotate the token of one organization, one after the other.
  test.describe.configure({ mode: 'serial' });
  let organization: Organization;

  test.beforeAll(async () => {
    organization = await makeOrganization('rotate');
    await organization.addUsers(2);
  });

  test('the state of the token, never its text', async ({ page }) => {
    // The server writes down a few seconds late that a token was used.
    await expect
      .poll(async () => {
        const { organization: read } = await organization.graphql('{ organization { connections(first: 1) { nodes { tokens { lastUsedFrom } } } } }');
        return read.connections.nodes[0].tokens[0].lastUsedFrom;
      })
      .toBe('127.0.0.1');
    await open(page, organization, 'configuration');
    const row = token(page).getByRole('row', { name: new RegExp(`…${organization.scimToken.slice(-4)}`) });
    await expect(row).toContainText('Works');
    await expect(row).toContainText('rolecall');
    await expect(row).toContainText('127.0.0.1');
    await expect(row).toContainText('never');
    await expect(row).toContainText('All');
    await expectNoTableScroll(page);
    expect(await page.content()).not.toContain(organization.scimToken);
    await expect(page.getByRole('navigation', { name: 'Where you are' })).toHaveCount(0);
    await expectAccessible(page);
    await expectNoSideScroll(page);
  });

  test('the check and the self-test say what is well', async ({ page }) => {
    await open(page, organization, 'configuration');
    const checks = page.locator('#checks');
    await checks.getByRole('button', { name: 'Check' }).click();
    await expect(checks).toContainText('A token works is well');
    await checks.getByRole('button', { name: 'Self-test of the address' }).click();
    await expect(checks).toContainText('A false token is refused is well');
    await expectAccessible(page);
  });

  test('an audit check with read access alone', async ({ page }) => {
    await open(page, organization, 'configuration', await organization.issueKey('IAM_READ'));
    const audit = page.locator('#audit-check');
    await expect(audit).toContainText('The base URL is there: an endpoint is configured.');
    await expect(audit).toContainText('A token was issued: provisioning was set up at least once.');
    await expect(audit).toContainText(new RegExp(`${new Date().getFullYear()}.*organization ${organization.slug}.*SCIM active`));
    await expect(page.getByRole('button', { name: /Generate|Rotate|Revoke|Self-test|Change/ })).toHaveCount(0);
  });

  test('rotating after a security concern', async ({ page }) => {
    await open(page, organization, 'configuration');
    await token(page).getByRole('button', { name: 'Rotate token' }).click();
    const dialog = page.getByRole('alertdialog', { name: 'Rotate the token?' });
    await expect(dialog).toContainText('The old token stops working at once');
    await expect(dialog).toContainText('cannot sync from then on until it has the new token');
    await expect(dialog).toContainText('Have its console open now');
    await expect(dialog).toContainText('Choose a quiet time');
    await expect(dialog).toContainText('No account, no session and no data is touched.');
    await dialog.getByLabel('The old token stops').selectOption('after an hour');
    await expect(dialog).toContainText('The old token stops working after an hour. Until then both work.');
    await dialog.getByLabel('The old token stops').selectOption('At once');
    await dialog.getByLabel(/^Reason/).fill('Seen in a log');
    await expectAccessible(page);
    await dialog.getByRole('button', { name: 'Rotate now' }).click();
    await expect(page.getByRole('dialog')).toContainText('Provisioning resumes with the new token');
    const secret = await takeSecret(page);
    expect((await organization.scim('GET', '/Users?count=1')).status).toBe(401);
    expect((await organization.scim('GET', '/Users?count=1', undefined, secret)).status).toBe(200);
    const { organization: after } = await organization.graphql('{ organization { users(first: 5, filter: { provisioned: true }) { totalCount } } }');
    expect(after.users.totalCount).toBe(2);
    await expect(token(page)).toContainText('Replaced');
    await expectNoTableScroll(page);
    organization.scimToken = secret;
  });

  test('a token with an overlap, then revoked', async ({ page }) => {
    await open(page, organization, 'configuration');
    await token(page).getByRole('button', { name: 'Rotate token' }).click();
    await page.getByRole('alertdialog').getByLabel('The old token stops').selectOption('after a day');
    await page.getByRole('alertdialog').getByRole('button', { name: 'Rotate now' }).click();
    const secret = await takeSecret(page);
    await expect(token(page)).toContainText('Works, ends');
    expect((await organization.scim('GET', '/Users?count=1', undefined, secret)).status).toBe(200);
    expect((await organization.scim('GET', '/Users?count=1', undefined, organization.scimToken)).status).toBe(200);
    await token(page).getByRole('button', { name: `Revoke the token that ends with ${organization.scimToken.slice(-4)}` }).click();
    await expect(page.getByRole('alertdialog')).toContainText('1 other token of this connection goes on working.');
    await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke' }).click();
    await expect(page.locator('.toast-success')).toContainText('The token is revoked.');
    expect((await organization.scim('GET', '/Users?count=1', undefined, organization.scimToken)).status).toBe(401);
    await expect(token(page)).toContainText('Revoked');
  });

  test('another identity provider: the base URL stays', async ({ page }) => {
    await open(page, organization, 'configuration');
    const migration = page.locator('#migration');
    await expect(migration).toContainText('recommended: the old identity provider cannot write any more');
    await migration.getByLabel('Identity provider:').selectOption('Okta');
    await migration.getByRole('button', { name: 'Change' }).click();
    await expect(page.locator('.toast-success')).toContainText('The identity provider is changed.');
    await expect(page.locator('#steps')).toContainText('In Okta');
    await expect(page.locator('#address')).toContainText(organization.scimUrl);
  });
});

test('roll-out: one sentence where the controls are not released', async ({ page }) => {
  const organization = await makeOrganization('rollout');
  await organization.graphql('mutation { organizationUpdate(input: { scimEnabled: false }) { userErrors { message } } }');
  await open(page, organization, 'configuration', await organization.issueKey('IAM_READ'));
  await expect(page.locator('.banner')).toContainText('The controls for SCIM are being released for your organization; ask');
  await expect(page.locator('#token')).toHaveCount(0);
  await expectAccessible(page);
});

test('an organization without a connection makes its first', async ({ page }) => {
  const organization = await makeOrganization('empty');
  await organization.graphql('mutation($input: ConnectionDeleteInput!) { connectionDelete(input: $input) { userErrors { message } } }', {
    input: { id: organization.connectionId },
  });
  await open(page, organization, 'configuration');
  await expect(page.locator('#first')).toContainText('No identity provider is connected yet');
  await page.locator('#first').getByLabel('Identity provider').selectOption('OneLogin');
  await page.locator('#first').getByRole('button', { name: 'Make the connection' }).click();
  await expect(token(page)).toContainText('No token was issued yet');
  await expect(page.locator('#steps')).toContainText('In OneLogin');
});

// Sign-in (SSO): screens.md, section 3.
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

let organization: Organization;

// Each test goes on with what the one before it left.
test.describe.configure({ mode: 'serial' });

test.beforeAll(async () => {
  organization = await makeOrganization('sso');
});

test('how people sign in, and what makes accounts', async ({ page }) => {
  await open(page, organization, 'sso');
  await expect(page.locator('#how')).toContainText('No identity provider is connected for sign-in');
  await expect(page.locator('#how')).toContainText('SCIM 2.0: the identity provider writes');
  await expect(page.locator('#how')).toContainText('SCIM only');
  await expect(page.locator('#main')).toContainText('SCIM decides who has an account, SSO how people sign in.');
  await expect(page.locator('#main')).toContainText('roles come by mapping or by hand');
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

test('an identity provider for sign-in is added, tested and changed', async ({ page }) => {
  test.slow();
  await open(page, organization, 'sso');
  await page.getByRole('link', { name: 'Add an identity provider' }).click();
  await expect(page.getByRole('radio', { name: /^People sign in/ })).toBeChecked();
  await page.getByLabel('Name', { exact: true }).fill('Keycloak');
  await page.getByLabel('Issuer').fill('https://idp.invalid/realms/ward');
  await page.getByLabel('Client id', { exact: true }).fill('rolecall');
  await page.getByRole('radio', { name: 'Make the account', exact: true }).check();
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Create the connection' }).click();
  await expect(page).toHaveURL(/\/test$/);
  const card = page.getByRole('region', { name: 'Test of the identity provider' });
  await card.getByRole('button', { name: 'Start the test' }).click();
  await expect(card.locator('.step-failed')).toHaveCount(1, { timeout: 60_000 });
  await page.getByRole('link', { name: 'Identity provider', exact: true }).click();
  await expect(page.getByRole('region', { name: 'Addresses' })).toContainText(`/sign-in/${organization.slug}`);
  await page.getByRole('link', { name: 'Settings', exact: true }).click();
  await page.getByLabel('Claims hold for (days)').fill('');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.locator('.toast-success', { hasText: 'Saved.' })).toBeVisible();
  const { organization: read } = await organization.graphql(
    '{ organization { connections(first: 10) { nodes { kind assertionSource { claimsExpireDays accountCreation oidc { issuer } } } } } }',
  );
  const made = read.connections.nodes.find(({ kind }: { kind: string }) => kind === 'ASSERTION');
  expect(made.assertionSource).toEqual({
    claimsExpireDays: null,
    accountCreation: 'CREATE',
    oidc: { issuer: 'https://idp.invalid/realms/ward' },
  });
  await page.getByRole('link', { name: 'Sign-in (SSO)' }).click();
  await expect(page.locator('#how')).toContainText('makes accounts at first sign-in');
  await expect(page.locator('#how')).toContainText('JIT + SCIM');
});

test('a domain is added with the steps of its proof, looked up, and removed', async ({ page }) => {
  test.slow();
  await open(page, organization, 'sso');
  const card = page.locator('#domains');
  await card.getByLabel('Another domain').fill('ward.invalid');
  await card.getByRole('button', { name: 'Add the domain' }).click();
  await expect(card).toContainText('Asserted');
  await expect(card).toContainText('Add this TXT record');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await card.getByRole('button', { name: 'Prove: ward.invalid' }).click();
  await expect(card.locator('[role=alert], .banner').first()).toBeVisible();
  await expect(card).toContainText('Asserted');
  await card.getByRole('button', { name: 'Remove ward.invalid' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Remove' }).click();
  await expect(card).toContainText('No domain yet.');
});

test('activate is here, and only for those who may', async ({ page }) => {
  await organization.graphql('mutation($input: ConnectionDeactivateInput!) { connectionDeactivate(input: $input) { userErrors { message } } }', {
    input: { id: organization.connectionId },
  });
  await open(page, organization, 'sso', await organization.issueKey('IAM_READ'));
  await expect(page.locator('#provisioning')).toContainText('Inactive');
  await expect(page.getByRole('button', { name: 'Activate' })).toHaveCount(0);
  await open(page, organization, 'sso');
  await page.locator('#provisioning').getByRole('button', { name: 'Activate' }).click();
  await expect(page.locator('.toast-success')).toContainText('SCIM is active again.');
  await expect(page.locator('#provisioning')).toContainText('Requests of the identity provider are served.');
  await expect(page.locator('#provisioning').getByRole('button', { name: 'Activate' })).toHaveCount(0);
});

test('an organization whose provisioning is off is turned on', async ({ page }) => {
  await organization.graphql('mutation { organizationUpdate(input: { scimEnabled: false }) { userErrors { message } } }');
  await open(page, organization, 'sso');
  await expect(page.locator('#provisioning')).toContainText('Provisioning is turned off for the organization.');
  await page.locator('#provisioning').getByRole('button', { name: 'Activate' }).click();
  await expect(page.locator('#provisioning')).toContainText('Requests of the identity provider are served.');
  expect((await organization.scim('GET', '/Users?count=1')).status).toBe(200);
});

test('the native integration leaves nothing to activate', async ({ page }) => {
  await organization.graphql('mutation { organizationUpdate(input: { integrationMode: ENTRA_NATIVE }) { userErrors { message } } }');
  await open(page, organization, 'sso');
  await expect(page.locator('#provisioning')).toContainText('The native Microsoft Entra ID integration is in use');
  await expect(page.getByRole('button', { name: 'Activate' })).toHaveCount(0);
  await organization.graphql('mutation { organizationUpdate(input: { integrationMode: SCIM }) { userErrors { message } } }');
});

test('the sign-in page leads to the identity provider', async ({ page }) => {
  await page.route('**/sign-in/*', (route) => route.fulfill({ contentType: 'text/html', body: '<title>Identity provider</title>' }));
  await page.goto(`/o/${organization.slug}/overview`);
  await expect(page.getByLabel('Organization', { exact: true })).toHaveValue(organization.slug);
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Continue to the identity provider' }).click();
  await expect(page).toHaveURL(new RegExp(`/sign-in/${organization.slug}$`));
});

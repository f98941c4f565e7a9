// Sign-in (SSO): screens.md, section 3.
import { type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

let organization: Organization;

test.beforeAll(async () => {
  organization = await makeOrganization('sso');
});

test('how people sign in, and what is not there yet', async ({ page }) => {
  await organization.graphql('mutation { organizationUpdate(input: { verifiedDomains: ["example.org"] }) { userErrors { message } } }');
  await open(page, organization, 'sso');
  await expect(page.locator('#how')).toContainText('cannot be set up here yet');
  await expect(page.locator('#how')).toContainText('SCIM 2.0: the identity provider writes');
  await expect(page.locator('#how')).toContainText('example.org');
  await expect(page.locator('#main')).toContainText('SCIM decides who has an account, SSO how people sign in.');
  await expect(page.locator('#main')).toContainText('roles come by mapping or by hand');
  await expectAccessible(page);
  await expectNoSideScroll(page);
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

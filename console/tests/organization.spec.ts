// The organization's settings, schema extensions, and jobs as they go.
import { expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

test('settings change and the operator is let in for a time', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('orgset');
  await open(page, organization, 'organization');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByLabel('Name', { exact: true }).fill('Ward 7');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('button', { name: 'Save' })).toBeDisabled();
  await page.getByLabel('Microsoft Entra ID at sign-in').check();
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('alertdialog')).toContainText('Every SCIM request of every connection is refused');
  await page.getByRole('alertdialog').getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Let the operator in' }).click();
  const dialog = page.getByRole('alertdialog');
  const tomorrow = new Date(Date.now() + 86_400_000).toISOString().slice(0, 16);
  await dialog.getByLabel('Until').fill(tomorrow);
  await dialog.getByLabel(/^Reason/).fill('Support case 7');
  await dialog.getByRole('button', { name: 'Let the operator in' }).click();
  await expect(page.getByText('The operator may look in', { exact: true })).toBeVisible();
  await page.getByRole('button', { name: 'End the access' }).click();
  await page.getByRole('alertdialog').getByLabel(/^Reason/).fill('Done');
  await page.getByRole('alertdialog').getByRole('button', { name: 'End the access' }).click();
  await expect(page.getByText('The operator has no access')).toBeVisible();
  const { organization: read } = await organization.graphql('{ organization { name integrationMode operatorAccessUntil } }');
  expect(read).toEqual({ name: 'Ward 7', integrationMode: 'SCIM', operatorAccessUntil: null });
});

test('a schema extension is registered and removed', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('schema');
  await open(page, organization, 'extensions');
  await expect(page.getByText('There is no schema extension yet')).toBeVisible();
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Register a schema' }).first().click();
  await page.getByLabel('Name', { exact: true }).fill('Hospital');
  await page.getByRole('textbox', { name: 'URN' }).fill('urn:ietf:params:scim:schemas:extension:hospital:2.0:User');
  await page.getByLabel('Name of the attribute').fill('ward');
  await page.getByRole('button', { name: 'Add an attribute' }).click();
  await page.getByLabel('Name of the attribute').nth(1).fill('badge');
  await page.getByLabel('Type', { exact: true }).nth(1).selectOption('Object');
  await page.getByLabel('Name of the attribute').nth(2).fill('number');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Register a schema' }).click();
  await expect(page.getByRole('region', { name: 'Attributes of Hospital' })).toContainText('badge.number');
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Remove the schema Hospital' }).click();
  const dialog = page.getByRole('alertdialog');
  await expect(dialog.getByRole('button', { name: 'Remove' })).toBeDisabled();
  await dialog.getByLabel('Type the name to confirm: Hospital').fill('Hospital');
  await dialog.getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByText('There is no schema extension yet')).toBeVisible();
});

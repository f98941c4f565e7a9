// Invitations: made for one and for many, the link shown once, sent again, revoked.
import { expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

test('people are invited, and an invitation is sent again and revoked', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('invite');
  await organization.graphql('mutation { roleCreate(input: { name: "Guest" }) { userErrors { message } } }');
  await open(page, organization, 'invitations');
  await expect(page.getByText('Nobody is invited')).toBeVisible();
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Invite', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Invite people' });
  await dialog.getByLabel('E-mail addresses').fill('ada@example.org');
  await dialog.getByRole('combobox', { name: 'Role' }).fill('gue');
  await page.getByRole('option', { name: 'Guest' }).click();
  await dialog.getByRole('button', { name: 'Invite', exact: true }).click();
  const link = page.getByRole('dialog', { name: 'The link of the invitation' });
  await expect(link.locator('.secret code')).toContainText('/invitation#link=');
  await link.getByLabel('I have stored it').check();
  await link.getByRole('button', { name: 'Done' }).click();
  await expect(page.locator('article.entry')).toContainText('ada@example.org');
  await expect(page.locator('article.entry')).toContainText('Waits');
  expect(await page.content()).not.toContain('#link=');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Send again to ada@example.org' }).click();
  await expect(link.locator('.secret code')).toContainText('/invitation#link=');
  await link.getByLabel('I have stored it').check();
  await link.getByRole('button', { name: 'Done' }).click();
  await page.getByRole('button', { name: 'Revoke the invitation of ada@example.org' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke' }).click();
  await expect(page.locator('article.entry')).toContainText('Revoked');
});

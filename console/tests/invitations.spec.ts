// Invitations: made for one and for many, the link shown once, sent again, revoked.
import { expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

test('people are invited, and an invitation is sent again and revoked', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('invite');
  await organization.graphql('mutation { roleCreate(input: { name: "Guest" }) { userErrors { message } } }');
  await open(page, organization, 'invitations');
  await expect(page.getByText('No one is invited')).toBeVisible();
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

test('an administrator accepts an invitation for an account', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('accept');
  await organization.addUsers(1, 'doctor');
  const { roleCreate } = await organization.graphql('mutation { roleCreate(input: { name: "Guest" }) { role { id } userErrors { message } } }');
  await organization.graphql('mutation($input: InvitationsCreateInput!) { invitationsCreate(input: $input) { userErrors { message } } }', {
    input: { emails: ['ada@example.org'], roles: [roleCreate.role.id] },
  });
  await open(page, organization, 'invitations');
  await page.getByRole('button', { name: 'Accept for an account: ada@example.org' }).click();
  const dialog = page.getByRole('dialog', { name: 'Accept the invitation of ada@example.org' });
  await expect(dialog).toContainText('only if you know that it is the person’s');
  await expectAccessible(page);
  await dialog.getByRole('combobox', { name: 'Account of the person' }).fill('doctor');
  await page.getByRole('option', { name: 'doctor 1' }).click();
  await dialog.getByRole('button', { name: 'Accept', exact: true }).click();
  await expect(page.locator('article.entry')).toContainText('Accepted');
  await expect(page.locator('article.entry').getByRole('link', { name: 'doctor 1' })).toBeVisible();
  const { organization: read } = await organization.graphql(
    '{ organization { users(first: 1, filter: { search: "doctor" }) { nodes { roles { role { name } } } } } }',
  );
  expect(read.users.nodes[0].roles.map(({ role }: { role: { name: string } }) => role.name)).toEqual(['Guest']);
});

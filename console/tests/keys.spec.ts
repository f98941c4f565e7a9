// API keys: issued and shown once, changed, revoked; only what the viewer holds can be given.
import { expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

test('a key is issued, shown once, changed and revoked', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('keys');
  await organization.addUsers(1, 'owner');
  await open(page, organization, 'keys');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Issue a key' }).click();
  const dialog = page.getByRole('dialog', { name: 'Issue an API key' });
  await dialog.getByLabel('Name').fill('<b>Nightly</b> report');
  await dialog.getByLabel('IAM_READ').check();
  await dialog.getByLabel('Owner').selectOption('An account, by its user name');
  await dialog.getByLabel('An account, by its user name').fill('nobody@example.org');
  await dialog.getByRole('button', { name: 'Issue a key' }).click();
  await expect(dialog.getByRole('alert')).toContainText('There is no account with the user name nobody@example.org');
  await dialog.getByLabel('An account, by its user name').fill(`owner1@${organization.slug}.example`);
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'Issue a key' }).click();
  const shown = page.getByRole('dialog', { name: 'The new key' });
  const secret = await shown.locator('.secret code').innerText();
  expect(secret).toMatch(/^rck_/);
  await organization.graphql('{ organization { connections(first: 1) { nodes { id } } } }', {}, secret);
  await shown.getByLabel('I have stored it').check();
  await shown.getByRole('button', { name: 'Done' }).click();
  const row = page.getByRole('row', { name: /Nightly/ });
  await expect(row).toContainText('<b>Nightly</b> report');
  await expect(row).toContainText('owner 1');
  expect(await page.content()).not.toContain(secret);

  await row.getByRole('button', { name: /^Change/ }).click();
  const edit = page.getByRole('dialog', { name: /^Change the key/ });
  await edit.getByLabel('Name').fill('Weekly report');
  const sent = page.waitForRequest((request) => (request.postData() ?? '').includes('mutation ApiKeyUpdate'));
  await edit.getByRole('button', { name: 'Save' }).click();
  const { input } = (await sent).postDataJSON().variables;
  expect(Object.keys(input).sort()).toEqual(['id', 'name']);

  await page.getByRole('button', { name: 'Revoke the key Weekly report' }).click();
  const revoke = page.getByRole('alertdialog');
  await expect(revoke).toContainText('stops working at once');
  await revoke.getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByRole('row', { name: /Weekly/ })).toHaveCount(0);
  await page.getByLabel('Also show keys that have ended').check();
  await expect(page.getByRole('row', { name: /Weekly/ })).toContainText('Revoked');
  await expect(page).toHaveURL(/ended=yes/);
  await expect(organization.graphql('{ viewer { name } }', {}, secret)).rejects.toThrow('UNAUTHENTICATED');
});

test('only held permissions can be given', async ({ page }) => {
  const organization = await makeOrganization('held');
  await open(page, organization, 'keys', await organization.issueKey('TOKEN_MANAGE', 'IAM_READ'));
  await page.getByRole('button', { name: 'Issue a key' }).click();
  await expect(page.getByRole('dialog').getByRole('checkbox')).toHaveCount(2);
});

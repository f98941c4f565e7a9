// Jobs: each kind has its list; a bulk job and a deletion are followed to their end.
import { expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

const SERVER = process.env.SERVER_URL ?? '';

test('a bulk job is followed to its end and its results are there', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('jobs');
  await open(page, organization, 'jobs/bulk');
  await expect(page.getByText('No bulk job')).toBeVisible();
  await expectAccessible(page);
  const lines = Array.from({ length: 40 }, (_, index) =>
    JSON.stringify({ operation: 'roleCreate', input: { name: index === 39 ? 'Role 1' : `Role ${index}` } }),
  );
  const response = await fetch(`${SERVER}/bulk`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${organization.key}`, 'Content-Type': 'application/jsonl' },
    body: lines.join('\n'),
  });
  expect(response.status).toBe(202);
  await page.getByRole('link', { name: 'Sync runs' }).click();
  await page.getByRole('link', { name: 'Bulk jobs' }).click();
  const entry = page.locator('article.entry');
  await expect(entry).toContainText('40 lines');
  await expect(entry.locator('.badge')).toHaveText('finished', { timeout: 60_000 });
  await expect(entry).toContainText('40 carried out, 1 failed');
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download the results' }).click();
  expect((await download).suggestedFilename()).toBe('results.jsonl');
  await expectAccessible(page);
  await expectNoSideScroll(page);
});

test('a deletion and a comparison are in their lists', async ({ page }) => {
  test.slow();
  const organization = await makeOrganization('jobdel');
  await organization.addUsers(5, 'gone');
  await organization.graphql(
    'mutation($input: ReconciliationStartInput!) { reconciliationStart(input: $input) { userErrors { message } } }',
    { input: { connectionId: organization.connectionId, source: 'LAST_WRITE' } },
  );
  const { provisionedUsersDelete } = await organization.graphql(
    'mutation($input: ProvisionedUsersDeleteInput!) { provisionedUsersDelete(input: $input) { job { id } userErrors { message } } }',
    { input: { confirmCount: 5 } },
  );
  const id: string = provisionedUsersDelete.job.id;
  await open(page, organization, `jobs/deletions?job=${encodeURIComponent(id)}`);
  await expect(page.locator('article.entry').first()).toContainText('5 deleted', { timeout: 60_000 });
  await expectAccessible(page);
  await page.getByRole('link', { name: 'Comparisons', exact: true }).click();
  await expect(page.locator('article.entry')).toContainText('Comparison with the last writes');
  await page.getByLabel('State').selectOption('failed');
  await expect(page.getByText('No comparison')).toBeVisible();
});

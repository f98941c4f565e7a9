// What the server says, in German: by its codes, with its figures; what another server wrote is quoted.
import type { Page } from '@playwright/test';
import { type Organization, expect, makeOrganization, open, test } from './support.ts';

let organization: Organization;

test.beforeAll(async () => {
  organization = await makeOrganization('german');
  await organization.addUsers(2, 'nurse');
});

const speakGerman = (page: Page) =>
  page.addInitScript(() => localStorage.setItem('rolecall.preferences', JSON.stringify({ language: 'de', theme: 'system', zone: 'utc' })));

test.beforeEach(async ({ page }) => speakGerman(page));

test('a failed write: what was wanted, why it failed, what fixes it', async ({ page }) => {
  await organization.scim('POST', '/Users', {
    schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'],
    userName: `NURSE1@${organization.slug}.example`,
    externalId: 'another',
  });
  await expect
    .poll(async () => {
      const { organization: read } = await organization.graphql('{ organization { failures(first: 1) { totalCount } } }');
      return read.failures.totalCount;
    }, { timeout: 60_000 })
    .toBe(1);
  await open(page, organization, 'review');
  const detail = page.locator('.detail-view');
  await expect(detail.getByRole('heading', { level: 2 })).toContainText('Benutzer anlegen');
  await expect(detail).toContainText('userName ist hier schon vergeben.');
  await expect(detail).toContainText('Eine andere Person oder Gruppe hat denselben Wert in userName: Stellen Sie fest, welche von beiden richtig ist');
  await expect(detail).not.toContainText('Der Server sagt');
  await open(page, organization, `connections/${encodeURIComponent(organization.connectionId)}/requests?only=troubles`);
  const log = page.getByRole('region', { name: /Zeilen$/ });
  await expect(log).toContainText('Benutzer anlegen');
  await expect(log).toContainText('Eine andere Person oder Gruppe hat denselben Wert in userName');
});

test('a run that cannot reach its source, and the test of the source', async ({ page }) => {
  test.slow();
  const made = await organization.graphql(
    'mutation($input: ConnectionCreateInput!) { connectionCreate(input: $input) { connection { id } userErrors { message } } }',
    { input: { name: 'Quelle', pull: { baseUrl: 'https://source.invalid/scim/v2', secret: 'secret' } } },
  );
  const { id } = made.connectionCreate.connection;
  const at = `connections/${encodeURIComponent(id)}`;
  const began = await organization.graphql(
    'mutation($input: SyncStartInput!) { syncStart(input: $input) { syncRun { id } userErrors { message } } }',
    { input: { connectionId: id, mode: 'DRY_RUN' } },
  );
  expect(began.syncStart.userErrors).toEqual([]);
  await expect
    .poll(
      async () => {
        const { organization: read } = await organization.graphql('query($id: ID!) { organization { syncRun(id: $id) { state } } }', {
          id: began.syncStart.syncRun.id,
        });
        return read.syncRun.state;
      },
      { timeout: 120_000 },
    )
    .toBe('FAILED');
  await open(page, organization, `${at}/runs`);
  const run = page.locator('.entry').first();
  await expect(run).toContainText(/source\.invalid( war nicht zu erreichen|: Den Namen gibt es nicht)/);
  await expect(run).toContainText('-mal.');
  await expect(run).toContainText('Prüfen Sie die Basis-URL');
  await expect(run).not.toContainText('Der Server sagt');
  await open(page, organization, `${at}/test`);
  await page.getByRole('button', { name: 'Test starten' }).click();
  const failed = page.locator('.step-failed').last();
  await expect(failed).toContainText('Prüfen Sie die Basis-URL', { timeout: 60_000 });
  await expect(failed).not.toContainText('check the base URL');
});

test('the reasons of health have their figures', async ({ page }) => {
  const other = await makeOrganization('german-health');
  await other.scim('GET', '/Users');
  for (let number = 0; number < 12; number += 1) await other.scim('POST', '/Users', { schemas: [], userName: '' });
  await open(page, other, `connections/${encodeURIComponent(other.connectionId)}`);
  await expect
    .poll(async () => {
      await page.reload();
      await open(page, other, `connections/${encodeURIComponent(other.connectionId)}`);
      return page.locator('.reasons').first().textContent({ timeout: 5_000 }).catch(() => '');
    }, { timeout: 80_000 })
    .toMatch(/12 von 13 Vorgängen scheiterten seit .*UTC/);
});

test('a comparison that is refused, its lines, and what to do about findings', async ({ page }) => {
  const { organization: read } = await organization.graphql('{ organization { users(first: 5) { nodes { id } } } }');
  await organization.graphql('mutation($input: UserUpdateInput!) { userUpdate(input: $input) { userErrors { message } } }', {
    input: { id: read.users.nodes[0].id, displayName: 'Changed by hand' },
  });
  await organization.graphql(
    'mutation($input: ReconciliationStartInput!) { reconciliationStart(input: $input) { userErrors { message } } }',
    { input: { connectionId: organization.connectionId, source: 'LAST_WRITE' } },
  );
  await expect
    .poll(async () => {
      const { organization: found } = await organization.graphql('{ organization { findings(first: 1) { totalCount } } }');
      return found.findings.totalCount;
    }, { timeout: 60_000 })
    .toBe(1);
  await open(page, organization, 'findings');
  await expect(page.locator('.detail-view')).toContainText('Lassen Sie den Identitätsanbieter das Konto noch einmal schreiben');
  await open(page, organization, `connections/${encodeURIComponent(organization.connectionId)}/comparisons`);
  await page.locator('input[type=file]').setInputFiles({
    name: 'people.csv',
    mimeType: 'text/csv',
    buffer: Buffer.from(`userName,displayName\nnurse1@${organization.slug}.example,nurse 1\nnurse2@${organization.slug}.example\n`),
  });
  await page.getByRole('button', { name: 'Datei vergleichen' }).click();
  await expect(page.locator('.banner').filter({ hasText: 'Zeile' }).first()).toContainText('Sie hat 1 Felder, die erste Zeile hat 2.');
});

test('a delivery that its receiver refuses', async ({ page }) => {
  const made = await organization.graphql(
    'mutation($input: DestinationCreateInput!) { destinationCreate(input: $input) { destination { id } userErrors { message } } }',
    { input: { kind: 'WEBHOOK', url: 'https://receiver.invalid/hook', description: 'Empfänger', payload: 'REFERENCE' } },
  );
  const { id } = made.destinationCreate.destination;
  await organization.graphql('mutation($input: DestinationTestInput!) { destinationTest(input: $input) { userErrors { message } } }', { input: { id } });
  await expect
    .poll(
      async () => {
        const { organization: found } = await organization.graphql(
          'query($id: ID!) { organization { destination(id: $id) { deliveries(first: 1) { nodes { attemptCount } } } } }',
          { id },
        );
        return found.destination.deliveries.nodes[0]?.attemptCount ?? 0;
      },
      { timeout: 60_000 },
    )
    .toBeGreaterThan(0);
  await open(page, organization, `destinations/${encodeURIComponent(id)}`);
  const entry = page.locator('.entry').first();
  await expect(entry).toContainText(/receiver\.invalid( war nicht zu erreichen|: Den Namen gibt es nicht)/);
  await expect(entry).not.toContainText('Der Server sagt');
});

test('a self-test that fails names the step and its remedy', async ({ page }) => {
  await open(page, organization, 'configuration');
  await page.getByRole('button', { name: 'Selbsttest der Adresse' }).click();
  const steps = page.locator('#checks .arrivals li');
  await expect(steps.first()).toContainText('Adressen, die für 127.0.0.1 gefunden wurden: 1.');
  await expect(page.locator('#checks')).not.toContainText('Der Server sagt');
});

// An identity provider that speaks SAML: its metadata, what to enter there, its certificates, and its settings.
import { copyText, type Organization, expect, expectAccessible, expectNoSideScroll, makeOrganization, open, test } from './support.ts';

let organization: Organization;

const ENDED =
  'MIIBCDCBr6ADAgECAgEBMAoGCCqGSM49BAMCMA4xDDAKBgNVBAMMA2lkcDAeFw0yMDAxMDEwMDAwMDBaFw0yNDAxMDEwMDAwMDBaMA4xDDAKBgNVBAMMA2lkcDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPsyPuhfkb0ryA3oa/WTUN/hR6YqMPElZlxF8YZebT3DQZRQvGWkKmUOkS0vWq7HR/vxj7abHfM5VKLjcf9A7howCgYIKoZIzj0EAwIDSAAwRQIhAKupcHsQREtykj+xA/7GHU6gp73EWv/FxNL2+uiQG+OjAiBGfPNLLlCb/GMYNQJnsmp+KALfT7DGA5oki5I2R5/2Sg==';
const VALID =
  'MIIBCjCBsaADAgECAgEBMAoGCCqGSM49BAMCMA4xDDAKBgNVBAMMA2lkcDAgFw0yNjAxMDEwMDAwMDBaGA8yMDU2MTIzMTAwMDAwMFowDjEMMAoGA1UEAwwDaWRwMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9AwiSOMNanRuqVMYeTCTnw5+bMl+O1XftlRaiNqIwlu+YulBIxizqNPGSIopn9pQqDCFMtrbvxOPb+S3ekGndDAKBggqhkjOPQQDAgNIADBFAiBsI8tdoNMwGEhR5kKVyG+gMlFET5Vv2hKLipkrU7vwjwIhAPq4r5B133TeVvTrvGdDR2xlmlYWOEtezER4cEpwCtfd';

const metadataOf = (entity: string, certificate: string) =>
  `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="${entity}">` +
  '<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor use="signing">' +
  `<KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>${certificate}</X509Certificate></X509Data></KeyInfo>` +
  '</KeyDescriptor><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.invalid/sign-in"/>' +
  '</IDPSSODescriptor></EntityDescriptor>';

interface Source {
  entityId: string;
  allowIdpInitiated: boolean;
  nameIdFormat: string | null;
  audiences: string[];
  redirectUrls: string[];
  skewSeconds: number;
  attributes: { groups: string | null; email: string | null };
}

async function readSources(): Promise<Source[]> {
  const { organization: read } = await organization.graphql(
    '{ organization { connections(first: 10) { nodes { assertionSource { saml { entityId allowIdpInitiated nameIdFormat audiences redirectUrls skewSeconds attributes { groups email } } } } } } }',
  );
  return read.connections.nodes.flatMap((node: { assertionSource: { saml: Source | null } | null }) => node.assertionSource?.saml ?? []);
}

// The connection of the first test is used by all others.
test.describe.configure({ mode: 'serial' });

test.beforeAll(async () => {
  organization = await makeOrganization('saml');
});

test('a connection is made from metadata, and says what to enter', async ({ page }) => {
  test.slow();
  await open(page, organization, 'connections/new?way=ASSERTION');
  await page.getByRole('radio', { name: 'SAML 2.0' }).check();
  await page.getByLabel('Name', { exact: true }).fill('Ward sign-in');
  await page.getByRole('radio', { name: 'In a file or as a text' }).check();
  await page.getByLabel('XML file').setInputFiles({ name: 'metadata.xml', mimeType: 'text/xml', buffer: Buffer.from('<html/>') });
  await expect(page.getByLabel('XML text')).toHaveValue('<html/>');
  await page.getByRole('button', { name: 'Create the connection' }).click();
  await expect(page.getByRole('alert')).toBeVisible();
  await page.getByLabel('XML text').fill(metadataOf('https://idp.invalid/saml', ENDED));
  await page.getByLabel('Form of the NameID').selectOption('Persistent (recommended)');
  await page.getByLabel('Further audiences').fill('https://app.invalid/saml');
  await page.getByText('Names of the attributes').click();
  await page.getByLabel('Groups', { exact: true }).fill('memberOf');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await page.getByRole('button', { name: 'Create the connection' }).click();
  await expect(page).toHaveURL(/\/provider$/);

  const service = page.getByRole('region', { name: 'To enter at the identity provider' });
  await expect(service).toContainText('Assertion consumer service');
  const address = await copyText(page, service, 'Our metadata');
  const own = await (await fetch(address)).text();
  expect(own).toContain(address);
  const consumer = await service.locator('code').nth(2).innerText();
  expect(own).toContain(consumer);
  const certificates = page.getByRole('region', { name: 'Certificates' }).first();
  await expect(certificates).toContainText('Ended');
  await expect(certificates).toContainText('The last certificate ends soon, or has ended');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  expect(await readSources()).toEqual([
    {
      entityId: 'https://idp.invalid/saml',
      allowIdpInitiated: false,
      nameIdFormat: 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
      audiences: ['https://app.invalid/saml'],
      redirectUrls: [],
      skewSeconds: 60,
      attributes: { groups: 'memberOf', email: 'email' },
    },
  ]);
});

test('new metadata bring new certificates', async ({ page }) => {
  await open(page, organization, 'sso');
  await expect(page.locator('#how')).toContainText('SAML 2.0');
  await page.getByRole('link', { name: 'Ward sign-in' }).click();
  await page.getByRole('link', { name: 'Identity provider', exact: true }).click();
  await page.getByRole('button', { name: 'Give new metadata' }).click();
  const dialog = page.getByRole('dialog', { name: 'Give new metadata' });
  await dialog.getByLabel('XML text').fill(metadataOf('https://idp.invalid/saml', VALID));
  await expectAccessible(page);
  await dialog.getByRole('button', { name: 'Take these' }).click();
  await expect(page.locator('.toast-success', { hasText: 'The metadata are read.' })).toBeVisible();
  const certificates = page.getByRole('region', { name: 'Certificates' }).first();
  await expect(certificates).toContainText('Valid');
  await expect(certificates).not.toContainText('Ended');
});

test('the identity provider is tested step by step', async ({ page }) => {
  test.slow();
  await open(page, organization, 'connections');
  await page.getByRole('link', { name: 'Ward sign-in' }).click();
  await page.getByRole('link', { name: 'Test', exact: true }).click();
  const card = page.getByRole('region', { name: 'Test of the identity provider' });
  await card.getByRole('button', { name: 'Start the test' }).click();
  await expect(card.getByRole('button', { name: 'Test again' })).toBeVisible({ timeout: 60_000 });
  await expect(card.locator('.step-ok').filter({ hasText: 'Its metadata are about the same entity id' })).toBeVisible();
  await expect(card.locator('.step-ok').filter({ hasText: 'It has a certificate that is valid' })).toBeVisible();
  await expect(card.locator('.step')).toHaveCount(4);
  await expectAccessible(page);
});

test('our key is prepared and activated', async ({ page }) => {
  test.slow();
  await open(page, organization, 'connections');
  await page.getByRole('link', { name: 'Ward sign-in' }).click();
  await page.getByRole('link', { name: 'Identity provider', exact: true }).click();
  const card = page.getByRole('region', { name: 'Our keys' }).first();
  await expect(card.getByRole('row')).toHaveCount(2);
  const before = await card.locator('.fingerprint').first().innerText();
  await card.getByRole('button', { name: 'Prepare a new key' }).click();
  await expect(card).toContainText('Prepared');
  await expectAccessible(page);
  await expectNoSideScroll(page);
  await card.getByRole('button', { name: 'Activate the new key' }).click();
  const dialog = page.getByRole('alertdialog');
  await expect(dialog).toContainText('sign-ins fail until it has');
  await dialog.getByRole('button', { name: 'Activate the new key' }).click();
  await expect(card).toContainText('Replaced');
  await expect(card.locator('tr', { hasText: 'Active' }).locator('.fingerprint')).not.toHaveText(before);
});

test('settings of SAML send only what changed', async ({ page }) => {
  test.slow();
  await open(page, organization, 'connections');
  await page.getByRole('link', { name: 'Ward sign-in' }).click();
  await page.getByRole('link', { name: 'Settings', exact: true }).click();
  await page.getByLabel('Accept sign-ins that begin at the identity provider').check();
  await page.getByLabel('Addresses of applications').fill('https://app.invalid/back');
  await page.getByText('Names of the attributes').click();
  await page.getByLabel('E-mail address', { exact: true }).fill('');
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.locator('.toast-success', { hasText: 'Saved.' })).toBeVisible();
  const [source] = await readSources();
  expect(source).toMatchObject({
    allowIdpInitiated: true,
    redirectUrls: ['https://app.invalid/back'],
    audiences: ['https://app.invalid/saml'],
    attributes: { groups: 'memberOf', email: null },
  });
  await page.getByLabel('Back to the names that the identity provider documents').check();
  await page.getByRole('button', { name: 'Save' }).click();
  await expect.poll(async () => (await readSources())[0]?.attributes).toEqual({ groups: 'groups', email: 'email' });
});

test('who may only read sees SAML and changes nothing', async ({ page }) => {
  await open(page, organization, 'connections', await organization.issueKey('IAM_READ'));
  await page.getByRole('link', { name: 'Ward sign-in' }).click();
  await page.getByRole('link', { name: 'Identity provider', exact: true }).click();
  await expect(page.getByRole('region', { name: 'To enter at the identity provider' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Give new metadata' })).toHaveCount(0);
});

test('Microsoft Graph is asked with an application of its own', async ({ page }) => {
  await open(page, organization, 'connections/new?way=ASSERTION');
  await page.getByRole('radio', { name: 'SAML 2.0' }).check();
  await page.getByLabel('Name', { exact: true }).fill('Entra sign-in');
  await page.getByLabel('Identity provider', { exact: true }).selectOption('Microsoft Entra ID');
  await page.getByRole('radio', { name: 'In a file or as a text' }).check();
  const entity = 'https://sts.windows.net/7b2c1d3e-0000-4000-8000-000000000001/';
  await page.getByLabel('XML text').fill(metadataOf(entity, VALID));
  await page.getByLabel('Ask Microsoft Graph for groups that a response leaves out').check();
  await page.getByLabel('Client id', { exact: true }).fill('reads-groups');
  await page.getByLabel('Client secret', { exact: true }).fill('secret-of-graph');
  await expectAccessible(page);
  await page.getByRole('button', { name: 'Create the connection' }).click();
  await expect(page).toHaveURL(/\/provider$/);
  expect(await page.content()).not.toContain('secret-of-graph');
  const readGraph = async () => {
    const { organization: read } = await organization.graphql(
      '{ organization { connections(first: 10) { nodes { name hasCredentials assertionSource { saml { graph { clientId baseUrl tokenUrl } } } } } } }',
    );
    return read.connections.nodes.find(({ name }: { name: string }) => name === 'Entra sign-in');
  };
  const made = await readGraph();
  expect(made.hasCredentials).toBe(true);
  expect(made.assertionSource.saml.graph).toMatchObject({ clientId: 'reads-groups', baseUrl: 'https://graph.microsoft.com/v1.0' });
  await page.getByRole('link', { name: 'Settings', exact: true }).click();
  await expect(page.getByLabel('Client id', { exact: true })).toHaveValue('reads-groups');
  await expect(page.getByLabel('Client secret', { exact: true })).toHaveValue('');
  await page.getByLabel('Ask Microsoft Graph for groups that a response leaves out').uncheck();
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.locator('.toast-success', { hasText: 'Saved.' })).toBeVisible();
  expect((await readGraph()).assertionSource.saml.graph).toBeNull();
});

test('metadata that cannot be read any more are a warning', async ({ page }) => {
  // When the server finds that is tested there; here only what the screen makes of it.
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query Connection(')) return route.continue();
    const response = await route.fetch();
    const body = await response.json();
    body.data.organization.connection.assertionSource.saml.metadataRefresh = {
      __typename: 'SamlMetadataRefresh',
      readAt: '2026-01-01T00:00:00Z',
      nextAt: '2099-01-01T00:00:00Z',
      failingSince: '2026-01-02T00:00:00Z',
      message: 'the address answers 404',
      nextStep: null,
    };
    return route.fulfill({ response, json: body });
  });
  const { organization: read } = await organization.graphql('{ organization { connections(first: 10) { nodes { id name } } } }');
  const { id } = read.connections.nodes.find(({ name }: { name: string }) => name === 'Ward sign-in');
  await open(page, organization, `connections/${encodeURIComponent(id)}/provider`);
  const banner = page.locator('.banner-warning', { hasText: 'The metadata cannot be read' });
  await expect(banner).toContainText('the address answers 404');
  await expect(banner.locator('time')).toHaveAttribute('datetime', /^2026-01-02/);
  await expectAccessible(page);
});

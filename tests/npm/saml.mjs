// A person signs in at a SAML identity provider that others wrote (samlp), as a browser would: our metadata, its metadata
// by URL, our request by a redirect, its response by a form. Then an application hands over a response of its own, the
// assertion is encrypted, and what was changed or comes twice is refused.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import samlp from 'samlp';

const { API_KEY, SCIM_TOKEN, URL_GRAPHQL, URL_SCIM } = process.env;
const server = new URL(URL_GRAPHQL).origin;
const application = 'https://app.example/saml-back';

const subject = ['-days', '2', '-subj', '/CN=idp'];
execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'idp.key', '-out', 'idp.pem', ...subject], {
  stdio: 'ignore',
});
const [key, cert] = [readFileSync('idp.key'), readFileSync('idp.pem')];
const inLines = (der) => `-----BEGIN CERTIFICATE-----\n${der.match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`;
const certificate = cert.toString().replace(/-----[^-]+-----|\s/g, '');

// The identity provider: metadata, and a page that signs the person in at once.
let entity;
function Profile() {
  return {
    getClaims: () => ({ email: 'grace@example.com', firstName: 'Grace', groups: ['Ward 7'] }),
    getNameIdentifier: () => ({
      nameIdentifier: 'grace.saml',
      nameIdentifierFormat: 'urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified',
    }),
  };
}
const respond = (options) =>
  new Promise((done, fail) => {
    const common = {
      issuer: entity,
      cert,
      key,
      signatureAlgorithm: 'rsa-sha256',
      digestAlgorithm: 'sha256',
      lifetimeInSeconds: 300,
      authnContextClassRef: 'urn:oasis:names:tc:SAML:2.0:ac:classes:Password',
      profileMapper: Profile,
    };
    const answer = (error, text) => (error ? fail(error) : done(Buffer.from(text).toString('base64')));
    samlp.getSamlResponse({ ...common, ...options }, {}, answer);
  });
const asked = [];
const listener = createServer(async (request, response) => {
  const url = new URL(request.url, entity);
  if (url.pathname === '/metadata') {
    response.end(`<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="${entity}"><IDPSSODescriptor
      WantAuthnRequestsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor use="signing">
      <KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>${certificate}</X509Certificate></X509Data></KeyInfo>
      </KeyDescriptor><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
      Location="${entity}/sso"/></IDPSSODescriptor></EntityDescriptor>`);
    return;
  }
  // It verifies the signature of our request with the certificate in our metadata.
  const query = Object.fromEntries(url.searchParams);
  const read = (signingCert, done) => samlp.parseRequest({ method: 'GET', query }, { deflate: true, signingCert }, done);
  read(cert.toString(), (foreign) => read(inLines(ours), (error, data) => {
    asked.push({ foreign, error, data, state: query.RelayState });
    response.end();
  }));
});
await new Promise((done) => listener.listen(0, '127.0.0.1', done));
entity = `http://127.0.0.1:${listener.address().port}`;

const graphql = async (query, variables) => {
  const answer = await fetch(URL_GRAPHQL, {
    method: 'POST',
    headers: { authorization: `Bearer ${API_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await answer.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
};
const made = await fetch(`${URL_SCIM}/Users`, {
  method: 'POST',
  headers: { authorization: `Bearer ${SCIM_TOKEN}`, 'content-type': 'application/scim+json' },
  body: JSON.stringify({ schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName: 'grace.saml' }),
});
assert.equal(made.status, 201);
const { id: grace } = await made.json();

const create = `mutation($i: ConnectionCreateInput!) { connectionCreate(input: $i) {
  connection { id assertionSource { saml { serviceEntityId serviceMetadataUrl consumerUrl } } } userErrors { message } } }`;
const saml = { metadata: { url: `${entity}/metadata` }, redirectUrls: [application] };
const input = { name: 'SAML sign-in', provider: 'GENERIC', assertion: { saml } };
const { connectionCreate } = await graphql(create, { i: input });
assert.deepEqual(connectionCreate.userErrors, []);
const { serviceEntityId, serviceMetadataUrl, consumerUrl } = connectionCreate.connection.assertionSource.saml;
const metadata = await (await fetch(serviceMetadataUrl)).text();
const ours = metadata.match(/<ds:X509Certificate>([^<]+)</)[1];

// A sign-in that begins here.
const begun = await fetch(
  `${server}/sign-in/acme?redirect_url=${encodeURIComponent(application)}&state=mine`,
  { redirect: 'manual' }
);
assert.equal(begun.status, 303, await begun.text());
const cookie = begun.headers.get('set-cookie').split(';')[0];
await fetch(begun.headers.get('location'));
const [{ foreign, error, data, state }] = asked;
assert.equal(error ?? undefined, undefined, String(error));
assert.match(String(foreign), /Signature check/, 'another certificate does not verify it');
assert.equal(data.issuer, serviceEntityId);
assert.equal(data.assertionConsumerServiceURL, consumerUrl);
const target = { audience: serviceEntityId, recipient: consumerUrl, destination: consumerUrl };
const consume = (SAMLResponse) =>
  fetch(consumerUrl, {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie },
    body: new URLSearchParams({ SAMLResponse, RelayState: state }),
  });
const response = await respond({ ...target, inResponseTo: data.id });
const changed = Buffer.from(response, 'base64').toString().replace('>grace.saml<', '>eve<');
assert.match(await (await consume(Buffer.from(changed).toString('base64'))).text(), /ASSERTION_SIGNATURE/);
const done = await consume(response);
assert.equal(done.status, 303, await done.text());
const back = new URL(done.headers.get('location'));
assert.equal(back.searchParams.get('state'), 'mine');
const issued = await graphql(`
  mutation {
    apiKeyIssue(input: { name: "SAML app", permissions: [ASSERTION_WRITE] }) {
      secret
    }
  }
`);
const authorization = `Bearer ${issued.apiKeyIssue.secret}`;
const redeemed = await fetch(`${server}/sign-in/acme/redeem`, {
  method: 'POST',
  headers: { authorization, 'content-type': 'application/json' },
  body: JSON.stringify({ code: back.searchParams.get('code'), redirectUrl: application }),
});
assert.equal((await redeemed.json()).userId, grace);
assert.match(await (await consume(response)).text(), /ASSERTION_REPLAYED/);

// An application hands over responses of its own: signed in both places, the response alone, encrypted.
const pem = inLines(ours);
const encryption = {
  encryptionCert: pem,
  encryptionPublicKey: createPublicKey(pem).export({ type: 'spki', format: 'pem' }),
  encryptionAlgorithm: 'http://www.w3.org/2009/xmlenc11#aes256-gcm',
};
const variants = [{ signResponse: true }, { signResponse: true, signAssertion: false }, encryption];
for (const [turn, variant] of variants.entries()) {
  const SAMLResponse = await respond({ ...target, ...variant, inResponseTo: `_of_the_application_${turn}` });
  const answer = await fetch(`${server}/assertions/acme`, {
    method: 'POST',
    headers: { authorization },
    body: new URLSearchParams({ SAMLResponse, requestId: `_of_the_application_${turn}` }),
  });
  const person = await answer.json();
  assert.equal(person.userId, grace, JSON.stringify(person));
}
listener.close();
listener.closeAllConnections();
console.log('a signed request, responses signed and encrypted in three ways; changed and repeated ones refused');

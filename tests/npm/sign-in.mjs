// A person signs in at an OpenID provider that others wrote (oidc-provider), with the code flow and PKCE, as a browser
// would: for an application, which redeems its code, and for the console, whose link opens a session. Then the provider
// says everything but the subject by UserInfo alone, gets a new key, and another client of it is refused.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const { API_KEY, SCIM_TOKEN, URL_GRAPHQL, URL_SCIM } = process.env;
const server = new URL(URL_GRAPHQL).origin;
const application = 'https://app.example/back';

const newKey = (kid) => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid,
  alg: 'RS256',
  use: 'sig',
});
const client = (id, redirect) => ({
  client_id: id,
  client_secret: `secret of ${id}`.replaceAll(' ', '-'),
  redirect_uris: [redirect],
  ...(userInfoAlgorithm && { userinfo_signed_response_alg: userInfoAlgorithm }),
});
// Whether claims of people are in ID tokens, or in UserInfo alone; and how that is signed.
let isInIdToken = true;
let userInfoAlgorithm;
let userInfoRequests = 0;
// Known as soon as there is a connection.
let callback = 'https://app.example/later';
const people = { ada: { preferred_username: 'sign-in.ada', name: 'Ada', groups: ['Ward 3'] } };

// The provider keeps its address when it gets other keys.
let handle;
const listener = createServer((request, response) => {
  if (request.url.startsWith('/me')) userInfoRequests += 1;
  return handle(request, response);
});
await new Promise((done) => listener.listen(0, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${listener.address().port}`;
const provide = (...keys) => {
  const provider = new Provider(issuer, {
    clients: [client('rolecall', callback), client('other', callback)],
    jwks: { keys },
    cookies: { keys: ['not a secret'] },
    conformIdTokenClaims: !isInIdToken,
    features: { jwtUserinfo: { enabled: true } },
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'groups'],
    pkce: { required: () => true },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...people[sub] }) }),
  });
  handle = provider.callback();
};
console.warn = console.info = () => {};
const firstKey = newKey('first');
provide(firstKey);

// What a browser keeps: the cookies of each host and path, as far as this flow needs it.
const newBrowser = () => {
  const jars = new Map();
  const send = async (url, form) => {
    const { origin } = new URL(url);
    const jar = jars.get(origin) ?? new Map();
    jars.set(origin, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, {
      redirect: 'manual',
      headers: { cookie },
      ...(form && { method: 'POST', body: new URLSearchParams(form) }),
    });
    for (const line of answer.headers.getSetCookie()) {
      const [pair] = line.split(';');
      const at = pair.indexOf('=');
      if (/max-age=0|expires=thu, 01 jan 1970/i.test(line)) jar.delete(pair.slice(0, at));
      else jar.set(pair.slice(0, at), pair.slice(at + 1));
    }
    const target = answer.headers.get('location');
    return { status: answer.status, target: target && new URL(target, url).href, text: await answer.text() };
  };
  // Follows redirects until a page, or an address of another host than the two servers.
  const follow = async (url, form) => {
    let answer = await send(url, form);
    let at = url;
    for (let steps = 0; answer.target && steps < 20; steps += 1) {
      at = answer.target;
      const { origin, hash } = new URL(at);
      if ((origin !== issuer && origin !== server) || hash) return { at, ...answer };
      answer = await send(at);
    }
    return { at, ...answer };
  };
  const cookiesOf = (url) =>
    [...(jars.get(new URL(url).origin) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ');
  return { send, follow, cookiesOf };
};

const signIn = async (query) => {
  const browser = newBrowser();
  let page = await browser.follow(`${server}/sign-in/acme${query}`);
  assert.match(page.at, /\/interaction\//, page.text);
  page = await browser.follow(page.at, { prompt: 'login', login: 'ada', password: 'any' });
  if (page.text.includes('name="prompt" value="consent"')) {
    page = await browser.follow(page.at, { prompt: 'consent' });
  }
  return { ...page, cookie: browser.cookiesOf(server) };
};

const graphql = async (query, variables, key = API_KEY) => {
  const answer = await fetch(URL_GRAPHQL, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await answer.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
};

const scim = await fetch(`${URL_SCIM}/Users`, {
  method: 'POST',
  headers: { authorization: `Bearer ${SCIM_TOKEN}`, 'content-type': 'application/scim+json' },
  body: JSON.stringify({ schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName: 'sign-in.ada' }),
});
assert.equal(scim.status, 201);
const { id: ada } = await scim.json();

const create = `mutation($i: ConnectionCreateInput!) { connectionCreate(input: $i) {
  connection { id assertionSource { oidc { redirectUri } } } userErrors { message } } }`;
const oidc = {
  issuer,
  clientId: 'rolecall',
  clientSecret: 'secret-of-rolecall',
  scopes: ['openid', 'profile', 'groups'],
  redirectUrls: [application],
  consolePermissions: ['IAM_READ'],
};
const made = await graphql(create, { i: { name: 'Sign-in', provider: 'GENERIC', assertion: { oidc } } });
const { id: connection, assertionSource } = made.connectionCreate.connection;
callback = assertionSource.oidc.redirectUri;
provide(firstKey);
const test = await graphql(
  `
    mutation ($c: ID!) {
      assertionSourceTest(input: { connectionId: $c }) {
        ok
        steps {
          message
        }
      }
    }
  `,
  { c: connection }
);
assert.equal(test.assertionSourceTest.ok, true, JSON.stringify(test));

const issued = await graphql(`
  mutation {
    apiKeyIssue(input: { name: "app", permissions: [ASSERTION_WRITE] }) {
      secret
    }
  }
`);
const key = issued.apiKeyIssue.secret;
const redeem = (page) => {
  const { searchParams, origin, pathname } = new URL(page.at);
  assert.equal(origin + pathname, application, page.text);
  assert.equal(searchParams.get('state'), 'mine');
  return fetch(`${server}/sign-in/acme/redeem`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ code: searchParams.get('code'), redirectUrl: application }),
  });
};
const toApplication = `?redirect_url=${encodeURIComponent(application)}&state=mine`;
const page = await signIn(toApplication);
const redeemed = await redeem(page);
const person = await redeemed.json();
assert.equal(person.userName, 'sign-in.ada', JSON.stringify(person));
assert.equal(person.userId, ada);
assert.equal(person.active, true);
assert.equal((await redeem(page)).status, 422, 'a code works once');

// The console: a role gives the right to read.
const found = await graphql(
  `
    {
      organization {
        users(first: 100) {
          nodes {
            id
            userName
          }
        }
      }
    }
  `
);
const user = found.organization.users.nodes.find((it) => it.userName === 'sign-in.ada').id;
const role = await graphql(`
  mutation {
    roleCreate(input: { name: "Sign-in reader", permissions: ["IAM_READ"] }) {
      role {
        id
      }
    }
  }
`);
await graphql(
  `
    mutation ($u: ID!, $r: ID!) {
      roleGrantCreate(input: { userId: $u, roleId: $r }) {
        roleGrant {
          id
        }
      }
    }
  `,
  { u: user, r: role.roleCreate.role.id }
);
const link = await signIn('');
const code = new URL(link.at).hash.replace('#link=', '');
const openConsole = (cookie) =>
  fetch(`${server}/console/redeem`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(cookie && { cookie }) },
    body: JSON.stringify({ code }),
  });
// Only the browser that signed in opens the session.
assert.equal((await openConsole()).status, 403);
const opened = await openConsole(link.cookie);
const session = await opened.json();
assert.equal(opened.status, 200, JSON.stringify(session));
const { viewer } = await graphql('{ viewer { permissions } }', {}, session.token);
assert.deepEqual(viewer.permissions, ['IAM_READ']);

// Another client of the same provider is not the connection's.
const change = `mutation($i: ConnectionUpdateInput!) { connectionUpdate(input: $i) { userErrors { message } } }`;
const other = { clientId: 'other', clientSecret: 'secret-of-other', audiences: ['rolecall'] };
await graphql(change, { i: { id: connection, assertion: { oidc: other } } });
const refused = await signIn(toApplication);
assert.match(refused.text, /ASSERTION_AUDIENCE/);
const back = { clientId: 'rolecall', clientSecret: 'secret-of-rolecall' };
await graphql(change, { i: { id: connection, assertion: { oidc: back } } });

// The ID token names only the subject: the user name is in UserInfo, an object or a signed JWT.
isInIdToken = false;
for (const algorithm of [undefined, 'RS256']) {
  userInfoAlgorithm = algorithm;
  provide(firstKey);
  const before = userInfoRequests;
  const who = await (await redeem(await signIn(toApplication))).json();
  assert.deepEqual([who.userId, who.userName], [ada, 'sign-in.ada'], JSON.stringify(who));
  assert.equal(userInfoRequests, before + 1);
}
// A connection that never asks does not know who it is.
const ask = async (userInfo) =>
  graphql(change, { i: { id: connection, assertion: { oidc: { userInfo } } } });
await ask('NEVER');
assert.match((await signIn(toApplication)).text, /ASSERTION_CLAIM/);
await ask('WHEN_CLAIMS_MISSING');

// A new key is read when the first token names it, at most every ten seconds.
provide(newKey('second'));
await new Promise((done) => setTimeout(done, 10_500));
assert.equal((await (await redeem(await signIn(toApplication))).json()).userId, ada);
listener.close();
listener.closeAllConnections();
console.log('a code flow with PKCE for an application and for the console, UserInfo, another client, a new key');

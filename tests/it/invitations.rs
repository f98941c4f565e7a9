//! Invitations: a person gets roles and memberships as soon as it is known which account is theirs.

use chrono::{DateTime, Duration, Utc};
use reqwest::Method;
use rolecall::auth::policy::Permission;
use rolecall::domain::access::{api_key, invitation};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Answer, Tenant, World};

const CREATE: &str = "mutation($e: String!, $r: [ID!], $g: [ID!], $x: DateTime, $a: DateTime) {
    invitationCreate(input: { email: $e, roles: $r, groups: $g, expiresAt: $x, accessExpiresAt: $a,
    reason: \"helps in May\" }) { secret invitation { id state email expiresAt sentCount }
    userErrors { code reason path message } } }";
const RESEND: &str = "mutation($i: ID!) { invitationResend(input: { id: $i }) { secret
    invitation { state sentCount } userErrors { reason } } }";
const REVOKE: &str = "mutation($i: ID!) { invitationRevoke(input: { id: $i, reason: \"typo\" }) {
    invitation { state revokedAt } userErrors { code reason } } }";
const ACCEPT: &str =
    "mutation($i: ID!, $u: ID!) { invitationAccept(input: { id: $i, userId: $u }) {
    invitation { state acceptedAt user { userName } } userErrors { code reason path } } }";
const LIST: &str = "query($f: InvitationFilter, $o: InvitationOrder) { organization {
    invitations(first: 9, filter: $f, orderBy: $o) { totalCount nodes { email state redeemedAt
    roles { name } groups { displayName } user { userName } } } } }";

async fn role(tenant: &Tenant, name: &str) -> Value {
    let make = "mutation($n: String!) { roleCreate(input: { name: $n }) { role { id } } }";
    tenant.graphql(make, json!({ "n": name })).await["data"]["roleCreate"]["role"]["id"].clone()
}

async fn group(tenant: &Tenant, name: &str) -> Value {
    let make = "mutation($n: String!) { groupCreate(input: { displayName: $n }) { group { id }
        userErrors { message } } }";
    let made = tenant.graphql(make, json!({ "n": name })).await;
    let id = made["data"]["groupCreate"]["group"]["id"].clone();
    assert!(id.is_string(), "{made:#}");
    id
}

async fn person(tenant: &Tenant, name: &str) -> Value {
    let make = "mutation($n: String!) { userCreate(input: { userName: $n }) { user { id } } }";
    tenant.graphql(make, json!({ "n": name })).await["data"]["userCreate"]["user"]["id"].clone()
}

/// An invitation: its id, and the secret of its link.
async fn invite(world: &World, variables: Value) -> (Value, String) {
    let made = world.graphql(CREATE, variables).await["data"]["invitationCreate"].clone();
    assert_eq!(made["userErrors"], json!([]), "{made:#}");
    assert_eq!(made["invitation"]["state"], "OPEN");
    (made["invitation"]["id"].clone(), secret_of(world, &made["secret"]))
}

fn secret_of(world: &World, url: &Value) -> String {
    let (page, secret) = url.as_str().unwrap().split_once("#link=").unwrap();
    assert_eq!(page, format!("{}/invitation", world.app.config.public_url));
    assert!(secret.starts_with("rci_"), "{secret}");
    secret.to_owned()
}

async fn redeem(world: &World, secret: &str) -> Answer {
    let request = reqwest::Client::new().post(format!("{}/invitation/redeem", world.address));
    Answer::of(request.json(&json!({ "secret": secret })).send().await.unwrap()).await
}

async fn roles_of(tenant: &Tenant, user: &Value) -> Vec<String> {
    let query = "query($u: ID!) { node(id: $u) { ... on User { roles { role { name } } } } }";
    let seen = tenant.graphql(query, json!({ "u": user })).await;
    let roles = seen["data"]["node"]["roles"].as_array().unwrap_or_else(|| panic!("{seen:#}"));
    roles.iter().map(|held| held["role"]["name"].as_str().unwrap().to_owned()).collect()
}

fn uuid_of(world: &World, id: &Value) -> Uuid {
    use base64::Engine;
    let text = id.as_str().unwrap();
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(world.address.starts_with("http"));
    text.split_once(':').unwrap().1.parse().unwrap()
}

async fn events(world: &World) -> Vec<String> {
    let text = "SELECT action FROM event WHERE action LIKE 'invitation.%' ORDER BY pos";
    let rows = world.rows(text, []).await;
    rows.iter().map(|row| row["action"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn verified_sign_in_accepts_invitation() {
    let world = World::new().await;
    let (nurse, ward) = (role(&world.acme, "nurse").await, group(&world.acme, "ward 3").await);
    let ada = person(&world.acme, "ada").await;
    let end: DateTime<Utc> = Utc::now() + Duration::days(60);
    let variables = json!({ "e": "Ada@Example.org", "r": [nurse, nurse], "g": [ward], "a": end });
    let (_, secret) = invite(&world, variables).await;
    let cx = world.system();
    let account = uuid_of(&world, &ada);
    let none = invitation::accept_invitations(&cx, account, "eve@example.org").await.unwrap();
    assert!(none.is_empty() && roles_of(&world.acme, &ada).await.is_empty());
    let accepted = invitation::accept_invitations(&cx, account, "ada@example.ORG").await.unwrap();
    assert_eq!(accepted.len(), 1);
    assert_eq!(roles_of(&world.acme, &ada).await, ["nurse"]);
    let grants = world.rows("SELECT reason, expires_at FROM role_grant", []).await;
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0]["reason"], "helps in May");
    assert!(grants[0]["expires_at"].is_string(), "{grants:?}");
    assert_eq!(world.count("membership WHERE until IS NULL", []).await, 1);
    let listed = world.graphql(LIST, json!({ "f": { "email": "ADA@example.org" } })).await;
    let row = &listed["data"]["organization"]["invitations"]["nodes"][0];
    assert_eq!((&row["state"], &row["user"]["userName"]), (&json!("ACCEPTED"), &json!("ada")));
    assert_eq!(row["groups"][0]["displayName"], "ward 3");
    // Once: neither a further sign-in nor the link gives it again.
    assert!(
        invitation::accept_invitations(&cx, account, "ada@example.org").await.unwrap().is_empty()
    );
    redeem(&world, &secret).await.is(410);
    assert_eq!(events(&world).await, ["invitation.created", "invitation.accepted"]);
    // The change of access is announced, and explained by the invitation.
    let cause = "SELECT payload FROM event WHERE action = 'user.access_changed'";
    for _ in 0..100 {
        if !world.rows(cause, []).await.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.rows(cause, []).await.len(), 1);
    // No event has the address or the secret.
    let kept = world.rows("SELECT payload FROM event", []).await;
    for hidden in [secret.as_str(), "ada@example.org", "Ada@Example.org"] {
        assert!(kept.iter().all(|row| !row.to_string().contains(hidden)), "{hidden}");
    }
    world.end().await;
}

#[tokio::test]
async fn link_works_once() {
    let world = World::new().await;
    let nurse = role(&world.acme, "nurse").await;
    let (_, secret) = invite(&world, json!({ "e": "bob@example.org", "r": [nurse] })).await;
    // GET shows a page and spends nothing, whatever looks at it.
    for path in ["", "/page.js", "/page.css"] {
        let url = format!("{}/invitation{path}", world.address);
        let page = reqwest::get(&url).await.unwrap();
        assert_eq!(page.status(), 200, "{url}");
        assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("'none'"));
        let text = page.text().await.unwrap();
        assert!(!text.contains("bob") && !text.contains("acme"), "{text}");
    }
    for method in [Method::GET, Method::HEAD] {
        let url = format!("{}/invitation/redeem?secret={secret}", world.address);
        assert_eq!(reqwest::Client::new().request(method, url).send().await.unwrap().status(), 405);
    }
    let unknown = redeem(&world, "rci_unknown").await.is(404);
    assert_eq!(unknown.body["code"], "LINK_UNKNOWN");
    let foreign = reqwest::Client::new()
        .post(format!("{}/invitation/redeem", world.address))
        .header("origin", "https://evil.example")
        .json(&json!({ "secret": secret }));
    assert_eq!(foreign.send().await.unwrap().status(), 403);

    // Of requests that race, one redeems.
    let answers = futures_util::future::join_all((0..6).map(|_| redeem(&world, &secret))).await;
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(done.len(), 1, "{answers:?}");
    assert_eq!(done[0].body["organizationName"], "acme");
    assert_eq!(done[0].header("cache-control"), "no-store");
    assert!(
        answers.iter().all(|answer| answer.status == 200 || answer.body["code"] == "LINK_ENDED")
    );
    let listed = world.graphql(LIST, json!({ "f": { "states": ["REDEEMED"] } })).await;
    assert_eq!(listed["data"]["organization"]["invitations"]["totalCount"], 1, "{listed:#}");
    // It waits for the sign-in.
    let bob = person(&world.acme, "bob").await;
    let (cx, account) = (world.system(), uuid_of(&world, &bob));
    let accepted = invitation::accept_invitations(&cx, account, "bob@example.org").await.unwrap();
    assert_eq!(accepted.len(), 1);
    assert_eq!(roles_of(&world.acme, &bob).await, ["nurse"]);
    assert_eq!(
        events(&world).await,
        ["invitation.created", "invitation.redeemed", "invitation.accepted"]
    );
    world.end().await;
}

#[tokio::test]
async fn address_of_account_catches_no_link() {
    let world = World::new().await;
    let nurse = role(&world.acme, "nurse").await;
    // Somebody wrote the invited address into an account.
    let eve = person(&world.acme, "ada@example.org").await;
    let bob = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "bob",
        "emails": [{ "value": "ada@example.org", "primary": true }] });
    world.scim().post("/Users", bob).await.is(201);
    let ada = person(&world.acme, "ada").await;
    let (_, secret) = invite(&world, json!({ "e": "ADA@example.org", "r": [nurse] })).await;
    redeem(&world, &secret).await.is(200);
    assert_eq!(world.count("role_grant", []).await, 0, "it waits for a sign-in");
    // The account that signs in with the verified address gets it.
    let (cx, account) = (world.system(), uuid_of(&world, &ada));
    let accepted = invitation::accept_invitations(&cx, account, "ada@example.org").await.unwrap();
    assert_eq!(accepted.len(), 1);
    assert_eq!(roles_of(&world.acme, &ada).await, ["nurse"]);
    assert!(roles_of(&world.acme, &eve).await.is_empty());
    // A suspended account gets nothing.
    let eve = person(&world.acme, "eve@example.org").await;
    let suspend = "mutation($u: ID!) { userSuspend(input: { id: $u, reason: \"x\" }) { userErrors { \
                   code } } }";
    world.graphql(suspend, json!({ "u": eve })).await;
    let (id, secret) = invite(&world, json!({ "e": "eve@example.org", "r": [nurse] })).await;
    redeem(&world, &secret).await.is(200);
    let refused = world.graphql(ACCEPT, json!({ "i": id, "u": eve })).await;
    let errors = &refused["data"]["invitationAccept"]["userErrors"];
    assert_eq!(errors[0]["reason"], "INACTIVE", "{refused:#}");
    let cx = world.system();
    let account = uuid_of(&world, &eve);
    assert!(
        invitation::accept_invitations(&cx, account, "eve@example.org").await.unwrap().is_empty()
    );
    assert!(roles_of(&world.acme, &eve).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn inviter_must_hold_what_it_gives() {
    let world = World::new().await;
    let (nurse, plain) = (role(&world.acme, "nurse").await, group(&world.acme, "plain").await);
    let mapped = group(&world.acme, "mapped").await;
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) {
        userErrors { message } } }";
    world.graphql(map, json!({ "g": mapped, "r": nurse })).await;
    let owned = world.scim().group("of the provider", &[]).await;
    let held = [Permission::UserWrite, Permission::UserRead, Permission::IamRead].into();
    let clerk = api_key::issue_key(&world.system(), "clerk", held, None).await.unwrap().secret;
    let ask =
        async |variables: Value| world.acme.graphql_as(&clerk, &[], CREATE, variables).await.body;
    for given in
        [json!({ "r": [nurse] }), json!({ "g": [mapped] }), json!({ "g": [plain], "r": [nurse] })]
    {
        let mut variables = given.clone();
        variables["e"] = json!("bob@example.org");
        let refused = ask(variables).await;
        let code = &refused["errors"][0]["extensions"]["code"];
        assert_eq!(code, "FORBIDDEN", "{given}: {refused:#}");
        assert!(refused.to_string().contains("ACCESS_WRITE"), "{refused:#}");
    }
    assert_eq!(world.count("invitation", []).await, 0);
    let made = ask(json!({ "e": "bob@example.org", "g": [plain] })).await;
    assert_eq!(made["data"]["invitationCreate"]["userErrors"], json!([]), "{made:#}");
    // The clerk cannot accept another's invitation to a role either.
    let bob = person(&world.acme, "bob").await;
    let (id, _) = invite(&world, json!({ "e": "carl@example.org", "r": [nurse] })).await;
    let variables = json!({ "i": id, "u": bob });
    let refused = world.acme.graphql_as(&clerk, &[], ACCEPT, variables.clone()).await.body;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "FORBIDDEN", "{refused:#}");
    let resent = world.acme.graphql_as(&clerk, &[], RESEND, json!({ "i": id })).await.body;
    assert_eq!(resent["errors"][0]["extensions"]["code"], "FORBIDDEN", "{resent:#}");
    let done = world.graphql(ACCEPT, variables).await["data"]["invitationAccept"].clone();
    assert_eq!(done["invitation"]["user"]["userName"], "bob", "{done:#}");
    assert_eq!(roles_of(&world.acme, &bob).await, ["nurse"]);
    // Groups of a connection are their identity provider's.
    let refused =
        world.graphql(CREATE, json!({ "e": "x@example.org", "g": [owned.to_string()] })).await;
    let error = &refused["data"]["invitationCreate"]["userErrors"][0];
    assert_eq!(error["path"], json!(["input", "groups", "0"]), "{refused:#}");
    world.end().await;
}

#[tokio::test]
async fn invitation_gives_no_more_than_its_maker() {
    let world = World::new().await;
    let held = [Permission::UserWrite, Permission::UserRead, Permission::IamRead].into();
    let clerk = api_key::issue_key(&world.system(), "clerk", held, None).await.unwrap().secret;
    let ward = group(&world.acme, "ward").await;
    let ask = async |address: &str| {
        let variables = json!({ "e": address, "g": [ward] });
        let made = world.acme.graphql_as(&clerk, &[], CREATE, variables).await.body;
        let made = &made["data"]["invitationCreate"];
        assert_eq!(made["userErrors"], json!([]), "{made:#}");
        made["invitation"]["id"].clone()
    };
    let (first, second) = (ask("ada@example.org").await, ask("bob@example.org").await);
    // Meanwhile somebody maps the group to a role.
    let nurse = role(&world.acme, "nurse").await;
    let map = "mutation($g: ID!, $r: ID!) { roleMappingCreate(input: { groupId: $g, roleId: $r }) {
        userErrors { message } } }";
    world.graphql(map, json!({ "g": ward, "r": nurse })).await;
    let (ada, bob) = (person(&world.acme, "ada").await, person(&world.acme, "bob").await);
    let cx = world.system();
    let sign_in = async |user: &Value, address: &str| {
        let account = uuid_of(&world, user);
        invitation::accept_invitations(&cx, account, address).await.unwrap().len()
    };
    let waiting = async |id: &Value| {
        let query = "query($i: ID!) { node(id: $i) { ... on Invitation { state heldSince } }
            organization { attention { kind count } } }";
        world.graphql(query, json!({ "i": id })).await["data"].clone()
    };
    assert_eq!(sign_in(&ada, "ada@example.org").await, 0);
    assert!(roles_of(&world.acme, &ada).await.is_empty());
    let seen = waiting(&first).await;
    assert_eq!(seen["node"]["state"], "OPEN");
    assert!(seen["node"]["heldSince"].is_string(), "{seen:#}");
    assert!(seen["organization"].to_string().contains("INVITATIONS_HELD"), "{seen:#}");
    // Who may give the role decides: for the person, or by sending it again.
    let done = world.graphql(ACCEPT, json!({ "i": first, "u": ada })).await;
    assert_eq!(done["data"]["invitationAccept"]["invitation"]["state"], "ACCEPTED", "{done:#}");
    assert_eq!(roles_of(&world.acme, &ada).await, ["nurse"]);
    assert!(!waiting(&first).await.to_string().contains("INVITATIONS_HELD"));
    assert_eq!(sign_in(&bob, "bob@example.org").await, 0);
    world.graphql(RESEND, json!({ "i": second })).await;
    assert_eq!(waiting(&second).await["node"]["heldSince"], Value::Null);
    assert_eq!(sign_in(&bob, "bob@example.org").await, 1);
    assert_eq!(roles_of(&world.acme, &bob).await, ["nurse"]);
    // A role that got permissions of the console since waits, too.
    let manager = [Permission::UserWrite, Permission::AccessWrite].into();
    let manager = api_key::issue_key(&world.system(), "manager", manager, None).await.unwrap();
    let variables = json!({ "e": "carl@example.org", "r": [role(&world.acme, "desk").await] });
    let made = world.acme.graphql_as(&manager.secret, &[], CREATE, variables.clone()).await.body;
    assert_eq!(made["data"]["invitationCreate"]["userErrors"], json!([]), "{made:#}");
    let grow = "mutation($r: ID!) { roleUpdate(input: { id: $r, permissions: [\"DELETE_ALL\"] }) {
        userErrors { message } } }";
    world.graphql(grow, json!({ "r": variables["r"][0] })).await;
    let carl = person(&world.acme, "carl").await;
    assert_eq!(sign_in(&carl, "carl@example.org").await, 0);
    assert!(roles_of(&world.acme, &carl).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn mistakes_and_foreign_ids_are_refused() {
    let world = World::new().await;
    let globex = world.second_organization().await;
    let (nurse, theirs) = (role(&world.acme, "nurse").await, role(&globex, "theirs").await);
    let soon = Utc::now() + Duration::days(2);
    for (variables, path) in [
        (json!({ "e": "no address", "r": [nurse] }), json!(["input", "email"])),
        (
            json!({ "e": "a@example.org\r\nBcc: b@example.org", "r": [nurse] }),
            json!(["input", "email"]),
        ),
        (json!({ "e": "a@example.org" }), json!(["input", "roles"])),
        (json!({ "e": "a@example.org", "r": [theirs] }), json!(["input", "roles", "0"])),
        (
            json!({ "e": "a@example.org", "r": [nurse], "x": Utc::now() }),
            json!(["input", "expiresAt"]),
        ),
        (
            json!({ "e": "a@example.org", "r": [nurse], "x": Utc::now() + Duration::days(40) }),
            json!(["input", "expiresAt"]),
        ),
        (
            json!({ "e": "a@example.org", "r": [nurse], "a": soon }),
            json!(["input", "accessExpiresAt"]),
        ),
    ] {
        let answer = world.graphql(CREATE, variables.clone()).await;
        let error = &answer["data"]["invitationCreate"]["userErrors"][0];
        assert_eq!(error["path"], path, "{variables}: {answer:#}");
    }
    let (id, secret) = invite(&world, json!({ "e": "a@example.org", "r": [nurse] })).await;
    let stranger = person(&globex, "stranger").await;
    for (query, variables) in [
        (RESEND, json!({ "i": id })),
        (REVOKE, json!({ "i": id })),
        (ACCEPT, json!({ "i": id, "u": stranger })),
    ] {
        let answer = globex.graphql(query, variables).await;
        let payload = answer["data"].as_object().unwrap().values().next().unwrap().clone();
        assert!(
            payload["userErrors"].to_string().contains("OT_FOUND")
                || payload["userErrors"][0]["reason"] == "NOT_FOUND",
            "{answer:#}"
        );
    }
    let other = world.graphql(ACCEPT, json!({ "i": id, "u": stranger })).await;
    assert_eq!(
        other["data"]["invitationAccept"]["userErrors"][0]["path"],
        json!(["input", "userId"])
    );
    // Five to one address, of which each mails a stranger.
    for _ in 0..4 {
        invite(&world, json!({ "e": "A@example.org", "r": [nurse] })).await;
    }
    let sixth = world.graphql(CREATE, json!({ "e": "a@example.org", "r": [nurse] })).await;
    let error = &sixth["data"]["invitationCreate"]["userErrors"][0];
    assert_eq!(error["reason"], "LIMIT_REACHED", "{sixth:#}");
    let many = "mutation($e: [String!]!, $r: [ID!]) { invitationsCreate(input: { emails: $e, roles: $r
        }) { invited { email secret invitation { state } userErrors { path } } userErrors { code } } }";
    let emails = json!(["b@example.org", "wrong", "c@example.org"]);
    let batch = world.graphql(many, json!({ "e": emails, "r": [nurse] })).await;
    let invited = batch["data"]["invitationsCreate"]["invited"].as_array().unwrap();
    let states: Vec<_> = invited.iter().map(|one| one["invitation"]["state"].as_str()).collect();
    assert_eq!(states, [Some("OPEN"), None, Some("OPEN")], "{batch:#}");
    assert_ne!(invited[0]["secret"], invited[2]["secret"]);
    // A revoked one opens nothing.
    let revoked = world.graphql(REVOKE, json!({ "i": id })).await;
    assert_eq!(revoked["data"]["invitationRevoke"]["invitation"]["state"], "REVOKED");
    redeem(&world, &secret).await.is(410);
    world.end().await;
}

#[tokio::test]
async fn new_link_ends_the_former() {
    let world = World::new().await;
    let nurse = role(&world.acme, "nurse").await;
    let (id, first) = invite(&world, json!({ "e": "a@example.org", "r": [nurse] })).await;
    let again = world.graphql(RESEND, json!({ "i": id })).await["data"]["invitationResend"].clone();
    assert_eq!(again["invitation"]["sentCount"], 2, "{again:#}");
    redeem(&world, &first).await.is(404);
    let second = secret_of(&world, &again["secret"]);
    redeem(&world, &second).await.is(200);
    for _ in 0..8 {
        world.graphql(RESEND, json!({ "i": id })).await;
    }
    let last = world.graphql(RESEND, json!({ "i": id })).await["data"]["invitationResend"].clone();
    assert_eq!(last["userErrors"][0]["reason"], "LIMIT_REACHED", "{last:#}");
    world.end().await;
}

#[tokio::test]
async fn unaccepted_invitations_expire() {
    let world = World::new().await;
    let nurse = role(&world.acme, "nurse").await;
    let (id, secret) = invite(&world, json!({ "e": "a@example.org", "r": [nurse] })).await;
    let attention = "{ organization { attention { kind count } } }";
    let waits = async || {
        let seen = world.graphql(attention, json!({})).await;
        seen["data"]["organization"]["attention"].to_string().contains("INVITATIONS_END")
    };
    assert!(!waits().await);
    world.days_pass(6);
    assert!(waits().await, "it ends within two days");
    world.days_pass(2);
    assert!(!waits().await);
    redeem(&world, &secret).await.is(410);
    let ada = person(&world.acme, "ada").await;
    let late = world.graphql(ACCEPT, json!({ "i": id, "u": ada })).await;
    assert_eq!(late["data"]["invitationAccept"]["userErrors"][0]["reason"], "ENDED", "{late:#}");
    invitation::close_expired(&world.app).await.unwrap();
    let closed = "invitation WHERE closed_at IS NOT NULL AND sealed_secret IS NULL";
    assert_eq!(world.count(closed, []).await, 1);
    assert_eq!(events(&world).await, ["invitation.created", "invitation.expired"]);
    let listed = world.graphql(LIST, json!({ "f": { "states": ["EXPIRED"] } })).await;
    assert_eq!(listed["data"]["organization"]["invitations"]["totalCount"], 1);
    // It can be sent again, and is forgotten long after its end.
    world.graphql(RESEND, json!({ "i": id })).await;
    assert_eq!(world.count("invitation WHERE closed_at IS NULL", []).await, 1);
    world.graphql(REVOKE, json!({ "i": id })).await;
    world.days_pass(91);
    invitation::forget_ended(&world.app).await.unwrap();
    assert_eq!(world.count("invitation", []).await, 0);
    world.end().await;
}

#[tokio::test]
async fn erasure_reaches_invitations() {
    let world = World::new().await;
    let nurse = role(&world.acme, "nurse").await;
    let ada = person(&world.acme, "ada@example.org").await;
    let (accepted, _) = invite(&world, json!({ "e": "Ada@other.example", "r": [nurse] })).await;
    world.graphql(ACCEPT, json!({ "i": accepted, "u": ada })).await;
    invite(&world, json!({ "e": "ada@example.org", "r": [nurse] })).await;
    invite(&world, json!({ "e": "bob@example.org", "r": [nurse] })).await;
    let account = uuid_of(&world, &ada);
    let cx = world.system();
    rolecall::domain::directory::user::delete_user(&cx, account, |_| Ok(())).await.unwrap();
    rolecall::domain::directory::erasure::purge_user(&cx, account).await.unwrap();
    let rows =
        world.rows("SELECT email, email_key, reason FROM invitation ORDER BY created_at", []).await;
    assert_eq!(rows.len(), 2, "the unaccepted one to the account's address is gone: {rows:?}");
    assert_eq!(rows[0], json!({ "email": null, "email_key": null, "reason": null }));
    assert_eq!(rows[1]["email"], "bob@example.org");
    let told = world.rows("SELECT payload FROM event WHERE action LIKE 'invitation.%'", []).await;
    assert_eq!(told.len(), 4);
    let told = format!("{told:?}");
    assert!(!told.contains("helps in May") && !told.contains("ada"), "{told}");
    world.end().await;
}

#[tokio::test]
async fn mail_carries_the_link() {
    let world = World::with(|config| {
        let args = rolecall::config::smtp::SmtpArgs {
            smtp_url: Some("smtp-plain://127.0.0.1:9".into()),
            ..Default::default()
        };
        config.smtp = args.check("https://scim.example").unwrap();
    })
    .await;
    let nurse = role(&world.acme, "nurse").await;
    let mut stopped = world;
    stopped.stop().await;
    let world = stopped;
    let cx = world.system();
    let new = invitation::NewInvitation {
        email: "ada@example.org".into(),
        roles: vec![uuid_of(&world, &nurse)],
        ..Default::default()
    };
    let issued = invitation::create_invitation(&cx, new).await.unwrap();
    let mut due = invitation::claim_due_invitations(&world.app).await.unwrap();
    assert!(invitation::claim_due_invitations(&world.app).await.unwrap().is_empty(), "claimed");
    let mail = due.remove(0);
    let url = issued.url(&world.app);
    assert_eq!(mail.message.to_address, "ada@example.org");
    assert!(mail.message.text.contains(&url) && mail.message.html.contains(&url));
    assert!(mail.message.subject.contains("acme"));
    mail.mark_failed("421 later").await.unwrap();
    world.days_pass(1);
    let mail = invitation::claim_due_invitations(&world.app).await.unwrap().remove(0);
    mail.mark_sent().await.unwrap();
    world.days_pass(1);
    assert!(invitation::claim_due_invitations(&world.app).await.unwrap().is_empty(), "sent once");
    let sent =
        "invitation WHERE mailed_at IS NOT NULL AND sealed_secret IS NULL AND mail_error IS NULL";
    assert_eq!(world.count(sent, []).await, 1, "the secret is not kept");
    rolecall::ledger::seal_ledgers(&world.app.store).await.unwrap();
    world.end().await;
}

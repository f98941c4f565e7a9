//! A simulated OpenID provider: it shows its public key, and signs what it says of people. There
//! is no browser: the application of a person has the ID token as if the person had signed in.

use std::io;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::Router;
use axum::http::header;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The id of its key.
const KEY_ID: &str = "simulated";

/// A provider that runs in this process.
pub struct SimulatedIssuer {
    url: String,
    key: Ed25519KeyPair,
}

impl SimulatedIssuer {
    /// Starts it on a free port of this machine, with a new key.
    ///
    /// # Errors
    /// When no port is free, or no key can be made.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let key = Ed25519KeyPair::generate().map_err(io::Error::other)?;
        let public = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
            "kid": KEY_ID, "x": public }] });
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let page = |body: Value| {
            let body = body.to_string();
            get(async move || ([(header::CONTENT_TYPE, "application/json")], body))
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", page(discovery))
            .route("/keys", page(keys));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, key })
    }

    /// What it is called in `iss`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An ID token with these claims, which name neither the issuer nor, with `exp`, an end.
    pub fn sign_id_token(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        claims["iss"] = self.url.clone().into();
        claims["exp"] = (claims["iat"].as_i64().unwrap_or_default() + 300).into();
        let header = json!({ "alg": "EdDSA", "kid": KEY_ID, "typ": "JWT" });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[tokio::test]
    async fn shown_key_verifies_tokens() {
        let issuer = SimulatedIssuer::start().await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let read = async |url: String| {
            let text = http.get(url).send().await.unwrap().text().await.unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let url = format!("{}/.well-known/openid-configuration", issuer.url());
        let discovery = read(url).await;
        assert_eq!(discovery["issuer"], issuer.url());
        let keys = read(discovery["jwks_uri"].as_str().unwrap().to_owned()).await;
        let key = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
        let token = issuer.sign_id_token(&json!({ "sub": "ada", "iat": 1_700_000_000 }));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let known = UnparsedPublicKey::new(&ED25519, key);
        known.verify(signed.as_bytes(), &signature).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["sub"], &claims["exp"]), (&json!("ada"), &json!(1_700_000_300)));
    }
}

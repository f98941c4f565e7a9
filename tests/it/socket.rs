//! WebSocket and event stream clients for the tests.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than any answer takes, including pings.
const PATIENCE: Duration = Duration::from_secs(30);

/// A WebSocket at `/graphql`.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// An open WebSocket that has sent nothing yet.
    pub async fn open(address: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut request =
            format!("{}/graphql", address.replace("http", "ws")).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        Self(connect_async(request).await.unwrap().0)
    }

    /// A WebSocket with the GraphQL protocol that has sent nothing yet.
    pub async fn fresh(address: &str) -> Self {
        Self::open(address, &[("sec-websocket-protocol", "graphql-transport-ws")]).await
    }

    /// A WebSocket that is authenticated.
    pub async fn of(address: &str, credential: &str) -> Self {
        let mut socket = Self::fresh(address).await;
        let payload = json!({ "Authorization": format!("Bearer {credential}") });
        socket.say(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.hear().await, json!({ "type": "connection_ack" }));
        socket
    }

    pub async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    pub async fn subscribe(&mut self, id: &str, query: &str) {
        self.say(json!({ "id": id, "type": "subscribe", "payload": { "query": query } })).await;
    }

    /// The server's next message.
    pub async fn hear(&mut self) -> Value {
        let patience = Instant::now() + PATIENCE;
        loop {
            match timeout_at(patience, self.0.next())
                .await
                .expect("the server sends nothing")
                .unwrap()
                .unwrap()
            {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The payload of the next answer of an operation.
    pub async fn next(&mut self, id: &str) -> Value {
        let message = self.hear().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("next"), &json!(id)), "{message:#}");
        message["payload"].clone()
    }

    /// Whether the server sends nothing for this time.
    pub async fn is_quiet(&mut self, wait: Duration) -> bool {
        timeout(wait, self.0.next()).await.is_err()
    }

    /// Closes the socket; returns whether the server also closes properly.
    pub async fn leave(mut self) -> bool {
        let patience = Instant::now() + PATIENCE;
        self.0.close(None).await.unwrap();
        while let Ok(Some(message)) = timeout_at(patience, self.0.next()).await {
            match message {
                Ok(Message::Close(_)) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Waits until the server closes; returns the close code.
    pub async fn closed(&mut self) -> u16 {
        let patience = Instant::now() + PATIENCE;
        loop {
            match timeout_at(patience, self.0.next()).await.expect("the server does not close") {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(_)) => {}
                other => panic!("closed without a code: {other:?}"),
            }
        }
    }
}

/// Server-sent events, as they come.
pub struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    /// Posts an operation and reads the answer as a stream of events.
    pub async fn post(address: &str, credential: &str, body: Value) -> Self {
        let request =
            reqwest::Client::new().post(format!("{address}/graphql")).bearer_auth(credential);
        let request = request
            .header("content-type", "application/json")
            .header("accept", "text/event-stream");
        Self::of(request.body(body.to_string()).send().await.unwrap())
    }

    pub fn of(response: reqwest::Response) -> Self {
        assert_eq!(
            response.headers()["content-type"],
            "text/event-stream",
            "{}",
            response.status()
        );
        Self { response, text: String::new() }
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next event's name and data; `None` when the server has ended the stream.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .filter_map(|line| line.strip_prefix(name))
                        .next()
                        .map(|value| value.trim().to_owned())
                };
                let found = (field("event:"), field("data:"));
                self.text = rest.to_owned();
                // A comment keeps the connection alive.
                let (Some(name), Some(data)) = found else { continue };
                return Some((name, serde_json::from_str(&data).unwrap_or(Value::Null)));
            }
            let chunk = timeout_at(patience, self.response.chunk())
                .await
                .expect("nothing comes")
                .ok()??;
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The data of the next answer.
    pub async fn answer(&mut self) -> Value {
        let (name, data) = self.next().await.expect("an event");
        assert_eq!(name, "next", "{data:#}");
        data
    }
}

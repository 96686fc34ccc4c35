use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_template::{Template, View};
use bytes::Bytes;
use gateway_model::Message;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::Full;
use serde::Serialize;

use crate::config::{Body, Config, ConfigError};
use crate::identity::Identity;
use crate::signature::Signer;

/// Standard Webhooks 1.0, "Webhook headers".
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Headers that a configuration may not set: the bridge or HTTP itself does.
const RESERVED: [&str; 8] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
];

/// Makes requests of messages, as the configuration says.
pub(crate) struct Translator {
    url: Template,
    /// The URL if no variable is in it.
    fixed_url: Option<Uri>,
    body: Body,
    headers: Vec<(HeaderName, Template)>,
    signer: Signer,
}

/// What does not change from attempt to attempt.
pub(crate) struct Letter {
    id: String,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// The URL template makes no URL of this message, ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the url template renders to {0:?}, which is no URL to post to")]
pub(crate) struct Untranslatable(Box<str>);

impl Translator {
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let wrong_url = |_| ConfigError::Url { url: config.url.source().into(), reason: "is not a URL" };
        let headers = config.headers.iter().map(|(name, value)| header(name, value));
        Ok(Self {
            fixed_url: config.url.as_literal().map(str::parse).transpose().map_err(wrong_url)?,
            url: config.url.clone(),
            body: config.body,
            headers: headers.collect::<Result<_, _>>()?,
            signer: Signer::new(config.secret.iter())?,
        })
    }

    pub fn translate(&self, message: &Message, id: Identity) -> Result<Letter, Untranslatable> {
        let view = View::new(message);
        let id = id.to_string();
        let uri = match &self.fixed_url {
            Some(fixed) => fixed.clone(),
            None => url(&self.url, &view)?,
        };
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 6);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("tidegate"));
        headers.insert(WEBHOOK_ID, header_value(id.as_bytes()));
        let mut value = Vec::new();
        for (name, template) in &self.headers {
            value.clear();
            template.render(&view, &mut value);
            headers.insert(name, header_value(&value));
        }
        let body = match self.body {
            Body::Standard => standard_body(message, &id),
            Body::Emqx3 => emqx3_body(message),
        };
        Ok(Letter { id, uri, headers, body: body.into() })
    }

    /// The request of one attempt, which carries its own time and signature.
    pub fn request(&self, letter: &Letter, now_unix_secs: u64) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(letter.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = letter.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&letter.headers);
        headers.insert(WEBHOOK_TIMESTAMP, now_unix_secs.into());
        if let Some(signatures) = self.signer.sign(&letter.id, now_unix_secs, &letter.body) {
            headers.insert(WEBHOOK_SIGNATURE, header_value(signatures.as_bytes()));
        }
        request
    }
}

#[derive(Serialize)]
struct StandardBody<'a> {
    id: &'a str,
    topic: &'a str,
    clientid: &'a str,
    qos: u8,
    retain: bool,
    payload: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<&'static str>,
    /// Milliseconds since 1970.
    timestamp: u64,
    content_type: Option<&'a str>,
    properties: BTreeMap<&'a str, Repeated<'a>>,
}

/// JSON has no repeated keys, MQTT 5.0 has (section 3.3.2.3.7): those become an array.
#[derive(Serialize)]
#[serde(untagged)]
enum Repeated<'a> {
    Once(&'a str),
    Often(Vec<&'a str>),
}

/// `on_message_publish` of emqx-web-hook 4.x, which also serves 3.x receivers.
#[derive(Serialize)]
struct Emqx3Body<'a> {
    action: &'static str,
    from_client_id: &'a str,
    /// The plug-in's word for a publisher without a name.
    from_username: &'static str,
    topic: &'a str,
    qos: u8,
    retain: bool,
    payload: Cow<'a, str>,
    ts: u64,
}

fn standard_body(message: &Message, id: &str) -> Vec<u8> {
    let (payload, payload_encoding) = payload_text(&message.payload);
    let mut properties = BTreeMap::new();
    let user = message.properties.iter().flat_map(|properties| &properties.user_properties);
    for (name, value) in user {
        properties
            .entry(&**name)
            .and_modify(|known: &mut Repeated<'_>| known.push(value))
            .or_insert(Repeated::Once(value));
    }
    json(&StandardBody {
        id,
        topic: &message.topic,
        clientid: message.publisher.as_str(),
        qos: message.qos as u8,
        retain: message.retain,
        payload,
        payload_encoding,
        timestamp: message.accepted_unix_millis.get(),
        content_type: message.properties.as_ref().and_then(|properties| properties.content_type.as_deref()),
        properties,
    })
}

fn emqx3_body(message: &Message) -> Vec<u8> {
    json(&Emqx3Body {
        action: "message_publish",
        from_client_id: message.publisher.as_str(),
        from_username: "undefined",
        topic: &message.topic,
        qos: message.qos as u8,
        retain: message.retain,
        payload: payload_text(&message.payload).0,
        ts: message.accepted_unix_millis.get(),
    })
}

impl<'a> Repeated<'a> {
    fn push(&mut self, value: &'a str) {
        match self {
            Self::Once(first) => *self = Self::Often(vec![first, value]),
            Self::Often(values) => values.push(value),
        }
    }
}

/// Text as it is, anything else in base64, and the name of that encoding.
fn payload_text(payload: &[u8]) -> (Cow<'_, str>, Option<&'static str>) {
    match std::str::from_utf8(payload) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(_) => (Cow::Owned(STANDARD.encode(payload)), Some("base64")),
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("text keys and plain values always serialize")
}

fn header(name: &str, value: &Template) -> Result<(HeaderName, Template), ConfigError> {
    let wrong = |reason| ConfigError::Header { name: name.into(), reason };
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err(wrong("is set by the bridge itself"));
    }
    let parsed = name.parse().map_err(|_| wrong("is not the name of a header"))?;
    Ok((parsed, value.clone()))
}

/// Device data may not end a header and begin another (RFC 9110 section 5.5).
fn header_value(value: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(value).unwrap_or_else(|_| {
        let clean: Vec<u8> =
            value.iter().map(|byte| if *byte < b' ' || *byte == 0x7f { b' ' } else { *byte }).collect();
        HeaderValue::from_bytes(&clean).expect("no control characters are left")
    })
}

fn url(template: &Template, view: &View<'_>) -> Result<Uri, Untranslatable> {
    let mut text = Vec::new();
    template.render_escaped(view, &mut text, percent_encode);
    let wrong = || Untranslatable(String::from_utf8_lossy(&text).into());
    let uri = Uri::try_from(&text[..]).map_err(|_| wrong())?;
    // Servers resolve these segments, which would lead out of the configured path (RFC 3986
    // section 5.2.4).
    if uri.path().split('/').any(|segment| segment == "." || segment == "..") {
        return Err(wrong());
    }
    Ok(uri)
}

/// Everything but RFC 3986's unreserved characters (section 2.3), so also `/`.
fn percent_encode(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            _ => out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use gateway_model::{ClientId, Properties, Qos, Topic};
    use serde_json::{Value, json};

    use super::*;
    use crate::identity::Identities;

    pub(crate) fn message(topic: &str, payload: &str) -> Message {
        Message {
            topic: Topic::parse(topic).unwrap(),
            payload: payload.to_owned().into(),
            properties: None,
            publisher: ClientId::parse("sensor-1").unwrap(),
            accepted_unix_millis: 1_700_000_000_123.into(),
            expires_at: None,
            qos: Qos::AtLeastOnce,
            retain: false,
            stored: Default::default(),
        }
    }

    fn translator(more: &str) -> Translator {
        let config = format!("{{\"url\":\"http://h/in\"{more}}}");
        Translator::new(&serde_json::from_str(&config).unwrap()).unwrap()
    }

    fn body(translator: &Translator, message: &Message) -> Value {
        let letter = translator.translate(message, Identities::default().assign(message)).unwrap();
        serde_json::from_slice(&letter.body).unwrap()
    }

    #[test]
    fn the_standard_body() {
        let mut message = message("plant/7", "{\"t\":21.5}");
        let id = Identities::default().assign(&message).to_string();
        let mut expected = json!({"id": id, "topic": "plant/7", "clientid": "sensor-1", "qos": 1,
            "retain": false, "payload": "{\"t\":21.5}", "timestamp": 1_700_000_000_123_u64,
            "content_type": null, "properties": {}});
        assert_eq!(body(&translator(""), &message), expected);
        message.properties = Some(Arc::new(Properties {
            content_type: Some("application/json".into()),
            user_properties: [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec(),
            ..Properties::default()
        }));
        expected["content_type"] = "application/json".into();
        expected["properties"] = json!({"a": ["1", "3", "4"], "b": "2"});
        assert_eq!(body(&translator(""), &message), expected);
    }

    #[test]
    fn a_payload_that_is_not_text_is_base64() {
        let mut message = message("t", "");
        message.payload = vec![0xff, 0x00, 0x10].into();
        let body = body(&translator(""), &message);
        assert_eq!((&body["payload"], &body["payload_encoding"]), (&json!("/wAQ"), &json!("base64")));
    }

    #[test]
    fn the_body_of_emqx_web_hook() {
        let body = body(&translator(r#","body":"emqx3""#), &message("plant/7", "on"));
        let expected = json!({"action": "message_publish", "from_client_id": "sensor-1",
            "from_username": "undefined", "topic": "plant/7", "qos": 1, "retain": false,
            "payload": "on", "ts": 1_700_000_000_123_u64});
        assert_eq!(body, expected);
    }

    #[test]
    fn headers_are_those_of_standard_webhooks_and_the_configured_ones() {
        let translator = translator(
            r#","secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "headers":{"Authorization":"Bearer x","X-Topic":"${topic}","X-Evil":"${payload}"}"#,
        );
        let message = message("plant/7", "a\r\nHost: evil");
        let id = Identities::default().assign(&message);
        let letter = translator.translate(&message, id).unwrap();
        let request = translator.request(&letter, 1_614_265_330);
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(header("webhook-id"), id.to_string());
        assert_eq!(header("webhook-timestamp"), "1614265330");
        assert!(header("webhook-signature").starts_with("v1,"));
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("authorization"), "Bearer x");
        assert_eq!(header("x-topic"), "plant/7");
        assert_eq!(header("x-evil"), "a  Host: evil");
        let later = translator.request(&letter, 1_614_265_331);
        assert_eq!(later.headers()["webhook-id"], request.headers()["webhook-id"]);
        assert_ne!(later.headers()["webhook-signature"], request.headers()["webhook-signature"]);
    }

    #[test]
    fn headers_that_the_bridge_sets_are_refused() {
        for name in ["Webhook-Id", "HOST", "content-length", "a b"] {
            let config = format!("{{\"url\":\"http://h/\",\"headers\":{{\"{name}\":\"x\"}}}}");
            let refused = Translator::new(&serde_json::from_str(&config).unwrap()).err();
            assert!(matches!(refused, Some(ConfigError::Header { .. })), "{name}");
        }
    }

    #[test]
    fn values_in_urls_are_encoded_and_cannot_climb() {
        let config = r#"{"url":"http://h:8/a/${topic[1]}?t=${topic}"}"#;
        let translator = Translator::new(&serde_json::from_str(config).unwrap()).unwrap();
        let uri = |topic: &str| {
            let message = message(topic, "");
            let id = Identities::default().assign(&message);
            translator.translate(&message, id).map(|letter| letter.uri.to_string())
        };
        assert_eq!(uri("x/é &?").unwrap(), "http://h:8/a/%C3%A9%20%26%3F?t=x%2F%C3%A9%20%26%3F");
        assert!(uri("x/..").is_err());
        assert_eq!(uri("..").unwrap(), "http://h:8/a/?t=..");
    }
}

use http::StatusCode;

use crate::Config;

/// Decides about upgrade requests.
#[derive(Clone, Debug)]
pub struct Handshake {
    config: Config,
}

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    #[error("nothing at this path")]
    PathUnknown,
    #[error("this origin is not allowed")]
    OriginRefused,
    #[error("none of the offered subprotocols is mqtt")]
    NoSubprotocol,
}

impl HandshakeError {
    /// The HTTP status to refuse with.
    pub fn status(&self) -> u16 {
        match self {
            Self::PathUnknown => StatusCode::NOT_FOUND,
            Self::OriginRefused => StatusCode::FORBIDDEN,
            Self::NoSubprotocol => StatusCode::BAD_REQUEST,
        }
        .as_u16()
    }
}

/// The subprotocols, the one of MQTT 3.1.1 and 5.0 first (MQTT-6.0.0-3 and -4).
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

impl Handshake {
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// The subprotocol to accept an upgrade with.
    ///
    /// `path` is the request's target, a query in it is ignored. `protocols` are the values of
    /// Sec-WebSocket-Protocol, one per header line or one per token: lists are split here.
    /// `origin` is the Origin header.
    ///
    /// Of several offers the client's first that we speak wins (RFC 6455 section 4.2.2). A client
    /// that offers none at all is accepted without one, `Ok(None)`: MQTT-6.0.0-3 demands the offer,
    /// yet many clients and load generators omit it and no confusion can arise, since the first
    /// packet says whether it is MQTT. Offers of which none is ours are refused: the client would
    /// have to fail the connection on an answer without its subprotocol.
    pub fn check<'a>(
        &self,
        path: &str,
        protocols: impl Iterator<Item = &'a str>,
        origin: Option<&str>,
    ) -> Result<Option<&'static str>, HandshakeError> {
        if path.split_once('?').map_or(path, |(path, _)| path) != self.config.path {
            return Err(HandshakeError::PathUnknown);
        }
        if !self.allows(origin) {
            return Err(HandshakeError::OriginRefused);
        }
        let mut offers = protocols.flat_map(|list| list.split(',')).map(str::trim).filter(|o| !o.is_empty());
        let Some(first) = offers.next() else { return Ok(None) };
        std::iter::once(first)
            .chain(offers)
            .find_map(|offer| SUBPROTOCOLS.into_iter().find(|ours| *ours == offer))
            .map(Some)
            .ok_or(HandshakeError::NoSubprotocol)
    }

    fn allows(&self, origin: Option<&str>) -> bool {
        let origins = &self.config.origins;
        origin.is_none_or(|origin| {
            origins.is_empty() || origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        config: Config,
        path: &str,
        protocols: &[&str],
        origin: Option<&str>,
    ) -> Result<Option<&'static str>, HandshakeError> {
        Handshake::new(config).check(path, protocols.iter().copied(), origin)
    }

    #[test]
    fn mqtt_6_0_0_3_a_client_that_offers_mqtt_gets_mqtt() {
        for (offers, answer) in [
            (&["mqtt"][..], Some("mqtt")),
            (&["mqttv3.1"], Some("mqttv3.1")),
            (&["mqttv3.1, mqtt"], Some("mqttv3.1")),
            (&["chat", "mqtt"], Some("mqtt")),
            (&["chat ,mqtt,mqttv3.1"], Some("mqtt")),
            (&[], None),
            (&[""], None),
        ] {
            assert_eq!(check(Config::default(), "/mqtt", offers, None), Ok(answer), "{offers:?}");
        }
    }

    #[test]
    fn offers_of_which_none_is_mqtt_are_refused() {
        for offers in [&["chat"][..], &["MQTT"], &["mqtt5", "amqp"]] {
            let refused = check(Config::default(), "/mqtt", offers, None).unwrap_err();
            assert_eq!((refused, refused.status()), (HandshakeError::NoSubprotocol, 400), "{offers:?}");
        }
    }

    #[test]
    fn only_the_configured_path_is_there() {
        assert!(check(Config::default(), "/mqtt?token=x", &["mqtt"], None).is_ok());
        for path in ["/", "/mqtt/", "/MQTT", "/mqttx", ""] {
            let refused = check(Config::default(), path, &["mqtt"], None).unwrap_err();
            assert_eq!((refused, refused.status()), (HandshakeError::PathUnknown, 404), "{path}");
        }
    }

    #[test]
    fn origins_bind_browsers_only() {
        let config = Config { origins: vec!["https://example.org".into()], ..Config::default() };
        assert!(check(config.clone(), "/mqtt", &["mqtt"], Some("https://Example.org")).is_ok());
        assert!(check(config.clone(), "/mqtt", &["mqtt"], None).is_ok());
        for origin in ["http://example.org", "https://example.org.evil.net", "null"] {
            let refused = check(config.clone(), "/mqtt", &["mqtt"], Some(origin)).unwrap_err();
            assert_eq!((refused, refused.status()), (HandshakeError::OriginRefused, 403), "{origin}");
        }
        assert!(check(Config::default(), "/mqtt", &["mqtt"], Some("https://anyone")).is_ok());
    }
}

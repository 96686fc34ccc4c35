/// Where a broker is, in one text: `mqtts://user:password@host:port/topic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub tls: bool,
    /// WebSocket: then the path is its path, else a topic.
    pub web: bool,
    pub username: Option<String>,
    pub password: Option<String>,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: Option<u16>,
    /// With its first slash; of a topic the percent signs are decoded.
    pub path: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("write mqtt://HOST/TOPIC")?;
        let (tls, web) = match scheme {
            "mqtt" | "tcp" => (false, false),
            "mqtts" | "ssl" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return Err("write mqtt://, mqtts://, ws:// or wss://".to_owned()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, "\0"))) {
            None => (None, None),
            Some((name, "\0")) => (Some(decoded(name)?), None),
            Some((name, word)) => (Some(decoded(name)?), Some(decoded(word)?)),
        };
        let (host, port) = split_port(place)?;
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }
        let path = if web { path.to_owned() } else { decoded(path)? };
        Ok(Self { tls, web, username, password, host: host.to_owned(), port, path })
    }
}

/// `host:port`, `[::1]:port` or either without a port.
fn split_port(place: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
            (host, rest.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map(|port| port.parse().map_err(|_| format!("{port:?} is not a port"))).transpose()?;
    Ok((host, port))
}

/// Percent signs decoded (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let value = high.zip(low).map(|(high, low)| high << 4 | low);
                value.and_then(|value| u8::try_from(value).ok()).ok_or("a percent sign is written %25")?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| "after decoding it is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found() {
        let url = Url::parse("mqtts://me%40home:p%3Aw@broker.example:99/plant/a%23").unwrap();
        assert!(url.tls && !url.web);
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("me@home"), Some("p:w")));
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("broker.example", Some(99), "/plant/a#")
        );
        let url = Url::parse("ws://[::1]").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str(), url.web), ("::1", None, "", true));
        assert_eq!(Url::parse("mqtt://me@b").unwrap().password, None);
    }

    #[test]
    fn wrong_ones_are_refused() {
        for wrong in
            ["broker", "http://b", "mqtt://", "mqtt://b:x", "mqtt://[::1", "mqtt://b/%z", "mqtt://%ff@b"]
        {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }
}

//! The receiver's side of the PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>): a proxy says before anything
//! else for whom it connects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a connection does not begin with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("it does not begin with a PROXY header")]
    Absent,
    #[error("its PROXY header is malformed")]
    Malformed,
    #[error("its PROXY header is longer than any address needs")]
    TooLong,
}

/// A header as far as it has been read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// At least so many bytes are missing; not all of them may be there to be read at once.
    Missing(usize),
    /// All is there: for whom the proxy connects. `None`: for itself, or for somebody whom it does
    /// not name.
    Complete(Option<SocketAddr>),
}

/// Section 2.2: the first twelve bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and length.
const PREFIX_LEN: usize = 16;
/// Section 2.1: the longest line of version 1, with CRLF.
const LINE_LEN_MAX: usize = 107;
/// The shortest, `PROXY UNKNOWN\r\n`.
const LINE_LEN_MIN: usize = 15;
/// Addresses are at most 216 bytes (of a Unix socket); what follows them is skipped.
const BODY_LEN_MAX: usize = 4096;

/// Reads a header from its beginning. Nothing that follows it may be in `bytes`: whoever reads only
/// what is missing never has more.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(one, other)| one == other);
    if begins(SIGNATURE) && !bytes.is_empty() {
        parse_binary(bytes)
    } else if begins(b"PROXY ") {
        parse_line(bytes)
    } else {
        Err(HeaderError::Absent)
    }
}

fn parse_line(bytes: &[u8]) -> Result<Header, HeaderError> {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes.len() {
            LINE_LEN_MAX.. => Err(HeaderError::TooLong),
            length => Ok(Header::Missing(LINE_LEN_MIN.saturating_sub(length).max(1))),
        };
    };
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // Whatever follows is to be ignored.
        return Ok(Header::Complete(None));
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else {
        return Err(HeaderError::Malformed);
    };
    let address = |text: &str| {
        let address: IpAddr = text.parse().map_err(|_| HeaderError::Malformed)?;
        match family {
            Some("TCP4") if address.is_ipv4() => Ok(address),
            Some("TCP6") if address.is_ipv6() => Ok(address),
            _ => Err(HeaderError::Malformed),
        }
    };
    let source = SocketAddr::new(address(source)?, port(source_port)?);
    address(destination)?;
    port(destination_port)?;
    Ok(Header::Complete(Some(source)))
}

/// Decimal, without a sign or heading zeroes (section 2.1).
fn port(text: &str) -> Result<u16, HeaderError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(HeaderError::Malformed)
}

fn parse_binary(bytes: &[u8]) -> Result<Header, HeaderError> {
    let Some((prefix, body)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
        return Ok(Header::Missing(PREFIX_LEN - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([prefix[14], prefix[15]]));
    if length > BODY_LEN_MAX {
        return Err(HeaderError::TooLong);
    }
    if body.len() < length {
        return Ok(Header::Missing(length - body.len()));
    }
    let is_local = match prefix[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Malformed),
    };
    let source = match (prefix[13] >> 4, prefix[13] & 0x0F) {
        (_, 3..) | (4.., _) => return Err(HeaderError::Malformed),
        // Source, destination, source port, destination port; then whatever else.
        (1, 1..) => {
            let addresses = body.first_chunk::<12>().ok_or(HeaderError::Malformed)?;
            let [a, b, c, d, .., high, low, _, _] = *addresses;
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
        }
        (2, 1..) => {
            let addresses = body.first_chunk::<36>().ok_or(HeaderError::Malformed)?;
            let source = addresses.first_chunk::<16>().copied().unwrap_or_default();
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Some(SocketAddr::new(Ipv6Addr::from(source).into(), port))
        }
        // Unspecified, or a Unix socket's path, which is no address.
        _ => None,
    };
    Ok(Header::Complete(source.filter(|_| !is_local)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a header as a reader would, and checks that nothing after it is asked for.
    fn read(bytes: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
        let mut have = 0;
        loop {
            match parse(&bytes[..have])? {
                Header::Complete(source) => {
                    assert_eq!(have, bytes.len(), "bytes of the header were left over");
                    return Ok(source);
                }
                Header::Missing(count) => {
                    assert!(count > 0 && have + count <= bytes.len(), "asks for {count} after {have}");
                    have += count;
                }
            }
        }
    }

    fn source(text: &str) -> Result<Option<SocketAddr>, HeaderError> {
        Ok(Some(text.parse().unwrap()))
    }

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 0x04, 0x01, 0xBB];

    /// The examples of section 2.1, the longest lines among them.
    #[test]
    fn version_1_is_one_line() {
        assert_eq!(
            read(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
            source("255.255.255.255:65535")
        );
        assert_eq!(read(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), source("192.168.0.1:56324"));
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
        assert_eq!(read(line.as_bytes()), source(&format!("[{longest}]:65535")));
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(None));
        let line = format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n");
        assert_eq!(line.len(), LINE_LEN_MAX);
        assert_eq!(read(line.as_bytes()), Ok(None));
    }

    #[test]
    fn a_line_that_is_not_one_is_refused() {
        for line in [
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
            "PROXY TCP4 ::1 ::1 56324 443\r\n",
            "PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
            "PROXY TCP5 192.168.0.1 192.168.0.11 56324 443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 +5632 443\r\n",
            "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
            "PROXY TCP4  192.168.0.1 192.168.0.11 1 443\r\n",
            "PROXY TCP4 \u{e9} 192.168.0.11 1 443\r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(HeaderError::Malformed), "{line}");
        }
        let endless = format!("PROXY {}", "A".repeat(200));
        assert_eq!(read(endless.as_bytes()), Err(HeaderError::TooLong));
    }

    #[test]
    fn version_2_names_its_client_in_binary() {
        assert_eq!(read(&binary(0x21, 0x11, &IPV4)), source("192.0.2.1:56324"));
        let ipv6 = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 16], &[0x1F, 0x90, 0, 80]].concat();
        assert_eq!(read(&binary(0x21, 0x21, &ipv6)), source("[2001:db8::1]:8080"));
        // A type-length-value after the addresses: PP2_TYPE_NOOP.
        let with_more = [&IPV4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(read(&binary(0x21, 0x11, &with_more)), source("192.0.2.1:56324"));
    }

    #[test]
    fn version_2_may_name_nobody() {
        assert_eq!(read(&binary(0x20, 0x00, &[])), Ok(None), "LOCAL: a health check");
        assert_eq!(read(&binary(0x20, 0x11, &IPV4)), Ok(None), "LOCAL: the addresses are to be ignored");
        assert_eq!(read(&binary(0x21, 0x00, &[1, 2, 3])), Ok(None), "AF_UNSPEC");
        assert_eq!(read(&binary(0x21, 0x31, &[b'/'; 216])), Ok(None), "AF_UNIX");
    }

    #[test]
    fn a_binary_header_that_is_not_one_is_refused() {
        for (bytes, error) in [
            (binary(0x11, 0x11, &IPV4), HeaderError::Malformed),
            (binary(0x22, 0x11, &IPV4), HeaderError::Malformed),
            (binary(0x21, 0x41, &IPV4), HeaderError::Malformed),
            (binary(0x21, 0x13, &IPV4), HeaderError::Malformed),
            (binary(0x21, 0x11, &IPV4[..11]), HeaderError::Malformed),
            (binary(0x21, 0x21, &IPV4), HeaderError::Malformed),
            (binary(0x21, 0x11, &[0; 5000]), HeaderError::TooLong),
        ] {
            assert_eq!(read(&bytes), Err(error), "{bytes:02x?}");
        }
        assert_eq!(read(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0\0\0"), Err(HeaderError::Absent));
        assert_eq!(parse(b"PROXX"), Err(HeaderError::Absent));
        assert_eq!(parse(b"\r\n\r\n\x01"), Err(HeaderError::Absent));
    }

    /// Whatever a stranger sends, whole or bent, is judged and asks for no more than it may.
    #[test]
    fn nothing_from_the_wire_panics_or_is_waited_for_without_end() {
        let good = [
            binary(0x21, 0x11, &IPV4),
            binary(0x21, 0x21, &[7; 40]),
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
        ];
        let mut state = 1u64;
        let mut random = move |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % limit
        };
        for round in 0..20_000 {
            let mut bytes = good[round % good.len()].clone();
            for _ in 0..random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            for length in 0..=bytes.len() {
                if let Ok(Header::Missing(count)) = parse(&bytes[..length]) {
                    assert!((1..=PREFIX_LEN + BODY_LEN_MAX).contains(&count), "{:02x?}", &bytes[..length]);
                }
            }
        }
    }
}

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Whether a list names an address.
pub(crate) fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// Where a request comes from: each proxy has appended whom it has it from, so the first from the
/// right that is no trusted proxy is the client. What stands left of it, it may have invented, down to
/// bytes that are no text.
pub(crate) fn client<'a>(
    sender: SocketAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> SocketAddr {
    let mut client = sender;
    for entry in forwarded.rev().flat_map(|list| list.rsplit(|byte| *byte == b',')) {
        if !is_trusted(trusted, client.ip()) {
            break;
        }
        // Who does not say where it has it from is taken for the client.
        let Some(address) = std::str::from_utf8(entry).ok().and_then(|text| parse(text.trim())) else {
            break;
        };
        client = address;
    }
    client
}

/// An address as proxies write it: with a port, in brackets, or neither.
fn parse(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    address.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        let trusted = ["127.0.0.1/32", "10.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
        for (sender, headers, expected) in [
            ("127.0.0.1:5", &[][..], "127.0.0.1:5"),
            ("127.0.0.1:5", &["203.0.113.9"], "203.0.113.9:0"),
            ("127.0.0.1:5", &["1.1.1.1, 203.0.113.9, 10.1.1.1"], "203.0.113.9:0"),
            ("127.0.0.1:5", &["1.1.1.1", "203.0.113.9:77,10.1.1.1"], "203.0.113.9:77"),
            ("[::1]:5", &["[2001:db8::1]:9"], "[2001:db8::1]:9"),
            ("[::1]:5", &["2001:db8::1"], "[2001:db8::1]:0"),
            ("[::1]:5", &["[2001:db8::1]"], "[2001:db8::1]:0"),
            ("[::ffff:127.0.0.1]:5", &["192.0.2.1"], "192.0.2.1:0"),
            ("10.2.3.4:5", &["unknown, 10.9.9.9"], "10.9.9.9:0"),
            ("10.2.3.4:5", &["10.0.0.1, 10.0.0.2"], "10.0.0.1:0"),
            ("10.2.3.4:5", &[""], "10.2.3.4:5"),
            ("192.0.2.7:5", &["127.0.0.1"], "192.0.2.7:5"),
        ] {
            let client =
                client(sender.parse().unwrap(), headers.iter().map(|text| text.as_bytes()), &trusted);
            assert_eq!(client.to_string(), expected, "{sender} {headers:?}");
        }
        let sender = "127.0.0.1:5".parse().unwrap();
        let junk = client(sender, [&b"\xff, 203.0.113.9"[..]].into_iter(), &trusted);
        assert_eq!(junk.to_string(), "203.0.113.9:0", "what the client has written hides nothing");
        assert_eq!(
            client(sender, [&b"203.0.113.9"[..]].into_iter(), &[]),
            sender,
            "nobody is trusted by default"
        );
    }
}

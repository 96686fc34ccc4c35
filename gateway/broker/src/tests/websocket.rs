//! The WebSocket below the line protocol, by its bytes (RFC 6455).

use super::*;

/// Path, offered subprotocols, Origin.
fn upgrade() -> crate::Upgrade {
    Arc::new(|path, offered, origin| match (path, offered, origin) {
        ("/lines", ["lines"], None | Some("https://example.org")) => Ok(Some("lines")),
        ("/lines", [], _) => Ok(None),
        ("/lines", ..) => Err((403, "no".to_owned())),
        _ => Err((404, "nothing here".to_owned())),
    })
}

fn listen(bench: &Bench, trusted: &[&str]) -> SocketAddr {
    let carrier = Carrier::WebSocket { upgrade: upgrade(), message_bytes_max: 1024, stranger_bytes_max: 512 };
    let trusted_proxies = trusted.iter().map(|text| text.parse().unwrap()).collect();
    bench.listen(ListenerSettings { carrier, trusted_proxies, ..settings(LOOPBACK) })
}

/// Asks for an upgrade; the answer's status, and its Sec-WebSocket-Protocol.
fn ask(address: SocketAddr, path: &str, headers: &str) -> (Client, String, Option<String>) {
    let mut client = Client::new(address);
    client.say(&format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r"
    ));
    let status = client.hear().split(' ').nth(1).unwrap_or_default().to_owned();
    let mut protocol = None;
    loop {
        let line = client.hear();
        if line.is_empty() {
            return (client, status, protocol);
        }
        let (name, value) = line.split_once(':').unwrap();
        if name.eq_ignore_ascii_case("sec-websocket-protocol") {
            protocol = Some(value.trim().to_owned());
        }
    }
}

fn connect(address: SocketAddr, headers: &str) -> Client {
    let (client, status, _) = ask(address, "/lines", headers);
    assert_eq!(status, "101");
    client
}

/// A frame, final or not, masked with zero (section 5.2).
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126, "one byte of length");
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

fn hear_frame(client: &mut Client) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    client.0.read_exact(&mut head).unwrap();
    let mut payload = vec![0; head[1].into()];
    client.0.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

#[test]
fn a_close_is_answered_and_text_is_refused_with_a_code() {
    let bench = Bench::new();
    let address = listen(&bench, &[]);
    for (sent, answer) in [(frame(CLOSE, &[0x03, 0xe8]), [0x03, 0xe8]), (frame(TEXT, b"a"), [0x03, 0xeb])] {
        let mut client = connect(address, "");
        client.0.get_mut().write_all(&sent).unwrap();
        assert_eq!(hear_frame(&mut client), (CLOSE, answer.to_vec()));
        assert_eq!(client.0.read(&mut [0]).unwrap(), 0, "and the connection ends");
    }
    bench.stop();
}

#[test]
fn a_violation_is_told_by_its_code() {
    let bench = Bench::new();
    let address = listen(&bench, &[]);
    let unmasked = vec![BINARY, 1, b'a'];
    let too_large = [&[BINARY, 0x80 | 126, 0x04, 0x01, 0, 0, 0, 0][..], &[b'a'; 1025]].concat();
    for (sent, code) in [
        (unmasked, 1002),
        (frame(0x83, b"a"), 1002),
        (frame(0xC2, b"a"), 1002),
        (frame(TEXT, b"\xC0"), 1007),
        (too_large, 1009),
    ] {
        let mut client = connect(address, "");
        client.0.get_mut().write_all(&sent).unwrap();
        let (first, payload) = hear_frame(&mut client);
        assert_eq!((first, &payload[..2]), (CLOSE, &u16::to_be_bytes(code)[..]), "{sent:?}");
    }
    bench.stop();
}

#[test]
fn a_ping_is_answered_and_what_it_held_comes_back() {
    let bench = Bench::new();
    let mut client = connect(listen(&bench, &[]), "");
    client.0.get_mut().write_all(&frame(PING, b"are you there")).unwrap();
    assert_eq!(hear_frame(&mut client), (PONG, b"are you there".to_vec()));
    // Also in the middle of a message.
    let pieces = [frame(0x02, b"open "), frame(PING, b"?"), frame(0x80, b"a\n")].concat();
    client.0.get_mut().write_all(&pieces).unwrap();
    assert_eq!(hear_frame(&mut client), (PONG, b"?".to_vec()));
    assert_eq!(hear_frame(&mut client), (BINARY, b"opened a\n".to_vec()));
    bench.stop();
}

#[test]
fn lines_may_be_cut_into_frames_and_frames_hold_lines_anyhow() {
    let bench = Bench::new();
    let address = listen(&bench, &[]);
    let whole = b"open a\nsub t\npub t 1\n";
    for size in [1, 2, 5, 7, 13, whole.len()] {
        let mut client = connect(address, "");
        for piece in whole.chunks(size) {
            client.0.get_mut().write_all(&frame(BINARY, piece)).unwrap();
        }
        let mut heard = Vec::new();
        while heard.len() < b"opened a\nsubscribed\nmsg t 1\nx".len() {
            heard.extend(hear_frame(&mut client).1);
        }
        assert_eq!(heard, b"opened a\nsubscribed\nmsg t 1\nx", "frames of {size}");
    }
    bench.stop();
}

#[test]
fn path_subprotocol_and_origin_decide_on_the_upgrade() {
    let bench = Bench::new();
    let address = listen(&bench, &[]);
    let status = |path: &str, headers: &str| {
        let (_, status, protocol) = ask(address, path, headers);
        (status, protocol)
    };
    let offer = "Sec-WebSocket-Protocol: lines\r\n";
    assert_eq!(status("/lines", offer), ("101".to_owned(), Some("lines".to_owned())));
    assert_eq!(status("/lines", ""), ("101".to_owned(), None));
    assert_eq!(status("/", offer).0, "404");
    assert_eq!(status("/lines", &format!("{offer}Origin: https://example.org\r\n")).0, "101");
    assert_eq!(status("/lines", &format!("{offer}Origin: https://evil.example\r\n")).0, "403");
    bench.await_metric("tidegate_handshakes_failed_total{listener=\"lines\",step=\"websocket\"}", 2);
    bench.stop();
}

#[test]
fn x_forwarded_for_is_believed_of_trusted_proxies_only() {
    let bench = Bench::new();
    let forwarded = "X-Forwarded-For: 1.1.1.1, 203.0.113.9\r\nX-Forwarded-For: 10.7.7.7\r\n";
    for (trusted, from) in [
        (&["127.0.0.1/32", "10.0.0.0/8"][..], "203.0.113.9:0 "),
        (&["127.0.0.1/32"], "10.7.7.7:0 "),
        (&[], "127.0.0.1:"),
    ] {
        let mut client = connect(listen(&bench, trusted), forwarded);
        client.0.get_mut().write_all(&frame(BINARY, b"who\n")).unwrap();
        let (_, answer) = hear_frame(&mut client);
        assert!(answer.starts_with(from.as_bytes()), "{trusted:?}: {}", String::from_utf8_lossy(&answer));
    }
    bench.stop();
}

/// The library holds a message until it is whole, and the limits of the protocol come after it.
#[test]
fn a_stranger_may_not_send_what_a_client_may() {
    let bench = Bench::new();
    let address = listen(&bench, &[]);
    let pieces = |client: &mut Client| {
        let first = frame(0x02, &[b'x'; 100]);
        let _ = client.0.get_mut().write_all(&first);
        (0..7).for_each(|_| drop(client.0.get_mut().write_all(&frame(0x00, &[b'x'; 100]))));
    };
    let mut stranger = connect(address, "");
    pieces(&mut stranger);
    assert_eq!(hear_frame(&mut stranger), (CLOSE, vec![0x03, 0xf1]), "1009: too big");
    let mut client = connect(address, "");
    client.0.get_mut().write_all(&frame(BINARY, b"open a\n")).unwrap();
    assert_eq!(hear_frame(&mut client), (BINARY, b"opened a\n".to_vec()));
    pieces(&mut client);
    client.0.get_mut().write_all(&frame(PING, b"p")).unwrap();
    assert_eq!(hear_frame(&mut client), (PONG, b"p".to_vec()));
    bench.stop();
}

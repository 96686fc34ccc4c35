//! Who speaks for whom: PROXY headers and X-Forwarded-For.

use super::*;

fn listen(bench: &Bench, trusted: &[&str]) -> SocketAddr {
    let trusted_proxies = trusted.iter().map(|text| text.parse().unwrap()).collect();
    bench.listen(ListenerSettings { proxy_protocol: true, trusted_proxies, ..settings(LOOPBACK) })
}

fn said_after(address: SocketAddr, header: &[u8]) -> String {
    let mut client = Client::new(address);
    let _ = client.0.get_mut().write_all(&[header, b"who\n"].concat());
    let mut answer = String::new();
    let _ = client.0.read_line(&mut answer);
    answer.trim_end().to_owned()
}

const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\x01\xbb";

#[test]
fn a_connection_comes_from_where_its_proxy_header_says() {
    let bench = Bench::new();
    for trusted in [&[][..], &["127.0.0.0/8"]] {
        let address = listen(&bench, trusted);
        assert_eq!(
            said_after(address, b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 1883\r\n"),
            "203.0.113.9:4711 -"
        );
        assert_eq!(said_after(address, b"PROXY TCP6 2001:db8::1 ::1 4711 1883\r\n"), "[2001:db8::1]:4711 -");
        assert_eq!(said_after(address, BINARY), "192.0.2.1:56324 -");
        let own = said_after(address, b"PROXY UNKNOWN\r\n");
        assert!(own.starts_with("127.0.0.1:"), "{own}");
    }
    bench.stop();
}

#[test]
fn whoever_may_not_say_or_does_not_is_closed_and_counted() {
    let bench = Bench::new();
    let address = listen(&bench, &[]);
    assert_eq!(said_after(address, b""), "");
    assert_eq!(said_after(address, b"PROXY TCP4 nowhere 127.0.0.1 4711 1883\r\n"), "");
    let elsewhere = listen(&bench, &["10.0.0.0/8"]);
    assert_eq!(said_after(elsewhere, BINARY), "");
    bench.await_metric("tidegate_handshakes_failed_total{listener=\"lines\",step=\"proxy\"}", 3);
    bench.stop();
}

/// Through a listener of this machine, yet not from this machine.
#[test]
fn a_remote_client_does_not_pass_for_a_local_one() {
    let bench = Bench::new();
    let address = listen(&bench, &[]);
    let mut client = Client::new(address);
    client.0.get_mut().write_all(BINARY).unwrap();
    client.say("open remote");
    client.say("sub t");
    client.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    let _ = client.0.read_to_string(&mut answers);
    assert!(!answers.contains("opened"), "{answers}");
    bench.await_metric("tidegate_connects_refused_total", 1);
    bench.stop();
}

use super::peer::*;
use crate::Config;
use crate::block::Block;
use crate::link_format::parse;
use crate::message::{Code, uint};

fn targets(peer: &mut Peer, path: &str) -> Vec<String> {
    let reply = peer.con(ask(Code::GET, path));
    assert_eq!((code(&reply), uint_option(&reply, number::CONTENT_FORMAT)), (Code::CONTENT, Some(40)));
    parse(&reply.payload, 1000).unwrap().into_iter().map(|link| link.target).collect()
}

fn peer() -> Peer {
    let mut peer = Peer::new();
    peer.store("light", b"on", 0);
    peer.store("sensors/temp", b"{}", 50);
    peer.store("odd name/\u{e4}", b"1234", 60);
    peer
}

#[test]
fn td_coap_link_01_well_known_core() {
    let all = targets(&mut peer(), ".well-known/core");
    assert_eq!(all, ["/ps", "/ps/light", "/ps/odd%20name/%C3%A4", "/ps/sensors/temp"]);
    let reply = peer().con(ask(Code::GET, ".well-known/core"));
    assert!(
        reply.payload.starts_with(b"</ps>;rt=\"core.ps\";ct=40,</ps/light>;rt=\"core.ps.data\";sz=2;ct=0,")
    );
}

#[test]
fn td_coap_link_02_to_08_filters() {
    let mut peer = peer();
    for (query, expected) in [
        ("rt=core.ps", &["/ps"][..]),
        ("rt=core.ps.data&ct=50", &["/ps/sensors/temp"]),
        ("rt=core.*&sz=4", &["/ps/odd%20name/%C3%A4"]),
        ("href=/ps/light", &["/ps/light"]),
        ("href=/ps/s*", &["/ps/sensors/temp"]),
        ("ct=40", &["/ps"]),
        ("if=none", &[]),
    ] {
        assert_eq!(targets(&mut peer, &format!(".well-known/core?{query}")), expected, "{query}");
    }
}

#[test]
fn the_collection_lists_topics() {
    assert_eq!(targets(&mut peer(), "ps"), ["/ps/light", "/ps/odd%20name/%C3%A4", "/ps/sensors/temp"]);
    let reply = peer().con(with(ask(Code::GET, "ps"), number::ACCEPT, &[50]));
    assert_eq!(code(&reply), Code::NOT_ACCEPTABLE);
}

#[test]
fn a_long_list_comes_in_blocks_and_is_limited() {
    let mut peer = Peer::with(Config { discovery_topics_max: 100, ..Config::default() });
    for index in 0..150 {
        peer.store(&format!("topic/{index:03}"), b"1", 0);
    }
    let (mut document, mut number) = (Vec::<u8>::new(), 0);
    loop {
        let block = uint(Block { number, more: false, szx: 6 }.value());
        let reply = peer.con(with(ask(Code::GET, ".well-known/core"), number::BLOCK2, &block));
        document.extend(&reply.payload);
        number += 1;
        if !Block::parse(&option(&reply, number::BLOCK2).unwrap()).unwrap().more {
            break;
        }
    }
    assert_eq!(parse(&document, 1000).unwrap().len(), 101);
}

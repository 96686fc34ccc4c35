//! A client with the same message layer at the other end of a bad link.

use std::time::{Duration, Instant};

use gateway_model::{Adapter, Event, Outcome, Qos, Reason, Reply, WireBuffer};

use super::peer::*;
use crate::datagram::Datagram;
use crate::exchange::{Exchanges, Received, Tag, Transmission};
use crate::message::Code;
use crate::random::Random;

const OBSERVATION: Tag = Tag(1_000);

/// Loses a fifth, doubles a fifth, and reorders.
struct Link {
    random: Random,
    to_gateway: Vec<Vec<u8>>,
    to_client: Vec<Vec<u8>>,
}

struct Client {
    exchanges: Exchanges,
    wire: WireBuffer,
    answered: Vec<usize>,
    /// The newest state by Observe value.
    state: Option<(u32, Vec<u8>)>,
}

impl Link {
    fn carry(random: &mut Random, from: Vec<Vec<u8>>, to: &mut Vec<Vec<u8>>) {
        for datagram in from {
            for _ in 0..[0, 1, 1, 1, 2][(random.next() % 5) as usize] {
                let at = (random.next() as usize) % (to.len() + 1);
                to.insert(at, datagram.clone());
            }
        }
    }
}

impl Client {
    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        match self.exchanges.receive(now, bytes, &mut self.wire) {
            Received::Response { tag: OBSERVATION, datagram, .. } => self.observe(&datagram),
            Received::Response { tag, datagram, .. } => {
                assert_eq!(datagram.code, Code::CHANGED);
                self.answered[tag.0 as usize] += 1;
            }
            _ => {}
        }
    }

    fn observe(&mut self, notification: &Datagram<'_>) {
        let Some(value) = notification.uint(number::OBSERVE, 3) else { return };
        if self.state.as_ref().is_none_or(|(newest, _)| value > *newest) {
            self.state = Some((value, notification.payload.to_vec()));
        }
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        let sent = self.wire.datagrams().map(<[u8]>::to_vec).collect();
        self.wire.clear();
        sent
    }
}

/// With one of what waits for it.
fn store_is_done(peer: &mut Peer, random: &mut Random) {
    let waiting: Vec<_> = peer.waiting_for_store().collect();
    if !waiting.is_empty() {
        let ticket = waiting[random.next() as usize % waiting.len()];
        let published = Event::Reply(ticket, Reply::Published(Reason::Success));
        peer.endpoint.handle(peer.now, published, &mut peer.out);
    }
}

/// One exchange of everything under way, or else the next moment at which something happens.
fn step(peer: &mut Peer, client: &mut Client, link: &mut Link) {
    if link.random.next().is_multiple_of(4) {
        store_is_done(peer, &mut link.random);
    }
    Link::carry(&mut link.random, client.take(), &mut link.to_gateway);
    for bytes in std::mem::take(&mut link.to_gateway) {
        peer.endpoint.receive(peer.now, &bytes, &mut peer.out);
        peer.serve();
    }
    peer.endpoint.deliver(peer.now, &mut peer.outbox, &mut peer.out);
    peer.serve();
    Link::carry(&mut link.random, peer.out.take_datagrams(), &mut link.to_client);
    for bytes in std::mem::take(&mut link.to_client) {
        client.receive(peer.now, &bytes);
    }
    if !client.wire.is_empty() || !peer.outbox.0.is_empty() {
        return;
    }
    store_is_done(peer, &mut link.random);
    let timeouts = [client.exchanges.next_timeout(), peer.endpoint.next_timeout()];
    let Some(next) = timeouts.into_iter().flatten().min() else { return };
    peer.now = peer.now.max(next);
    assert_eq!(client.exchanges.handle_timeout(peer.now, &mut client.wire), None);
    peer.endpoint.handle(peer.now, Event::Timeout, &mut peer.out);
}

#[test]
fn td_coap_core_15_16_and_obs_11_over_a_lossy_link() {
    for seed in 0..30u64 {
        let hard = Transmission { max_retransmit: 15, queue_max: 64, ..Transmission::default() };
        let settings = Transmission { response_timeout: Duration::from_secs(1_000_000), ..hard };
        let mut peer = Peer::with(crate::Config { max_retransmit: 15, ..Default::default() });
        let mut client = Client {
            exchanges: Exchanges::new(settings, seed),
            wire: WireBuffer::default(),
            answered: vec![0; 20],
            state: None,
        };
        let mut link = Link { random: Random::new(seed), to_gateway: Vec::new(), to_client: Vec::new() };
        let mut get = observing("ps/state", 0, 0);
        let observed = client.exchanges.request(peer.now, &mut get, OBSERVATION, true, &mut client.wire);
        observed.unwrap();
        for _ in 0..50 {
            step(&mut peer, &mut client, &mut link);
        }
        assert!(client.state.is_some(), "seed {seed}: registered");
        peer.out.publish_outcome = Outcome::Later;
        for tag in 0..20u64 {
            let mut post = ask_with(Code::POST, "ps/event", &[tag as u8]);
            client.exchanges.request(peer.now, &mut post, Tag(tag), false, &mut client.wire).unwrap();
            peer.queue(message("state", &[tag as u8], Qos::AtLeastOnce));
            step(&mut peer, &mut client, &mut link);
        }
        for _ in 0..2_000 {
            step(&mut peer, &mut client, &mut link);
        }
        let mut published: Vec<_> =
            peer.out.published.iter().map(|(_, publish)| publish.payload[0]).collect();
        published.sort_unstable();
        assert_eq!(published, (0..20).collect::<Vec<_>>(), "seed {seed}: each event exactly once");
        assert_eq!(client.answered, [1; 20], "seed {seed}: each answered exactly once");
        assert_eq!(client.state.unwrap().1, [19], "seed {seed}: eventually the latest state");
        assert_eq!(peer.out.settled.len(), 20, "seed {seed}: every delivery is settled");
    }
}

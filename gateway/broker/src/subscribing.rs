//! Long lists of subscriptions, a piece at a time.
//!
//! A filter with wildcards may have to be held against every retained message. A client that asks
//! for thousands of them in one packet would keep everybody else of its shard waiting, so between
//! the pieces the others are served.

use gateway_model::{Reason, Reply, Subscription, Ticket};

use crate::signal::WORK;
use crate::turn::Turn;

/// Subscriptions of one request that are not made yet.
pub(crate) struct Subscribing {
    ticket: Ticket,
    rest: std::vec::IntoIter<Subscription>,
    reasons: Vec<Reason>,
}

/// Filters at a time. More cost no less each.
const PIECE: usize = 16;

impl Turn<'_> {
    pub(crate) fn subscribe(&mut self, ticket: Ticket, subscriptions: Vec<Subscription>) {
        if subscriptions.len() <= PIECE || self.client.subscribing.is_some() {
            let reasons = self.subscribe_now(subscriptions);
            return self.world.replies.push_back((ticket, Reply::Subscribed(reasons)));
        }
        let reasons = Vec::with_capacity(subscriptions.len());
        let rest = subscriptions.into_iter();
        self.client.subscribing = Some(Box::new(Subscribing { ticket, rest, reasons }));
        self.go_on_subscribing();
    }

    /// The next piece, if there is one.
    pub(crate) fn go_on_subscribing(&mut self) {
        let Some(mut subscribing) = self.client.subscribing.take() else { return };
        let piece = subscribing.rest.by_ref().take(PIECE).collect();
        let reasons = self.subscribe_now(piece);
        subscribing.reasons.extend(reasons);
        if subscribing.rest.len() > 0 {
            self.client.subscribing = Some(subscribing);
            self.signal.raise(WORK);
        } else {
            let Subscribing { ticket, reasons, .. } = *subscribing;
            self.world.replies.push_back((ticket, Reply::Subscribed(reasons)));
        }
    }

    fn subscribe_now(&self, subscriptions: Vec<Subscription>) -> Vec<Reason> {
        match &self.client.principal {
            Some(principal) => {
                self.world.broker.subscribe(self.moment, &self.client.peer, principal, subscriptions)
            }
            None => vec![Reason::NotAuthorized; subscriptions.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gateway_access::{Access, Config};
    use gateway_bus::{Bus, Limits};
    use gateway_model::{Open, Peer, Qos, Request, Sink, TopicFilter, WireBuffer};

    use super::*;
    use crate::signal::{ReadyQueue, Signal};
    use crate::turn::{Client, World};
    use crate::{Broker, DoorLimits, clock};

    /// A client with a session.
    struct Bench {
        world: World,
        client: Client,
        signal: Arc<Signal>,
    }

    impl Bench {
        fn new() -> Self {
            let limits = DoorLimits {
                topic_levels_max: 8,
                topic_bytes_max: 64,
                client_id_bytes_max: 64,
                logins_pending_max: 1,
            };
            let broker =
                Broker::new(Bus::new(Limits::default(), 1), Access::new(Config::default()), limits, 2);
            let client = Client::new(Peer::new(([127, 0, 0, 1], 1).into(), "lines".into()), true, 3);
            let signal = Signal::new(&Arc::<ReadyQueue>::default(), 5);
            let mut bench = Self { world: World::new(Arc::new(broker), Box::new(|_| {})), client, signal };
            let opened =
                bench.turn(|turn| turn.request(Ticket(0), Request::Open(Box::new(Open::transient()))));
            assert!(matches!(opened, Some(Reply::Opened(Ok(_)))), "{opened:?}");
            bench
        }

        fn turn(&mut self, call: impl FnOnce(&mut Turn<'_>)) -> Option<Reply> {
            let mut wire = WireBuffer::default();
            call(&mut Turn {
                moment: clock::moment(),
                world: &mut self.world,
                wire: &mut wire,
                client: &mut self.client,
                signal: &self.signal,
                delivering: false,
            });
            self.world.replies.pop_front().map(|(_, reply)| reply)
        }

        fn subscribe(&mut self, count: usize) -> Option<Reply> {
            let filter = |number| TopicFilter::parse(&format!("a/{number}/+")).unwrap();
            let list = (0..count).map(|number| Subscription::new(filter(number), Qos::AtLeastOnce)).collect();
            self.turn(|turn| turn.request(Ticket(1), Request::Subscribe(list)))
        }
    }

    #[test]
    fn a_long_list_is_made_in_pieces_and_answered_once() {
        let mut bench = Bench::new();
        assert!(bench.subscribe(2 * PIECE + 1).is_none());
        for made in [PIECE, 2 * PIECE] {
            assert_eq!(bench.world.broker.bus.subscription_count(), made);
            assert_eq!(bench.signal.take() & WORK, WORK, "it comes again");
            assert!(bench.client.is_served_elsewhere(), "nothing is read meanwhile");
            let reply = bench.turn(|turn| turn.go_on_subscribing());
            assert_eq!(reply.is_some(), made == 2 * PIECE);
            let expected = vec![Reason::GrantedQos1; 2 * PIECE + 1];
            assert!(
                reply.is_none_or(|reply| matches!(reply, Reply::Subscribed(reasons) if reasons == expected))
            );
        }
        assert!(!bench.client.is_served_elsewhere());
        assert!(bench.turn(|turn| turn.go_on_subscribing()).is_none());
    }

    #[test]
    fn a_short_list_is_made_at_once() {
        let mut bench = Bench::new();
        let reply = bench.subscribe(PIECE);
        assert!(matches!(reply, Some(Reply::Subscribed(reasons)) if reasons.len() == PIECE));
        assert_eq!(bench.signal.take() & WORK, 0);
    }
}

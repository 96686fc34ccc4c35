//! Long lists of subscriptions, a piece at a time.
//!
//! A filter with wildcards may have to be held against every retained message. A client that asks
//! for thousands of them in one packet would keep everybody else of its shard waiting, so between
//! the pieces the others are served.

use gateway_bus::Promise;
use gateway_model::{Reason, Reply, Subscription, Ticket};
use gateway_store::Place;

use crate::ready_queue::WORK;
use crate::turn::{Turn, World};

/// Subscriptions of one request that are not made yet.
pub(crate) struct Subscribing {
    ticket: Ticket,
    rest: std::vec::IntoIter<Subscription>,
    reasons: Vec<Reason>,
    /// When all that was made so far is durable.
    place: Place,
}

/// Filters at a time: few enough that the others do not notice, enough that a pass is worth it.
const PIECE: usize = 16;

impl Turn<'_> {
    pub(crate) fn subscribe(&mut self, ticket: Ticket, mut subscriptions: Vec<Subscription>) {
        let World { broker, replies, .. } = &mut *self.world;
        let Some(principal) = &self.client.principal else {
            let refused = vec![Reason::NotAuthorized; subscriptions.len()];
            return replies.push_back((ticket, Reply::Subscribed(refused)));
        };
        // Only one list waits at a time; no protocol asks for another one meanwhile.
        let is_short = subscriptions.len() <= PIECE || self.client.subscribing.is_some();
        let rest = if is_short { Vec::new() } else { subscriptions.split_off(PIECE) };
        let made = broker.subscribe(self.moment, &self.client.peer, principal, subscriptions);
        if rest.is_empty() {
            return self.promise(ticket, made.map(Reply::Subscribed));
        }
        let Promise { value: reasons, place } = made;
        let rest = rest.into_iter();
        self.client.subscribing = Some(Box::new(Subscribing { ticket, rest, reasons, place }));
        self.world.raise(self.client, WORK);
    }

    /// The next piece, if there is one.
    pub(crate) fn go_on_subscribing(&mut self) {
        let Some(mut subscribing) = self.client.subscribing.take() else { return };
        let Some(principal) = &self.client.principal else { return };
        let broker = &self.world.broker;
        let piece = subscribing.rest.by_ref().take(PIECE).collect();
        let made = broker.subscribe_more(self.moment, &self.client.peer, principal, piece);
        subscribing.reasons.extend(made.value);
        subscribing.place = subscribing.place.max(made.place);
        if subscribing.rest.len() == 0 {
            let Subscribing { ticket, reasons, place, .. } = *subscribing;
            return self.promise(ticket, Promise { value: Reply::Subscribed(reasons), place });
        }
        self.client.subscribing = Some(subscribing);
        self.world.raise(self.client, WORK);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use gateway_model::{Open, Qos, Request, Sink, TopicFilter};

    use super::*;
    use crate::tests::desk::Desk;

    /// With an open session.
    fn desk() -> Desk {
        let mut desk = Desk::new();
        let open = Request::Open(Box::new(Open::transient()));
        let opened = desk.turn(|turn| turn.request(Desk::TICKET, open));
        assert!(matches!(opened, Some(Reply::Opened(Ok(_)))), "{opened:?}");
        desk
    }

    fn subscribe(desk: &mut Desk, count: usize) -> Option<Reply> {
        let filter = |number| TopicFilter::parse(&format!("a/{number}/+")).unwrap();
        let list = (0..count).map(|number| Subscription::new(filter(number), Qos::AtLeastOnce)).collect();
        desk.turn(|turn| turn.request(Desk::TICKET, Request::Subscribe(list)))
    }

    #[test]
    fn a_long_list_is_made_in_pieces_and_answered_once() {
        let mut desk = desk();
        assert!(subscribe(&mut desk, 2 * PIECE + 1).is_none());
        for made in [PIECE, 2 * PIECE] {
            assert_eq!(desk.world.broker.bus.subscription_count(), made);
            assert_eq!(std::mem::take(&mut desk.client.raised) & WORK, WORK, "it comes again");
            assert!(desk.client.is_served_elsewhere(), "nothing is read meanwhile");
            let reply = desk.turn(|turn| turn.go_on_subscribing());
            assert_eq!(reply.is_some(), made == 2 * PIECE);
            let all = vec![Reason::GrantedQos1; 2 * PIECE + 1];
            assert!(reply.is_none_or(|reply| matches!(reply, Reply::Subscribed(reasons) if reasons == all)));
        }
        assert!(!desk.client.is_served_elsewhere());
        let counted = &desk.world.broker.services.clients.subscribes;
        assert_eq!(counted.load(Ordering::Relaxed), 1, "one request, however many pieces");
        assert!(desk.turn(|turn| turn.go_on_subscribing()).is_none());
    }

    #[test]
    fn a_short_list_is_made_at_once() {
        let mut desk = desk();
        let reply = subscribe(&mut desk, PIECE);
        assert!(matches!(reply, Some(Reply::Subscribed(reasons)) if reasons.len() == PIECE));
        assert_eq!(desk.client.raised & WORK, 0);
    }
}

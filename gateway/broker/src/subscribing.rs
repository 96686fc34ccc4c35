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
            assert_eq!(desk.signal.take() & WORK, WORK, "it comes again");
            assert!(desk.client.is_served_elsewhere(), "nothing is read meanwhile");
            let reply = desk.turn(|turn| turn.go_on_subscribing());
            assert_eq!(reply.is_some(), made == 2 * PIECE);
            let all = vec![Reason::GrantedQos1; 2 * PIECE + 1];
            assert!(reply.is_none_or(|reply| matches!(reply, Reply::Subscribed(reasons) if reasons == all)));
        }
        assert!(!desk.client.is_served_elsewhere());
        assert!(desk.turn(|turn| turn.go_on_subscribing()).is_none());
    }

    #[test]
    fn a_short_list_is_made_at_once() {
        let mut desk = desk();
        let reply = subscribe(&mut desk, PIECE);
        assert!(matches!(reply, Some(Reply::Subscribed(reasons)) if reasons.len() == PIECE));
        assert_eq!(desk.signal.take() & WORK, 0);
    }
}

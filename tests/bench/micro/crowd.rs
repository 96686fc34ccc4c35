use std::sync::Arc;
use std::time::Instant;

use gateway_bus::{Attachment, Bus, Limits, RouteCache, SessionOptions};
use gateway_model::{ClientId, Moment, Notify, Open, Publish, Qos, Subscription, Topic, TopicFilter};

/// A bus without a store, its sessions, and one who publishes.
pub struct Crowd {
    pub bus: Bus,
    pub moment: Moment,
    pub sessions: Vec<Attachment>,
    publisher: Attachment,
    cache: RouteCache,
}

/// Nobody has to be told that there is something to deliver: who measures asks.
struct Silent;

impl Notify for Silent {
    fn notify(&self) {}
}

impl Crowd {
    pub fn new(sessions: usize) -> Self {
        let limits = Limits { subscriptions_max: usize::MAX, sessions_max: usize::MAX, ..Limits::default() };
        let bus = Bus::new(limits, 1);
        let moment = Moment { instant: Instant::now(), unix_millis: 0 };
        let publisher = open(&bus, moment, client_id("publisher"));
        let cache = bus.route_cache();
        let mut crowd = Self { bus, moment, sessions: Vec::new(), publisher, cache };
        crowd.sessions = (0..sessions).map(|number| crowd.open(client_id(&number.to_string()))).collect();
        crowd
    }

    pub fn open(&self, client_id: ClientId) -> Attachment {
        open(&self.bus, self.moment, client_id)
    }

    pub fn subscribe(&self, session: &Attachment, filter: TopicFilter) {
        let subscription = Subscription::new(filter, Qos::AtMostOnce);
        let reasons = self.bus.subscribe(self.moment.instant, session, vec![subscription]).value;
        assert!(!reasons[0].is_error(), "refused: {}", reasons[0]);
    }

    /// Publishes as a client of this thread does.
    pub fn publish(&mut self, publish: Publish) {
        let Self { bus, moment, publisher, cache, .. } = self;
        let reason = bus.publish(*moment, publisher, publish, None, cache).value;
        assert!(!reason.is_error(), "refused: {reason}");
    }

    /// Takes everything that waits for a session. How much it was.
    pub fn drain(&self, session: &Attachment) -> usize {
        let mut count = 0;
        let drained = self.bus.deliver(session, |outbox| {
            while let Some(outgoing) = outbox.next(self.moment.instant) {
                divan::black_box(outgoing);
                count += 1;
            }
        });
        drained.expect("nobody took the session over");
        count
    }
}

fn open(bus: &Bus, moment: Moment, client_id: ClientId) -> Attachment {
    let opened =
        bus.open(moment, client_id, Open::transient(), SessionOptions::default(), Arc::new(Silent).into());
    opened.expect("there is room").0
}

pub fn client_id(text: &str) -> ClientId {
    ClientId::parse(text).expect("a client identifier")
}

pub fn topic(text: &str) -> Topic {
    Topic::parse(text).expect("a topic")
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a filter")
}

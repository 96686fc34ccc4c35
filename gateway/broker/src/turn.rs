use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_bus::{Moment, RouteCache};
use gateway_model::{
    Close, DeliveryId, Outcome, Peer, Publish, Reason, Reply, Request, Settled, Settlement, Sink, Ticket,
    Topic, TopicError, WireBuffer,
};

use crate::login::{PendingLogin, SlowLogin};
use crate::meter::Meter;
use crate::services::NameCache;
use crate::signal::Signal;
use crate::subscribing::Subscribing;
use crate::traffic::Traffic;
use crate::{Broker, Principal};

/// The driver's side of one call into an adapter.
pub(crate) struct Turn<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) moment: Moment,
    pub(crate) wire: &'a mut WireBuffer,
    pub(crate) client: &'a mut Client,
    pub(crate) signal: &'a Arc<Signal>,
    /// Inside `deliver` the session is locked: requests wait until it is over.
    pub(crate) delivering: bool,
}

/// What all turns of a shard share.
pub(crate) struct World {
    pub(crate) broker: Arc<Broker>,
    pub(crate) cache: RouteCache,
    pub(crate) names: NameCache,
    pub(crate) traffic: Arc<Traffic>,
    /// Answers for the adapter whose turn it is.
    pub(crate) replies: VecDeque<(Ticket, Reply)>,
    deferred: Vec<Deferred>,
    /// Has a login decided elsewhere; the verdict comes back through [`Turn::resume`].
    pub(crate) offload: Box<dyn Fn(SlowLogin) + Send>,
}

enum Deferred {
    Publish(Ticket, Publish, Option<NonZeroU16>),
    Request(Ticket, Request),
    Settle(DeliveryId, Settlement),
    Release(Ticket, NonZeroU16),
}

/// What the driver knows of the peer beyond its socket.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    /// The listener is bound to a loopback address.
    pub(crate) local: bool,
    pub(crate) principal: Option<Principal>,
    pub(crate) login: Option<Box<PendingLogin>>,
    pub(crate) subscribing: Option<Box<Subscribing>>,
    pub(crate) closing: Option<Close>,
    /// Something left the in-flight window, so more may be delivered.
    pub(crate) settled: bool,
    /// Of a client whose rate is limited.
    pub(crate) meter: Option<Box<Meter>>,
    /// Distinguishes this connection from an earlier one in the same slot.
    pub(crate) generation: u32,
}

impl Client {
    pub(crate) fn new(peer: Peer, local: bool, generation: u32) -> Self {
        Self {
            peer,
            local,
            principal: None,
            login: None,
            subscribing: None,
            closing: None,
            settled: false,
            meter: None,
            generation,
        }
    }
}

impl Client {
    /// Whether an answer is due that only another thread or a later pass can give.
    pub(crate) fn is_served_elsewhere(&self) -> bool {
        self.subscribing.is_some() || self.login.as_ref().is_some_and(|login| login.is_elsewhere())
    }
}

/// Deliveries stop being written beyond this, until the socket has taken them.
const ROOM: usize = 64 * 1024;

impl World {
    pub(crate) fn new(broker: Arc<Broker>, offload: Box<dyn Fn(SlowLogin) + Send>) -> Self {
        let cache = broker.bus.route_cache();
        let traffic = broker.services.shard_traffic();
        Self {
            broker,
            cache,
            names: NameCache::default(),
            traffic,
            replies: VecDeque::new(),
            deferred: Vec::new(),
            offload,
        }
    }
}

impl Turn<'_> {
    /// Carries out what was asked for inside `deliver`.
    pub(crate) fn carry_out_deferred(&mut self) {
        self.delivering = false;
        for deferred in std::mem::take(&mut self.world.deferred) {
            match deferred {
                Deferred::Publish(ticket, publish, hold) => {
                    if let Outcome::Done(reason) = self.publish(ticket, publish, hold) {
                        self.world.replies.push_back((ticket, Reply::Published(reason)));
                    }
                }
                Deferred::Request(ticket, request) => self.request(ticket, request),
                Deferred::Release(ticket, id) => {
                    if let Outcome::Done(_) = self.release(ticket, id) {
                        self.world.replies.push_back((ticket, Reply::Released));
                    }
                }
                Deferred::Settle(id, settlement) => {
                    self.settle(id, settlement);
                }
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, request: Request) {
        let broker = &self.world.broker;
        let reply = match (request, &self.client.principal) {
            (Request::Open(open), _) => return self.open(ticket, open),
            (Request::Authenticate(data), _) => return self.authenticate(ticket, &data),
            (Request::Reauthenticate(authentication), _) => {
                return self.reauthenticate(ticket, &authentication);
            }
            (Request::Subscribe(subscriptions), _) => return self.subscribe(ticket, subscriptions),
            (Request::Unsubscribe(filters), Some(principal)) => {
                Reply::Unsubscribed(broker.unsubscribe(principal, &filters).value)
            }
            (Request::Retained { filter, limit }, Some(principal)) => {
                Reply::Retained(broker.retained(self.moment, &self.client.peer, principal, &filter, limit))
            }
            (Request::Unsubscribe(filters), None) => {
                Reply::Unsubscribed(vec![Reason::NotAuthorized; filters.len()])
            }
            (Request::Retained { .. }, None) => Reply::Retained(Err(Reason::NotAuthorized)),
            (Request::Keep(_), _) => Reply::Kept,
        };
        self.world.replies.push_back((ticket, reply));
    }
}

impl Sink for Turn<'_> {
    fn wire(&mut self) -> &mut WireBuffer {
        self.wire
    }

    fn has_room(&mut self) -> bool {
        self.wire.len() < ROOM
    }

    fn topic(&mut self, raw: &[u8]) -> Result<Topic, TopicError> {
        self.world.cache.topic(raw)
    }

    fn publish(&mut self, ticket: Ticket, publish: Publish, hold: Option<NonZeroU16>) -> Outcome {
        if self.delivering {
            self.world.deferred.push(Deferred::Publish(ticket, publish, hold));
            return Outcome::Later;
        }
        let Client { peer, principal: Some(principal), meter, .. } = &mut *self.client else {
            return Outcome::Done(Reason::NotAuthorized);
        };
        if let Some(meter) = meter {
            meter.published();
        }
        let World { broker, cache, names, traffic, .. } = &mut *self.world;
        traffic.received(publish.qos);
        let promise = broker.publish(self.moment, peer, principal, publish, hold, (cache, names));
        Outcome::Done(promise.value)
    }

    fn request(&mut self, ticket: Ticket, request: Request) {
        if self.delivering {
            self.world.deferred.push(Deferred::Request(ticket, request));
            return;
        }
        self.answer(ticket, request);
    }

    fn settle(&mut self, id: DeliveryId, settlement: Settlement) -> Settled {
        if self.delivering {
            self.world.deferred.push(Deferred::Settle(id, settlement));
            return Settled::Done;
        }
        let Some(principal) = &self.client.principal else { return Settled::Unknown };
        self.client.settled = true;
        let settled = self.world.broker.bus.settle(&principal.attachment, id, settlement).value;
        let is_delivered =
            matches!(settlement, Settlement::Delivered | Settlement::Acknowledged | Settlement::Completed);
        if settled == Settled::Done && is_delivered {
            self.world.traffic.acknowledged();
        }
        settled
    }

    fn release(&mut self, ticket: Ticket, id: NonZeroU16) -> Outcome {
        if self.delivering {
            self.world.deferred.push(Deferred::Release(ticket, id));
            return Outcome::Later;
        }
        if let Some(principal) = &self.client.principal {
            let _ = self.world.broker.bus.release(&principal.attachment, id);
        }
        Outcome::Done(Reason::Success)
    }

    fn close(&mut self, close: Close) {
        self.client.closing.get_or_insert(close);
    }
}

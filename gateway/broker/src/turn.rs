use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use gateway_bus::{Moment, Promise, RouteCache};
use gateway_model::{
    Close, DeliveryId, Notifier, Outcome, Peer, Publish, Qos, Reason, Reply, Request, Settled, Settlement,
    Sink, Ticket, Topic, TopicError, WireBuffer,
};
use gateway_store::Place;

use crate::login::{PendingLogin, SlowLogin};
use crate::meter::Meter;
use crate::ready_queue::ReadyQueue;
use crate::services::NameCache;
use crate::subscribing::Subscribing;
use crate::traffic::Traffic;
use crate::waiting::{Awaited, Owed, Waiting, What};
use crate::{Broker, Principal};

/// The driver's side of one call into an adapter.
pub(crate) struct Turn<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) moment: Moment,
    pub(crate) wire: &'a mut WireBuffer,
    pub(crate) client: &'a mut Client,
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
    /// What may not be told yet.
    pub(crate) waiting: Waiting,
    deferred: Vec<Deferred>,
    queue: Arc<ReadyQueue>,
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
    /// Its session is open, but it may not be told so yet: nothing is read from it, and nothing
    /// delivered to it.
    pub(crate) opening: bool,
    /// It is not read until the store has caught up.
    pub(crate) paused: bool,
    /// It cannot be told to wait by not being read.
    pub(crate) is_datagram: bool,
    pub(crate) owed: Owed,
    /// When the store is durable up to here there is more to deliver; it is on the list of what waits.
    pub(crate) delivers_at: Place,
    pub(crate) closing: Option<Box<Close>>,
    /// Something left the in-flight window, so more may be delivered.
    pub(crate) settled: bool,
    /// The adapter left something in the outbox: it may take it after the next event.
    pub(crate) behind: bool,
    /// Of a client whose rate is limited.
    pub(crate) meter: Option<Box<Meter>>,
    /// Its slot.
    pub(crate) key: u32,
    /// Distinguishes this connection from an earlier one in the same slot.
    pub(crate) generation: u32,
    /// What it raised itself since the last look; it is on the shard's list.
    pub(crate) raised: u8,
}

impl Client {
    pub(crate) fn new(peer: Peer, local: bool, key: u32, generation: u32) -> Self {
        Self {
            peer,
            local,
            principal: None,
            login: None,
            subscribing: None,
            opening: false,
            paused: false,
            is_datagram: false,
            owed: Owed::default(),
            delivers_at: Place::NOWHERE,
            closing: None,
            settled: false,
            behind: false,
            meter: None,
            key,
            generation,
            raised: 0,
        }
    }
}

impl Client {
    /// Whether an answer is due that only another thread or a later pass can give, and nothing may be
    /// read before.
    pub(crate) fn is_served_elsewhere(&self) -> bool {
        self.opening
            || self.subscribing.is_some()
            || self.login.as_ref().is_some_and(|login| login.is_elsewhere())
    }
}

/// Deliveries stop being written beyond this, until the socket has taken them.
const ROOM: usize = 64 * 1024;

impl World {
    pub(crate) fn new(
        broker: Arc<Broker>,
        offload: Box<dyn Fn(SlowLogin) + Send>,
        queue: &Arc<ReadyQueue>,
    ) -> Self {
        let waiting = Waiting::new(broker.bus.store().clone(), queue);
        let cache = broker.bus.route_cache();
        let traffic = broker.services.shard_traffic();
        Self {
            broker,
            cache,
            names: NameCache::default(),
            traffic,
            replies: VecDeque::new(),
            waiting,
            deferred: Vec::new(),
            queue: queue.clone(),
            offload,
        }
    }

    /// Has the client looked at again, in this pass or the next.
    pub(crate) fn raise(&self, client: &mut Client, what: u8) {
        if client.raised == 0 {
            self.queue.raise(client.key, what);
        }
        client.raised |= what;
    }

    /// Tells of what a client's session has for it.
    pub(crate) fn notifier(&self, client: &Client) -> Notifier {
        Notifier::new(self.queue.clone(), client.key)
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
                    let settled = self.settle(id, settlement);
                    // The adapter was told that it will hear of it.
                    if settlement == Settlement::Received && settled == Settled::Done {
                        self.wait(Place::NOWHERE, What::Settled(id));
                    }
                }
            }
        }
    }

    /// Gives an answer, when what it promises is durable.
    pub(crate) fn promise(&mut self, ticket: Ticket, Promise { value: reply, place }: Promise<Reply>) {
        if self.world.waiting.is_durable(place) {
            return self.world.replies.push_back((ticket, reply));
        }
        self.client.opening |= matches!(reply, Reply::Opened(_));
        self.client.owed.add(0);
        self.wait(place, What::Reply(ticket, Box::new(reply)));
    }

    /// Whether the client has to wait for the store before it may publish more that must be kept.
    #[cold]
    fn is_held_back(&self) -> bool {
        self.world.waiting.holds_back(self.client.owed)
    }

    #[cold]
    fn wait(&mut self, place: Place, what: What) {
        let (key, generation) = (self.client.key, self.client.generation);
        self.world.waiting.push(Awaited { place, key, generation, what });
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
                let promise = broker.unsubscribe(principal, &filters);
                return self.promise(ticket, promise.map(Reply::Unsubscribed));
            }
            (Request::Keep(bytes), Some(principal)) => {
                let promise = broker.bus.keep(&principal.attachment, bytes);
                return self.promise(ticket, promise.map(|()| Reply::Kept));
            }
            (Request::Retained { filter, limit }, Some(principal)) => {
                Reply::Retained(broker.retained(self.moment, &self.client.peer, principal, &filter, limit))
            }
            (Request::Unsubscribe(filters), None) => {
                Reply::Unsubscribed(vec![Reason::NotAuthorized; filters.len()])
            }
            (Request::Retained { .. }, None) => Reply::Retained(Err(Reason::NotAuthorized)),
            (Request::Keep(_), None) => Reply::Kept,
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
        if self.client.is_datagram && publish.qos > Qos::AtMostOnce && self.is_held_back() {
            return Outcome::Done(self.world.broker.refuse_publish(Reason::ServerBusy));
        }
        let Client { peer, principal: Some(principal), meter, .. } = &mut *self.client else {
            return Outcome::Done(Reason::NotAuthorized);
        };
        if let Some(meter) = meter {
            meter.published();
        }
        let World { broker, cache, names, traffic, .. } = &mut *self.world;
        traffic.received(publish.qos);
        let bytes = publish.payload.len();
        let promise = broker.publish(self.moment, peer, principal, publish, hold, (cache, names));
        if self.world.waiting.is_durable(promise.place) {
            return Outcome::Done(promise.value);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.client.owed.add(bytes);
        self.wait(promise.place, What::Published(ticket, promise.value, bytes));
        Outcome::Later
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
            return match settlement {
                Settlement::Received => Settled::Later,
                _ => Settled::Done,
            };
        }
        let Some(principal) = &self.client.principal else { return Settled::Unknown };
        self.client.settled = true;
        let Promise { value: settled, place } =
            self.world.broker.bus.settle(&principal.attachment, id, settlement);
        let is_delivered =
            matches!(settlement, Settlement::Delivered | Settlement::Acknowledged | Settlement::Completed);
        if settled == Settled::Done && is_delivered {
            self.world.traffic.acknowledged();
        }
        // Nobody waits to hear that a delivery is over: if that is lost it comes again.
        let waits = settled == Settled::Done && settlement == Settlement::Received;
        if !waits || self.world.waiting.is_durable(place) {
            return settled;
        }
        self.wait(place, What::Settled(id));
        Settled::Later
    }

    fn release(&mut self, ticket: Ticket, id: NonZeroU16) -> Outcome {
        if self.delivering {
            self.world.deferred.push(Deferred::Release(ticket, id));
            return Outcome::Later;
        }
        let Some(principal) = &self.client.principal else { return Outcome::Done(Reason::Success) };
        let promise = self.world.broker.bus.release(&principal.attachment, id);
        if self.world.waiting.is_durable(promise.place) {
            return Outcome::Done(Reason::Success);
        }
        self.client.owed.add(0);
        self.wait(promise.place, What::Released(ticket));
        Outcome::Later
    }

    fn close(&mut self, close: Close) {
        self.client.closing.get_or_insert_with(|| close.into());
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway_model::{
    ClientId, DeliveryId, Expiry, Notify, Open, Opened, Outgoing, Publish, Qos, Reason, Settled, Settlement,
    Subscription, Topic, TopicFilter, Will,
};

use gateway_store::{Disk, Options, Place, Simulated, Store};

use crate::{
    Attachment, Bus, Counter, DropReason, Limits, Moment, QueueLimits, Recovered, RouteCache, SessionOptions,
};

pub(super) const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A bus, its clock and one publishing thread's cache.
pub(super) struct Scene {
    pub(super) bus: Bus,
    pub(super) moment: Moment,
    pub(super) cache: RouteCache,
    options: SessionOptions,
    disk: Option<(Simulated, Arc<Disk>, Options)>,
}

/// One connection.
pub(super) struct Client {
    pub(super) attachment: Attachment,
    pub(super) opened: Opened,
    pub(super) bell: Arc<Bell>,
}

/// Counts how often a connection was told.
#[derive(Default)]
pub(super) struct Bell(AtomicUsize);

impl Notify for Bell {
    fn notify(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    /// How often since the last time this was asked.
    pub(super) fn rung(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Scene {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let bus = Bus::new(limits, 7);
        let cache = bus.route_cache();
        let moment = Moment { instant: Instant::now(), unix_millis: 1_700_000_000_000 };
        Self { bus, moment, cache, options: SessionOptions::default(), disk: None }
    }

    /// With a store that writes when [`Scene::commit`] is called.
    pub(super) fn durable(limits: Limits) -> Self {
        Self::stored(limits, 1, Options { segment_bytes: 64 * 1024, ..Options::default() })
    }

    pub(super) fn stored(limits: Limits, seed: u64, options: Options) -> Self {
        let mut scene = Self::with(limits);
        let simulated = Simulated::new(seed);
        scene.start(&simulated, options, |_| {});
        scene
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk.as_ref().expect("the scene has a store").1
    }

    pub(super) fn simulated(&self) -> &Simulated {
        &self.disk.as_ref().expect("the scene has a store").0
    }

    /// Writes and syncs what was appended.
    pub(super) fn commit(&self) {
        assert!(self.disk().commit(), "the disk works");
    }

    /// Everything that has happened is durable when the store has come so far.
    pub(super) fn end(&self) -> Place {
        self.disk().begin().expect("the store keeps everything").end()
    }

    /// Whether what was promised is durable.
    pub(super) fn is_kept(&self, place: Place) -> bool {
        self.disk().durable() >= place
    }

    /// The power fails, and after a while the gateway starts again: what was not synced is lost.
    pub(super) fn crash(&mut self, down_secs: u64) -> Recovered {
        self.assert_balanced();
        self.simulated().cut_power();
        self.restart(down_secs, |_| {})
    }

    /// The process ends and starts again; something happens to the disk before the bus reads what
    /// the store has found there.
    pub(super) fn restart_on(&mut self, happens: impl FnOnce(&Simulated)) -> Recovered {
        self.simulated().kill();
        self.restart(0, happens)
    }

    fn restart(&mut self, down_secs: u64, happens: impl FnOnce(&Simulated)) -> Recovered {
        let (simulated, disk, options) = self.disk.take().expect("the scene has a store");
        self.bus = Bus::new(self.bus.limits().clone(), 7);
        drop(disk);
        simulated.restart();
        self.moment.instant += secs_of(down_secs);
        self.moment.unix_millis += down_secs * 1000;
        self.start(&simulated, options, happens)
    }

    fn start(
        &mut self,
        simulated: &Simulated,
        options: Options,
        happens: impl FnOnce(&Simulated),
    ) -> Recovered {
        let (disk, image) = Disk::open_unthreaded(options, Arc::new(simulated.clone()), self.moment)
            .expect("what a store has left can be opened");
        happens(simulated);
        let disk = Arc::new(disk);
        self.bus = Bus::new(self.bus.limits().clone(), 7).with_store(disk.clone());
        self.cache = self.bus.route_cache();
        self.disk = Some((simulated.clone(), disk, options));
        self.bus.recover(self.moment, image)
    }

    pub(super) fn with_queue(queue: QueueLimits) -> Self {
        Self::with(Limits { queue, ..Limits::default() })
    }

    /// What sessions opened from now on have of their own.
    pub(super) fn options(&mut self, options: SessionOptions) {
        self.options = options;
    }

    /// Lets time pass and does what has become due.
    pub(super) fn pass(&mut self, secs: u64) -> Option<Instant> {
        self.moment.instant += secs_of(secs);
        self.moment.unix_millis += secs * 1000;
        self.bus.poll(self.moment)
    }

    pub(super) fn open(&self, name: &str, open: Open) -> Client {
        self.try_open(name, open).unwrap()
    }

    pub(super) fn try_open(&self, name: &str, open: Open) -> Result<Client, Reason> {
        let bell = Arc::new(Bell::default());
        let (attachment, opened) =
            self.bus.open(self.moment, id(name), open, self.options, bell.clone().into())?;
        Ok(Client { attachment, opened: opened.value, bell })
    }

    /// The connection is lost; the will is published.
    pub(super) fn lose(&self, client: &Client) {
        self.bus.detach(self.moment, &client.attachment, true, None);
    }

    pub(super) fn goodbye(&self, client: &Client, expiry: Option<Expiry>) {
        self.bus.detach(self.moment, &client.attachment, false, expiry);
    }

    pub(super) fn subscribe(&self, client: &Client, filter: &str, qos: Qos) -> Reason {
        self.subscribe_as(client, Subscription::new(self::filter(filter), qos))
    }

    pub(super) fn subscribe_as(&self, client: &Client, subscription: Subscription) -> Reason {
        self.bus.subscribe(self.moment.instant, &client.attachment, vec![subscription]).value[0]
    }

    pub(super) fn unsubscribe(&self, client: &Client, filter: &str) -> Reason {
        self.bus.unsubscribe(&client.attachment, &[self::filter(filter)]).value[0]
    }

    pub(super) fn publish(&mut self, client: &Client, topic: &str, text: &str, qos: Qos) -> Reason {
        self.send(client, publish(topic, text, qos))
    }

    pub(super) fn retain(&mut self, client: &Client, topic: &str, text: &str, qos: Qos) -> Reason {
        self.send(client, Publish { retain: true, ..publish(topic, text, qos) })
    }

    pub(super) fn send(&mut self, client: &Client, publish: Publish) -> Reason {
        self.bus.publish(self.moment, &client.attachment, publish, None, &mut self.cache).value
    }

    /// Takes whatever the window lets through.
    pub(super) fn take(&self, client: &Client) -> Vec<Outgoing> {
        self.take_at_most(client, usize::MAX)
    }

    pub(super) fn take_at_most(&self, client: &Client, count: usize) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        let now = self.moment.instant;
        self.bus
            .deliver(&client.attachment, |outbox| {
                taken.extend(std::iter::from_fn(|| outbox.next(now)).take(count));
            })
            .expect("the attachment holds the session");
        taken
    }

    pub(super) fn take_texts(&self, client: &Client) -> Vec<String> {
        self.take(client).iter().map(text).collect()
    }

    /// Takes everything there is and acknowledges it.
    pub(super) fn receive(&self, client: &Client) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let taken = self.take(client);
            if taken.is_empty() {
                return texts;
            }
            for outgoing in taken {
                texts.push(text(&outgoing));
                if let Some(id) = outgoing.id {
                    assert!(self.settle(client, id, Settlement::Delivered));
                }
            }
        }
    }

    pub(super) fn settle(&self, client: &Client, id: DeliveryId, settlement: Settlement) -> bool {
        self.bus.settle(&client.attachment, id, settlement).value == Settled::Done
    }

    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.bus.counters().count(counter)
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.bus.counters().dropped(reason)
    }

    pub(super) fn retained_texts(&self, filter: &str) -> Vec<String> {
        let messages = self.bus.retained(self.moment.instant, &self::filter(filter), usize::MAX);
        messages.iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
    }

    /// Every copy is delivered, dropped with a reason, queued or in flight.
    pub(super) fn assert_balanced(&self) {
        assert_balanced(&self.bus);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_balanced();
        }
    }
}

pub(super) fn assert_balanced(bus: &Bus) {
    let (views, difference) = bus.compare();
    for view in &views {
        assert_eq!(view.unaccounted, 0, "{}", view.client_id);
    }
    assert_eq!(difference, 0, "copies of the whole bus");
    let counters = bus.counters();
    let ended = counters.count(Counter::SessionsEnded);
    let opened = counters.count(Counter::SessionsOpened) + counters.count(Counter::SessionsRecovered);
    assert_eq!(opened, ended + views.len() as u64);
    let subscriptions: usize = views.iter().map(|view| view.subscriptions).sum();
    assert_eq!(bus.subscription_count(), subscriptions);
}

/// A session that ends with its connection.
pub(super) fn transient() -> Open {
    Open::transient()
}

/// A session that waits for its client, resumed if it is there.
pub(super) fn lasting(expiry: Expiry) -> Open {
    Open { clean_start: false, expiry, ..Open::transient() }
}

pub(super) fn with_will(open: Open, topic: &str, delay_secs: u64) -> Open {
    let publish = publish(topic, "will", Qos::AtLeastOnce);
    Open { will: Some(Will { publish, delay: secs_of(delay_secs) }.into()), ..open }
}

pub(super) fn publish(topic: &str, text: &str, qos: Qos) -> Publish {
    Publish { qos, ..Publish::new(self::topic(topic), text.as_bytes().to_vec()) }
}

pub(super) fn id(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

pub(super) fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

pub(super) fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

pub(super) fn text(outgoing: &Outgoing) -> String {
    String::from_utf8(outgoing.message.payload.to_vec()).unwrap()
}

pub(super) fn secs_of(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

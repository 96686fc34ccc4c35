use std::sync::Arc;
use std::time::Duration;

use gateway_bus::{Attachment, DropPolicy, QueueLimits, SessionOptions, SessionView};
use gateway_model::{
    Bridge, BridgeState, ClientId, DeliveryId, Expiry, Notify, Open, Qos, Receipt, Settle, Settlement,
    Subscription, TopicFilter,
};
use parking_lot::Mutex;

use crate::{Broker, clock};

/// What a bridge's session on the bus looks like.
pub struct BridgeSession {
    /// The name in the configuration; the session is called `$bridge/{name}`.
    pub name: Box<str>,
    pub filters: Vec<TopicFilter>,
    pub queue: QueueLimits,
    /// Messages handed to the bridge and not settled.
    pub in_flight_max: u16,
}

/// A running bridge.
pub struct BridgeHandle {
    pub name: Box<str>,
    state: Arc<Mutex<BridgeState>>,
    broker: Arc<Broker>,
    attachment: Attachment,
    stop: Arc<tokio::sync::Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl BridgeHandle {
    pub fn state(&self) -> BridgeState {
        self.state.lock().clone()
    }

    /// Messages waiting and in flight.
    pub fn backlog(&self) -> (usize, usize) {
        let view = self.attachment.session.view();
        (view.queued, view.in_flight)
    }

    /// Stops the bridge; what it has not settled stays in its session.
    pub async fn stop(self) {
        self.stop.notify_one();
        let _ = self.task.await;
        self.broker.bus.detach(clock::moment(), &self.attachment, false, None);
    }
}

/// Opens the session, subscribes, and feeds the bridge from now on. Must be called inside a tokio
/// runtime.
pub fn start_bridge(broker: &Arc<Broker>, session: BridgeSession, bridge: Box<dyn Bridge>) -> BridgeHandle {
    let moment = clock::moment();
    let open = Open { clean_start: false, expiry: Expiry::Never, ..Open::transient() };
    let options = SessionOptions {
        queue: Some(QueueLimits { store_qos0: true, upgrade_qos: true, ..session.queue }),
        in_flight_max: Some(session.in_flight_max),
        ..SessionOptions::default()
    };
    let bell = Arc::new(Bell::default());
    // Nobody waits to hear that any of this is durable: it is done anew at every start.
    let (attachment, _) = broker
        .bus
        .open(moment, client_id(&session.name), open, options, bell.clone().into())
        .expect("there is always room for the gateway's own sessions");
    let mut old = broker.bus.filters(&attachment);
    let (kept, new): (Vec<_>, Vec<_>) =
        session.filters.iter().cloned().partition(|filter| old.contains(filter));
    old.retain(|filter| !kept.contains(filter));
    let _ = broker.bus.unsubscribe(&attachment, &old);
    let new = new.into_iter().map(|filter| Subscription::new(filter, Qos::AtLeastOnce)).collect();
    let _ = broker.bus.subscribe(moment.instant, &attachment, new);
    let stop = Arc::new(tokio::sync::Notify::new());
    // Not the bridge's own: a failure of its first moments must be reported as a change too.
    let state = Arc::new(Mutex::new(BridgeState::Starting));
    let feeder = Feeder {
        broker: broker.clone(),
        name: session.name.clone(),
        attachment: attachment.clone(),
        bell,
        stop: stop.clone(),
        state: state.clone(),
    };
    let task = tokio::spawn(feeder.run(bridge));
    BridgeHandle { name: session.name, state, broker: broker.clone(), attachment, stop, task }
}

/// Ends what bridges that are no longer there subscribed to; what waits for them is kept. Their names, and
/// how many messages that are.
pub fn retire_bridges(broker: &Broker, is_known: impl Fn(&str) -> bool) -> Vec<(String, usize)> {
    let moment = clock::moment();
    let retire = |view: SessionView| {
        let name = view.client_id.as_str().strip_prefix(PREFIX).filter(|name| !is_known(name))?.to_owned();
        if view.subscriptions > 0 {
            let open = Open { clean_start: false, expiry: Expiry::Never, ..Open::transient() };
            let options = SessionOptions { queue: Some(UNLIMITED), ..SessionOptions::default() };
            let opened =
                broker.bus.open(moment, view.client_id, open, options, Arc::<Bell>::default().into());
            let (attachment, _) = opened.ok()?;
            let _ = broker.bus.unsubscribe(&attachment, &broker.bus.filters(&attachment));
            broker.bus.detach(moment, &attachment, false, None);
        }
        Some((name, view.queued + view.in_flight))
    };
    broker.bus.sessions().into_iter().filter_map(retire).collect()
}

/// What waits for a bridge that is gone is not measured by the limits of others.
const UNLIMITED: QueueLimits = QueueLimits {
    messages_max: u32::MAX,
    bytes_max: u32::MAX,
    drop: DropPolicy::Newest,
    store_qos0: true,
    upgrade_qos: true,
};

/// Sessions of bridges are called so; no client may take such a name.
const PREFIX: &str = "$bridge/";

fn client_id(name: &str) -> ClientId {
    ClientId::parse(&format!("{PREFIX}{name}")).expect("bridge names are checked words")
}

/// Rung when the outbox may have something to deliver.
#[derive(Default)]
struct Bell(tokio::sync::Notify);

impl Notify for Bell {
    fn notify(&self) {
        self.0.notify_one();
    }
}

struct Feeder {
    broker: Arc<Broker>,
    name: Box<str>,
    attachment: Attachment,
    bell: Arc<Bell>,
    stop: Arc<tokio::sync::Notify>,
    state: Arc<Mutex<BridgeState>>,
}

/// Settles in the bridge's session, and rings for the place that became free.
struct Desk {
    broker: Arc<Broker>,
    attachment: Attachment,
    bell: Arc<Bell>,
}

impl Settle for Desk {
    fn settle(&self, id: DeliveryId, settlement: Settlement) {
        let _ = self.broker.bus.settle(&self.attachment, id, settlement);
        self.bell.notify();
    }
}

impl Feeder {
    async fn run(self, mut bridge: Box<dyn Bridge>) {
        const STATE_EVERY: Duration = Duration::from_secs(1);
        let desk: Arc<dyn Settle> = Arc::new(Desk {
            broker: self.broker.clone(),
            attachment: self.attachment.clone(),
            bell: self.bell.clone(),
        });
        let mut states = tokio::time::interval(STATE_EVERY);
        let state = bridge.watch();
        'feed: loop {
            // A sink that is always ready must not keep this thread from everything else.
            tokio::task::consume_budget().await;
            self.report(state());
            let next = self.broker.bus.next(&self.attachment, clock::moment().instant);
            let Ok(next) = next else { break };
            let Some((message, id)) = next.and_then(|outgoing| Some((outgoing.message, outgoing.id?))) else {
                tokio::select! {
                    () = self.bell.0.notified() => {}
                    _ = states.tick() => {}
                    () = self.stop.notified() => break,
                }
                continue;
            };
            let mut sent = bridge.send(message, Receipt::new(desk.clone(), id));
            // The bridge may take as long as its sink is away; what it says meanwhile is reported.
            loop {
                tokio::select! {
                    () = &mut sent => break,
                    _ = states.tick() => self.report(state()),
                    () = self.stop.notified() => break 'feed,
                }
            }
        }
        bridge.close().await;
    }

    /// Keeps the state for metrics, and logs a change with its cause.
    fn report(&self, state: BridgeState) {
        let mut known = self.state.lock();
        if *known == state {
            return;
        }
        match &state {
            BridgeState::Starting => {}
            BridgeState::Connected => tracing::info!(bridge = %self.name, "bridge connected"),
            BridgeState::Retrying(cause) => {
                tracing::warn!(bridge = %self.name, "bridge cannot deliver, messages are kept: {cause}");
            }
        }
        *known = state;
    }
}

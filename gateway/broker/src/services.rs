//! What the gateway does around its clients without being asked: it renames topics (rewrite rules,
//! mount points), subscribes for clients, and tells in `$SYS` of itself and of who comes and goes.
//!
//! The door calls in here at each step of a client's life. What is not configured costs a
//! comparison.
//!
//! A topic that a client writes is first rewritten, then mounted; what comes out is what the bus and
//! the rules of access see.

pub(crate) mod auto_subscribe;
pub(crate) mod events;
mod figures;
pub(crate) mod mount;
pub(crate) mod rewrite;
pub(crate) mod settings;
pub(crate) mod sys;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_access::Identity;
use gateway_bus::{Moment, RouteCache};
use gateway_model::{
    ClientId, Close, Delayed, Open, Opened, Peer, Placeholders, Protocol, Publish, Reason, Refusal,
    Subscription, Topic, TopicFilter, Will,
};
use gateway_store::Place;
use parking_lot::{Mutex, RwLock};

use crate::services::auto_subscribe::AutoSubscriptions;
use crate::services::events::{Asked, Events, Turn};
use crate::services::mount::Mount;
use crate::services::rewrite::{RewriteCache, Rewrites, Who};
use crate::services::settings::SysSettings;
use crate::services::sys::Sys;
use crate::traffic::Traffic;
use crate::{Broker, Principal};

/// What the services are to do, as the composition root describes it.
#[derive(Debug, Default)]
pub struct ServicesSettings {
    /// The node's name in `$SYS`.
    pub node: String,
    pub sys: SysSettings,
    pub rewrites: Rewrites,
    pub auto_subscriptions: AutoSubscriptions,
    /// By the listener's name; each was checked to end with `/`.
    pub mountpoints: HashMap<String, Placeholders>,
}

/// Renaming, automatic subscriptions, events and `$SYS`.
pub(crate) struct Services {
    rewrites: Rewrites,
    auto_subscriptions: AutoSubscriptions,
    mountpoints: HashMap<String, Placeholders>,
    events: Events,
    pub(crate) sys: Sys,
    pub(crate) clients: Clients,
    /// One per shard.
    traffic: Mutex<Vec<Arc<Traffic>>>,
    /// By name.
    listeners: RwLock<HashMap<Box<str>, Listening>>,
}

/// An open listener.
struct Listening {
    port: u16,
    protocol: Arc<dyn Protocol>,
}

/// Clients that came and went.
#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) connected: AtomicU64,
    pub(crate) disconnected: AtomicU64,
    /// The most at a time.
    pub(crate) connections_max: AtomicU64,
    pub(crate) anonymous: AtomicU64,
    pub(crate) subscribes: AtomicU64,
    pub(crate) unsubscribes: AtomicU64,
    pub(crate) connects_refused: Refused,
    pub(crate) publishes_refused: Refused,
    /// Filters.
    pub(crate) subscribes_refused: Refused,
}

/// Requests that were refused.
#[derive(Default)]
pub(crate) struct Refused {
    pub(crate) all: AtomicU64,
    /// Those that the client had no right to.
    pub(crate) not_authorized: AtomicU64,
}

/// What one publishing thread remembers of names.
#[derive(Default)]
pub(crate) struct NameCache {
    rewritten: RewriteCache,
    scratch: Vec<u8>,
}

impl Refused {
    pub(crate) fn count(&self, reason: Reason) {
        let is_right = matches!(
            reason,
            Reason::NotAuthorized
                | Reason::BadUserNameOrPassword
                | Reason::BadAuthenticationMethod
                | Reason::Banned
        );
        self.all.fetch_add(1, Ordering::Relaxed);
        self.not_authorized.fetch_add(u64::from(is_right), Ordering::Relaxed);
    }
}

impl Clients {
    pub(crate) fn connections(&self) -> u64 {
        // Read in this order, so that who comes and goes meanwhile makes no negative number.
        let disconnected = self.disconnected.load(Ordering::Relaxed);
        self.connected.load(Ordering::Relaxed).saturating_sub(disconnected)
    }
}

impl Services {
    pub(crate) fn new(settings: ServicesSettings) -> Self {
        Self {
            rewrites: settings.rewrites,
            auto_subscriptions: settings.auto_subscriptions,
            mountpoints: settings.mountpoints,
            events: Events::new(settings.sys.client_events, &settings.node),
            sys: Sys::new(settings.sys, &settings.node),
            clients: Clients::default(),
            traffic: Mutex::default(),
            listeners: RwLock::default(),
        }
    }

    /// The counters of a new shard.
    pub(crate) fn shard_traffic(&self) -> Arc<Traffic> {
        let traffic = Arc::<Traffic>::default();
        self.traffic.lock().push(traffic.clone());
        traffic
    }

    /// Messages received, sent, each by QoS, and acknowledged.
    fn traffic(&self) -> ([u64; 3], [u64; 3], u64) {
        let mut total = ([0; 3], [0; 3], 0);
        for shard in self.traffic.lock().iter() {
            let (received, sent, acknowledged) = shard.read();
            (0..3).for_each(|qos| {
                total.0[qos] += received[qos];
                total.1[qos] += sent[qos];
            });
            total.2 += acknowledged;
        }
        total
    }

    pub(crate) fn listens(&self, listener: &str, port: u16, protocol: Arc<dyn Protocol>) {
        self.listeners.write().insert(listener.into(), Listening { port, protocol });
    }

    /// What protocols have counted, all their listeners together.
    fn protocol_counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for listening in self.listeners.read().values() {
            listening
                .protocol
                .counts()
                .into_iter()
                .for_each(|(name, count)| *counts.entry(name).or_default() += count);
        }
        counts
    }

    /// The mount point of a client that comes by a listener. Its will is renamed.
    pub(crate) fn enter(
        &self,
        peer: &Peer,
        client_id: &ClientId,
        identity: &Identity,
        open: &mut Open,
    ) -> Result<Option<Arc<Mount>>, Refusal> {
        let who = Who { client_id: client_id.as_str(), username: identity.username.as_deref() };
        let mount = match self.mountpoints.get(&**peer.listener()) {
            None => None,
            Some(mountpoint) => Some(Arc::new(mount_of(mountpoint, peer, who)?)),
        };
        // Where nothing is renamed it need not even be made.
        let renames = mount.is_some() || !self.rewrites.is_empty();
        if let Some(testament) = open.will.as_mut().filter(|_| renames) {
            let Will { mut publish, delay } = testament.will();
            let topic = publish.topic.clone();
            self.rename_will(mount.as_deref(), who, &mut publish)
                .map_err(|reason| Refusal { reason, text: "the will's topic cannot be renamed".into() })?;
            if mount.is_some() || publish.topic != topic {
                *testament = Will { publish, delay }.into();
            }
        }
        Ok(mount)
    }

    /// Of one to `$delayed/`, the topic that it comes to in the end is renamed.
    fn rename_will(&self, mount: Option<&Mount>, who: Who<'_>, will: &mut Publish) -> Result<(), Reason> {
        let mut prefix = String::new();
        if let Some(Ok(Delayed { topic, .. })) = Delayed::parse(&will.topic) {
            prefix.push_str(&will.topic[..will.topic.len() - topic.len()]);
            will.topic = topic;
        }
        if let Some(topic) = self.rewrites.publish_uncached(&will.topic, who)? {
            will.topic = topic;
        }
        mount_publish(mount, will, &mut Vec::new(), Topic::parse_bytes)?;
        if !prefix.is_empty() {
            let topic = Topic::parse(&format!("{prefix}{}", will.topic));
            will.topic = topic.map_err(|_| Reason::TopicNameInvalid)?;
        }
        Ok(())
    }

    /// Begins a client's turn, in which it opens or leaves its session.
    pub(crate) fn turn<'a>(&'a self, broker: &'a Broker, client_id: &ClientId) -> Option<Turn<'a>> {
        self.events.turn(&broker.bus, client_id)
    }

    /// A client has opened its session: it is counted, announced and subscribed. When the subscriptions
    /// are durable.
    pub(crate) fn opened(
        &self,
        broker: &Broker,
        moment: Moment,
        turn: Option<Turn<'_>>,
        (peer, asked): (&Peer, Asked),
        principal: &Principal,
        opened: &Opened,
    ) -> Place {
        let clients = &self.clients;
        clients.connected.fetch_add(1, Ordering::Relaxed);
        clients.disconnected.fetch_add(u64::from(principal.attachment.took_over), Ordering::Relaxed);
        clients.anonymous.fetch_add(u64::from(principal.identity.username.is_none()), Ordering::Relaxed);
        clients.connections_max.fetch_max(clients.connections(), Ordering::Relaxed);
        if let Some(turn) = turn {
            let port = self.listeners.read().get(&**peer.listener()).map_or(0, |listening| listening.port);
            turn.connected(moment, peer, port, asked, principal, opened);
        }
        self.auto_subscriptions.subscribe(&broker.bus, moment.instant, asked.protocol, principal)
    }

    /// A client that held its session has left it.
    pub(crate) fn closed(
        &self,
        moment: Moment,
        turn: Option<Turn<'_>>,
        principal: &Principal,
        close: Option<Close>,
    ) {
        self.clients.disconnected.fetch_add(1, Ordering::Relaxed);
        if let Some(turn) = turn {
            turn.disconnected(moment, principal, close);
        }
    }

    /// Whether what the client writes may be something else on the bus.
    #[inline]
    pub(crate) fn renames(&self, principal: &Principal) -> bool {
        principal.mount.is_some() || !self.rewrites.is_empty()
    }

    /// Gives a publish the topic that it has on the bus.
    pub(crate) fn rename_publish(
        &self,
        principal: &Principal,
        publish: &mut Publish,
        routes: &mut RouteCache,
        names: &mut NameCache,
    ) -> Result<(), Reason> {
        if !self.rewrites.is_empty()
            && let Some(topic) =
                self.rewrites.publish(&publish.topic, principal.who(), &mut names.rewritten)?
        {
            publish.topic = topic;
        }
        mount_publish(principal.mount.as_deref(), publish, &mut names.scratch, |raw| routes.topic(raw))
    }

    /// The filter that a subscription has on the bus.
    pub(crate) fn rename_filter(
        &self,
        principal: &Principal,
        filter: &TopicFilter,
    ) -> Result<TopicFilter, Reason> {
        let rewritten = self.rewrites.filter(filter, principal.who())?;
        let filter = rewritten.as_ref().unwrap_or(filter);
        match &principal.mount {
            Some(mount) => mount.filter(filter).map_err(|_| Reason::TopicFilterInvalid),
            None => Ok(filter.clone()),
        }
    }

    /// The same for a whole subscription.
    pub(crate) fn rename_subscription(
        &self,
        principal: &Principal,
        subscription: Subscription,
    ) -> Result<Subscription, Reason> {
        Ok(Subscription { filter: self.rename_filter(principal, &subscription.filter)?, ..subscription })
    }
}

fn mount_of(mountpoint: &Placeholders, peer: &Peer, who: Who<'_>) -> Result<Mount, Refusal> {
    let refusal = |text: String| Refusal {
        reason: match mountpoint.as_str().contains("${clientid}") {
            true => Reason::ClientIdentifierNotValid,
            false => Reason::NotAuthorized,
        },
        text: format!("listener.{}.mountpoint {:?}: {text}", peer.listener(), mountpoint.as_str()).into(),
    };
    let filled = mountpoint.fill(who.client_id, who.username, |_| "");
    let filled = filled.map_err(|error| refusal(error.to_string()))?;
    Mount::new(filled).ok_or_else(|| refusal("the client's name makes a topic that begins with $".to_owned()))
}

fn mount_publish(
    mount: Option<&Mount>,
    publish: &mut Publish,
    scratch: &mut Vec<u8>,
    make: impl FnOnce(&[u8]) -> Result<Topic, gateway_model::TopicError>,
) -> Result<(), Reason> {
    let Some(mount) = mount else { return Ok(()) };
    let invalid = |_| Reason::TopicNameInvalid;
    publish.topic = mount.topic(&publish.topic, scratch, make).map_err(invalid)?;
    if let Some(properties) = &mut publish.properties
        && let Some(response) = &properties.response_topic
    {
        let response = mount.topic(response, scratch, Topic::parse_bytes).map_err(invalid)?;
        Arc::make_mut(properties).response_topic = Some(response);
    }
    Ok(())
}

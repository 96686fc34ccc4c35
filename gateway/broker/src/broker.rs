use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway_access::{Access, Allowed, Denial, FileError, Identity, Loaded, Login, Subject, Verdict};
use gateway_bus::{Attachment, Bus, Moment, Promise, RouteCache, SessionOptions};
use gateway_model::{
    ClientId, Close, Delayed, Expiry, Message, Notifier, Open, Opened, Peer, Protocol, Publish, Reason,
    Refusal, Subscription, Topic, TopicFilter,
};
use gateway_store::Room;
use sha2::{Digest, Sha256};

use crate::clock;
use crate::denials::Denials;
use crate::gauges::Gauges;
use crate::meter::ClientLimits;
use crate::permit::Permit;
use crate::refusals::Refusals;
use crate::services::events::Asked;
use crate::services::mount::Mount;
use crate::services::rewrite::Who;
use crate::services::{NameCache, Services, ServicesSettings};

/// The door: what clients may do is decided here, and here only.
pub struct Broker {
    pub bus: Bus,
    access: Access,
    limits: DoorLimits,
    pub(crate) client_limits: ClientLimits,
    /// Which gateway this is, also after a restart; empty if nobody said.
    pub(crate) node_id: Box<str>,
    /// Feeds assigned client identifiers.
    assigned: AtomicU64,
    seed: u64,
    /// Makes the numbers of users unpredictable, so that nobody finds a name with another's number.
    owner_key: [u8; 32],
    pub(crate) gauges: Gauges,
    pub(crate) refused: AtomicU64,
    refusals: Refusals,
    pub(crate) denials: Denials,
    pub(crate) services: Services,
    /// Logins that other threads are deciding.
    logins_pending: AtomicUsize,
}

/// What is refused before the bus sees it.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// Levels of a topic or filter: more are refused as invalid.
    pub topic_levels_max: usize,
    /// Bytes of a topic or filter: longer ones are refused as invalid.
    pub topic_bytes_max: usize,
    /// Bytes of a client identifier: a longer one is refused as not valid.
    pub client_id_bytes_max: usize,
    /// Logins whose proof is being checked on other threads; one more is refused as busy.
    pub logins_pending_max: usize,
}

/// A client that was let in.
#[derive(Clone)]
pub struct Principal {
    pub attachment: Attachment,
    pub identity: Identity,
    /// What stands before its topics, if anything does.
    pub(crate) mount: Option<Arc<Mount>>,
    /// What it was allowed to publish last; absent where asking costs no more than remembering.
    permit: Option<Box<Permit>>,
}

impl Principal {
    fn subject<'a>(&'a self, peer: &'a Peer) -> Subject<'a> {
        subject(peer, self.attachment.client_id(), &self.identity)
    }

    /// Its names, as placeholders fill them in.
    pub(crate) fn who(&self) -> Who<'_> {
        Who { client_id: self.attachment.client_id().as_str(), username: self.identity.username.as_deref() }
    }
}

fn subject<'a>(peer: &'a Peer, client_id: &'a ClientId, identity: &'a Identity) -> Subject<'a> {
    let address = peer.address.ip();
    Subject { identity, client_id: client_id.as_str(), address, listener: peer.listener() }
}

impl Broker {
    pub fn new(bus: Bus, access: Access, limits: DoorLimits, seed: u64) -> Self {
        Self {
            bus,
            access,
            limits,
            client_limits: ClientLimits::default(),
            node_id: Box::default(),
            assigned: AtomicU64::new(0),
            seed,
            owner_key: Sha256::new().chain_update(seed.to_be_bytes()).finalize().into(),
            gauges: Gauges::default(),
            refused: AtomicU64::new(0),
            refusals: Refusals::default(),
            denials: Denials::default(),
            services: Services::new(ServicesSettings::default()),
            logins_pending: AtomicUsize::new(0),
        }
    }

    /// The same with limits for each client; without, there are none.
    pub fn with_client_limits(self, client_limits: ClientLimits) -> Self {
        Self { client_limits, ..self }
    }

    /// The same, with a secret that has to come through a restart if sessions do: a session belongs to
    /// whoever opened it.
    pub fn with_owner_key(self, owner_key: [u8; 32]) -> Self {
        Self { owner_key, ..self }
    }

    /// The same, with its identity among all gateways.
    pub fn with_node_id(self, node_id: impl Into<Box<str>>) -> Self {
        Self { node_id: node_id.into(), ..self }
    }

    /// The same broker with services other than the default ones.
    pub fn with_services(self, settings: ServicesSettings) -> Self {
        Self { services: Services::new(settings), ..self }
    }

    /// A listener was opened: what it counts, and at which port, is told in `$SYS`.
    pub fn listens(&self, listener: &str, port: u16, protocol: Arc<dyn Protocol>) {
        self.services.listens(listener, port, protocol);
    }

    /// Whether a client may open what it asks for.
    pub(crate) fn authenticate(&self, peer: &Peer, local: bool, open: &Open) -> Verdict {
        if open.client_id.as_ref().is_some_and(|id| id.as_str().len() > self.limits.client_id_bytes_max) {
            let text = "the client identifier is longer than limits.client_id_bytes_max".into();
            return Verdict::Refused(Refusal { reason: Reason::ClientIdentifierNotValid, text });
        }
        self.access.authenticate(Login {
            peer,
            listener_is_loopback: local,
            client_id: open.client_id.as_ref(),
            credentials: &open.credentials,
            authentication: open.authentication.as_ref(),
        })
    }

    pub(crate) fn authenticate_again(&self, login: Login<'_>) -> Verdict {
        self.access.authenticate(login)
    }

    /// Takes a place among the logins that other threads decide, if there is one.
    pub(crate) fn may_start_login(&self) -> bool {
        let before = self.logins_pending.fetch_add(1, Ordering::Relaxed);
        let may = before < self.limits.logins_pending_max;
        if !may {
            self.logins_pending.fetch_sub(1, Ordering::Relaxed);
        }
        may
    }

    /// Another thread has decided a login.
    pub(crate) fn login_decided(&self) {
        self.logins_pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// Opens the session of a client that was let in.
    pub(crate) fn admit(
        &self,
        moment: Moment,
        peer: &Peer,
        mut open: Open,
        allowed: Allowed,
        notify: Notifier,
    ) -> Result<(Principal, Promise<Opened>), Refusal> {
        let identity = allowed.identity;
        let client_id = open.client_id.take().unwrap_or_else(|| self.assign());
        let mount = self
            .services
            .enter(peer, &client_id, &identity, &mut open)
            .map_err(|refusal| self.refuse(moment, peer, refusal))?;
        if let Some(will) = &open.will {
            let refusal = |reason| Refusal { reason, text: "the will's topic is refused".into() };
            self.check_will(moment, &subject(peer, &client_id, &identity), &will.will().publish)
                .map_err(|reason| self.refuse(moment, peer, refusal(reason)))?;
        }
        let asked = Asked::of(&open);
        let outlives = open.expiry != Expiry::Immediately;
        let turn = self.services.turn(self, &client_id);
        let owner = self.owner(&identity);
        let options = SessionOptions { owner, ..SessionOptions::default() };
        let opened = self.bus.open(moment, client_id, open, options, notify);
        let (attachment, opened) = opened.map_err(|reason| {
            let is_full = outlives && self.bus.store().room() == Room::Full;
            let text = if is_full {
                "no room for a session that outlives its connection: the disk is full, or store.bytes_max reached"
            } else {
                "too many sessions: limits.sessions_max"
            };
            let text = text.into();
            self.refuse(moment, peer, Refusal { reason, text })
        })?;
        let principal = Principal { attachment, identity, mount, permit: None };
        let Promise { value: opened, place } = opened;
        let subscribed = self.services.opened(self, moment, turn, (peer, asked), &principal, &opened);
        let opened = Opened { authentication_data: allowed.data, ..opened };
        Ok((principal, Promise { value: opened, place: place.max(subscribed) }))
    }

    /// The number of a user; 0 for a client without a name. It is kept with sessions, so that it has to
    /// be the same for ever.
    fn owner(&self, identity: &Identity) -> u32 {
        let number = |name: &str| {
            let hash = Sha256::new().chain_update(b"owner").chain_update(self.owner_key).chain_update(name);
            hash.finalize().into_iter().take(4).fold(0, |sum: u32, byte| sum << 8 | u32::from(byte))
        };
        identity.username.as_deref().map_or(0, |name| number(name).max(1))
    }

    /// Counts a refusal, and logs it with what to change.
    pub(crate) fn refuse(&self, moment: Moment, peer: &Peer, refusal: Refusal) -> Refusal {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.services.clients.connects_refused.count(refusal.reason);
        self.refusals.log(moment.instant, peer, &refusal);
        refusal
    }

    /// The connection ends, by a goodbye or without one.
    pub(crate) fn detach(&self, moment: Moment, principal: &Principal, close: Option<Close>) {
        let turn = self.services.turn(self, principal.attachment.client_id());
        let (publish_will, expiry) = close.map_or((true, None), |close| (close.publish_will, close.expiry));
        if self.bus.detach(moment, &principal.attachment, publish_will, expiry) {
            self.services.closed(moment, turn, principal, close);
        }
    }

    /// Reads the users and rules in files anew; an error leaves everything as it was.
    pub fn reload_access(&self) -> Result<Loaded, FileError> {
        self.access.reload()
    }

    /// Does what has become due: session expiry, delayed wills, `$SYS`.
    pub fn poll(&self) {
        self.poll_at(clock::moment());
    }

    /// The same at a given moment. Returns when the bus has something to do again.
    pub(crate) fn poll_at(&self, moment: Moment) -> Option<Instant> {
        let due = self.bus.poll(moment);
        self.log_drops(moment);
        self.services.sys.poll(self, moment);
        due
    }

    #[inline]
    pub(crate) fn publish(
        &self,
        moment: Moment,
        peer: &Peer,
        principal: &mut Principal,
        publish: Publish,
        hold: Option<NonZeroU16>,
        (cache, names): (&mut RouteCache, &mut NameCache),
    ) -> Promise<Reason> {
        if self.is_plain(principal, &publish.topic) {
            return self.bus.publish(moment, &principal.attachment, publish, hold, cache);
        }
        self.publish_judged(moment, peer, principal, publish, hold, (cache, names))
    }

    #[inline(never)]
    fn publish_judged(
        &self,
        moment: Moment,
        peer: &Peer,
        principal: &mut Principal,
        mut publish: Publish,
        hold: Option<NonZeroU16>,
        (cache, names): (&mut RouteCache, &mut NameCache),
    ) -> Promise<Reason> {
        let prepared = self.prepare_publish(moment, peer, principal, &mut publish, (cache, names));
        let delay = match prepared {
            Ok(delay) => delay,
            Err(reason) => return Promise::now(self.refuse_publish(reason)),
        };
        match delay {
            None => self.bus.publish(moment, &principal.attachment, publish, hold, cache),
            Some(delay) => {
                let attachment = &principal.attachment;
                let hold = hold.map(|id| (attachment, id));
                self.bus.publish_delayed(moment, attachment.client_id(), delay, publish, hold)
            }
        }
    }

    /// Counts a publish that is refused before anything is looked at.
    pub(crate) fn refuse_publish(&self, reason: Reason) -> Reason {
        self.bus.counters().add(gateway_bus::Counter::Refused, 1);
        self.services.clients.publishes_refused.count(reason);
        reason
    }

    /// Whether nothing renames, delays or judges a publish: so it is for nearly all.
    #[inline]
    fn is_plain(&self, principal: &Principal, topic: &Topic) -> bool {
        let is_open = !topic.is_reserved() && self.access.generation() == 0;
        is_open && !self.services.renames(principal) && !self.is_too_long(topic)
    }

    /// Gives a publish its topic on the bus, and judges it. What it is to be held back, if it is.
    fn prepare_publish(
        &self,
        moment: Moment,
        peer: &Peer,
        principal: &mut Principal,
        publish: &mut Publish,
        (cache, names): (&mut RouteCache, &mut NameCache),
    ) -> Result<Option<Duration>, Reason> {
        let delay = match Delayed::parse(&publish.topic).transpose()? {
            None => None,
            Some(Delayed { delay, topic }) => {
                publish.topic = topic;
                Some(delay)
            }
        };
        if self.services.renames(principal) {
            self.services.rename_publish(principal, publish, cache, names)?;
        }
        let generation = self.access.generation();
        if principal.permit.as_ref().is_none_or(|permit| !permit.is_for(publish, generation)) {
            self.check_publish(moment, &principal.subject(peer), publish)?;
            if generation > 0 {
                let permit = Permit::new(publish, generation);
                match &mut principal.permit {
                    Some(last) => **last = permit,
                    none => *none = Some(Box::new(permit)),
                }
            }
        }
        Ok(delay)
    }

    pub(crate) fn subscribe(
        &self,
        moment: Moment,
        peer: &Peer,
        principal: &Principal,
        subscriptions: Vec<Subscription>,
    ) -> Promise<Vec<Reason>> {
        self.services.clients.subscribes.fetch_add(1, Ordering::Relaxed);
        self.subscribe_more(moment, peer, principal, subscriptions)
    }

    /// Further subscriptions of a request that is counted already.
    pub(crate) fn subscribe_more(
        &self,
        moment: Moment,
        peer: &Peer,
        principal: &Principal,
        subscriptions: Vec<Subscription>,
    ) -> Promise<Vec<Reason>> {
        if !self.services.renames(principal) {
            return self.subscribe_renamed(moment, peer, principal, subscriptions);
        }
        let one = |subscription: Subscription| {
            let renamed = self.services.rename_subscription(principal, subscription);
            match renamed {
                Ok(renamed) => {
                    self.subscribe_renamed(moment, peer, principal, vec![renamed]).map(|reasons| reasons[0])
                }
                Err(reason) => Promise::now(self.refuse_filter(reason)),
            }
        };
        subscriptions.into_iter().map(one).collect()
    }

    pub(crate) fn unsubscribe(&self, principal: &Principal, filters: &[TopicFilter]) -> Promise<Vec<Reason>> {
        self.services.clients.unsubscribes.fetch_add(1, Ordering::Relaxed);
        if !self.services.renames(principal) {
            return self.bus.unsubscribe(&principal.attachment, filters);
        }
        let one = |filter: &TopicFilter| match self.services.rename_filter(principal, filter) {
            Ok(filter) => self.bus.unsubscribe(&principal.attachment, &[filter]).map(|reasons| reasons[0]),
            Err(_) => Promise::now(Reason::NoSubscriptionExisted),
        };
        filters.iter().map(one).collect()
    }

    fn subscribe_renamed(
        &self,
        moment: Moment,
        peer: &Peer,
        principal: &Principal,
        subscriptions: Vec<Subscription>,
    ) -> Promise<Vec<Reason>> {
        let subject = principal.subject(peer);
        let check = |subscription: &Subscription| self.check_subscribe(moment, &subject, subscription).err();
        let refused: Vec<_> = subscriptions.iter().map(check).collect();
        if refused.iter().all(Option::is_none) {
            return self.bus.subscribe(moment.instant, &principal.attachment, subscriptions);
        }
        let one = |(subscription, refused): (Subscription, Option<Reason>)| match refused {
            None => self
                .bus
                .subscribe(moment.instant, &principal.attachment, vec![subscription])
                .map(|reasons| reasons[0]),
            Some(reason) => Promise::now(self.refuse_filter(reason)),
        };
        subscriptions.into_iter().zip(refused).map(one).collect()
    }

    fn refuse_filter(&self, reason: Reason) -> Reason {
        self.services.clients.subscribes_refused.count(reason);
        reason
    }

    pub(crate) fn retained(
        &self,
        moment: Moment,
        peer: &Peer,
        principal: &Principal,
        filter: &TopicFilter,
        limit: usize,
    ) -> Result<Vec<Arc<Message>>, Reason> {
        let filter = self.services.rename_filter(principal, filter)?;
        let subject = principal.subject(peer);
        let denied = |denial| self.deny_filter(moment, &subject, &filter, denial);
        self.access.may_read(&subject, &filter).map_err(denied)?;
        Ok(self.bus.retained(moment.instant, &filter, limit))
    }

    fn check_publish(&self, moment: Moment, subject: &Subject<'_>, publish: &Publish) -> Result<(), Reason> {
        let topic = &publish.topic;
        if self.is_too_long(topic) {
            return Err(Reason::TopicNameInvalid);
        }
        self.access
            .may_publish(subject, topic, publish.qos, publish.retain)
            .map_err(|denial| self.denials.publish(moment.instant, subject, topic, denial))
    }

    /// One to `$delayed/` is judged by the topic that it comes to in the end.
    fn check_will(&self, moment: Moment, subject: &Subject<'_>, will: &Publish) -> Result<(), Reason> {
        match Delayed::parse(&will.topic).transpose()? {
            None => self.check_publish(moment, subject, will),
            Some(Delayed { topic, .. }) => {
                self.check_publish(moment, subject, &Publish { topic, ..will.clone() })
            }
        }
    }

    fn check_subscribe(
        &self,
        moment: Moment,
        subject: &Subject<'_>,
        subscription: &Subscription,
    ) -> Result<(), Reason> {
        let filter = &subscription.filter;
        if self.is_too_long(filter.path()) {
            return Err(Reason::TopicFilterInvalid);
        }
        let denied = |denial| self.deny_filter(moment, subject, filter, denial);
        self.access.may_subscribe(subject, filter, subscription.qos).map_err(denied)
    }

    fn deny_filter(
        &self,
        moment: Moment,
        subject: &Subject<'_>,
        filter: &TopicFilter,
        denial: Denial,
    ) -> Reason {
        self.denials.subscribe(moment.instant, subject, filter.as_str(), denial)
    }

    /// Whether a topic or filter is over the limits of length or levels.
    #[inline]
    fn is_too_long(&self, path: &str) -> bool {
        if path.len() > self.limits.topic_bytes_max {
            return true;
        }
        // A text has at most one level more than bytes, so short ones need not be counted.
        let max = self.limits.topic_levels_max;
        path.len() >= max && path.bytes().filter(|byte| *byte == b'/').count() >= max
    }

    /// A name for a client that has none: unpredictable, so that nobody else can take it, not even
    /// one that has seen other such names.
    fn assign(&self) -> ClientId {
        let number = self.assigned.fetch_add(1, Ordering::Relaxed);
        let hash = Sha256::new().chain_update(self.seed.to_be_bytes()).chain_update(number.to_be_bytes());
        let secret = hash.finalize().into_iter().take(8).fold(0, |sum: u64, byte| sum << 8 | u64::from(byte));
        ClientId::parse(&format!("auto-{number:x}-{secret:016x}")).expect("the name obeys the laws")
    }
}

/// The finalizer of SplitMix64: a bijection whose outputs look random.
pub(crate) fn scramble(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use gateway_access::Config;
    use gateway_bus::Limits;

    use super::*;

    fn broker(seed: u64) -> Broker {
        let limits = DoorLimits {
            topic_levels_max: 8,
            topic_bytes_max: 64,
            client_id_bytes_max: 64,
            logins_pending_max: 1,
        };
        let bus = Bus::new(Limits::default(), 1);
        Broker::new(bus, Access::new(Config::default()), limits, seed)
    }

    fn names(seed: u64) -> Vec<u64> {
        let broker = broker(seed);
        let secret = |id: ClientId| u64::from_str_radix(id.as_str().rsplit_once('-').unwrap().1, 16).unwrap();
        (0..4).map(|_| secret(broker.assign())).collect()
    }

    /// It is written to disk with sessions.
    #[test]
    fn the_number_of_an_owner_is_the_same_for_ever() {
        let broker = |key: u8| broker(1).with_owner_key([key; 32]);
        let owner = |broker: &Broker, name: &str| {
            broker.owner(&Identity { username: Some(name.into()), ..Identity::default() })
        };
        assert_eq!(owner(&broker(7), "press-17"), 3_304_428_613);
        assert_ne!(owner(&broker(7), "press-17"), owner(&broker(8), "press-17"));
        assert_ne!(owner(&broker(7), "press-17"), owner(&broker(7), "press-18"));
        assert_eq!(broker(7).owner(&Identity::default()), 0);
    }

    /// Whoever has one name must not be able to work out the next: not even how they differ.
    #[test]
    fn assigned_names_tell_nothing_of_each_other() {
        let (ours, others) = (names(1), names(2));
        assert_eq!(ours, names(1));
        assert!(ours.iter().all(|name| !others.contains(name)));
        // A mixture that can be undone leads from a name to the seed and on to all other names.
        assert_eq!(unscramble(scramble(7)), 7);
        let undone = |name: &u64| unscramble(*name);
        let steps: Vec<_> = ours.iter().map(undone).map(|seed| seed ^ undone(&ours[0])).collect();
        let wrapped = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        assert_ne!(steps[1..], [wrapped(1), wrapped(2), wrapped(3)]);
    }

    fn unscramble(mut value: u64) -> u64 {
        value = value ^ (value >> 31) ^ (value >> 62);
        value = value.wrapping_mul(0x3196_42B2_D24D_8EC3);
        value = value ^ (value >> 27) ^ (value >> 54);
        value = value.wrapping_mul(0x96DE_1B17_3F11_9089);
        value ^ (value >> 30) ^ (value >> 60)
    }
}

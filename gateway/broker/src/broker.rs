use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use gateway_access::{Access, Allowed, Identity, Login, Verdict};
use gateway_bus::{Attachment, Bus, Moment, RouteCache, SessionOptions};
use gateway_model::{
    ClientId, Delayed, Message, Notify, Open, Opened, Peer, Publish, Reason, Refusal, Subscription, Topic,
    TopicFilter,
};

use crate::clock;
use crate::gauges::Gauges;
use crate::meter::ClientLimits;
use crate::refusals::Refusals;

/// The door: what clients may do is decided here, and here only.
pub struct Broker {
    pub bus: Bus,
    access: Access,
    limits: DoorLimits,
    pub(crate) client_limits: ClientLimits,
    /// Feeds assigned client identifiers.
    assigned: AtomicU64,
    seed: u64,
    pub(crate) gauges: Gauges,
    pub(crate) refused: AtomicU64,
    refusals: Refusals,
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
}

impl Broker {
    pub fn new(bus: Bus, access: Access, limits: DoorLimits, seed: u64) -> Self {
        Self {
            bus,
            access,
            limits,
            client_limits: ClientLimits::default(),
            assigned: AtomicU64::new(0),
            seed,
            gauges: Gauges::default(),
            refused: AtomicU64::new(0),
            refusals: Refusals::default(),
            logins_pending: AtomicUsize::new(0),
        }
    }

    /// The same with limits for each client; without, there are none.
    pub fn with_client_limits(self, client_limits: ClientLimits) -> Self {
        Self { client_limits, ..self }
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
        notify: Arc<dyn Notify>,
    ) -> Result<(Principal, Opened), Refusal> {
        let identity = allowed.identity;
        if let Some(will) = &open.will {
            let refusal = |reason| Refusal { reason, text: "the will's topic is refused".into() };
            self.check_publish(&identity, &will.publish.topic)
                .map_err(|reason| self.refuse(moment, peer, refusal(reason)))?;
        }
        let client_id = open.client_id.take().unwrap_or_else(|| self.assign());
        let opened = self.bus.open(moment, client_id, open, SessionOptions::default(), notify);
        let (attachment, opened) = opened.map_err(|reason| {
            let text = "too many sessions: limits.sessions_max".into();
            self.refuse(moment, peer, Refusal { reason, text })
        })?;
        Ok((Principal { attachment, identity }, Opened { authentication_data: allowed.data, ..opened }))
    }

    /// Counts a refusal, and logs it with what to change.
    pub(crate) fn refuse(&self, moment: Moment, peer: &Peer, refusal: Refusal) -> Refusal {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.refusals.log(moment.instant, peer, &refusal);
        refusal
    }

    /// Does what has become due: session expiry, delayed wills.
    pub fn poll(&self) {
        self.bus.poll(clock::moment());
    }

    pub(crate) fn publish(
        &self,
        moment: Moment,
        principal: &Principal,
        publish: Publish,
        cache: &mut RouteCache,
    ) -> Reason {
        if let Some(delayed) = Delayed::parse(&publish.topic) {
            return self.publish_delayed(moment, principal, publish, delayed);
        }
        if let Err(reason) = self.check_publish(&principal.identity, &publish.topic) {
            self.bus.counters().add(gateway_bus::Counter::Refused, 1);
            return reason;
        }
        self.bus.publish(moment, &principal.attachment, publish, cache)
    }

    /// What a client may publish now it may publish later.
    fn publish_delayed(
        &self,
        moment: Moment,
        principal: &Principal,
        publish: Publish,
        delayed: Result<Delayed, Reason>,
    ) -> Reason {
        let checked = delayed
            .and_then(|delayed| self.check_publish(&principal.identity, &delayed.topic).map(|()| delayed));
        match checked {
            Ok(Delayed { delay, topic }) => {
                let publisher = principal.attachment.client_id();
                self.bus.publish_delayed(moment, publisher, delay, Publish { topic, ..publish })
            }
            Err(reason) => {
                self.bus.counters().add(gateway_bus::Counter::Refused, 1);
                reason
            }
        }
    }

    pub(crate) fn subscribe(
        &self,
        moment: Moment,
        principal: &Principal,
        subscriptions: Vec<Subscription>,
    ) -> Vec<Reason> {
        let check = |subscription: &Subscription| match &subscription.filter {
            filter if self.is_too_long(filter.path()) => Err(Reason::TopicFilterInvalid),
            filter if !self.access.may_subscribe(&principal.identity, filter) => Err(Reason::NotAuthorized),
            _ => Ok(()),
        };
        if subscriptions.iter().all(|subscription| check(subscription).is_ok()) {
            return self.bus.subscribe(moment.instant, &principal.attachment, subscriptions);
        }
        let one = |subscription: Subscription| match check(&subscription) {
            Ok(()) => self.bus.subscribe(moment.instant, &principal.attachment, vec![subscription])[0],
            Err(reason) => reason,
        };
        subscriptions.into_iter().map(one).collect()
    }

    pub(crate) fn retained(
        &self,
        moment: Moment,
        principal: &Principal,
        filter: &TopicFilter,
        limit: usize,
    ) -> Result<Vec<Arc<Message>>, Reason> {
        if !self.access.may_subscribe(&principal.identity, filter) {
            return Err(Reason::NotAuthorized);
        }
        Ok(self.bus.retained(moment.instant, filter, limit))
    }

    fn check_publish(&self, identity: &Identity, topic: &Topic) -> Result<(), Reason> {
        if self.is_too_long(topic) {
            return Err(Reason::TopicNameInvalid);
        }
        if !self.access.may_publish(identity, topic) {
            return Err(Reason::NotAuthorized);
        }
        Ok(())
    }

    /// Whether a topic or filter is over the limits of length or levels.
    fn is_too_long(&self, path: &str) -> bool {
        if path.len() > self.limits.topic_bytes_max {
            return true;
        }
        // A text has at most one level more than bytes, so short ones need not be counted.
        let max = self.limits.topic_levels_max;
        path.len() >= max && path.bytes().filter(|byte| *byte == b'/').count() >= max
    }

    /// A name for a client that has none: unpredictable, so that nobody else can take it.
    fn assign(&self) -> ClientId {
        let number = self.assigned.fetch_add(1, Ordering::Relaxed);
        let scrambled = scramble(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        ClientId::parse(&format!("auto-{number:x}-{scrambled:016x}")).expect("the name obeys the laws")
    }
}

/// The finalizer of SplitMix64: a bijection whose outputs look random.
pub(crate) fn scramble(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

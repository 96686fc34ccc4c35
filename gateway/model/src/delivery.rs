use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;

use crate::{Message, Qos};

/// Names an unsettled delivery within its session. Doubles as MQTT's packet identifier: the
/// session allocates it, so it survives reconnects and is never in use twice.
pub type DeliveryId = NonZeroU16;

/// A session's outbox as an adapter sees it: pull, never push.
pub trait Deliveries {
    /// The next thing to send, or `None` if the queue is empty or the in-flight window full.
    ///
    /// After a resume, what was in flight comes first, in its original order, marked as duplicate.
    /// Expired messages are skipped (and counted). At QoS 0 taking it is delivering it; above, the
    /// delivery stays in flight until it is settled through [`crate::Sink::settle`].
    fn next(&mut self, now: Instant) -> Option<Outgoing>;

    /// The QoS 0 delivery just taken was not sent after all; the word is the reason in metrics.
    fn refuse_last(&mut self, reason: &'static str);

    /// How many messages wait or are in flight.
    fn backlog(&self) -> usize;
}

/// One message on its way to one session.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub message: Arc<Message>,
    /// `None` at QoS 0.
    pub id: Option<DeliveryId>,
    /// The lower of the publisher's and the subscription's.
    pub qos: Qos,
    /// The retain flag to show: true for what was stored before the subscription was made.
    pub retain: bool,
    /// It may have been sent before, on an earlier connection.
    pub duplicate: bool,
    /// The receiver said that it has it (PUBREC) on an earlier connection: send only the release
    /// (PUBREL), not the message (MQTT 5.0 section 4.3.3).
    pub released: bool,
    /// Identifiers of all subscriptions of this session that the message matched.
    pub identifiers: Identifiers,
    /// How many bytes at the beginning of the message's topic are the receiver's mount point, which
    /// it does not see. 0 for nearly all.
    pub mount_len: u16,
}

impl Outgoing {
    /// The topic as the receiver sees it: without its mount point.
    #[inline]
    pub fn topic(&self) -> &str {
        self.message.topic.get(usize::from(self.mount_len)..).unwrap_or(&self.message.topic)
    }

    /// The response topic as the receiver sees it: without its mount point, if it is below it.
    pub fn response_topic(&self) -> Option<&str> {
        let response = self.message.properties.as_ref()?.response_topic.as_ref()?;
        let mount = self.message.topic.get(..usize::from(self.mount_len)).unwrap_or_default();
        response.strip_prefix(mount).filter(|rest| !rest.is_empty()).or(Some(response))
    }
}

/// Subscription identifiers; nearly always none or one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identifiers {
    #[default]
    None,
    One(u32),
    /// A thin pointer, as copies that wait are many and this is rare.
    Many(Arc<Vec<u32>>),
}

impl From<Vec<u32>> for Identifiers {
    fn from(identifiers: Vec<u32>) -> Self {
        match identifiers[..] {
            [] => Self::None,
            [one] => Self::One(one),
            _ => Self::Many(Arc::new(identifiers)),
        }
    }
}

impl Identifiers {
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(identifier) => std::slice::from_ref(identifier),
            Self::Many(identifiers) => identifiers,
        }
    }
}

/// What became of a delivery above QoS 0.
///
/// MQTT's acknowledgements fit deliveries of one QoS only: one that does not fit settles nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The receiver has it (CoAP ACK, Kafka's acks), whatever the QoS: it leaves the session.
    Delivered,
    /// PUBACK, for QoS 1: it leaves the session.
    Acknowledged,
    /// PUBREC, for QoS 2: the receiver has it but the identifier is still in use.
    Received,
    /// PUBCOMP, for QoS 2 after PUBREC: it leaves the session.
    Completed,
    /// PUBACK (QoS 1) or PUBREC (QoS 2) with an error: it leaves the session undelivered, and is
    /// not offered to anybody else (MQTT-4.8.2-6).
    Refused(Qos),
    /// It leaves the session undelivered, whatever the QoS; the word is the reason in metrics, e.g.
    /// `timeout`.
    Dropped(&'static str),
    /// It could not be sent now: it comes again, marked as duplicate, before what was never sent.
    Returned,
}

/// What a settlement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Done,
    /// Done, but not durable yet, and what the peer is told next must not be said before:
    /// [`crate::Event::Settled`] will follow. Only for `Received` of a session that outlives its
    /// connection: a PUBREL that is forgotten would let the message come a second time.
    Later,
    /// No such delivery is in flight (MQTT's Packet Identifier not found).
    Unknown,
    /// The delivery is in flight with another QoS, or at another step: it stays as it was.
    Misfit,
}

/// Told that there is something to do where there was nothing: in an outbox, or in the store.
///
/// May be called on any thread, under the lock of whoever calls: it must not block or call back.
pub trait Notify: Send + Sync {
    fn notify(&self);
}

/// A [`Notify`] for many, which it tells apart by numbers: a session holds this. The same rules apply.
pub trait NotifyMany: Send + Sync {
    fn notify(&self, key: u32);
}

/// Tells one of many: what a million of them share is there once.
#[derive(Clone)]
pub struct Notifier {
    pub many: Arc<dyn NotifyMany>,
    pub key: u32,
}

impl Notifier {
    pub fn new(many: Arc<dyn NotifyMany>, key: u32) -> Self {
        Self { many, key }
    }
}

/// One of its own.
impl<N: Notify + 'static> From<Arc<N>> for Notifier {
    fn from(one: Arc<N>) -> Self {
        struct Alone<N>(Arc<N>);
        impl<N: Notify> NotifyMany for Alone<N> {
            fn notify(&self, _: u32) {
                self.0.notify();
            }
        }
        Self::new(Arc::new(Alone(one)), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClientId, Properties, Topic};

    #[test]
    fn a_receiver_does_not_see_its_mount_point() {
        let outgoing = |topic: &str, response: &str, mount_len| Outgoing {
            message: Arc::new(Message {
                topic: Topic::parse(topic).unwrap(),
                payload: Default::default(),
                properties: Some(Arc::new(Properties {
                    response_topic: Topic::parse(response).ok(),
                    ..Properties::default()
                })),
                publisher: ClientId::parse("p").unwrap(),
                accepted_unix_millis: 0.into(),
                expires_at: None,
                qos: Qos::AtMostOnce,
                retain: false,
                stored: Default::default(),
            }),
            id: None,
            qos: Qos::AtMostOnce,
            retain: false,
            duplicate: false,
            released: false,
            identifiers: Identifiers::None,
            mount_len,
        };
        let shown = |topic: &str, response: &str, mount_len| {
            let outgoing = outgoing(topic, response, mount_len);
            (outgoing.topic().to_owned(), outgoing.response_topic().map(str::to_owned))
        };
        assert_eq!(shown("m/a", "m/b", 2), ("a".to_owned(), Some("b".to_owned())));
        assert_eq!(shown("m/a", "x/b", 2), ("a".to_owned(), Some("x/b".to_owned())));
        assert_eq!(shown("m/a", "m/", 2), ("a".to_owned(), Some("m/".to_owned())));
        assert_eq!(shown("m/a", "m/b", 0), ("m/a".to_owned(), Some("m/b".to_owned())));
        assert_eq!(shown("m/a", "", 0), ("m/a".to_owned(), None));
    }
}

use std::num::NonZeroU32;

use crate::{Qos, TopicFilter};

/// A filter and how its messages are to be delivered (MQTT 5.0 section 3.8.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub filter: TopicFilter,
    /// The highest QoS to deliver with.
    pub qos: Qos,
    /// Leave out what this session published itself.
    pub no_local: bool,
    /// Keep the publisher's retain flag on live messages.
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
    /// Comes back with every delivery this subscription caused.
    pub identifier: Option<NonZeroU32>,
}

impl Subscription {
    pub fn new(filter: TopicFilter, qos: Qos) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
            identifier: None,
        }
    }
}

/// Whether subscribing fetches the retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    #[default]
    Always,
    /// Only if the subscription did not exist before.
    IfNew,
    Never,
}

//! What a listener does not offer, though MQTT knows it (MQTT 5.0 sections 3.2.2.3.4 to 3.2.2.3.13).

use gateway_model::{Qos, Reason, TopicFilter};

use crate::codec::{Property, PropertyBuffer};
use crate::config::Config;
use crate::connection::Connection;
use crate::violation::Violation;

impl Connection {
    /// Whether a publish, or a will, is within what the CONNACK announced. MQTT before 5.0 announces
    /// nothing and has no word for it: the connection is closed, as for anything it cannot do.
    #[cold]
    pub(crate) fn check_publish(&self, qos: Qos, retain: bool) -> Result<(), Violation> {
        if qos as u8 > self.config.maximum_qos {
            return Err(Violation::new(Reason::QosNotSupported, "QoS is above mqtt.maximum_qos"));
        }
        if retain && !self.config.retain_available {
            return Err(Violation::new(Reason::RetainNotSupported, "mqtt.retain_available is false"));
        }
        Ok(())
    }

    /// Whether a subscription is within what the CONNACK announced. In MQTT 5.0 it is a protocol
    /// error if not, with a reason of its own; before, the one filter is refused.
    pub(crate) fn check_subscription(
        &self,
        filter: &TopicFilter,
        has_identifier: bool,
    ) -> Result<(), Violation> {
        let config = &*self.config;
        let refused = if !config.shared_subscriptions && filter.group().is_some() {
            (Reason::SharedSubscriptionsNotSupported, "mqtt.shared_subscriptions is false")
        } else if !config.wildcard_subscriptions && filter.has_wildcard() {
            (Reason::WildcardSubscriptionsNotSupported, "mqtt.wildcard_subscriptions is false")
        } else if !config.subscription_identifiers && has_identifier {
            (Reason::SubscriptionIdentifiersNotSupported, "mqtt.subscription_identifiers is false")
        } else {
            return Ok(());
        };
        Err(Violation::new(refused.0, refused.1))
    }

    /// What a CONNACK has to announce.
    pub(crate) fn push_capabilities(&self, properties: &mut PropertyBuffer) {
        let config = &*self.config;
        if config.maximum_qos < Qos::ExactlyOnce as u8 {
            properties.push(Property::MaximumQos(config.maximum_qos));
        }
        if !config.retain_available {
            properties.push(Property::RetainAvailable(false));
        }
        if !config.wildcard_subscriptions {
            properties.push(Property::WildcardAvailable(false));
        }
        if !config.subscription_identifiers {
            properties.push(Property::IdentifiersAvailable(false));
        }
        if !config.shared_subscriptions {
            properties.push(Property::SharedAvailable(false));
        }
    }
}

/// The flags in the first byte of a PUBLISH (MQTT 5.0 section 3.3.1) that none within the
/// capabilities has.
pub(crate) fn refused_flags(config: &Config) -> u8 {
    let qos = match config.maximum_qos {
        0 => 0b0110,
        1 => 0b0100,
        _ => 0,
    };
    qos | u8::from(!config.retain_available)
}

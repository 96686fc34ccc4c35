use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gateway_bus::Bus;
use gateway_model::{Placeholders, Qos, RetainHandling, Subscription, TopicFilter};
use gateway_store::Place;

use crate::Principal;
use crate::services::settings::AutoSubscribeSettings;

/// The subscriptions that clients get without asking. The operator wants them, so nobody's rights
/// are looked at.
#[derive(Debug, Default)]
pub struct AutoSubscriptions {
    entries: Box<[Entry]>,
    /// Subscriptions that were not made: a name did not fit in, or a limit was reached.
    skipped: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    topic: Placeholders,
    qos: Qos,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: RetainHandling,
    protocols: Box<[String]>,
}

impl AutoSubscriptions {
    /// The subscriptions of the settings. An error is the key within the list, and what is wrong with
    /// it.
    pub fn new(settings: &[AutoSubscribeSettings]) -> Result<Self, (String, String)> {
        let entry = |(index, entry): (usize, &AutoSubscribeSettings)| {
            Entry::new(entry).map_err(|(key, text)| (format!("{index}.{key}"), text))
        };
        let entries = settings.iter().enumerate().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { entries, skipped: AtomicU64::new(0) })
    }

    /// Subscribes a client that has come by a protocol. When that is durable.
    pub(crate) fn subscribe(&self, bus: &Bus, now: Instant, protocol: &str, principal: &Principal) -> Place {
        let mut place = Place::NOWHERE;
        for entry in self.entries.iter().filter(|entry| entry.is_for(protocol)) {
            let Some(subscription) = self.subscription(entry, principal) else { continue };
            let made = bus.subscribe(now, &principal.attachment, vec![subscription]);
            place = place.max(made.place);
            let reason = made.value[0];
            if reason.is_error() {
                self.report(principal, entry.topic.as_str(), &reason);
            }
        }
        place
    }

    fn subscription(&self, entry: &Entry, principal: &Principal) -> Option<Subscription> {
        let who = principal.who();
        let filled = entry.topic.fill(who.client_id, who.username, |_| "");
        let filter = filled.map_err(|error| error.to_string()).and_then(|text| {
            let filter = TopicFilter::parse(&text).map_err(|error| error.to_string())?;
            match &principal.mount {
                Some(mount) => mount.filter(&filter).map_err(|error| error.to_string()),
                None => Ok(filter),
            }
        });
        match filter {
            Ok(filter) => Some(Subscription {
                filter,
                qos: entry.qos,
                no_local: entry.no_local,
                retain_as_published: entry.retain_as_published,
                retain_handling: entry.retain_handling,
                identifier: None,
            }),
            Err(error) => {
                self.report(principal, entry.topic.as_str(), &error);
                None
            }
        }
    }

    fn report(&self, principal: &Principal, topic: &str, error: &dyn Display) {
        let skipped = self.skipped.fetch_add(1, Ordering::Relaxed) + 1;
        // Each time the number has doubled: clients that come again and again fill no log.
        if skipped.is_power_of_two() {
            let client = principal.who().client_id;
            tracing::warn!(client, skipped, "no automatic subscription to {topic:?}: {error}");
        }
    }
}

impl Entry {
    fn new(settings: &AutoSubscribeSettings) -> Result<Self, (&'static str, String)> {
        let topic = |error: String| ("topic", format!("{:?}: {error}", settings.topic));
        let parsed = Placeholders::parse(&settings.topic).map_err(|error| topic(error.to_string()))?;
        let example = parsed.fill("x", Some("x"), |_| "").map_err(|error| topic(error.to_string()))?;
        let filter = TopicFilter::parse(&example).map_err(|error| topic(error.to_string()))?;
        if settings.no_local && filter.group().is_some() {
            // MQTT-3.8.3-4.
            return Err(("no_local", "a shared subscription cannot leave out one member's own".to_owned()));
        }
        let qos = Qos::from_u8(settings.qos)
            .ok_or_else(|| ("qos", format!("{} is not 0, 1 or 2", settings.qos)))?;
        let retain_handling = match settings.retain_handling {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            other => return Err(("retain_handling", format!("{other} is not 0, 1 or 2"))),
        };
        Ok(Self {
            topic: parsed,
            qos,
            no_local: settings.no_local,
            retain_as_published: settings.retain_as_published,
            retain_handling,
            protocols: settings.protocols.clone().into(),
        })
    }

    /// `mqtt` is `mqtt5` and the others too.
    fn is_for(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|name| {
            let version = protocol.strip_prefix(name.as_str());
            version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(topic: &str) -> AutoSubscribeSettings {
        AutoSubscribeSettings {
            topic: topic.to_owned(),
            qos: 1,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
            protocols: vec!["mqtt".to_owned()],
        }
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        let key = |second: AutoSubscribeSettings| {
            AutoSubscriptions::new(&[settings("a"), second]).map(drop).unwrap_err().0
        };
        assert_eq!(key(settings("a/#/b")), "1.topic");
        assert_eq!(key(settings("a/${ip}")), "1.topic");
        assert_eq!(key(settings("")), "1.topic");
        assert_eq!(key(AutoSubscribeSettings { qos: 3, ..settings("a") }), "1.qos");
        assert_eq!(key(AutoSubscribeSettings { retain_handling: 3, ..settings("a") }), "1.retain_handling");
        assert_eq!(key(AutoSubscribeSettings { no_local: true, ..settings("$share/g/a") }), "1.no_local");
    }

    #[test]
    fn an_entry_is_for_its_protocols() {
        let entry = Entry::new(&settings("a")).unwrap();
        for (protocol, is_for) in
            [("mqtt5", true), ("mqtt311", true), ("coap", false), ("lwm2m", false), ("mqtt-sn", false)]
        {
            assert_eq!(entry.is_for(protocol), is_for, "{protocol}");
        }
    }
}

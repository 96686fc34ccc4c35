use std::time::Instant;

use gateway_model::{Deliveries, FilterError, Outgoing, Topic, TopicError, TopicFilter};

/// What stands before all topics of a client, with a `/` at its end. The client does not see it.
///
/// Topics that begin with `$` are the gateway's own and the same for everybody.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount(Box<str>);

/// An outbox as a receiver with a mount point is to see it.
pub(crate) struct Mounted<'a> {
    pub(crate) outbox: &'a mut dyn Deliveries,
    pub(crate) mount: &'a Mount,
}

impl Mount {
    /// A text that was checked to end with `/`; `None` if topics may not begin so.
    pub(crate) fn new(text: String) -> Option<Self> {
        let fits = text.len() < Topic::LEN_MAX && !text.starts_with('$');
        fits.then(|| Self(text.into()))
    }

    /// The topic on the bus; `make` parses it.
    pub(crate) fn topic(
        &self,
        topic: &Topic,
        scratch: &mut Vec<u8>,
        make: impl FnOnce(&[u8]) -> Result<Topic, TopicError>,
    ) -> Result<Topic, TopicError> {
        if topic.is_reserved() {
            return Ok(topic.clone());
        }
        scratch.clear();
        [&self.0, topic.as_str()].iter().for_each(|part| scratch.extend_from_slice(part.as_bytes()));
        make(scratch)
    }

    /// The filter on the bus; a shared one stays shared in its group.
    pub(crate) fn filter(&self, filter: &TopicFilter) -> Result<TopicFilter, FilterError> {
        let path = filter.path();
        if path.starts_with('$') {
            return Ok(filter.clone());
        }
        // `mount/#` would match `mount` too, which is not below it (MQTT 5.0 section 4.7.1.2).
        let path = if path == "#" { "+/#" } else { path };
        filter.with_path(&[&self.0, path].concat())
    }

    /// How many bytes of a topic the client does not see.
    fn len_in(&self, topic: &str) -> u16 {
        match topic.strip_prefix(&*self.0) {
            Some(rest) if !rest.is_empty() => self.0.len() as u16,
            _ => 0,
        }
    }
}

impl Deliveries for Mounted<'_> {
    #[inline]
    fn next(&mut self, now: Instant) -> Option<Outgoing> {
        let mut outgoing = self.outbox.next(now)?;
        outgoing.mount_len = self.mount.len_in(&outgoing.message.topic);
        Some(outgoing)
    }

    fn refuse_last(&mut self, reason: &'static str) {
        self.outbox.refuse_last(reason);
    }

    fn backlog(&self) -> usize {
        self.outbox.backlog()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount() -> Mount {
        Mount::new("site-a/".to_owned()).unwrap()
    }

    #[test]
    fn topics_are_mounted() {
        let mounted = |topic: &str| {
            let topic = Topic::parse(topic).unwrap();
            mount().topic(&topic, &mut Vec::new(), Topic::parse_bytes).map(|topic| topic.as_str().to_owned())
        };
        for (topic, becomes) in [("a/b", "site-a/a/b"), ("/", "site-a//"), ("$SYS/a", "$SYS/a")] {
            assert_eq!(mounted(topic).as_deref(), Ok(becomes));
        }
        assert_eq!(mounted(&"x".repeat(65_530)), Err(TopicError::TooLong));
    }

    #[test]
    fn filters_are_mounted() {
        for (filter, becomes) in [
            ("a/#", "site-a/a/#"),
            ("#", "site-a/+/#"),
            ("+", "site-a/+"),
            ("$share/g/a/+", "$share/g/site-a/a/+"),
            ("$share/g/#", "$share/g/site-a/+/#"),
            ("$queue/a", "$queue/site-a/a"),
            ("$exclusive/a", "$exclusive/site-a/a"),
            ("$SYS/#", "$SYS/#"),
        ] {
            let mounted = mount().filter(&TopicFilter::parse(filter).unwrap()).unwrap();
            assert_eq!(mounted.as_str(), becomes);
        }
        let long = TopicFilter::parse(&"x".repeat(65_530)).unwrap();
        assert_eq!(mount().filter(&long), Err(FilterError::TooLong));
    }

    #[test]
    fn what_is_not_below_is_shown_whole() {
        for (topic, len) in [("site-a/x", 7), ("site-a/", 0), ("site-a", 0), ("site-b/x", 0), ("$SYS/a", 0)] {
            assert_eq!(mount().len_in(topic), len, "{topic}");
        }
        assert_eq!(Mount::new("$a/".to_owned()), None);
        assert_eq!(Mount::new("x".repeat(65_535)), None);
    }
}

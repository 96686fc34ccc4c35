use std::collections::BTreeMap;

use crate::client::ClientError;

/// What went wrong, by kind: how often, and the first case in full.
#[derive(Debug, Default)]
pub struct Failures {
    kinds: BTreeMap<String, Failure>,
}

#[derive(Debug)]
pub struct Failure {
    pub count: u64,
    /// Who it was and what was said.
    pub first: String,
}

/// Kinds that are told apart; what comes then is counted as [`OTHER`].
const KINDS_MAX: usize = 32;
const OTHER: &str = "other";

impl Failures {
    pub fn add(&mut self, client_id: &str, error: &ClientError) {
        self.insert(kind(error), Failure { count: 1, first: format!("{client_id}: {error}") });
    }

    pub fn drain_into(&mut self, other: &mut Self) {
        for (kind, failure) in std::mem::take(&mut self.kinds) {
            other.insert(kind, failure);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.kinds.iter().map(|(kind, failure)| (kind.as_str(), failure))
    }

    pub fn count(&self) -> u64 {
        self.kinds.values().map(|failure| failure.count).sum()
    }

    fn insert(&mut self, kind: String, failure: Failure) {
        if let Some(known) = self.kinds.get_mut(&kind) {
            known.count += failure.count;
            return;
        }
        match self.kinds.len() < KINDS_MAX {
            true => drop(self.kinds.insert(kind, failure)),
            false => {
                let other = self.kinds.entry(OTHER.to_owned());
                other.or_insert(Failure { count: 0, first: failure.first }).count += failure.count;
            }
        }
    }
}

/// Without what differs from case to case, such as a reason string that names the client.
fn kind(error: &ClientError) -> String {
    match error {
        ClientError::Refused { said, .. } => format!("connection refused by broker: {}", said.code()),
        ClientError::Disconnected(said) => format!("disconnected by broker: {}", said.code()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use gateway_model::Reason;
    use protocol_mqtt::codec::{Property, PropertyBuffer, Version};

    use super::*;
    use crate::client::Said;

    #[test]
    fn a_thousand_times_the_same_is_one_line() {
        let mut failures = Failures::default();
        for number in 0..1000 {
            let mut properties = PropertyBuffer::default();
            properties.push(Property::ReasonString(&format!("who is dev-{number}?")));
            let said = Said::new(Reason::NotAuthorized, properties.as_properties());
            let error = ClientError::Refused { said, version: Version::V5 };
            failures.add(&format!("dev-{number}"), &error);
        }
        let found: Vec<_> = failures.iter().collect();
        let [(kind, failure)] = found[..] else { panic!("{found:?}") };
        assert_eq!(kind, "connection refused by broker: not authorized (0x87)");
        assert_eq!(failure.count, 1000);
        assert!(failure.first.starts_with("dev-0: ") && failure.first.ends_with("who is dev-0?"));
    }

    #[test]
    fn kinds_are_bounded() {
        let mut failures = Failures::default();
        for number in 0..100 {
            failures.add("a", &ClientError::Lost(number.to_string()));
        }
        assert_eq!((failures.kinds.len(), failures.count()), (KINDS_MAX + 1, 100));
        assert_eq!(failures.kinds[OTHER].count, 100 - KINDS_MAX as u64);
    }
}

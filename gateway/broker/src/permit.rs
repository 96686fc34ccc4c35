use gateway_model::{Publish, Qos, Topic};

/// Leave to publish like this, as long as the rules are the same.
#[derive(Clone)]
pub(crate) struct Permit {
    topic: Topic,
    qos: Qos,
    retain: bool,
    generation: u64,
}

impl Permit {
    /// `generation` is that of the rules, read before they were asked.
    pub(crate) fn new(publish: &Publish, generation: u64) -> Self {
        Self { topic: publish.topic.clone(), qos: publish.qos, retain: publish.retain, generation }
    }

    /// Topics are compared by their allocation: a thread gives a repeated topic the same one.
    pub(crate) fn is_for(&self, publish: &Publish, generation: u64) -> bool {
        self.topic.is_same(&publish.topic)
            && (self.qos, self.retain, self.generation) == (publish.qos, publish.retain, generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_for_the_same_publish_under_the_same_rules() {
        let publish = Publish::new(Topic::parse("a").unwrap(), "one");
        let permit = Permit::new(&publish, 3);
        assert!(permit.is_for(&Publish { payload: "two".into(), ..publish.clone() }, 3));
        assert!(!permit.is_for(&publish, 4));
        assert!(!permit.is_for(&Publish { qos: Qos::AtLeastOnce, ..publish.clone() }, 3));
        assert!(!permit.is_for(&Publish { retain: true, ..publish.clone() }, 3));
        assert!(!permit.is_for(&Publish { topic: Topic::parse("b").unwrap(), ..publish }, 3));
    }
}

use std::time::Duration;

use crate::{Reason, Topic};

/// What `$delayed/{seconds}/{topic}` asks for: the rest of the topic, later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delayed {
    pub delay: Duration,
    pub topic: Topic,
}

impl Delayed {
    /// The longest delay in seconds, as in EMQX: 2^32 milliseconds, rounded down.
    pub const SECS_MAX: u32 = 4_294_967;

    /// `None` if the topic does not ask for it; an error if it does, but not well.
    #[inline]
    pub fn parse(topic: &Topic) -> Option<Result<Self, Reason>> {
        // Nearly no topic begins with it, and all have to pass here.
        if !topic.is_reserved() {
            return None;
        }
        Self::parse_rest(topic.strip_prefix("$delayed/")?).ok_or(Reason::TopicNameInvalid).into()
    }

    fn parse_rest(rest: &str) -> Option<Self> {
        let (number, topic) = rest.split_once('/')?;
        // `u32::from_str` would also take a plus sign.
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let secs: u32 = number.parse().ok().filter(|secs| is_number && *secs <= Self::SECS_MAX)?;
        Some(Self { delay: Duration::from_secs(secs.into()), topic: Topic::parse(topic).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Result<Delayed, Reason>> {
        Delayed::parse(&Topic::parse(text).unwrap())
    }

    #[test]
    fn a_number_and_a_topic() {
        for (text, secs, topic) in [
            ("$delayed/5/a/b", 5, "a/b"),
            ("$delayed/0/a", 0, "a"),
            ("$delayed/007//", 7, "/"),
            ("$delayed/4294967/$delayed/1/a", 4_294_967, "$delayed/1/a"),
        ] {
            let expected = Delayed { delay: Duration::from_secs(secs), topic: Topic::parse(topic).unwrap() };
            assert_eq!(parse(text), Some(Ok(expected)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_an_invalid_topic() {
        for bad in ["", "5", "5/", "/a", "x/a", "-1/a", "+1/a", "1.5/a", "4294968/a", "99999999999/a", "٣/a"]
        {
            if let Ok(topic) = Topic::parse(&format!("$delayed/{bad}")) {
                assert_eq!(Delayed::parse(&topic), Some(Err(Reason::TopicNameInvalid)), "{bad}");
            }
        }
        for other in ["a", "$delayed", "$delayedx/1/a", "$SYS/1/a", "a/$delayed/1/b"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}

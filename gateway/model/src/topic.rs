use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The name a message is published under.
///
/// Laws: 1 to 65,535 bytes of UTF-8, without U+0000, `+` and `#` (MQTT 5.0 section 4.7.3).
/// Levels are separated by `/`; empty levels are legal. A clone shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

/// Why some bytes are not a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("topic is empty")]
    Empty,
    #[error("topic is longer than 65535 bytes")]
    TooLong,
    #[error("topic is not UTF-8")]
    NotUtf8,
    #[error("topic holds U+0000")]
    Nul,
    #[error("topic holds a wildcard")]
    Wildcard,
}

impl Topic {
    /// The longest topic in bytes (MQTT 5.0 section 1.5.4: a two-byte length).
    pub const LEN_MAX: usize = 65_535;

    pub fn parse(text: &str) -> Result<Self, TopicError> {
        Self::parse_bytes(text.as_bytes())
    }

    /// Parses a topic as it arrives on the wire.
    pub fn parse_bytes(raw: &[u8]) -> Result<Self, TopicError> {
        if raw.is_empty() {
            return Err(TopicError::Empty);
        }
        if raw.len() > Self::LEN_MAX {
            return Err(TopicError::TooLong);
        }
        for byte in raw {
            match byte {
                0 => return Err(TopicError::Nul),
                b'+' | b'#' => return Err(TopicError::Wildcard),
                _ => {}
            }
        }
        let text = std::str::from_utf8(raw).map_err(|_| TopicError::NotUtf8)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// Whether the topic belongs to the server (`$SYS` and the like), which wildcards at the
    /// first level never match (MQTT 5.0 section 4.7.2).
    pub fn is_reserved(&self) -> bool {
        self.0.as_bytes()[0] == b'$'
    }

    /// Whether both share one allocation: the cheap half of equality.
    pub fn is_same(&self, other: &Topic) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Topic {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws() {
        assert_eq!(Topic::parse(""), Err(TopicError::Empty));
        assert_eq!(Topic::parse("a/+"), Err(TopicError::Wildcard));
        assert_eq!(Topic::parse("a#"), Err(TopicError::Wildcard));
        assert_eq!(Topic::parse("a\0"), Err(TopicError::Nul));
        assert_eq!(Topic::parse_bytes(b"\xff"), Err(TopicError::NotUtf8));
        assert_eq!(Topic::parse(&"x".repeat(65_536)), Err(TopicError::TooLong));
        assert!(Topic::parse("/").is_ok_and(|topic| topic.levels().count() == 2));
        assert!(Topic::parse("$SYS/x").is_ok_and(|topic| topic.is_reserved()));
    }
}

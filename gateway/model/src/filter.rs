use std::fmt;
use std::sync::Arc;

use crate::Topic;

/// What a subscriber asks for: an exact topic, or one with wildcards, perhaps shared in a group.
///
/// Laws (MQTT 5.0 sections 4.7 and 4.8.2): 1 to 65,535 bytes of UTF-8 without U+0000; `+` fills a
/// whole level; `#` fills the last level; `$share/{group}/{filter}` has a group of at least one
/// character without `/`, `+`, `#`, and a filter that obeys the same laws.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    text: Arc<str>,
    /// Where the filter proper begins: after `$share/{group}/`, else 0.
    path_start: u32,
}

/// Why some bytes are not a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("filter is empty")]
    Empty,
    #[error("filter is longer than 65535 bytes")]
    TooLong,
    #[error("filter is not UTF-8")]
    NotUtf8,
    #[error("filter holds U+0000")]
    Nul,
    #[error("a wildcard must fill its level, and # must be the last")]
    Wildcard,
    #[error("a shared filter is $share/group/filter")]
    Share,
}

impl TopicFilter {
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Self::parse_bytes(text.as_bytes())
    }

    /// Parses a filter as it arrives on the wire.
    pub fn parse_bytes(raw: &[u8]) -> Result<Self, FilterError> {
        if raw.is_empty() {
            return Err(FilterError::Empty);
        }
        if raw.len() > Topic::LEN_MAX {
            return Err(FilterError::TooLong);
        }
        let text = std::str::from_utf8(raw).map_err(|_| FilterError::NotUtf8)?;
        if raw.contains(&0) {
            return Err(FilterError::Nul);
        }
        let path_start = match text.strip_prefix("$share/") {
            None if text == "$share" => return Err(FilterError::Share),
            None => 0,
            Some(rest) => {
                let (group, path) = rest.split_once('/').ok_or(FilterError::Share)?;
                if group.is_empty() || group.contains(['+', '#']) || path.is_empty() {
                    return Err(FilterError::Share);
                }
                raw.len() - path.len()
            }
        };
        check_wildcards(&text[path_start..])?;
        Ok(Self { text: text.into(), path_start: path_start as u32 })
    }

    /// The whole text, with `$share/{group}/` if it is shared.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The filter proper, without `$share/{group}/`.
    pub fn path(&self) -> &str {
        &self.text[self.path_start as usize..]
    }

    /// The same kind of filter (shared in the same group) with another filter proper.
    pub fn with_path(&self, path: &str) -> Result<Self, FilterError> {
        Self::parse(&[&self.text[..self.path_start as usize], path].concat())
    }

    /// The group of a shared subscription.
    pub fn group(&self) -> Option<&str> {
        let start = self.path_start as usize;
        (start > 0).then(|| &self.text["$share/".len()..start - 1])
    }

    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.path().split('/')
    }

    pub fn has_wildcard(&self) -> bool {
        self.path().contains(['+', '#'])
    }

    /// Whether a message on `topic` is for this filter (MQTT 5.0 section 4.7).
    pub fn matches(&self, topic: &Topic) -> bool {
        self.matches_path(topic)
    }

    /// The same for any text of levels: in another filter's path a wildcard is a level like others.
    pub fn matches_path(&self, path: &str) -> bool {
        if path.starts_with('$') && self.path().starts_with(['+', '#']) {
            return false;
        }
        let mut topic_levels = path.split('/');
        for level in self.levels() {
            match (level, topic_levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (exact, Some(actual)) if exact == actual => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }
}

fn check_wildcards(path: &str) -> Result<(), FilterError> {
    let mut levels = path.split('/').peekable();
    while let Some(level) = levels.next() {
        let legal = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            other => !other.contains(['+', '#']),
        };
        if !legal {
            return Err(FilterError::Wildcard);
        }
    }
    Ok(())
}

impl From<&Topic> for TopicFilter {
    fn from(topic: &Topic) -> Self {
        Self { text: topic.as_str().into(), path_start: 0 }
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        TopicFilter::parse(filter).unwrap().matches(&Topic::parse(topic).unwrap())
    }

    #[test]
    fn wildcards_match_as_section_4_7_says() {
        assert!(matches("sport/tennis/#", "sport/tennis"));
        assert!(matches("sport/tennis/#", "sport/tennis/player1/ranking"));
        assert!(matches("#", "a/b"));
        assert!(matches("+", "a") && !matches("+", "/a") && matches("/+", "/a") && matches("+/+", "/a"));
        assert!(matches("sport/+", "sport/") && !matches("sport/+", "sport"));
        assert!(!matches("#", "$SYS/x") && !matches("+/x", "$SYS/x") && matches("$SYS/#", "$SYS/x"));
        assert!(matches("$share/g/a/+", "a/b"));
    }

    #[test]
    fn laws() {
        for bad in ["a#", "a/#/b", "+a", "a/b+", "#/"] {
            assert_eq!(TopicFilter::parse(bad), Err(FilterError::Wildcard), "{bad}");
        }
        for bad in ["$share", "$share/g", "$share//a", "$share/g/", "$share/+/a"] {
            assert_eq!(TopicFilter::parse(bad), Err(FilterError::Share), "{bad}");
        }
        let shared = TopicFilter::parse("$share/g/a/#").unwrap();
        assert_eq!((shared.group(), shared.path()), (Some("g"), "a/#"));
        assert_eq!(shared.with_path("b/+").unwrap().as_str(), "$share/g/b/+");
        assert_eq!(shared.with_path("b#"), Err(FilterError::Wildcard));
    }
}

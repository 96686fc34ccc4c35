use std::fmt;
use std::sync::Arc;

use crate::Topic;

/// What a subscriber asks for: an exact topic, or one with wildcards, perhaps shared in a group.
///
/// Laws (MQTT 5.0 sections 4.7 and 4.8.2): 1 to 65,535 bytes of UTF-8 without U+0000; `+` fills a
/// whole level; `#` fills the last level; `$share/{group}/{filter}` has a group of at least one
/// character without `/`, `+`, `#`, and a filter that obeys the same laws.
///
/// Two more forms are the gateway's own, for all versions: `$queue/{filter}` shares in one group
/// without a name, and `$exclusive/{filter}` is for one session at a time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    text: Arc<str>,
    /// Where the filter proper begins: after `$share/{group}/` and the like, else 0.
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
    #[error("a shared filter is $share/group/filter or $queue/filter")]
    Share,
    #[error("an exclusive filter is $exclusive/filter")]
    Exclusive,
}

const SHARE: &str = "$share/";
const QUEUE: &str = "$queue/";
const EXCLUSIVE: &str = "$exclusive/";

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
        let path = path_of(text)?;
        let path_start = raw.len() - path.len();
        check_wildcards(path)?;
        Ok(Self { text: text.into(), path_start: path_start as u32 })
    }

    /// The whole text, with `$share/{group}/` if it is shared.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole text, shared.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The filter proper, without `$share/{group}/`, `$queue/` or `$exclusive/`.
    pub fn path(&self) -> &str {
        &self.text[self.path_start as usize..]
    }

    /// The same kind of filter (shared in the same group, exclusive) with another filter proper.
    pub fn with_path(&self, path: &str) -> Result<Self, FilterError> {
        Self::parse(&[&self.text[..self.path_start as usize], path].concat())
    }

    /// The group of a shared subscription. That of `$queue/` has the empty name, which no
    /// `$share/` can have.
    pub fn group(&self) -> Option<&str> {
        let path_start = self.path_start as usize;
        let prefix = self.text[..path_start].strip_suffix('/')?;
        if prefix.len() < QUEUE.len() {
            return Some("");
        }
        prefix.strip_prefix(SHARE)
    }

    /// Whether only one session at a time may have this filter.
    pub fn is_exclusive(&self) -> bool {
        self.path_start as usize == EXCLUSIVE.len() && self.text.starts_with(EXCLUSIVE)
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

/// What stands behind the prefix of a filter that has one.
fn path_of(text: &str) -> Result<&str, FilterError> {
    // Nearly all have none.
    if !text.starts_with('$') {
        return Ok(text);
    }
    if let Some(rest) = text.strip_prefix(SHARE) {
        let (group, path) = rest.split_once('/').ok_or(FilterError::Share)?;
        let is_legal = !group.is_empty() && !group.contains(['+', '#']) && !path.is_empty();
        return if is_legal { Ok(path) } else { Err(FilterError::Share) };
    }
    for (prefix, error) in [(QUEUE, FilterError::Share), (EXCLUSIVE, FilterError::Exclusive)] {
        if let Some(path) = text.strip_prefix(prefix) {
            return if path.is_empty() { Err(error) } else { Ok(path) };
        }
    }
    match text {
        "$share" | "$queue" => Err(FilterError::Share),
        "$exclusive" => Err(FilterError::Exclusive),
        text => Ok(text),
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
        for bad in ["$share", "$share/g", "$share//a", "$share/g/", "$share/+/a", "$queue", "$queue/"] {
            assert_eq!(TopicFilter::parse(bad), Err(FilterError::Share), "{bad}");
        }
        for bad in ["$exclusive", "$exclusive/"] {
            assert_eq!(TopicFilter::parse(bad), Err(FilterError::Exclusive), "{bad}");
        }
        for bad in ["$share/g/a#", "$queue/#/a", "$exclusive/+a"] {
            assert_eq!(TopicFilter::parse(bad), Err(FilterError::Wildcard), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_no_part_of_the_path() {
        let parts = |text: &str| {
            let filter = TopicFilter::parse(text).unwrap();
            (filter.group().map(str::to_owned), filter.is_exclusive(), filter.path().to_owned())
        };
        let named = |group: &str| Some(group.to_owned());
        assert_eq!(parts("a/#"), (None, false, "a/#".to_owned()));
        assert_eq!(parts("$share/g/a/#"), (named("g"), false, "a/#".to_owned()));
        assert_eq!(parts("$share/four/a"), (named("four"), false, "a".to_owned()), "as long as $exclusive/");
        assert_eq!(parts("$share/$queue/a"), (named("$queue"), false, "a".to_owned()));
        assert_eq!(parts("$share/g//a"), (named("g"), false, "/a".to_owned()));
        assert_eq!(parts("$queue/a/+"), (named(""), false, "a/+".to_owned()));
        assert_eq!(parts("$queue//"), (named(""), false, "/".to_owned()));
        assert_eq!(parts("$exclusive/a/+"), (None, true, "a/+".to_owned()));
        assert_eq!(parts("$SYS/#"), (None, false, "$SYS/#".to_owned()));
        assert_eq!(parts("$queues/a"), (None, false, "$queues/a".to_owned()));
        let with_path = |text: &str, path| TopicFilter::parse(text).unwrap().with_path(path);
        for prefix in ["", "$share/g/", "$queue/", "$exclusive/"] {
            let filter = with_path(&[prefix, "a/#"].concat(), "b/+").unwrap();
            assert_eq!(filter.as_str(), [prefix, "b/+"].concat());
        }
        assert_eq!(with_path("$share/g/a", "b#"), Err(FilterError::Wildcard));
    }
}

#![expect(clippy::mutable_key_type, reason = "it is sorted by topic, which does not change")]

use std::collections::BTreeSet;
use std::collections::btree_set::Range;
use std::ops::Bound;

use gateway_model::{Topic, TopicFilter};

use super::Kept;

/// What matches a filter, in order of topic, without a look at all that is there.
///
/// ```text
///   hall/+/7/state    hall/1/5/state   is before hall/1/7: go there
///                     hall/1/7/state   matches
///                     hall/1/8/state   is behind it: go to what is behind hall/1/
///                     hall/2/1/state   ...
/// ```
pub(super) struct Scan<'a> {
    messages: &'a BTreeSet<Kept>,
    filter: &'a TopicFilter,
    /// What every matching topic begins with.
    prefix: &'a str,
    ahead: Range<'a, Kept>,
    /// Where to go on: no topic before it matches.
    target: String,
    #[cfg(test)]
    looks: usize,
}

/// So many topics are walked over before the tree is asked for the way: it costs as much as they do.
const STEPS: usize = 8;

impl<'a> Scan<'a> {
    pub(super) fn new(messages: &'a BTreeSet<Kept>, filter: &'a TopicFilter) -> Self {
        let prefix = fixed_prefix(filter.path());
        let ahead = messages.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        Self {
            messages,
            filter,
            prefix,
            ahead,
            target: String::new(),
            #[cfg(test)]
            looks: 0,
        }
    }

    /// The first that is not before the target.
    fn skip(&mut self) -> Option<&'a Kept> {
        for _ in 0..STEPS {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            let kept = self.ahead.next()?;
            if kept.message.topic.as_str() >= self.target.as_str() {
                return Some(kept);
            }
        }
        self.ahead = self.messages.range::<str, _>((Bound::Included(self.target.as_str()), Bound::Unbounded));
        self.ahead.next()
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = &'a Kept;

    fn next(&mut self) -> Option<&'a Kept> {
        loop {
            let kept = self.skip()?;
            let topic = &kept.message.topic;
            if !topic.starts_with(self.prefix) {
                self.ahead = Range::default();
                return None;
            }
            if self.filter.matches(topic) {
                return Some(kept);
            }
            if !go_on(&mut self.target, self.filter.path(), topic) {
                self.ahead = Range::default();
                return None;
            }
        }
    }
}

/// Sets `target` to where the next match may be, behind a topic that does not match; false if there is none.
fn go_on(target: &mut String, path: &str, topic: &Topic) -> bool {
    target.clear();
    let mut levels = topic.split('/');
    // Bytes of the topic whose levels agree with the filter, each with its slash.
    let mut agreed = 0;
    for (depth, wanted) in path.split('/').enumerate() {
        let Some(level) = levels.next() else { return true };
        // A filter that begins with a wildcard leaves out `$SYS` and the like: one after the other.
        let is_reserved = depth == 0 && topic.starts_with('$');
        if wanted == "#" || is_reserved {
            return true;
        }
        if wanted != "+" && wanted != level {
            let before = &topic[..agreed];
            target.push_str(before);
            target.push_str(wanted);
            if target.as_str() > topic.as_str() {
                return true;
            }
            // `a-b` is between `a` and `a/b`.
            target.push('/');
            return target.as_str() > topic.as_str() || leave(target, before);
        }
        agreed += level.len() + 1;
    }
    // The topic goes on where the filter ends.
    leave(target, &topic[..agreed])
}

/// Sets `target` behind everything that begins so: a prefix that ends with a slash. False if it is empty,
/// and so everything begins so.
fn leave(target: &mut String, prefix: &str) -> bool {
    const BEHIND_SLASH: char = '0';
    target.clear();
    let Some(levels) = prefix.strip_suffix('/') else { return false };
    target.push_str(levels);
    target.push(BEHIND_SLASH);
    true
}

/// What every matching topic begins with: `a/b/+` gives `a/b/`, but `a/#` gives `a`, which it
/// matches as well.
fn fixed_prefix(path: &str) -> &str {
    let wildcard = path.find(['+', '#']).unwrap_or(path.len());
    match &path[wildcard..] {
        "#" => path[..wildcard].strip_suffix('/').unwrap_or(&path[..wildcard]),
        _ => &path[..wildcard],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use gateway_model::{ClientId, Message, Qos, Stored};

    use super::*;

    fn kept(topics: impl IntoIterator<Item = String>) -> BTreeSet<Kept> {
        topics.into_iter().map(|topic| Kept { message: Arc::new(message(&topic)), until: None }).collect()
    }

    fn message(topic: &str) -> Message {
        Message {
            topic: Topic::parse(topic).unwrap(),
            payload: Bytes::new(),
            properties: None,
            publisher: ClientId::parse("publisher").unwrap(),
            accepted_unix_millis: 0.into(),
            expires_at: None,
            qos: Qos::AtMostOnce,
            retain: true,
            stored: Stored::default(),
        }
    }

    fn topics<'a>(found: impl Iterator<Item = &'a Kept>) -> Vec<String> {
        found.map(|kept| kept.message.topic.to_string()).collect()
    }

    /// Levels whose order as text is not that of levels, or that are empty.
    const LEVELS: [&str; 7] = ["", "a", "a-", "a0", "b", "$s", "~"];

    #[test]
    fn it_finds_what_a_walk_over_all_finds() {
        let mut all = Vec::new();
        for a in LEVELS {
            all.push(a.to_owned());
            for b in LEVELS {
                all.push(format!("{a}/{b}"));
                all.extend(LEVELS.iter().map(|c| format!("{a}/{b}/{c}")));
            }
        }
        all.retain(|topic| Topic::parse(topic).is_ok());
        let messages = kept(all.iter().cloned());
        let parts: Vec<&str> = LEVELS.into_iter().chain(["+", "#", "c"]).collect();
        let mut texts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        for a in &parts {
            for b in &parts {
                texts.push(format!("{a}/{b}"));
                texts.extend(parts.iter().map(|c| format!("{a}/{b}/{c}")));
            }
        }
        let filters: Vec<TopicFilter> =
            texts.iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
        assert!(filters.len() > 300);
        for filter in &filters {
            let expected = topics(messages.iter().filter(|kept| filter.matches(&kept.message.topic)));
            assert_eq!(topics(Scan::new(&messages, filter)), expected, "{filter}");
        }
    }

    #[test]
    fn it_does_not_look_at_everything() {
        let topic = |number: usize| format!("hall/{}/{}/state", number / 100, number % 100);
        let messages = kept((0..20_000).map(topic));
        let looks = |filter: &str| {
            let filter = TopicFilter::parse(filter).unwrap();
            let mut scan = Scan::new(&messages, &filter);
            let found = scan.by_ref().count();
            (found, scan.looks)
        };
        for filter in ["hall/+/7/state", "+/+/7/#", "hall/+/7/+", "hall/+/7/state/#"] {
            let (found, looks) = looks(filter);
            assert!(
                found == 200 && looks < 200 * 3 * (STEPS + 1),
                "{filter}: {found} found with {looks} looks"
            );
        }
        assert_eq!(looks("hall/#").0, 20_000);
        // What begins like the first level, and goes on without a slash.
        assert!(looks("hal/#").1 < 2 * STEPS && looks("hal/+").1 < 2 * STEPS);
        assert!(looks("hall/+").1 < 200 * 2 * (STEPS + 1));
    }
}

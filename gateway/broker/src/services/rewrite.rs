use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use gateway_model::{FilterError, Placeholders, Reason, Topic, TopicFilter};
use regex_lite::{Captures, Regex, RegexBuilder};

use crate::services::settings::{RewriteAction, RewriteSettings};

/// The rules by which topics are something else on the bus than in what clients write.
///
/// They are tried in the order of the file; the first whose source and pattern match decides.
#[derive(Clone, Debug, Default)]
pub struct Rewrites {
    rules: Box<[Rule]>,
}

#[derive(Clone, Debug)]
struct Rule {
    publishes: bool,
    subscribes: bool,
    source: TopicFilter,
    pattern: Regex,
    target: Placeholders,
}

/// Whose topic it is.
#[derive(Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) username: Option<&'a str>,
}

/// What one publishing thread remembers of topics it has looked at: a direct-mapped table, as that
/// of the routes.
#[derive(Default)]
pub(crate) struct RewriteCache {
    slots: Vec<Option<(Topic, Rewritten)>>,
    hasher: RandomState,
}

#[derive(Clone)]
enum Rewritten {
    Unchanged,
    ForAll(Topic),
    /// No topic comes out of it.
    Invalid,
    /// The target names the client.
    PerClient,
}

/// A compiled pattern takes at most this; one of some hundred characters takes a tenth of it.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// A power of two.
const CACHE_SLOTS: usize = 4096;
/// Longer topics are looked at each time, so that nobody can fill the cache with them.
const CACHED_BYTES_MAX: usize = 256;

impl Rewrites {
    /// The rules of the settings. An error is the key within the list, and what is wrong with it.
    pub fn new(settings: &[RewriteSettings]) -> Result<Self, (String, String)> {
        let rule = |(index, rule): (usize, &RewriteSettings)| {
            Rule::new(rule).map_err(|(key, text)| (format!("{index}.{key}"), text))
        };
        Ok(Self { rules: settings.iter().enumerate().map(rule).collect::<Result<_, _>>()? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What a topic that is published to becomes; `None` if it stays.
    pub(crate) fn publish(
        &self,
        topic: &Topic,
        who: Who<'_>,
        cache: &mut RewriteCache,
    ) -> Result<Option<Topic>, Reason> {
        if topic.len() > CACHED_BYTES_MAX {
            return self.publish_uncached(topic, who);
        }
        let known = cache.get_or_insert(topic, || self.for_all(topic));
        match known {
            Rewritten::Unchanged => Ok(None),
            Rewritten::ForAll(topic) => Ok(Some(topic.clone())),
            Rewritten::Invalid => Err(Reason::TopicNameInvalid),
            Rewritten::PerClient => self.publish_uncached(topic, who),
        }
    }

    /// The same for what is published once, such as a will.
    pub(crate) fn publish_uncached(&self, topic: &str, who: Who<'_>) -> Result<Option<Topic>, Reason> {
        let Some((rule, captures)) = self.find(topic, |rule| rule.publishes) else { return Ok(None) };
        let target = rule.fill(&captures, who).ok_or(Reason::TopicNameInvalid)?;
        Topic::parse(&target).map(Some).map_err(|_| Reason::TopicNameInvalid)
    }

    /// What a filter becomes; `None` if it stays. A shared one stays shared in its group.
    pub(crate) fn filter(&self, filter: &TopicFilter, who: Who<'_>) -> Result<Option<TopicFilter>, Reason> {
        let Some((rule, captures)) = self.find(filter.path(), |rule| rule.subscribes) else {
            return Ok(None);
        };
        let target = rule.fill(&captures, who).ok_or(Reason::TopicFilterInvalid)?;
        let rewritten: Result<_, FilterError> = filter.with_path(&target);
        rewritten.map(Some).map_err(|_| Reason::TopicFilterInvalid)
    }

    fn for_all(&self, topic: &Topic) -> Rewritten {
        match self.find(topic, |rule| rule.publishes) {
            None => Rewritten::Unchanged,
            Some((rule, _)) if !rule.target.is_same_for_all() => Rewritten::PerClient,
            Some(_) => match self.publish_uncached(topic, Who { client_id: "", username: None }) {
                Ok(Some(topic)) => Rewritten::ForAll(topic),
                _ => Rewritten::Invalid,
            },
        }
    }

    fn find<'t>(&self, path: &'t str, holds: fn(&Rule) -> bool) -> Option<(&Rule, Captures<'t>)> {
        let mut matching = self.rules.iter().filter(|rule| holds(rule) && rule.source.matches_path(path));
        matching.find_map(|rule| Some((rule, rule.pattern.captures(path)?)))
    }
}

impl Rule {
    fn new(settings: &RewriteSettings) -> Result<Self, (&'static str, String)> {
        let source = TopicFilter::parse(&settings.source)
            .map_err(|error| ("source", format!("{:?}: {error}", settings.source)))?;
        if source.path() != source.as_str() {
            let text = format!("{:?}: a rule holds for shared filters as for others", settings.source);
            return Err(("source", text));
        }
        let pattern = RegexBuilder::new(&settings.pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| ("pattern", format!("{:?}: {error}", settings.pattern)))?;
        let target = |error: String| ("target", format!("{:?}: {error}", settings.target));
        let parsed = Placeholders::parse_with_groups(&settings.target, pattern.captures_len() - 1)
            .map_err(|error| target(error.to_string()))?;
        if settings.target.is_empty() {
            return Err(target("is empty".to_owned()));
        }
        // What comes from the pattern's groups is a matter of the topic; the rest can be judged now.
        let judged = parsed.fill("x", Some("x"), |_| "x").map_err(|error| target(error.to_string()))?;
        TopicFilter::parse(&judged).map_err(|error| target(error.to_string()))?;
        Ok(Self {
            publishes: settings.action != RewriteAction::Subscribe,
            subscribes: settings.action != RewriteAction::Publish,
            source,
            pattern,
            target: parsed,
        })
    }

    /// `None` if the client's names may not stand in a topic.
    fn fill(&self, captures: &Captures<'_>, who: Who<'_>) -> Option<String> {
        let group = |number| captures.get(number).map_or("", |group| group.as_str());
        self.target.fill(who.client_id, who.username, group).ok()
    }
}

impl RewriteCache {
    fn get_or_insert(&mut self, topic: &Topic, find: impl FnOnce() -> Rewritten) -> &Rewritten {
        if self.slots.is_empty() {
            self.slots.resize_with(CACHE_SLOTS, || None);
        }
        let place = self.hasher.hash_one(topic.as_bytes()) as usize % CACHE_SLOTS;
        let slot = &mut self.slots[place];
        if slot.as_ref().is_none_or(|(known, _)| known != topic) {
            *slot = None;
        }
        &slot.get_or_insert_with(|| (topic.clone(), find())).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Who<'_> = Who { client_id: "c", username: Some("u") };

    fn rule(action: RewriteAction, source: &str, pattern: &str, target: &str) -> RewriteSettings {
        let [source, pattern, target] = [source, pattern, target].map(str::to_owned);
        RewriteSettings { action, source, pattern, target }
    }

    fn publish(rewrites: &Rewrites, topic: &str, who: Who<'_>) -> Result<Option<String>, Reason> {
        let topic = Topic::parse(topic).unwrap();
        let mut cache = RewriteCache::default();
        let first = rewrites.publish(&topic, who, &mut cache);
        assert_eq!(first, rewrites.publish(&topic, who, &mut cache), "from the cache");
        Ok(first?.map(|topic| topic.as_str().to_owned()))
    }

    fn filter(rewrites: &Rewrites, filter: &str) -> Option<String> {
        let filter = TopicFilter::parse(filter).unwrap();
        Some(rewrites.filter(&filter, WHO).unwrap()?.as_str().to_owned())
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = [
            rule(RewriteAction::All, "x/#", "^x/y/(.+)$", "z/y/$1"),
            rule(RewriteAction::All, "x/#", "^x/(\\d+)/(.+)$", "n/$2/$1"),
            rule(RewriteAction::All, "x/#", "^x/y/1$", "never"),
        ];
        let rewrites = Rewrites::new(&rules).unwrap();
        for (topic, becomes) in [
            ("x/y/1", Some("z/y/1")),
            ("x/12/a/b", Some("n/a/b/12")),
            ("x/z", None),
            ("a/x/y/1", None),
            ("$SYS/x/y/1", None),
        ] {
            assert_eq!(publish(&rewrites, topic, WHO).unwrap().as_deref(), becomes, "{topic}");
        }
        for (from, becomes) in [
            ("x/y/+", Some("z/y/+")),
            ("x/y/#", Some("z/y/#")),
            ("$share/g/x/y/1", Some("$share/g/z/y/1")),
            ("$queue/x/y/1", Some("$queue/z/y/1")),
            ("$exclusive/x/y/1", Some("$exclusive/z/y/1")),
            ("#", None),
        ] {
            assert_eq!(filter(&rewrites, from).as_deref(), becomes, "{from}");
        }
    }

    #[test]
    fn a_rule_holds_where_it_says() {
        let rules =
            [rule(RewriteAction::Publish, "a", "^a$", "p"), rule(RewriteAction::Subscribe, "a", "^a$", "s")];
        let rewrites = Rewrites::new(&rules).unwrap();
        assert_eq!(publish(&rewrites, "a", WHO).unwrap().as_deref(), Some("p"));
        assert_eq!(filter(&rewrites, "a").as_deref(), Some("s"));
    }

    #[test]
    fn a_target_names_the_client() {
        let rewrites =
            Rewrites::new(&[rule(RewriteAction::All, "up/#", "^up/(.*)$", "d/${clientid}/${username}/$1")])
                .unwrap();
        assert_eq!(publish(&rewrites, "up/t", WHO).unwrap().as_deref(), Some("d/c/u/t"));
        let other = Who { client_id: "o", username: Some("u") };
        let mut cache = RewriteCache::default();
        let topic = Topic::parse("up/t").unwrap();
        for (who, becomes) in [(WHO, "d/c/u/t"), (other, "d/o/u/t")] {
            assert_eq!(rewrites.publish(&topic, who, &mut cache).unwrap().unwrap().as_str(), becomes);
        }
        for (client_id, username) in [("a/b", Some("u")), ("c", None), ("+", Some("u"))] {
            let who = Who { client_id, username };
            assert_eq!(publish(&rewrites, "up/t", who), Err(Reason::TopicNameInvalid), "{client_id}");
            let filter = TopicFilter::parse("up/#").unwrap();
            assert_eq!(rewrites.filter(&filter, who), Err(Reason::TopicFilterInvalid), "{client_id}");
        }
    }

    #[test]
    fn a_result_that_is_no_topic_is_refused() {
        let rewrites = Rewrites::new(&[rule(RewriteAction::All, "a/#", "^a/(.*)$", "$1")]).unwrap();
        assert_eq!(publish(&rewrites, "a/", WHO), Err(Reason::TopicNameInvalid));
        let rewrites = Rewrites::new(&[rule(RewriteAction::All, "a/#", "^a/(.*)$", "b/+/$1")]).unwrap();
        assert_eq!(publish(&rewrites, "a/x", WHO), Err(Reason::TopicNameInvalid));
        assert_eq!(filter(&rewrites, "a/x").as_deref(), Some("b/+/x"));
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        let key = |source: &str, pattern: &str, target: &str| {
            let rules =
                [rule(RewriteAction::All, "a", "a", "a"), rule(RewriteAction::All, source, pattern, target)];
            Rewrites::new(&rules).map(drop).unwrap_err().0
        };
        assert_eq!(key("a/#/b", "a", "b"), "1.source");
        assert_eq!(key("$share/g/a", "a", "b"), "1.source");
        assert_eq!(key("$exclusive/a", "a", "b"), "1.source");
        assert_eq!(key("a", "(", "b"), "1.pattern");
        assert_eq!(key("a", "((((a{99}){99}){99}){99})", "b"), "1.pattern");
        for target in ["", "$1", "${ip}", "a#", "${clientid"] {
            assert_eq!(key("a", "a", target), "1.target", "{target}");
        }
    }

    #[test]
    fn topics_that_collide_in_the_cache_are_told_apart() {
        let rewrites = Rewrites::new(&[rule(RewriteAction::All, "a/#", "^a/(.*)$", "b/$1")]).unwrap();
        let mut cache = RewriteCache::default();
        for number in 0..3 * CACHE_SLOTS {
            let topic = Topic::parse(&format!("a/{number}")).unwrap();
            let becomes = rewrites.publish(&topic, WHO, &mut cache).unwrap().unwrap();
            assert_eq!(becomes.as_str(), format!("b/{number}"));
        }
        let long = "x".repeat(CACHED_BYTES_MAX);
        let topic = Topic::parse(&format!("a/{long}")).unwrap();
        let becomes = rewrites.publish(&topic, WHO, &mut cache).unwrap().unwrap();
        assert_eq!(becomes.as_str(), format!("b/{long}"));
        assert!(cache.slots.iter().flatten().all(|(topic, _)| topic.len() <= CACHED_BYTES_MAX));
    }
}

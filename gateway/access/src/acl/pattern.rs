use gateway_model::{Placeholders, TopicFilter};

use crate::Subject;

/// A filter in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    levels: Box<[Level]>,
    /// What stands before the first wildcard or placeholder, without the `/` there: most topics that do
    /// not match differ in it.
    beginning: Box<str>,
    /// `=filter`: the text itself, in which wildcards mean nothing.
    exact: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    /// `+`
    One,
    /// `#`
    Rest,
    Text(Box<str>),
    Filled(Placeholders),
}

impl Pattern {
    /// `text` is a filter, in which `${clientid}` and `${username}` may stand.
    pub(crate) fn parse(text: &str, exact: bool) -> Result<Self, String> {
        let filter = TopicFilter::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
        if filter.path() != text {
            return Err(format!("{text:?}: write {:?}; shared filters are judged by it", filter.path()));
        }
        let level = |level: &str| {
            Ok(match level {
                "+" if !exact => Level::One,
                "#" if !exact => Level::Rest,
                text if text.contains("${") => {
                    Level::Filled(Placeholders::parse(text).map_err(|error| error.to_string())?)
                }
                text => Level::Text(text.into()),
            })
        };
        let levels: Box<[Level]> = text.split('/').map(level).collect::<Result<_, String>>()?;
        let is_text = |level: &&Level| matches!(level, Level::Text(_));
        let texts = text.split('/').take(levels.iter().take_while(is_text).count());
        let beginning = texts.collect::<Vec<_>>().join("/").into();
        Ok(Self { levels, beginning, exact })
    }

    /// Whether it is `#` or `+/#`, which no other filter adds anything to.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(*self.levels, [Level::Rest] | [Level::One, Level::Rest])
    }

    /// `None` if it is not the same for all topics and clients.
    pub(crate) fn first_level(&self) -> Option<&str> {
        match &self.levels[0] {
            Level::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether a placeholder of it has a value for this client that could be taken for a part of a
    /// filter: then the pattern matches nothing, or a client could name itself `#`.
    fn is_void(&self, subject: &Subject<'_>) -> bool {
        self.levels.iter().any(|level| match level {
            Level::Filled(text) => text.check(subject.client_id, subject.username()).is_err(),
            _ => false,
        })
    }

    /// Whether all that `asked` matches is matched by this too; `asked` is a topic or a filter.
    pub(crate) fn covers(&self, subject: &Subject<'_>, asked: &str) -> bool {
        if !asked.starts_with(&*self.beginning) || self.is_void(subject) {
            return false;
        }
        let mut asked_levels = asked.split('/');
        for (position, level) in self.levels.iter().enumerate() {
            let Some(asked) = asked_levels.next() else {
                // "a/#" matches "a" as well (MQTT 5.0 section 4.7.1.2).
                return *level == Level::Rest && position > 0;
            };
            let is_hidden = position == 0 && asked.starts_with('$');
            let fits = match level {
                Level::Rest => return !is_hidden,
                // Every topic has a first level, so "+/#" is "#".
                Level::One if asked == "#" => return position == 0 && self.is_everything(),
                Level::One => !is_hidden,
                exact => exact.is(subject, asked),
            };
            if !fits {
                return false;
            }
        }
        asked_levels.next().is_none()
    }

    /// Whether there can be a topic that both match.
    pub(crate) fn overlaps(&self, subject: &Subject<'_>, asked: &str) -> bool {
        if self.is_void(subject) {
            return false;
        }
        if self.exact {
            return self.covers(subject, asked);
        }
        let mut asked_levels = asked.split('/').enumerate();
        let mut levels = self.levels.iter();
        loop {
            match (levels.next(), asked_levels.next()) {
                (None, None) => return true,
                (None, Some((_, asked))) => return asked == "#",
                (Some(level), None) => return *level == Level::Rest,
                (Some(level), Some((position, asked))) => {
                    // Wildcards at the first level hide what begins with $ (section 4.7.2).
                    let is_hidden = position == 0
                        && match level {
                            Level::One | Level::Rest => asked.starts_with('$'),
                            exact => matches!(asked, "+" | "#") && exact.begins_with_dollar(subject),
                        };
                    match (level, asked) {
                        _ if is_hidden => return false,
                        (Level::Rest, _) | (_, "#") => return true,
                        (Level::One, _) | (_, "+") => {}
                        (exact, asked) if exact.is(subject, asked) => {}
                        _ => return false,
                    }
                }
            }
        }
    }
}

impl Level {
    fn is(&self, subject: &Subject<'_>, level: &str) -> bool {
        match self {
            Self::One | Self::Rest => false,
            Self::Text(text) => **text == *level,
            Self::Filled(text) => text.is(subject.client_id, subject.username(), level),
        }
    }

    fn begins_with_dollar(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::One | Self::Rest => false,
            Self::Text(text) => text.starts_with('$'),
            Self::Filled(text) => {
                let filled = text.fill(subject.client_id, subject.username(), |_| "");
                filled.is_ok_and(|text| text.starts_with('$'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    fn with<T>(client_id: &str, username: Option<&str>, judge: impl FnOnce(&Subject<'_>) -> T) -> T {
        let identity = Identity { username: username.map(Into::into), ..Identity::default() };
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        judge(&Subject { identity: &identity, client_id, address, listener: "mqtt" })
    }

    fn covers(pattern: &str, asked: &str) -> bool {
        let pattern = Pattern::parse(pattern, false).unwrap();
        with("c", Some("u"), |subject| pattern.covers(subject, asked))
    }

    fn overlaps(pattern: &str, asked: &str) -> bool {
        let pattern = Pattern::parse(pattern, false).unwrap();
        with("c", Some("u"), |subject| pattern.overlaps(subject, asked))
    }

    #[test]
    fn covering() {
        for (pattern, asked) in [
            ("a/b", "a/b"),
            ("a/+", "a/b"),
            ("a/+", "a/+"),
            ("a/+", "a/"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("a/#", "a/+/c/#"),
            ("#", "#"),
            ("#", "+/a"),
            ("+/#", "a/b/c"),
            ("$SYS/#", "$SYS/+/x"),
            ("/#", "/"),
        ] {
            assert!(covers(pattern, asked), "{pattern} covers {asked}");
        }
        for (pattern, asked) in [
            ("a/b", "a/+"),
            ("a/b", "a/#"),
            ("a/+", "a/#"),
            ("a/+", "a/b/c"),
            ("a/+", "a"),
            ("a/+/#", "a/#"),
            ("a/b", "a"),
            ("a", "a/b"),
            ("#", "$SYS/#"),
            ("+/x", "$SYS/x"),
            ("a/#", "b"),
        ] {
            assert!(!covers(pattern, asked), "{pattern} does not cover {asked}");
        }
    }

    #[test]
    fn overlapping() {
        for (pattern, asked) in [
            ("secret/#", "#"),
            ("secret/#", "+/x"),
            ("secret/#", "secret"),
            ("secret/x", "secret/#"),
            ("a/+/c", "a/b/+"),
            ("a/+/c", "a/b/#"),
            ("a/b", "a/b/#"),
            ("a/b/#", "a/b"),
            ("#", "a"),
            ("$SYS/x", "$SYS/#"),
        ] {
            assert!(overlaps(pattern, asked), "{pattern} overlaps {asked}");
        }
        for (pattern, asked) in [
            ("secret/#", "public/#"),
            ("a/+/c", "a/b/d"),
            ("a/b/c", "a/+"),
            ("a/b", "a"),
            ("$SYS/#", "#"),
            ("$SYS/x", "+/x"),
            ("#", "$SYS/#"),
            ("+/x", "$SYS/x"),
        ] {
            assert!(!overlaps(pattern, asked), "{pattern} does not overlap {asked}");
        }
    }

    /// Against the definition: what two filters match, among all topics of a small world.
    #[test]
    fn both_relations_agree_with_what_filters_match() {
        let words = ["a", "b", "+"];
        let mut filters: Vec<String> = words.map(str::to_owned).into();
        filters.extend(words.iter().flat_map(|x| words.iter().map(move |y| format!("{x}/{y}"))));
        filters.extend(filters.clone().iter().map(|filter| format!("{filter}/#")));
        filters.push("#".to_owned());
        // "c" stands for every other word: wide enough to refute a false covering.
        let letters = ["a", "b", "c"];
        let mut topics: Vec<String> = letters.map(str::to_owned).into();
        for depth in [0, 3] {
            let longer = topics[depth..].to_vec();
            topics.extend(longer.iter().flat_map(|x| letters.iter().map(move |y| format!("{x}/{y}"))));
        }
        let topics: Vec<_> = topics.iter().map(|text| gateway_model::Topic::parse(text).unwrap()).collect();
        for pattern in &filters {
            for asked in &filters {
                let [p, a] = [pattern, asked].map(|text| TopicFilter::parse(text).unwrap());
                let both = topics.iter().any(|topic| p.matches(topic) && a.matches(topic));
                let all = topics.iter().all(|topic| p.matches(topic) || !a.matches(topic));
                assert_eq!(overlaps(pattern, asked), both, "{pattern} overlaps {asked}");
                assert_eq!(covers(pattern, asked), all, "{pattern} covers {asked}");
            }
        }
    }

    #[test]
    fn placeholders_are_filled_in_within_levels() {
        let pattern = Pattern::parse("d/x-${clientid}.${username}/+", false).unwrap();
        let covers = |id: &str, name: Option<&str>, asked: &str| {
            with(id, name, |subject| pattern.covers(subject, asked))
        };
        assert!(covers("7", Some("u"), "d/x-7.u/t") && covers("7", Some("u"), "d/x-7.u/+"));
        assert!(!covers("7", Some("u"), "d/x-7.uu/t") && !covers("7", Some("u"), "d/x-8.u/t"));
        assert!(!covers("7", None, "d/x-7./t"));
    }

    #[test]
    fn a_client_cannot_widen_a_rule_by_its_name() {
        let own = Pattern::parse("d/${clientid}/#", false).unwrap();
        for id in ["+", "#", "a/b", "a+", ""] {
            with(id, None, |subject| {
                for asked in ["d/+/#", "d/#", &format!("d/{id}/x"), "d/a/x", "#"] {
                    assert!(!own.covers(subject, asked) && !own.overlaps(subject, asked), "{id} {asked}");
                }
            });
        }
    }

    #[test]
    fn an_exact_filter_is_compared_as_a_text() {
        let exact = Pattern::parse("#", true).unwrap();
        with("c", None, |subject| {
            assert!(exact.covers(subject, "#") && exact.overlaps(subject, "#"));
            assert!(!exact.covers(subject, "a") && !exact.overlaps(subject, "a/#"));
        });
    }

    #[test]
    fn laws() {
        for bad in ["", "a#", "a/#/b", "$share/g/a", "a/${clientId}", "a/${clientid", "a\0"] {
            assert!(Pattern::parse(bad, false).is_err(), "{bad}");
        }
    }
}

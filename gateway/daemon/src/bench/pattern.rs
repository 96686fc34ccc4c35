/// A topic or filter in which `%i` stands for the number of a client, `%c` for its client
/// identifier and `%u` for its user name, as in emqtt-bench.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether each client gets another text.
    pub fn is_individual(&self) -> bool {
        self.0.contains("%i") || self.0.contains("%c")
    }

    /// A filter that all its topics match: levels that differ are wildcards.
    pub fn as_filter(&self) -> String {
        let levels =
            self.0.split('/').map(|level| match Self::new(level).is_individual() || level.contains("%u") {
                true => "+",
                false => level,
            });
        levels.collect::<Vec<_>>().join("/")
    }

    pub fn expand(&self, number: u32, client_id: &str, username: &str) -> String {
        let mut text = String::with_capacity(self.0.len() + client_id.len());
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('%') {
            let (before, mark) = rest.split_at(at);
            text.push_str(before);
            let (sign, value) = match mark.as_bytes().get(1) {
                Some(b'i') => (2, number.to_string()),
                Some(b'c') => (2, client_id.to_owned()),
                Some(b'u') => (2, username.to_owned()),
                _ => (1, "%".to_owned()),
            };
            text.push_str(&value);
            rest = mark.get(sign..).unwrap_or_default();
        }
        text.push_str(rest);
        text
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_for_the_client() {
        for (pattern, text) in [
            ("bench/%i", "bench/7"),
            ("%u/%c/%i/x", "me/dev-7/7/x"),
            ("%i%i%%", "77%%"),
            ("100%", "100%"),
            ("ü%é%i", "ü%é7"),
            ("plain", "plain"),
        ] {
            assert_eq!(Pattern::new(pattern).expand(7, "dev-7", "me"), text, "{pattern}");
        }
    }

    #[test]
    fn what_is_put_in_is_not_expanded_again() {
        assert_eq!(Pattern::new("%c").expand(1, "%i", ""), "%i");
    }

    #[test]
    fn a_filter_stands_for_all_topics() {
        for (pattern, filter) in [("a/%i", "a/+"), ("%u/x-%c/b", "+/+/b"), ("a/b", "a/b"), ("/%i", "/+")] {
            assert_eq!(Pattern::new(pattern).as_filter(), filter, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_without_a_number_or_an_identifier_is_one_topic_for_all() {
        assert!(Pattern::new("a/%i").is_individual() && Pattern::new("a/%c").is_individual());
        assert!(!Pattern::new("a/%u").is_individual());
    }
}

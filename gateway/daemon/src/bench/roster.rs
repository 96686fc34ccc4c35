use super::pattern::Pattern;

/// Who takes part: subscribers and publishers, their names, and who gets whose messages.
///
/// Everything follows from numbers, so that a million clients are not a million texts.
#[derive(Clone, Debug)]
pub struct Roster {
    names: Names,
    pub publishers: u32,
    pub subscribers: u32,
    pub threads: u32,
    spread: Spread,
}

/// What clients and topics are called.
#[derive(Clone, Debug)]
pub struct Names {
    pub prefix: String,
    pub username: String,
    pub first_number: u32,
    /// What is published to, and subscribed to. `None`: clients that only connect.
    pub pattern: Option<Pattern>,
    /// The subscribers are the members of this shared subscription.
    pub group: Option<String>,
}

/// One client of the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    Subscriber(u32),
    Publisher(u32),
}

impl Roster {
    pub fn new(names: Names, publishers: u32, subscribers: u32, threads: u32) -> Self {
        let spread = match &names.pattern {
            _ if names.group.is_some() => Spread::Group,
            Some(pattern) if !pattern.is_individual() => Spread::All,
            _ if subscribers <= publishers => Spread::Shares,
            _ => Spread::Copies,
        };
        Self { names, publishers, subscribers, threads, spread }
    }

    /// The clients of one thread: subscribers first, and the two of a pair in the same thread.
    pub fn of_thread(&self, thread: u32) -> impl Iterator<Item = Member> + use<> {
        let share = |all: u32| (thread..all).step_by(self.threads as usize);
        let subscribers = share(self.subscribers).map(Member::Subscriber);
        subscribers.chain(share(self.publishers).map(Member::Publisher))
    }

    pub fn thread_of_publisher(&self, publisher: u32) -> u32 {
        publisher % self.threads
    }

    pub fn client_id(&self, member: Member) -> String {
        let role = match (member, self.publishers > 0 && self.subscribers > 0) {
            (_, false) => "",
            (Member::Subscriber(_), _) => "s",
            (Member::Publisher(_), _) => "p",
        };
        let (Member::Subscriber(number) | Member::Publisher(number)) = member;
        format!("{}{role}{}", self.names.prefix, self.number(number))
    }

    /// What a publisher publishes to.
    pub fn topic(&self, publisher: u32) -> String {
        self.expanded(publisher, Member::Publisher(publisher))
    }

    /// What a subscriber subscribes to.
    pub fn filters(&self, subscriber: u32) -> Vec<String> {
        if self.publishers == 0 {
            let has_one = self.names.pattern.is_some();
            return has_one
                .then(|| self.expanded(subscriber, Member::Subscriber(subscriber)))
                .into_iter()
                .collect();
        }
        match self.spread {
            Spread::Group => vec![self.group_filter()],
            Spread::All => vec![self.topic(0)],
            Spread::Shares => (subscriber..self.publishers)
                .step_by(self.subscribers as usize)
                .map(|of| self.topic(of))
                .collect(),
            Spread::Copies => vec![self.topic(subscriber % self.publishers)],
        }
    }

    /// How many subscribers get a message of this publisher.
    pub fn copies(&self, publisher: u32) -> u32 {
        match self.spread {
            _ if self.subscribers == 0 => 0,
            Spread::All => self.subscribers,
            Spread::Shares | Spread::Group => 1,
            Spread::Copies => (self.subscribers - publisher - 1) / self.publishers + 1,
        }
    }

    /// How many publishers a subscriber hears.
    pub fn heard(&self, subscriber: u32) -> u32 {
        match self.spread {
            _ if self.publishers == 0 => 0,
            Spread::All | Spread::Group => self.publishers,
            Spread::Shares if subscriber >= self.publishers => 0,
            Spread::Shares => (self.publishers - subscriber - 1) / self.subscribers + 1,
            Spread::Copies => 1,
        }
    }

    /// The place of a publisher among those that a subscriber hears; `None` if it is none of them.
    #[inline]
    pub fn place(&self, publisher: u32, subscriber: u32) -> Option<u32> {
        let (is_heard, place) = match self.spread {
            Spread::All | Spread::Group => (true, publisher),
            Spread::Shares if self.subscribers == self.publishers => (publisher == subscriber, 0),
            Spread::Shares => (publisher % self.subscribers == subscriber, publisher / self.subscribers),
            Spread::Copies => (subscriber % self.publishers == publisher, 0),
        };
        (is_heard && publisher < self.publishers).then_some(place)
    }

    /// All topics, for the members of a shared subscription together.
    fn group_filter(&self) -> String {
        let pattern = self.names.pattern.as_ref().map(Pattern::as_filter).unwrap_or_default();
        format!("$share/{}/{pattern}", self.names.group.as_deref().unwrap_or_default())
    }

    fn expanded(&self, number: u32, member: Member) -> String {
        let text = self.names.pattern.as_ref();
        let client_id = self.client_id(member);
        text.map(|pattern| pattern.expand(self.number(number), &client_id, &self.names.username))
            .unwrap_or_default()
    }

    fn number(&self, number: u32) -> u32 {
        self.names.first_number.wrapping_add(number)
    }
}

/// How topics are spread over the subscribers.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// One topic, and everybody has it.
    All,
    /// Each topic has one subscriber; each subscriber has its share of the topics.
    Shares,
    /// Each subscriber has one topic; each topic has several subscribers.
    Copies,
    /// Each message is for one of the subscribers, and the broker says which.
    Group,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(pattern: &str, publishers: u32, subscribers: u32) -> Roster {
        let pattern = (!pattern.is_empty()).then(|| Pattern::new(pattern));
        let (prefix, username) = ("b-".to_owned(), "me".to_owned());
        Roster::new(
            Names { prefix, username, first_number: 10, pattern, group: None },
            publishers,
            subscribers,
            3,
        )
    }

    /// Whatever the numbers: who is subscribed to a publisher's topic is who counts its messages, each at
    /// a place of its own.
    #[test]
    fn places_agree_with_topics() {
        for pattern in ["t/%i", "t/%c", "t"] {
            for (publishers, subscribers) in [(1, 1), (5, 5), (7, 3), (3, 7), (1, 4), (4, 1), (6, 3)] {
                let roster = roster(pattern, publishers, subscribers);
                let mut copies = vec![0; publishers as usize];
                for subscriber in 0..subscribers {
                    let filters = roster.filters(subscriber);
                    let mut places = Vec::new();
                    for publisher in 0..publishers {
                        let place = roster.place(publisher, subscriber);
                        assert_eq!(place.is_some(), filters.contains(&roster.topic(publisher)));
                        copies[publisher as usize] += u32::from(place.is_some());
                        places.extend(place);
                    }
                    let expected: Vec<u32> = (0..roster.heard(subscriber)).collect();
                    assert_eq!(places, expected, "{pattern} {publishers} {subscribers}");
                    assert_eq!(roster.place(publishers, subscriber), None);
                }
                let expected: Vec<u32> = (0..publishers).map(|publisher| roster.copies(publisher)).collect();
                assert_eq!(copies, expected, "{pattern} {publishers} {subscribers}");
            }
        }
    }

    #[test]
    fn a_group_hears_each_message_once() {
        let mut roster = roster("t/%i/x", 3, 2);
        roster.names.group = Some("g".to_owned());
        let roster = Roster::new(roster.names, 3, 2, 1);
        assert_eq!((roster.filters(0), roster.copies(2)), (vec!["$share/g/t/+/x".to_owned()], 1));
    }

    #[test]
    fn everybody_is_in_one_thread() {
        let roster = roster("t/%i", 7, 7);
        let mut seen = Vec::new();
        for thread in 0..3 {
            let members: Vec<_> = roster.of_thread(thread).collect();
            for member in &members {
                if let Member::Publisher(number) = member {
                    assert_eq!(roster.thread_of_publisher(*number), thread);
                    assert!(members.contains(&Member::Subscriber(*number)), "pairs stay together");
                }
            }
            seen.extend(members);
        }
        assert_eq!(seen.len(), 14);
    }

    #[test]
    fn names_are_numbered_from_where_one_likes() {
        let pairs = roster("%u/%c/%i", 2, 2);
        assert_eq!(pairs.client_id(Member::Subscriber(1)), "b-s11");
        assert_eq!(
            (pairs.topic(1), pairs.filters(1)),
            ("me/b-p11/11".to_owned(), vec!["me/b-p11/11".to_owned()])
        );
        let alone = roster("%u/%c/%i", 0, 2);
        assert_eq!(alone.client_id(Member::Subscriber(1)), "b-11");
        assert_eq!(alone.filters(1), ["me/b-11/11"]);
        assert!(roster("", 0, 2).filters(1).is_empty());
    }
}

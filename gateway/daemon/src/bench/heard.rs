use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use super::roster::Roster;
use super::stamp::Stamp;
use super::stream::{Arrival, Stream};

/// What a subscriber has received, stream by stream.
pub enum Heard {
    /// Publishers of this run: by their place in the roster.
    Known(Vec<Stream>),
    /// Whoever publishes.
    Anybody(Streams),
    /// The same, of all members of a shared subscription together: each gets a part.
    Group(Arc<Mutex<Streams>>),
}

/// By run and publisher.
#[derive(Debug, Default)]
pub struct Streams(HashMap<(u32, u32), Stream>);

/// Streams that a subscriber keeps apart; messages of further ones are unexpected.
const STREAMS_MAX: usize = 1 << 20;

impl Heard {
    pub fn known(count: u32) -> Self {
        Self::Known((0..count).map(|_| Stream::default()).collect())
    }

    pub fn group() -> Self {
        Self::Group(Arc::default())
    }

    /// Another member of the group.
    pub fn member(&self) -> Option<Self> {
        match self {
            Self::Group(streams) => Some(Self::Group(Arc::clone(streams))),
            _ => None,
        }
    }

    /// Takes a message that `subscriber` got; `None` if it is not for it.
    #[inline]
    pub fn take(&mut self, stamp: Stamp, run: u32, subscriber: u32, roster: &Roster) -> Option<Arrival> {
        match self {
            Self::Known(_) if stamp.run != run => None,
            Self::Known(streams) => {
                let place = roster.place(stamp.publisher, subscriber)?;
                Some(streams.get_mut(place as usize)?.take(stamp.sequence))
            }
            Self::Anybody(streams) => streams.take(stamp),
            Self::Group(_) if roster.publishers > 0 && stamp.run != run => None,
            Self::Group(streams) => streams.lock().take_of_group(stamp),
        }
    }
}

/// The members of a group are read one after the other, so the first message that is seen need not be
/// the first. A stream that begins below this is taken to begin at 0.
const GROUP_SLACK: u64 = 4096;

impl Streams {
    fn take_of_group(&mut self, stamp: Stamp) -> Option<Arrival> {
        if stamp.sequence < GROUP_SLACK && self.0.len() < STREAMS_MAX {
            self.0.entry((stamp.run, stamp.publisher)).or_default();
        }
        self.take(stamp)
    }

    fn take(&mut self, stamp: Stamp) -> Option<Arrival> {
        let count = self.0.len();
        match self.0.entry((stamp.run, stamp.publisher)) {
            Entry::Occupied(mut stream) => Some(stream.get_mut().take(stamp.sequence)),
            Entry::Vacant(_) if count == STREAMS_MAX => None,
            Entry::Vacant(place) => Some(place.insert(Stream::from(stamp.sequence)).take(stamp.sequence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Pattern;
    use super::super::roster::Names;
    use super::*;

    fn stamp(run: u32, publisher: u32, sequence: u64) -> Stamp {
        Stamp { run, publisher, sequence, at: 0 }
    }

    fn roster(publishers: u32, subscribers: u32) -> Roster {
        let pattern = Some(Pattern::new("t/%i"));
        let names =
            Names { prefix: String::new(), username: String::new(), first_number: 0, pattern, group: None };
        Roster::new(names, publishers, subscribers, 1)
    }

    #[test]
    fn messages_of_another_run_or_for_another_subscriber_are_unexpected() {
        let roster = roster(4, 2);
        let mut heard = Heard::known(roster.heard(1));
        assert_eq!(heard.take(stamp(7, 3, 0), 7, 1, &roster), Some(Arrival::Next { skipped: 0 }));
        assert_eq!(heard.take(stamp(8, 3, 1), 7, 1, &roster), None, "another run");
        assert_eq!(heard.take(stamp(7, 2, 0), 7, 1, &roster), None, "another subscriber's topic");
        assert_eq!(heard.take(stamp(7, 4, 0), 7, 1, &roster), None, "no such publisher");
    }

    #[test]
    fn who_listens_to_anybody_keeps_runs_apart() {
        let roster = roster(0, 1);
        let mut heard = Heard::Anybody(Streams::default());
        for (stamp, expected) in [
            (stamp(1, 0, 5), Arrival::Next { skipped: 0 }),
            (stamp(2, 0, 0), Arrival::Next { skipped: 0 }),
            (stamp(1, 0, 7), Arrival::Next { skipped: 1 }),
            (stamp(1, 0, 6), Arrival::Late),
        ] {
            assert_eq!(heard.take(stamp, 9, 0, &roster), Some(expected), "{stamp:?}");
        }
    }

    #[test]
    fn members_of_a_group_have_one_account() {
        let roster = roster(0, 2);
        let mut one = Heard::group();
        let mut other = one.member().unwrap();
        assert_eq!(one.take(stamp(1, 0, 1), 0, 0, &roster), Some(Arrival::Next { skipped: 1 }));
        assert_eq!(other.take(stamp(1, 0, 0), 0, 1, &roster), Some(Arrival::Late));
        assert_eq!(one.take(stamp(1, 0, 1), 0, 0, &roster), Some(Arrival::Duplicate));
    }
}

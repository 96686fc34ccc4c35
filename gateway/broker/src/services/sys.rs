use std::fmt::{Display, Write};
use std::time::{Duration, Instant};

use gateway_bus::{Bus, Moment};
use gateway_model::{ClientId, Publish, Topic};
use parking_lot::Mutex;

use crate::Broker;
use crate::services::figures::{Figures, Maxima};
use crate::services::settings::SysSettings;

/// The tree `$SYS`: what the gateway says of itself.
///
/// Version and description are retained. Everything else is published at intervals, and only what
/// somebody subscribed to: with nobody, one comparison is all that is done.
pub(crate) struct Sys {
    settings: SysSettings,
    node: Box<str>,
    state: Mutex<Option<State>>,
}

struct State {
    started: Instant,
    interval_at: Option<Instant>,
    heartbeat_at: Option<Instant>,
    maxima: Maxima,
}

/// Both spellings: of EMQX's code, and of its documentation, where Mosquitto's topics are too.
pub(crate) const PREFIXES: [&str; 2] = ["$SYS/brokers/", "$SYS/broker/"];
const MOSQUITTO: &str = "$SYS/broker/";
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Sys {
    pub(crate) fn new(settings: SysSettings, node: &str) -> Self {
        Self { settings, node: level(node).into(), state: Mutex::new(None) }
    }

    /// Publishes what is due.
    pub(crate) fn poll(&self, broker: &Broker, moment: Moment) {
        let mut state = self.state.lock();
        let state = state.get_or_insert_with(|| {
            self.publish_retained(&broker.bus, moment);
            State {
                started: moment.instant,
                interval_at: after(moment, self.settings.interval_secs),
                heartbeat_at: after(moment, self.settings.heartbeat_secs),
                maxima: Maxima::default(),
            }
        });
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= moment.instant);
        if is_due(state.heartbeat_at) {
            state.heartbeat_at = after(moment, self.settings.heartbeat_secs);
            self.publish_heartbeat(&broker.bus, moment, moment.instant.duration_since(state.started));
        }
        if is_due(state.interval_at) {
            state.interval_at = after(moment, self.settings.interval_secs);
            let figures = Figures::read(broker, &mut state.maxima);
            self.publish_figures(&broker.bus, moment, &figures);
        }
    }

    fn publish_retained(&self, bus: &Bus, moment: Moment) {
        let node = &self.node;
        let mut topics = vec![("$SYS/brokers".to_owned(), node.to_string())];
        for prefix in PREFIXES {
            topics.push((format!("{prefix}{node}/version"), VERSION.to_owned()));
            topics.push((format!("{prefix}{node}/sysdescr"), "Tidegate".to_owned()));
        }
        topics.push((format!("{MOSQUITTO}version"), format!("tidegate version {VERSION}")));
        for (topic, text) in topics {
            let Ok(topic) = Topic::parse(&topic) else { continue };
            bus.publish_as(moment, &publisher(), Publish { retain: true, ..Publish::new(topic, text) });
        }
    }

    fn publish_heartbeat(&self, bus: &Bus, moment: Moment, uptime: Duration) {
        if !bus.reads_reserved() {
            return;
        }
        let mut teller = Teller::new(bus, moment);
        for prefix in PREFIXES {
            teller.tell([prefix, &self.node, "/uptime"], &uptime_words(uptime.as_secs()));
            teller.tell([prefix, &self.node, "/datetime"], &date_words(moment.unix_millis / 1000));
        }
        teller.tell([MOSQUITTO, "uptime"], &format_args!("{} seconds", uptime.as_secs()));
    }

    fn publish_figures(&self, bus: &Bus, moment: Moment, figures: &Figures) {
        if !bus.reads_reserved() {
            return;
        }
        let mut teller = Teller::new(bus, moment);
        for prefix in PREFIXES {
            for stat in &figures.stats {
                let dotted = stat.name.replace('/', ".");
                for (name, separator) in [(stat.name, "/"), (&dotted, ".")] {
                    let stem = [prefix, &self.node, "/stats/", name, separator].concat();
                    teller.tell([&stem, "count"], &stat.count);
                    teller.tell([&stem, "max"], &stat.max);
                }
            }
            for (name, value) in &figures.metrics {
                teller.tell([prefix, &self.node, "/metrics/", name], value);
                teller.tell([prefix, &self.node, "/", name], value);
            }
        }
        for (name, value) in &figures.mosquitto {
            teller.tell([MOSQUITTO, name], value);
        }
    }
}

/// Publishes to those who want it.
struct Teller<'a> {
    bus: &'a Bus,
    moment: Moment,
    publisher: ClientId,
    topic: String,
}

impl<'a> Teller<'a> {
    fn new(bus: &'a Bus, moment: Moment) -> Self {
        Self { bus, moment, publisher: publisher(), topic: String::new() }
    }

    fn tell<const N: usize>(&mut self, topic: [&str; N], value: &dyn Display) {
        self.topic.clear();
        topic.iter().for_each(|part| self.topic.push_str(part));
        if !self.bus.is_wanted(&self.topic) {
            return;
        }
        let Ok(topic) = Topic::parse(&self.topic) else { return };
        self.bus.publish_as(self.moment, &self.publisher, Publish::new(topic, value.to_string()));
    }
}

/// Who publishes what is the gateway's own.
pub(crate) fn publisher() -> ClientId {
    ClientId::parse("$SYS").expect("the name obeys the laws")
}

/// A name as one level of a topic: `%`, `/`, `+` and `#` become `%25`, `%2F`, `%2B` and `%23`.
pub(crate) fn level(name: &str) -> String {
    let mut level = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '%' | '/' | '+' | '#' | '\0' => {
                let _ = write!(level, "%{:02X}", u32::from(character));
            }
            plain => level.push(plain),
        }
    }
    level
}

fn after(moment: Moment, secs: u32) -> Option<Instant> {
    (secs > 0).then(|| moment.instant + Duration::from_secs(secs.into()))
}

/// `1 days, 0 hours, 2 minutes, 3 seconds`, without the larger units that are none.
fn uptime_words(secs: u64) -> String {
    let parts = [
        (secs / 86_400, "days"),
        (secs / 3600 % 24, "hours"),
        (secs / 60 % 60, "minutes"),
        (secs % 60, "seconds"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    parts[first..].iter().map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(", ")
}

/// Seconds since 1970 as `2026-11-25 13:05:00` (UTC).
fn date_words(unix_secs: u64) -> String {
    let (days, secs) = (unix_secs / 86_400, unix_secs % 86_400);
    // Years that begin in March end with the leap day, and 400 of them have 146,097 days; day 0 of
    // that calendar is 719,468 days before 1970.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        for (secs, words) in [
            (0, "0 seconds"),
            (59, "59 seconds"),
            (61, "1 minutes, 1 seconds"),
            (86_400, "1 days, 0 hours, 0 minutes, 0 seconds"),
        ] {
            assert_eq!(uptime_words(secs), words);
        }
        for (secs, words) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_767_225_599, "2025-12-31 23:59:59"),
            (1_767_225_600, "2026-01-01 00:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date_words(secs), words);
        }
    }

    #[test]
    fn any_name_is_one_level() {
        assert_eq!(level("press-17"), "press-17");
        assert_eq!(level("a/b+c#d%\0é"), "a%2Fb%2Bc%23d%25%00é");
    }
}

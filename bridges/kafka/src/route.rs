use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Parcel;

/// Delay before a topic's records are sent again: doubles from the first to the second.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// All parcels between the runner and Kafka, by Kafka topic.
///
/// librdkafka retries what it can and keeps the order then. What comes back from it as failed is
/// parked here, and with it everything that follows on the same topic:
///
/// ```text
///   offer ──▶ straight ──▶ in librdkafka ──▶ acknowledged
///     │                        │ failed
///     └──▶ parked ◀────────────┘            later records of the topic queue up behind
///            └──▶ in librdkafka, in order, when none of the topic is there and the delay is over
/// ```
#[derive(Default)]
pub(crate) struct Routes {
    routes: HashMap<Arc<str>, Route>,
    next_order: u64,
    in_producer: usize,
    parked: usize,
}

#[derive(Default)]
struct Route {
    in_producer: usize,
    /// By order of arrival.
    parked: BTreeMap<u64, Box<Parcel>>,
    /// Set while parked records have to wait.
    retry_at: Option<Instant>,
    /// Failed rounds since the last success.
    rounds: u32,
}

/// Why a parcel is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parking {
    /// Others of its topic are parked already.
    Behind,
    /// It failed; try after the topic's delay.
    Failed,
    /// It was taken back, or is to be sent alone; try as soon as the topic is quiet.
    TakenBack,
}

/// What became of a parked parcel that was handed to the producer.
pub(crate) enum Pumped {
    Sent,
    /// It left the bridge instead.
    Gone,
    /// Not now.
    Refused(Box<Parcel>),
}

impl Routes {
    /// Numbers a parcel that has just arrived.
    pub fn number(&mut self, parcel: &mut Parcel) {
        parcel.order = self.next_order;
        self.next_order += 1;
    }

    /// Whether a new record of the topic may go straight to librdkafka.
    pub fn is_straight(&self, topic: &str) -> bool {
        self.parked == 0 || self.routes.get(topic).is_none_or(|route| route.parked.is_empty())
    }

    /// librdkafka took one.
    pub fn sent(&mut self, topic: &Arc<str>) {
        self.route(topic).in_producer += 1;
        self.in_producer += 1;
    }

    /// librdkafka gave one back, acknowledged (and then it is done) or to be parked.
    pub fn came_back(&mut self, topic: &Arc<str>, acknowledged: bool) {
        self.in_producer -= 1;
        let route = self.route(topic);
        route.in_producer -= 1;
        if acknowledged {
            route.rounds = 0;
            self.forget_idle(topic);
        }
    }

    /// Topics may be as many as devices; those without parcels are not kept.
    pub fn forget_idle(&mut self, topic: &Arc<str>) {
        if self.routes.get(topic).is_some_and(|route| route.in_producer == 0 && route.parked.is_empty()) {
            self.routes.remove(topic);
        }
    }

    pub fn park(&mut self, parcel: Box<Parcel>, parking: Parking, now: Instant) {
        self.parked += 1;
        let route = self.route(&parcel.topic);
        if parking == Parking::Failed {
            route.delay(now);
        }
        route.parked.insert(parcel.order, parcel);
    }

    /// Lets a topic's parked records wait.
    pub fn delay(&mut self, topic: &Arc<str>, now: Instant) {
        self.route(topic).delay(now);
    }

    /// Hands parked parcels, in order, to `produce`; a topic's first refusal ends its turn.
    pub fn pump(&mut self, now: Instant, mut produce: impl FnMut(Box<Parcel>) -> Pumped) {
        if self.parked == 0 {
            return;
        }
        for route in self.routes.values_mut() {
            if route.in_producer > 0 || route.retry_at.is_some_and(|at| at > now) {
                continue;
            }
            while let Some((order, parcel)) = route.parked.pop_first() {
                let alone = parcel.alone;
                if alone && route.in_producer > 0 {
                    route.parked.insert(order, parcel);
                    break;
                }
                match produce(parcel) {
                    Pumped::Sent => {
                        route.retry_at = None;
                        route.in_producer += 1;
                        self.in_producer += 1;
                        self.parked -= 1;
                        if alone {
                            break;
                        }
                    }
                    Pumped::Gone => self.parked -= 1,
                    Pumped::Refused(parcel) => {
                        route.parked.insert(order, parcel);
                        break;
                    }
                }
            }
        }
        self.routes.retain(|_, route| route.in_producer > 0 || !route.parked.is_empty());
    }

    /// Takes everything parked, in order of arrival.
    pub fn take_parked(&mut self) -> Vec<Parcel> {
        let routes = std::mem::take(&mut self.routes);
        let parked = routes.into_values().flat_map(|route| route.parked.into_values());
        let mut parcels: Vec<Parcel> = parked.map(|parcel| *parcel).collect();
        parcels.sort_by_key(|parcel| parcel.order);
        self.parked = 0;
        parcels
    }

    /// Parcels that librdkafka holds.
    pub fn in_producer(&self) -> usize {
        self.in_producer
    }

    pub fn parked(&self) -> usize {
        self.parked
    }

    pub fn unsettled(&self) -> usize {
        self.in_producer + self.parked
    }

    fn route(&mut self, topic: &Arc<str>) -> &mut Route {
        self.routes.entry(topic.clone()).or_default()
    }
}

impl Route {
    /// Once per round, however many records of it fail.
    fn delay(&mut self, now: Instant) {
        if self.retry_at.is_none_or(|at| at <= now) {
            let delay = RETRY_MIN.saturating_mul(1 << self.rounds.min(16));
            self.retry_at = Some(now + delay.min(RETRY_MAX));
            self.rounds += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::parcel;

    /// The orders that one pump hands over.
    fn pumped(routes: &mut Routes, now: Instant) -> Vec<u64> {
        let mut orders = Vec::new();
        routes.pump(now, |parcel| {
            orders.push(parcel.order);
            Pumped::Sent
        });
        orders
    }

    fn numbered(routes: &mut Routes, topic: &str, alone: bool) -> Box<Parcel> {
        let mut parcel = parcel(topic);
        parcel.alone = alone;
        routes.number(&mut parcel);
        parcel
    }

    #[test]
    fn failed_records_go_again_in_the_order_of_arrival_and_later_ones_behind_them() {
        let (mut routes, now) = (Routes::default(), Instant::now());
        let topic: Arc<str> = "t".into();
        let parcels: Vec<_> = (0..3).map(|_| numbered(&mut routes, "t", false)).collect();
        for _ in &parcels {
            assert!(routes.is_straight("t"));
            routes.sent(&topic);
        }
        let mut parcels = parcels.into_iter();
        let (first, second, third) = (parcels.next(), parcels.next(), parcels.next());
        // The reports come in the wrong order, and one is outstanding.
        for parcel in [second, first].into_iter().flatten() {
            routes.came_back(&topic, false);
            routes.park(parcel, Parking::Failed, now);
        }
        assert!(!routes.is_straight("t"));
        assert!(routes.is_straight("another topic is not held up"));
        let fourth = numbered(&mut routes, "t", false);
        routes.park(fourth, Parking::Behind, now);
        assert!(pumped(&mut routes, now + RETRY_MIN).is_empty(), "one is still in librdkafka");
        routes.came_back(&topic, false);
        routes.park(third.expect("three were made"), Parking::Failed, now);
        assert!(pumped(&mut routes, now).is_empty(), "too early");
        assert_eq!(pumped(&mut routes, now + RETRY_MIN), [0, 1, 2, 3]);
        assert!(routes.is_straight("t"));
        assert_eq!((routes.in_producer(), routes.parked()), (4, 0));
    }

    #[test]
    fn the_delay_doubles_with_every_round_up_to_its_limit_and_starts_anew_after_success() {
        let (mut routes, mut now) = (Routes::default(), Instant::now());
        let topic: Arc<str> = "t".into();
        let mut delays = Vec::new();
        for _ in 0..7 {
            for parcel in [numbered(&mut routes, "t", false), numbered(&mut routes, "t", false)] {
                routes.park(parcel, Parking::Failed, now);
            }
            let delay = routes.routes[&topic].retry_at.map(|at| at - now);
            delays.push(delay.map(|delay| delay.as_secs()));
            now += RETRY_MAX;
            for _ in pumped(&mut routes, now) {
                routes.came_back(&topic, false);
            }
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30].map(Some));
        routes.sent(&topic);
        routes.sent(&topic);
        routes.came_back(&topic, true);
        assert_eq!(routes.routes[&topic].rounds, 0);
    }

    #[test]
    fn a_suspect_is_sent_alone() {
        let (mut routes, now) = (Routes::default(), Instant::now());
        let topic: Arc<str> = "t".into();
        for alone in [false, false, true, true, false] {
            let parcel = numbered(&mut routes, "t", alone);
            routes.park(parcel, Parking::TakenBack, now);
        }
        for expected in [vec![0, 1], vec![2], vec![3], vec![4]] {
            assert_eq!(pumped(&mut routes, now), expected);
            assert!(pumped(&mut routes, now).is_empty(), "the last ones are not back");
            for _ in expected {
                routes.came_back(&topic, true);
            }
        }
        assert_eq!(routes.unsettled(), 0);
        assert!(routes.routes.is_empty());
    }

    #[test]
    fn what_the_producer_cannot_take_stays_first() {
        let (mut routes, now) = (Routes::default(), Instant::now());
        for _ in 0..2 {
            let parcel = numbered(&mut routes, "t", false);
            routes.park(parcel, Parking::TakenBack, now);
        }
        routes.pump(now, Pumped::Refused);
        assert_eq!(routes.parked(), 2);
        assert_eq!(pumped(&mut routes, now), [0, 1]);
        let parcel = numbered(&mut routes, "u", false);
        routes.park(parcel, Parking::Behind, now);
        routes.pump(now, |_| Pumped::Gone);
        assert_eq!((routes.in_producer(), routes.parked()), (2, 0));
        let parcel = numbered(&mut routes, "u", false);
        routes.park(parcel, Parking::TakenBack, now);
        assert_eq!(routes.take_parked().iter().map(|parcel| parcel.order).collect::<Vec<_>>(), [3]);
    }
}

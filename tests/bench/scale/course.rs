use std::time::Duration;

use crate::gateway::Gateway;
use crate::population::{Make, Population};
use crate::reading::{Reading, cpu};

/// No phase may ever need more.
const RSS_MAX: u64 = 2_000_000_000;
/// How many peers are spoken to.
const SPOKEN_TO: u32 = 10_000;
/// How often all of those are told something together.
const ROUNDS: u32 = 5;
/// How many peers come in a millisecond of the gateway's time.
const PER_MILLISECOND: u32 = 100;
/// When nobody is there any more, one is told something so often.
const TOLD_EVERY: Duration = Duration::from_millis(1);
const PAYLOAD: &[u8] = b"{\"v\":21.5}";
/// A prime: peers are spoken to all over the table, not one beside the other.
const STRIDE: u64 = 7_368_787;

/// One gateway with its peers, from the first to come to the last to go.
pub struct Course {
    count: u32,
    gateway: Gateway,
    populations: Vec<Box<dyn Population>>,
}

impl Course {
    pub fn new(count: u32, make: &[Make]) -> Self {
        let mut gateway = Gateway::new();
        let populations = make.iter().map(|make| make(&mut gateway)).collect();
        Self { count, gateway, populations }
    }

    /// # Errors
    /// Something is left, something is not accounted for, or it needed too much.
    pub fn run(mut self) -> Result<(), String> {
        let names: Vec<_> = self.populations.iter().map(|population| population.name()).collect();
        println!("\n{} of: {}", grouped(self.count.into()), names.join(", "));
        let before = Reading::now();
        self.attach(before)?;
        for place in 0..self.populations.len() {
            self.speak_to_one(place);
            self.speak_to_many(place);
        }
        self.expire(before)?;
        let peak = Reading::rss_peak();
        println!("  peak RSS               {} MB of {} MB", peak / 1_000_000, RSS_MAX / 1_000_000);
        if peak > RSS_MAX {
            return Err("too much memory".into());
        }
        Ok(())
    }

    fn attach(&mut self, before: Reading) -> Result<(), String> {
        let edge = (self.count / 10).clamp(1, SPOKEN_TO);
        let (mut first, mut last) = (Duration::ZERO, before.cpu);
        for index in 0..self.count {
            if index == self.count - edge {
                last = cpu();
            }
            for population in &mut self.populations {
                population.attach(&mut self.gateway, index);
            }
            if index % PER_MILLISECOND == PER_MILLISECOND - 1 {
                self.gateway.bench.advance(Duration::from_millis(1));
            }
            if index == edge - 1 {
                first = cpu() - before.cpu;
            }
        }
        let after = Reading::now();
        let last = after.cpu - last;
        let peers = f64::from(self.count) * self.populations.len() as f64;
        // A peer of MQTT has a line, which stands for its socket, and the bench a handle of it.
        let own = self.gateway.bench.lines_bytes() as f64;
        let per_peer = |before: u64, after: u64| (after as f64 - before as f64 - own) / peers;
        println!(
            "  bytes each             RSS {:.0}, heap {:.0} (not counted: {:.0} of the bench's own)",
            per_peer(before.rss, after.rss),
            per_peer(before.heap, after.heap),
            own / peers,
        );
        let edges = f64::from(edge) * self.populations.len() as f64;
        println!(
            "  attach                 {:.2} us each; {:.2} of the first {}, {:.2} of the last",
            micros(after.cpu - before.cpu, peers),
            micros(first, edges),
            grouped(edges as u64),
            micros(last, edges)
        );
        let expected = self.count as usize * self.populations.len();
        match self.gateway.sessions() {
            there if there == expected => Ok(()),
            there => Err(format!("{there} sessions instead of {expected}")),
        }
    }

    /// One publish, one delivery, one acknowledgement, again and again.
    fn speak_to_one(&mut self, place: usize) {
        let (gateway, population) = (&mut self.gateway, &mut self.populations[place]);
        let times = self.count.min(SPOKEN_TO);
        let before = cpu();
        for time in 0..times {
            let index = (u64::from(time) * STRIDE % u64::from(self.count)) as u32;
            gateway.publish(&population.topic(index), PAYLOAD);
            assert_eq!(population.answer(gateway, index..index + 1), 1, "it has come");
        }
        let name = population.name();
        println!(
            "  publish to one         {:.2} us, acknowledged ({name})",
            micros(cpu() - before, times.into())
        );
    }

    /// One publish to many, or one each where none reaches many.
    fn speak_to_many(&mut self, place: usize) {
        let (gateway, population) = (&mut self.gateway, &mut self.populations[place]);
        let many = self.count.min(SPOKEN_TO);
        (0..many).for_each(|index| population.join(gateway, index));
        let before = cpu();
        for _ in 0..ROUNDS {
            match population.shared_topic() {
                Some(topic) => gateway.publish(topic, PAYLOAD),
                None => (0..many).for_each(|index| gateway.publish(&population.topic(index), PAYLOAD)),
            }
            assert_eq!(population.answer(gateway, 0..many), u64::from(many), "all of it has come");
        }
        let (name, deliveries) = (population.name(), f64::from(many * ROUNDS));
        let cost = micros(cpu() - before, deliveries);
        println!("  publish to {:<11} {cost:.2} us each, acknowledged ({name})", grouped(many.into()));
    }

    /// Tells each something that nobody will acknowledge, but not all at once: what is told to a million
    /// waits for a million.
    fn speak_in_vain(&mut self, place: usize) {
        let (gateway, population) = (&mut self.gateway, &mut self.populations[place]);
        population.shared_topic().into_iter().for_each(|topic| gateway.publish(topic, PAYLOAD));
        for index in 0..self.count {
            gateway.publish(&population.topic(index), PAYLOAD);
            gateway.bench.advance(TOLD_EVERY);
            population.ignore(gateway);
        }
    }

    /// Nobody says anything any more.
    fn expire(&mut self, before: Reading) -> Result<(), String> {
        let begun = Reading::now();
        self.populations.iter_mut().for_each(|population| population.ignore(&mut self.gateway));
        for place in 0..self.populations.len() {
            if self.populations[place].is_found_out_by_silence() {
                self.speak_in_vain(place);
            }
        }
        let life = self.populations.iter().map(|population| population.longest_life()).max();
        // What is said to those who are gone may not pile up on the bench.
        for _ in 0..=life.unwrap_or_default().as_secs() + 2 {
            self.gateway.bench.advance(Duration::from_secs(1));
            self.populations.iter_mut().for_each(|population| population.ignore(&mut self.gateway));
        }
        let gone = Reading::now();
        let peers = f64::from(self.count) * self.populations.len() as f64;
        println!(
            "  expire                 {:.1} s, {:.2} us each; RSS {} MB before anybody came, {} MB afterwards (heap {} MB)",
            (gone.at - begun.at).as_secs_f64(),
            micros(gone.cpu - begun.cpu, peers),
            before.rss / 1_000_000,
            gone.rss / 1_000_000,
            gone.heap / 1_000_000,
        );
        let totals = self.gateway.bench.broker().bus.totals();
        let unaccounted = self.gateway.unaccounted();
        println!("  left                   {totals:?}, {unaccounted} unaccounted");
        match (self.gateway.sessions(), totals.subscriptions, unaccounted) {
            (0, 0, 0) => Ok(()),
            _ => Err("something is left that should be gone".into()),
        }
    }
}

fn micros(time: Duration, times: f64) -> f64 {
    time.as_secs_f64() * 1e6 / times
}

/// `1,000,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

//! One gateway on one data directory, killed again and again while clients are at work.

use std::path::Path;
use std::sync::mpsc::{Receiver as Events, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::faults::crash::cast::Cast;
use crate::faults::crash::ledger::{EVERYBODY, Fault};
use crate::faults::crash::link::Event;
use crate::faults::crash::retained;
use crate::faults::crash::stage::Stage;
use crate::faults::segments;
use crate::harness::gateway::{Settings, UNACCOUNTED, data_dir};
use crate::harness::{Gateway, Outcome, World};

/// How a round ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL to the gateway, which is started again on its data.
    Kill,
    /// The same, and then the last part of its log is taken away: it cannot come through that.
    Forget,
    /// All connections are cut; the gateway goes on.
    Cut,
}

pub struct Plan {
    pub seed: u64,
    pub rounds: usize,
    pub end: End,
    /// A round has at least so many acknowledgements.
    pub least: usize,
    /// Its bridge comes on top.
    pub settings: Settings,
    /// Nothing happening for so long means that nothing will.
    pub patience: Duration,
}

impl Plan {
    /// To be killed, with the default settings.
    pub fn new(seed: u64, rounds: usize) -> Self {
        let (settings, patience) = (Settings::default(), Duration::from_secs(10));
        Self { seed, rounds, end: End::Kill, least: 0, settings, patience }
    }
}

pub struct Life {
    gateway: Gateway,
    stage: Stage,
    cast: Cast,
    events: Events<Event>,
    plan: Plan,
    /// Messages before this number have been checked.
    checked: usize,
}

/// When nothing arrives for so long, what was put off is done, due or not.
const LULL: Duration = Duration::from_millis(1);
/// What has to become calm is given so long, whatever happens meanwhile.
const CALM_MAX: Duration = Duration::from_secs(60);
/// Acknowledgements of a short round, which ends while all come back, of a usual one, and of one that
/// leaves long queues.
const ROUND_MAX: [usize; 8] = [40, 40, 40, 500, 500, 500, 500, 4_000];
/// How long after the acknowledgement a kill may come.
const AFTER_MICROS_MAX: usize = 3_000;
/// How long after its start a gateway may be killed again, before it is ready.
const START_MICROS_MAX: usize = 60_000;

impl Life {
    /// Lives it to its end, or to the first round after which something is wrong.
    pub fn run(world: &mut World, plan: Plan) -> Outcome<Self> {
        let (sender, events) = channel();
        let cast = Cast::new(sender.clone())?;
        let settings = Settings { file: cast.sink.bridge(), ..plan.settings.clone() };
        let gateway = Gateway::start_with(world, settings)?;
        let stage = Stage::new(plan.seed, gateway.ports.mqtt, sender);
        let mut life = Self { gateway, stage, cast, events, plan, checked: 0 };
        life.begin()?;
        for round in 1..=life.plan.rounds {
            life.stage.ledger.note(EVERYBODY, None, format!("round {round}"));
            life.work()?;
            life = life.end_round(world)?;
            if round == life.plan.rounds || !life.stage.random.one_in(3) {
                life.calm_down()?;
            }
            if !life.is_good() {
                break;
            }
        }
        Ok(life)
    }

    pub fn is_good(&self) -> bool {
        self.stage.ledger.violations().is_empty()
    }

    /// Whether anything of this kind was found.
    pub fn has(&self, fault: Fault) -> bool {
        self.stage.ledger.violations().iter().any(|violation| violation.fault == fault)
    }

    pub fn report(&self) -> String {
        self.stage.ledger.report()
    }

    /// How many messages went through it.
    pub fn messages(&self) -> usize {
        self.stage.ledger.count()
    }

    pub fn stop(self) -> Outcome {
        drop(self.cast);
        self.gateway.stop()
    }

    /// Everybody comes, and every subscription is there before the first message.
    fn begin(&mut self) -> Outcome {
        self.stage.calm = true;
        self.cast.come(&mut self.stage)?;
        self.wait("all are subscribed", |life| life.cast.is_settled())?;
        self.stage.calm = false;
        Ok(())
    }

    /// Everybody is at work until a random instant after a random number of acknowledgements.
    fn work(&mut self) -> Outcome {
        let random = &mut self.stage.random;
        let most = ROUND_MAX[random.below(ROUND_MAX.len())];
        let target = self.stage.ledger.acknowledgements + self.plan.least + self.stage.random.below(most);
        let mut end: Option<Instant> = None;
        let mut heard = Instant::now();
        loop {
            self.cast.act(&mut self.stage)?;
            if end.is_none() && self.stage.ledger.acknowledgements >= target {
                let micros = self.stage.random.below(AFTER_MICROS_MAX);
                end = Some(Instant::now() + Duration::from_micros(micros as u64));
            }
            let left = end.map_or(LULL, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            if self.step(left.min(LULL))? {
                heard = Instant::now();
            } else if heard.elapsed() > self.plan.patience {
                let text = format!("nobody is answered any more, {}", self.cast.waiting());
                self.stage.ledger.violate(Fault::Stalled, EVERYBODY, None, text);
                return Ok(());
            }
        }
    }

    fn end_round(mut self, world: &mut World) -> Outcome<Self> {
        let kill = self.plan.end != End::Cut;
        if kill {
            self.gateway.process.kill()?;
            self.stage.ledger.note(EVERYBODY, None, "is killed".into());
        } else {
            self.cast.leave(&mut self.stage);
        }
        // What it had sent before is seen by the clients all the same.
        self.wait("every connection has ended", |life| life.cast.is_gone())?;
        self.stage.later.clear();
        if self.plan.end == End::Forget {
            forget(&data_dir(world))?;
        }
        if kill {
            if self.stage.random.one_in(4) {
                let mut early = self.gateway.spawn_again(world)?;
                let micros = self.stage.random.below(START_MICROS_MAX);
                // Nobody is there to say anything: this only waits.
                let _ = self.events.recv_timeout(Duration::from_micros(micros as u64));
                early.kill()?;
                self.stage.ledger.note(EVERYBODY, None, "starts, and is killed".into());
            }
            self.gateway = self.gateway.restart(world, true)?;
            self.stage.ledger.note(EVERYBODY, None, "starts".into());
        }
        retained::check(&mut self.stage.ledger, self.gateway.ports.mqtt)?;
        Ok(self)
    }

    /// Lets everything under way come to its end, and checks that it did.
    fn calm_down(&mut self) -> Outcome {
        self.stage.calm = true;
        self.cast.come(&mut self.stage)?;
        self.wait("all are acknowledged", |life| life.cast.is_settled())?;
        let fences = self.cast.publish_fences(&mut self.stage);
        self.wait("the last messages come", |life| {
            life.cast.is_settled() && life.cast.is_complete(&life.stage.ledger, life.checked, &fences)
        })?;
        retained::check(&mut self.stage.ledger, self.gateway.ports.mqtt)?;
        self.cast.judge(&mut self.stage.ledger, self.checked);
        self.checked = self.stage.ledger.count();
        self.cast.dismiss(&mut self.stage);
        if self.is_good() {
            self.account()?;
        }
        self.stage.calm = false;
        Ok(())
    }

    /// What the gateway says about itself when everything has been delivered. What nobody waited for
    /// may still be on its way to the sink.
    fn account(&mut self) -> Outcome {
        let begin = Instant::now();
        for metric in [UNACCOUNTED, "tidegate_queued_messages", "tidegate_in_flight_messages"] {
            loop {
                let value = self.gateway.metric(metric)?;
                if value == Some(0.0) {
                    break;
                }
                if begin.elapsed() > self.plan.patience {
                    let text = format!("{metric} is {value:?} when all is delivered");
                    self.stage.ledger.violate(Fault::Account, EVERYBODY, None, text);
                    return Ok(());
                }
                while self.step(LULL)? {}
            }
        }
        Ok(())
    }

    fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Outcome {
        let begin = Instant::now();
        self.hurry();
        let mut heard = Instant::now();
        while !is_so(self) {
            if self.stage.calm {
                // A CONNECT that a client gave up, and that is read late, ends its next connection.
                self.cast.come(&mut self.stage)?;
            }
            if self.step(LULL)? {
                heard = Instant::now();
            } else if heard.elapsed() > self.plan.patience || begin.elapsed() > CALM_MAX {
                let text = format!("{what}: that is not so, {}", self.cast.waiting());
                self.stage.ledger.violate(Fault::Stalled, EVERYBODY, None, text);
                return Ok(());
            }
        }
        self.hurry();
        Ok(())
    }

    /// Does all that was put off.
    fn hurry(&mut self) {
        while let Some(deed) = self.stage.later.pop_first() {
            self.cast.perform(&mut self.stage, deed.1);
        }
    }

    /// Handles what happens next, and what is due. Whether anything did.
    fn step(&mut self, longest: Duration) -> Outcome<bool> {
        let event = self.events.recv_timeout(longest);
        self.stage.ledger.now += 1;
        let lull = matches!(event, Err(RecvTimeoutError::Timeout));
        if let Ok(event) = event {
            self.cast.handle(&mut self.stage, event);
        }
        let mut early = lull;
        let mut done = !lull;
        while let Some(deed) = self.stage.due(early) {
            self.cast.perform(&mut self.stage, deed);
            (early, done) = (false, true);
        }
        Ok(done)
    }
}

/// Takes the second half of the last segment away.
fn forget(data_dir: &Path) -> Outcome {
    let Some((path, mut bytes, used)) = segments::last_used(data_dir)? else { return Ok(()) };
    bytes[used / 2..].fill(0);
    Ok(std::fs::write(path, bytes)?)
}

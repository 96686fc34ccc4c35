use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use gateway_model::Qos;

use super::clock::Clock;
use super::heard::Heard;
use super::options::{
    BenchCommand, ClientOptions, ConnectBench, FlowOptions, PointToPointBench, PublishBench, SubscribeBench,
    filter, topic,
};
use super::pace::Pace;
use super::pattern::Pattern;
use super::publisher::Subject;
use super::roster::{Names, Roster};
use super::run::{Loop, Run};
use super::target::Target;
use crate::client::ClientError;

/// What a command line asks for: who takes part, and when it ends.
pub struct Plan {
    pub command: &'static str,
    pub clients: ClientOptions,
    pattern: Option<Pattern>,
    share: Option<String>,
    publishers: u32,
    subscribers: u32,
    subscription_qos: Qos,
    /// `None`: nobody publishes here.
    pub flow: Option<FlowOptions>,
    pub end: End,
}

/// What ends the main part of a run, besides Ctrl-C.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    pub after: Option<Duration>,
    /// All together have received so many.
    pub received: Option<u64>,
}

impl Plan {
    pub fn new(command: &BenchCommand) -> Result<Self, ClientError> {
        match command {
            BenchCommand::Connect(bench) => Self::connect(bench),
            BenchCommand::Pub(bench) => Self::publish(bench),
            BenchCommand::Sub(bench) => Self::subscribe(bench),
            BenchCommand::PointToPoint(bench) => Self::point_to_point(bench),
        }
    }

    fn connect(bench: &ConnectBench) -> Result<Self, ClientError> {
        Ok(Self {
            command: "connect",
            clients: bench.clients.clone(),
            pattern: bench.topic.as_deref().map(filter).transpose()?,
            share: None,
            publishers: 0,
            subscribers: bench.clients.clients,
            subscription_qos: bench.qos,
            flow: None,
            end: End { after: Some(bench.hold), received: None },
        })
    }

    fn publish(bench: &PublishBench) -> Result<Self, ClientError> {
        Ok(Self {
            command: "pub",
            clients: bench.clients.clone(),
            pattern: Some(topic(&bench.topic)?),
            share: None,
            publishers: bench.clients.clients,
            subscribers: 0,
            subscription_qos: bench.flow.qos,
            flow: Some(bench.flow.clone()),
            end: End { after: bench.flow.duration(), received: None },
        })
    }

    fn subscribe(bench: &SubscribeBench) -> Result<Self, ClientError> {
        Ok(Self {
            command: "sub",
            clients: bench.clients.clone(),
            pattern: Some(filter(&bench.topic)?),
            share: None,
            publishers: 0,
            subscribers: bench.clients.clients,
            subscription_qos: bench.qos,
            flow: None,
            end: End { after: bench.duration, received: bench.count },
        })
    }

    fn point_to_point(bench: &PointToPointBench) -> Result<Self, ClientError> {
        let pairs = bench.clients.clients;
        Ok(Self {
            command: "p2p",
            clients: bench.clients.clone(),
            pattern: Some(topic(&bench.topic)?),
            share: bench.share.clone(),
            publishers: bench.pubs.unwrap_or(pairs),
            subscribers: bench.subs.unwrap_or(pairs),
            subscription_qos: bench.flow.qos,
            flow: Some(bench.flow.clone()),
            end: End { after: bench.flow.duration(), received: None },
        })
    }

    pub fn members(&self) -> u64 {
        u64::from(self.publishers) + u64::from(self.subscribers)
    }

    /// Finds the broker, and puts the plan into the form that the threads work by.
    pub async fn run(&self) -> Result<Run, ClientError> {
        let clients = &self.clients;
        if clients.broker.url_topic().is_some() {
            return Err(ClientError::Usage("the URL has a topic: write it as -t TOPIC".to_owned()));
        }
        let target = Target::new(clients).await?;
        let threads = u32::from(clients.threads);
        let names = Names {
            prefix: clients.prefix(),
            username: target.credentials.username.clone().unwrap_or_default(),
            first_number: clients.startnumber,
            pattern: self.pattern.clone(),
            group: self.share.clone(),
        };
        let flow = self.flow.as_ref();
        let drive = match flow.and_then(FlowOptions::rate) {
            Some(rate) => Loop::Open(Pace::new(rate, self.publishers)),
            None => Loop::Closed { window: flow.map_or(0, |flow| flow.window) },
        };
        let pattern = self.pattern.as_ref().map(ToString::to_string).unwrap_or_default();
        let is_shared =
            self.share.is_some() || pattern.starts_with("$share/") || pattern.starts_with("$queue/");
        Ok(Run {
            clock: Clock::start(),
            subject: Subject {
                run: RandomState::new().build_hasher().finish() as u32,
                version: target.options.version,
                qos: self.subscription_qos,
                retain: flow.is_some_and(|flow| flow.retain),
                payload_bytes: flow.map_or(0, |flow| flow.size),
            },
            target,
            roster: Roster::new(names, self.publishers, self.subscribers, threads),
            subscription_qos: self.subscription_qos,
            drive,
            count_max: flow.and_then(|flow| flow.count).unwrap_or(u64::MAX),
            // The rate is that of all threads: each has its share of it.
            connect_pace: clients.rate().map(|rate| Pace::new(rate / f64::from(threads), threads)),
            concurrency: clients.concurrency.div_ceil(threads) as usize,
            connect_timeout: clients.connect_timeout,
            group: is_shared.then(Heard::group),
            threads: Run::seats(threads),
            progress: Default::default(),
        })
    }
}

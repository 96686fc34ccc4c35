use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use gateway_model::{BridgeState, Message, Receipt, Settlement};
use tokio::sync::{mpsc, watch};

use crate::client::Endpoint;
use crate::identity::Identity;
use crate::retry::{Backoff, PROBE, Verdict, judge};
use crate::translate::Translator;

/// The reason, in metrics, of a message that the server can never take.
const POISON: Settlement = Settlement::Dropped("poison");

/// One message on its way.
pub(crate) struct Parcel {
    pub message: Arc<Message>,
    pub receipt: Receipt,
    pub id: Identity,
}

/// Delivers what comes to it strictly in order, one request at a time.
pub(crate) struct Lane<E> {
    pub index: usize,
    pub endpoint: Arc<E>,
    pub translator: Arc<Translator>,
    pub health: Arc<Health>,
    pub timeout: Duration,
    pub backoff: Backoff,
    /// True when the bridge closes: finish the request under way, begin no other.
    pub stop: watch::Receiver<bool>,
}

/// What the lanes together say about the endpoint.
pub(crate) struct Health {
    name: Box<str>,
    lanes: Mutex<Lanes>,
}

struct Lanes {
    started: bool,
    /// Why each lane is waiting, if it is.
    troubles: Vec<Option<Box<str>>>,
    poison_logged: bool,
}

impl<E: Endpoint> Lane<E> {
    /// Ends when the queue is closed and empty, or at `stop`; what is left then is returned.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Parcel>) {
        loop {
            let parcel = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return,
                parcel = queue.recv() => parcel,
            };
            let Some(parcel) = parcel else { return };
            match self.deliver(&parcel).await {
                Some(settlement) => parcel.receipt.settle(settlement),
                None => return,
            }
        }
    }

    /// Tries until there is a verdict. `None` if the bridge closes before.
    async fn deliver(&mut self, parcel: &Parcel) -> Option<Settlement> {
        let letter = match self.translator.translate(&parcel.message, parcel.id) {
            Ok(letter) => letter,
            Err(error) => {
                self.health.poison(&parcel.message, &error.to_string());
                return Some(POISON);
            }
        };
        for attempt in 0.. {
            let now = SystemTime::now();
            let secs = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let request = self.translator.request(&letter, secs);
            let (verdict, cause) = match tokio::time::timeout(self.timeout, self.endpoint.post(request)).await
            {
                Ok(Ok(answer)) => (
                    judge(answer.status, answer.retry_after.as_deref(), now),
                    format!("the server answers {}", answer.status),
                ),
                Ok(Err(error)) => (Verdict::Again { after: None }, error),
                Err(_) => (
                    Verdict::Again { after: None },
                    format!("no answer within {} seconds", self.timeout.as_secs()),
                ),
            };
            let delay = match verdict {
                Verdict::Delivered => {
                    self.health.well(self.index);
                    return Some(Settlement::Delivered);
                }
                Verdict::Poison => {
                    self.health.well(self.index);
                    self.health.poison(&parcel.message, &cause);
                    return Some(POISON);
                }
                Verdict::Again { after } => {
                    self.backoff.delay(attempt, parcel.id.seed()).max(after.unwrap_or_default())
                }
                Verdict::Misconfigured => PROBE,
            };
            self.health.trouble(self.index, &cause);
            tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = tokio::time::sleep(delay) => {}
            }
        }
        None
    }
}

impl Health {
    pub fn new(name: &str, lanes: usize) -> Self {
        let lanes = Lanes { started: false, troubles: vec![None; lanes], poison_logged: false };
        Self { name: name.into(), lanes: Mutex::new(lanes) }
    }

    pub fn state(&self) -> BridgeState {
        let lanes = self.lanes();
        match lanes.troubles.iter().flatten().next() {
            Some(cause) => BridgeState::Retrying(cause.clone()),
            None if lanes.started => BridgeState::Connected,
            None => BridgeState::Starting,
        }
    }

    fn well(&self, lane: usize) {
        let mut lanes = self.lanes();
        lanes.troubles[lane] = None;
        lanes.started = true;
    }

    fn trouble(&self, lane: usize, cause: &str) {
        self.lanes().troubles[lane] = Some(cause.into());
    }

    fn poison(&self, message: &Message, cause: &str) {
        if !std::mem::replace(&mut self.lanes().poison_logged, true) {
            tracing::error!(
                bridge = &*self.name,
                topic = message.topic.as_str(),
                client = message.publisher.as_str(),
                cause,
                "the webhook's server can never take this message; it is dropped as poison, further ones silently"
            );
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::num::NonZeroU16;

    use bytes::Bytes;
    use gateway_model::{DeliveryId, Settle};
    use http::{Request, StatusCode};
    use http_body_util::Full;
    use tokio::time::Instant;

    use super::*;
    use crate::client::Answer;
    use crate::identity::Identities;
    use crate::translate::tests::message;

    /// Answers from a script, and remembers when it was asked for what.
    struct Script {
        start: Instant,
        answers: Mutex<VecDeque<Reaction>>,
        asked: Mutex<Vec<(Duration, String)>>,
    }

    #[derive(Clone, Copy)]
    enum Reaction {
        Status(u16),
        RetryAfter(u16, &'static str),
        Refused,
        Silence,
    }

    impl Endpoint for Script {
        async fn post(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
            let id = request.headers()["webhook-id"].to_str().unwrap().to_owned();
            self.asked.lock().unwrap().push((self.start.elapsed(), id));
            let reaction = self.answers.lock().unwrap().pop_front();
            let answer = |status, retry_after: Option<&str>| Answer {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: retry_after.map(Into::into),
            };
            match reaction.unwrap_or(Reaction::Status(200)) {
                Reaction::Status(status) => Ok(answer(status, None)),
                Reaction::RetryAfter(status, after) => Ok(answer(status, Some(after))),
                Reaction::Refused => Err("connection refused".into()),
                Reaction::Silence => std::future::pending().await,
            }
        }
    }

    #[derive(Default)]
    struct Ledger(Mutex<Vec<(u16, Settlement)>>);

    impl Settle for Ledger {
        fn settle(&self, id: DeliveryId, settlement: Settlement) {
            self.0.lock().unwrap().push((id.get(), settlement));
        }
    }

    struct Run {
        asked: Vec<(Duration, String)>,
        settled: Vec<(u16, Settlement)>,
        state: BridgeState,
    }

    /// Runs a lane over `messages` until they are settled, or until `stop_after`.
    async fn run(messages: u16, script: &[Reaction], stop_after: Option<Duration>) -> Run {
        let endpoint = Arc::new(Script {
            start: Instant::now(),
            answers: Mutex::new(script.iter().copied().collect()),
            asked: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let health = Arc::new(Health::new("test", 1));
        let config = serde_json::from_str(r#"{"url":"http://h/"}"#).unwrap();
        let lane = Lane {
            index: 0,
            endpoint: endpoint.clone(),
            translator: Arc::new(Translator::new(&config).unwrap()),
            health: health.clone(),
            timeout: Duration::from_secs(15),
            backoff: config.backoff(),
            stop: stopped,
        };
        let ledger = Arc::new(Ledger::default());
        let (queue, parcels) = mpsc::channel(100);
        let mut identities = Identities::default();
        for number in 1..=messages {
            let message = Arc::new(message("t", &number.to_string()));
            let receipt = Receipt::new(ledger.clone(), NonZeroU16::new(number).unwrap());
            let id = identities.assign(&message);
            queue.try_send(Parcel { message, receipt, id }).ok().unwrap();
        }
        let task = tokio::spawn(lane.run(parcels));
        let mut state = health.state();
        if let Some(after) = stop_after {
            tokio::time::sleep(after).await;
            state = health.state();
            stop.send_replace(true);
        }
        drop(queue);
        task.await.unwrap();
        if stop_after.is_none() {
            state = health.state();
        }
        let asked = endpoint.asked.lock().unwrap().clone();
        let settled = ledger.0.lock().unwrap().clone();
        Run { asked, settled, state }
    }

    fn gaps_secs(run: &Run) -> Vec<u64> {
        run.asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn transient_failures_are_retried_with_one_id_and_hold_up_what_follows() {
        use Reaction::*;
        let run = run(3, &[Refused, Status(503), Status(500), Status(429), Silence, Status(200)], None).await;
        assert_eq!(run.settled, [1, 2, 3].map(|number| (number, Settlement::Delivered)));
        let ids: Vec<_> = run.asked.iter().map(|(_, id)| id).collect();
        assert_eq!(ids.len(), 8);
        assert!(ids[..6].iter().all(|id| *id == ids[0]));
        assert!(ids[6] != ids[0] && ids[7] != ids[6]);
        assert_eq!(run.state, BridgeState::Connected);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_the_timeout() {
        let run = run(1, &[Reaction::Silence], None).await;
        assert_eq!(gaps_secs(&run), [15]);
    }

    #[tokio::test(start_paused = true)]
    async fn rfc9110_10_2_3_retry_after_is_honoured() {
        let run = run(1, &[Reaction::RetryAfter(429, "120"), Reaction::RetryAfter(503, "0")], None).await;
        assert_eq!(gaps_secs(&run), [120, 0]);
        assert!(run.asked[2].0 - run.asked[1].0 >= Duration::from_millis(500), "its own delay is the least");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_an_operator_must_repair_is_probed_every_30_seconds() {
        let refusals = [410, 401, 403, 404, 302].map(Reaction::Status);
        let run = run(2, &refusals, None).await;
        assert_eq!(gaps_secs(&run), [30, 30, 30, 30, 30, 0]);
        assert_eq!(run.settled, [1, 2].map(|number| (number, Settlement::Delivered)));
    }

    #[tokio::test(start_paused = true)]
    async fn poison_is_dropped_and_the_lane_goes_on() {
        let run = run(3, &[200, 422, 200].map(Reaction::Status), None).await;
        let dropped = Settlement::Dropped("poison");
        assert_eq!(run.settled, [(1, Settlement::Delivered), (2, dropped), (3, Settlement::Delivered)]);
        assert!(gaps_secs(&run).iter().all(|gap| *gap == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_in_an_outage_returns_messages_in_order_and_the_cause_was_shown() {
        let run = run(3, &[Reaction::Refused; 100], Some(Duration::from_secs(300))).await;
        assert_eq!(run.settled, [1, 2, 3].map(|number| (number, Settlement::Returned)));
        assert_eq!(run.state, BridgeState::Retrying("connection refused".into()));
        assert!((12..=30).contains(&run.asked.len()), "{}", run.asked.len());
    }
}

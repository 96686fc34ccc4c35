//! One thread of the generator: all its clients in one task.
//!
//! A pass takes what the sockets have, answers, publishes what may be published, and then writes once to each
//! client for which there is something. `opening.rs` is how clients come up, `receiving.rs` what they hear,
//! `publishing.rs` what they say.

mod opening;
mod publishing;
mod receiving;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use gateway_model::Reason;
use protocol_mqtt::codec::{Disconnect, Packet, Properties};

use super::alarm::Alarm;
use super::client::{Client, State};
use super::heard::Heard;
use super::line::Spare;
use super::publisher::Publisher;
use super::roster::Member;
use super::run::{Run, Seat, Stage};
use super::tally::Live;
use crate::client::{ClientError, tls_explained};

pub struct Worker {
    run: Arc<Run>,
    thread: usize,
    stage: Stage,
    alarm: Alarm,
    clients: Vec<Client>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    /// Who has not begun to connect.
    members: Box<dyn Iterator<Item = Member> + Send>,
    /// When the first client began to connect.
    opening_from: Option<u64>,
    filler: Arc<[u8]>,
    /// Clients that were begun and are neither up nor failed.
    pending: usize,
    /// Publishers that may send.
    sendable: Vec<u32>,
    /// Clients for which something is to be written.
    dirty: Vec<u32>,
    /// Clients that are ready; kept for its memory.
    ready: Vec<u32>,
    /// Copies that have arrived of what another thread publishes, by thread.
    settled: Vec<Vec<(u32, u64)>>,
    spare: Spare,
    buffer: Vec<u8>,
    /// Messages of this thread that were due, in an open loop.
    turn: u64,
    /// When to look after what happens seldom.
    check_at: u64,
}

/// One client that receives.
struct Subscriber {
    number: u32,
    heard: Heard,
}

/// A client is read into this; more is read at the next turn.
const READ_BYTES: usize = 256 * 1024;
/// Pings, connections that take too long, publishers that wait in vain.
const CHECK_NANOS: u64 = 1_000_000_000;

impl Worker {
    /// To be called within the thread's runtime.
    pub fn new(run: Arc<Run>, thread: usize) -> io::Result<Self> {
        let filler = run.subject.filler();
        Ok(Self {
            thread,
            stage: Stage::Opening,
            alarm: Alarm::new()?,
            clients: Vec::new(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            members: Box::new(run.roster.of_thread(thread as u32)),
            opening_from: None,
            filler,
            pending: 0,
            sendable: Vec::new(),
            dirty: Vec::new(),
            ready: Vec::new(),
            settled: run.threads.iter().map(|_| Vec::new()).collect(),
            spare: Spare::default(),
            buffer: vec![0; READ_BYTES],
            turn: 0,
            check_at: 0,
            run,
        })
    }

    /// Works until the run is over.
    pub async fn work(mut self) -> io::Result<()> {
        let run = Arc::clone(&self.run);
        let Some(seat) = run.threads.get(self.thread) else { return Ok(()) };
        loop {
            let is_restless = self.pass(seat)?;
            if self.stage == Stage::Closing {
                return Ok(());
            }
            if is_restless {
                // Whoever sends as fast as it goes still has to hear what comes.
                tokio::task::yield_now().await;
            } else {
                self.wait(seat).await?;
            }
        }
    }

    /// Until a socket is ready, the time has come, or another thread wants something.
    async fn wait(&mut self, seat: &Seat) -> io::Result<()> {
        poll_fn(|context| {
            seat.ready.register(context);
            if !seat.ready.is_empty() || self.run.stage() != self.stage || !seat.settled.lock().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.alarm.poll(context)
        })
        .await
    }

    /// Everything that there is to do now; true if there is more without anybody waking us.
    fn pass(&mut self, seat: &Seat) -> io::Result<bool> {
        let mut live = seat.live.lock();
        let live = &mut *live;
        let now = self.run.clock.now();
        self.enter(self.run.stage(), live);
        let mut ready = std::mem::take(&mut self.ready);
        seat.ready.take(&mut ready);
        for index in ready.drain(..) {
            self.serve(index, now, live);
        }
        self.ready = ready;
        self.settle_others(seat);
        let open_at = self.open_more(now, live);
        let publish_at = self.publish(live);
        self.send_all(live);
        if now >= self.check_at {
            self.check(now, live);
            self.check_at = now + CHECK_NANOS;
        }
        let at = open_at.min(publish_at).min(self.check_at);
        self.alarm.set(at, self.run.clock.now())?;
        Ok(!self.sendable.is_empty())
    }

    /// Follows the run into its next stage.
    fn enter(&mut self, stage: Stage, live: &mut Live) {
        if stage == self.stage {
            return;
        }
        self.stage = stage;
        match stage {
            Stage::Opening => {}
            Stage::Publishing => (0..self.publishers.len() as u32).for_each(|publisher| self.list(publisher)),
            Stage::Draining => self.stop_publishing(live),
            Stage::Closing => self.close_all(),
        }
    }

    /// A client whose socket is ready, or whose connection has come a step further.
    fn serve(&mut self, index: u32, now: u64, live: &mut Live) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        client.attend();
        match &client.state {
            State::Opening(_) => self.go_on_opening(index, now, live),
            State::Open(open) => {
                if open.line.is_blocked {
                    self.send(index, live);
                }
                self.read(index, live);
            }
            State::Closed => {}
        }
    }

    /// Writes to everybody for whom there is something.
    fn send_all(&mut self, live: &mut Live) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            self.send(index, live);
        }
        // What was listed meanwhile stays.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    fn send(&mut self, index: u32, live: &mut Live) {
        let now = self.run.clock.now();
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        let (member, place) = (client.member, client.place);
        let Some((open, mut context)) = client.open() else { return };
        open.line.is_dirty = false;
        open.sent_at = now;
        let was_blocked = open.line.is_blocked;
        let sent = open.line.send(&mut context, &mut self.spare);
        match (was_blocked, open.line.is_blocked) {
            (false, true) => live.tally.blocked += 1,
            (true, false) => live.tally.blocked -= 1,
            _ => {}
        }
        match sent {
            Err(error) => self.fail(index, &ClientError::Lost(tls_explained(&error)), live),
            // There is room again for who was held up, or who is held up by nothing else.
            Ok(()) if !open.line.is_blocked && matches!(member, Member::Publisher(_)) => {
                self.list_if_held_up(place as u32);
            }
            Ok(()) => {}
        }
    }

    /// The connection is over.
    fn fail(&mut self, index: u32, error: &ClientError, live: &mut Live) {
        let Some(client) = self.clients.get_mut(index as usize) else { return };
        if matches!(client.state, State::Closed) {
            return;
        }
        if client.is_up() {
            live.tally.connected -= 1;
            live.tally.lost_connections += 1;
            if let (Member::Publisher(_), Some(publisher)) =
                (client.member, self.publishers.get(client.place))
            {
                live.tally.unfinished -= u64::from(publisher.sent < self.run.count_max);
            }
        } else {
            self.pending -= 1;
            live.tally.refused += 1;
        }
        if matches!(&client.state, State::Open(open) if open.line.is_blocked) {
            live.tally.blocked -= 1;
        }
        client.state = State::Closed;
        live.failures.add(&self.run.roster.client_id(client.member), error);
    }

    /// What happens seldom.
    fn check(&mut self, now: u64, live: &mut Live) {
        let timeout = super::clock::nanos(self.run.connect_timeout);
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let opened_at = client.opened_at;
            let is_late = !client.is_up() && now.saturating_sub(opened_at) > timeout;
            match &mut client.state {
                State::Closed => {}
                _ if is_late => {
                    let text = format!("not connected within {} s", self.run.connect_timeout.as_secs_f64());
                    self.fail(index as u32, &ClientError::Lost(text), live);
                }
                State::Open(open) if open.is_silent(now) => {
                    let version = self.run.target.options.version;
                    if open.put(&mut self.spare, |out| Packet::Pingreq.encode(version, out)) {
                        self.dirty.push(index as u32);
                    }
                }
                _ => {}
            }
        }
        self.send_all(live);
        self.give_up_stuck(now.saturating_sub(CHECK_NANOS), live);
    }

    fn close_all(&mut self) {
        let version = self.run.target.options.version;
        for client in &mut self.clients {
            if client.is_up()
                && let Some((open, mut context)) = client.open()
            {
                let goodbye = Packet::Disconnect(Disconnect {
                    reason: Reason::Success,
                    properties: Properties::default(),
                });
                open.put(&mut self.spare, |out| goodbye.encode(version, out));
                // Whoever does not take it has it from the end of the connection.
                let _ = open.line.send(&mut context, &mut self.spare);
            }
            client.state = State::Closed;
        }
    }
}

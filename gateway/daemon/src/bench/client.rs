use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::line::{Line, Spare};
use super::ready::{ReadyList, Signal};
use super::roster::Member;
use crate::client::ClientError;

/// One MQTT client of a thread.
pub struct Client {
    pub member: Member,
    /// Its place among the thread's publishers or subscribers.
    pub place: usize,
    pub state: State,
    /// When its connection was begun.
    pub opened_at: u64,
    signal: Arc<Signal>,
    waker: Waker,
}

/// ```text
/// Opening ──▶ Open: Connack ──▶ Suback ──▶ Up
///    └───────────┴─────────────────┴────────┴──▶ Closed
/// ```
pub enum State {
    Opening(Opening),
    Open(Box<Open>),
    Closed,
}

pub type Opening = Pin<Box<dyn Future<Output = Result<Line, ClientError>> + Send>>;

pub struct Open {
    pub line: Line,
    pub phase: Phase,
    /// When something was sent last.
    pub sent_at: u64,
    /// Zero: none.
    pub keep_alive_nanos: u64,
    /// What the broker takes unacknowledged (MQTT 5.0 section 3.2.2.3.3).
    pub receive_maximum: u16,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Connack,
    /// So many of them.
    Suback(u32),
    /// Nothing: it is there.
    Up,
}

impl Client {
    pub fn new(
        list: &Arc<ReadyList>,
        index: u32,
        member: Member,
        place: usize,
        opening: Opening,
        now: u64,
    ) -> Self {
        let signal = list.signal(index);
        let waker = Waker::from(Arc::clone(&signal));
        Self { member, place, state: State::Opening(opening), opened_at: now, signal, waker }
    }

    /// What becomes ready from now on is told again.
    pub fn attend(&self) {
        self.signal.reset();
    }

    pub fn is_up(&self) -> bool {
        matches!(&self.state, State::Open(open) if open.phase == Phase::Up)
    }

    /// The state, and what wakes this client.
    pub fn parts(&mut self) -> (&mut State, Context<'_>) {
        (&mut self.state, Context::from_waker(&self.waker))
    }

    /// The connection, if it stands.
    #[inline]
    pub fn open(&mut self) -> Option<(&mut Open, Context<'_>)> {
        match &mut self.state {
            State::Open(open) => Some((open, Context::from_waker(&self.waker))),
            _ => None,
        }
    }
}

impl Open {
    pub fn new(line: Line, now: u64) -> Self {
        let (phase, receive_maximum) = (Phase::Connack, u16::MAX);
        Self { line, phase, sent_at: now, keep_alive_nanos: 0, receive_maximum }
    }

    /// Appends a packet; true if the thread has to be told that there is something to send.
    #[inline]
    pub fn put(&mut self, spare: &mut Spare, packet: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.line.put(spare, packet);
        !std::mem::replace(&mut self.line.is_dirty, true)
    }

    /// Whether it has to say something to be taken for alive.
    pub fn is_silent(&self, now: u64) -> bool {
        let enough = self.keep_alive_nanos / 4 * 3;
        self.phase == Phase::Up && self.keep_alive_nanos > 0 && now.saturating_sub(self.sent_at) >= enough
    }
}

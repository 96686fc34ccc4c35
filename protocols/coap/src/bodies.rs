//! What is too long for one message, of one peer.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Instant;

use gateway_model::{Message, Topic};

use crate::block::Uploads;
use crate::config::Config;
use crate::exchange::EXCHANGE_LIFETIME;
use crate::translate::etag_of;

/// Few peers have any; of the others nothing is kept.
pub(crate) struct Bodies {
    /// Requests on their way in.
    pub(crate) uploads: Uploads,
    /// Notified by their first block; the rest can be fetched, retained or not.
    pub(crate) large: LargeNotifications,
    /// The ETag of the large message read last.
    etag: Option<(Weak<Message>, [u8; 8])>,
}

/// How many large notifications a peer may be fetching at a time.
const LARGE_MAX: usize = 4;

/// From this size on, the ETag of the message read last is remembered: the peer will fetch the
/// rest block by block, and hashing the whole for each block would cost its square.
pub(crate) const ETAG_KEPT_LEN_MIN: usize = 2048;

/// Messages whose first block went out as a notification. A state could be read again, an event
/// could not, and either might change while its blocks are fetched (RFC 7959 section 2.6).
#[derive(Default)]
pub(crate) struct LargeNotifications(VecDeque<(Instant, Arc<Message>)>);

impl Bodies {
    /// Those of a peer, made if there were none.
    pub(crate) fn of<'a>(bodies: &'a mut Option<Box<Self>>, config: &Config) -> &'a mut Self {
        bodies.get_or_insert_with(|| {
            let uploads = Uploads::new(config.upload_limits());
            Box::new(Self { uploads, large: LargeNotifications::default(), etag: None })
        })
    }

    /// Forgets what rested too long; whether nothing is left that must be kept.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        self.uploads.expire(now);
        self.large.expire(now);
        self.uploads.is_empty() && self.large.0.is_empty()
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.uploads.next_timeout().into_iter().chain(self.large.next_timeout()).min()
    }

    pub(crate) fn etag(&mut self, message: &Arc<Message>) -> [u8; 8] {
        if let Some((kept, etag)) = &self.etag
            && std::ptr::eq(kept.as_ptr(), Arc::as_ptr(message))
            && kept.strong_count() > 0
        {
            return *etag;
        }
        let etag = etag_of(message);
        self.etag = Some((Arc::downgrade(message), etag));
        etag
    }
}

impl LargeNotifications {
    pub(crate) fn keep(&mut self, now: Instant, message: &Arc<Message>) {
        self.0.retain(|(_, older)| older.topic != message.topic);
        if self.0.len() >= LARGE_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now + EXCHANGE_LIFETIME, message.clone()));
    }

    pub(crate) fn find(&self, topic: &Topic) -> Option<Arc<Message>> {
        self.0.iter().find(|(_, message)| message.topic == *topic).map(|(_, message)| message.clone())
    }

    fn expire(&mut self, now: Instant) {
        self.0.retain(|(until, _)| *until > now);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.0.front().map(|(until, _)| *until)
    }
}

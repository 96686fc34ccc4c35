use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use gateway_model::{ClientId, Message, Notify, Qos, Stored, Topic};
use gateway_store::{
    Appending, Figures, Holders, PAGE_BYTES, PageNumber, Pages, Place, ReadError, Room, Store,
};
use parking_lot::Mutex;

/// A store that keeps messages and pages at hand, and loses what a test says.
#[derive(Default)]
pub(super) struct Shelf {
    messages: Mutex<HashMap<Place, Arc<Message>>>,
    next: AtomicU64,
    durable: AtomicU64,
    pages: Mutex<HashMap<PageNumber, Vec<u8>>>,
    next_page: AtomicU64,
    /// Pages read and written so far.
    pub(super) accesses: AtomicU64,
    /// What reads of a place fail with, as in errno(3).
    failing: Mutex<HashMap<Place, i32>>,
    /// No page can be written.
    pub(super) is_full: AtomicBool,
}

impl Shelf {
    /// As a publish would: the message knows where it is.
    pub(super) fn put(&self, message: &Message) -> Place {
        let place = Place::from_number(1000 + 100 * self.next.fetch_add(1, Ordering::Relaxed));
        message.stored.set(place.number());
        self.messages.lock().insert(place, Arc::new(copy(message, place)));
        self.durable.store(place.number() + 100, Ordering::Relaxed);
        place
    }

    /// As cleaning would: the message lies elsewhere.
    pub(super) fn shift(&self, from: Place) -> Place {
        let message = self.take(from);
        self.put(&message)
    }

    pub(super) fn take(&self, place: Place) -> Arc<Message> {
        self.messages.lock().remove(&place).expect("it is there")
    }

    pub(super) fn give_back(&self, place: Place, message: Arc<Message>) {
        self.messages.lock().insert(place, message);
    }

    pub(super) fn fail(&self, place: Place, error: i32) {
        self.failing.lock().insert(place, error);
    }

    pub(super) fn mend(&self, place: Place) {
        self.failing.lock().remove(&place);
    }

    pub(super) fn set_durable(&self, place: Place) {
        self.durable.store(place.number(), Ordering::Relaxed);
    }

    /// The numbers of all pages.
    pub(super) fn pages(&self) -> Vec<PageNumber> {
        let mut pages: Vec<_> = self.pages.lock().keys().copied().collect();
        pages.sort_by_key(|page| page.0);
        pages
    }

    pub(super) fn damage(&self, page: PageNumber, damage: impl FnOnce(&mut Vec<u8>)) {
        damage(self.pages.lock().get_mut(&page).expect("it is there"));
    }
}

/// A message of its own.
pub(super) fn copy(message: &Message, place: Place) -> Message {
    Message {
        topic: message.topic.clone(),
        payload: message.payload.clone(),
        properties: message.properties.clone(),
        publisher: message.publisher.clone(),
        accepted_unix_millis: message.accepted_unix_millis,
        expires_at: message.expires_at,
        qos: message.qos,
        retain: message.retain,
        stored: Stored::at(place.number()),
    }
}

pub(super) fn message(topic: &str, payload: Bytes, qos: Qos) -> Message {
    Message {
        topic: Topic::parse(topic).unwrap(),
        payload,
        properties: None,
        publisher: ClientId::parse("publisher").unwrap(),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos,
        retain: false,
        stored: Stored::default(),
    }
}

impl Store for Shelf {
    fn begin(&self) -> Option<Appending<'_>> {
        None
    }

    fn durable(&self) -> Place {
        Place::from_number(self.durable.load(Ordering::Relaxed))
    }

    fn read(&self, place: Place) -> Result<Arc<Message>, ReadError> {
        if let Some(error) = self.failing.lock().get(&place) {
            return Err(ReadError::Io { place, error: Arc::new(io::Error::from_raw_os_error(*error)) });
        }
        let messages = self.messages.lock();
        let message = messages.get(&place).ok_or(ReadError::Nowhere(place))?;
        Ok(Arc::new(copy(message, place)))
    }

    fn room(&self) -> Room {
        Room::Open
    }

    fn clean(&self, _: &dyn Holders) -> bool {
        false
    }

    fn watch(&self, _: Arc<dyn Notify>) {}

    fn pages(&self) -> Option<&dyn Pages> {
        Some(self)
    }

    fn figures(&self) -> Figures {
        Figures::default()
    }
}

impl Pages for Shelf {
    fn put(&self, bytes: &[u8]) -> io::Result<PageNumber> {
        assert!(bytes.len() <= PAGE_BYTES, "{} bytes for a page", bytes.len());
        if self.is_full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.accesses.fetch_add(1, Ordering::Relaxed);
        let page = PageNumber(self.next_page.fetch_add(1, Ordering::Relaxed) as u32);
        self.pages.lock().insert(page, bytes.to_vec());
        Ok(page)
    }

    fn get(&self, page: PageNumber) -> io::Result<Vec<u8>> {
        self.accesses.fetch_add(1, Ordering::Relaxed);
        self.pages.lock().get(&page).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn free(&self, page: PageNumber) {
        assert!(self.pages.lock().remove(&page).is_some(), "{page:?} is freed twice");
    }
}

//! A web server behind the webhook bridge. The run decides what it answers, and when.

use std::collections::HashMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, sync_channel};

use crate::faults::crash::ledger::{Fault, Ledger, MessageId};
use crate::faults::crash::link::{Event, Posted};
use crate::harness::http::read_request;
use crate::harness::{Outcome, place};

/// What was answered 200. It stops when dropped.
pub struct Sink {
    pub port: u16,
    got: HashMap<MessageId, usize>,
    /// The last of each topic and QoS that came for the first time.
    latest: HashMap<(String, u8), usize>,
    stopping: Arc<AtomicBool>,
}

pub const WHO: &str = "webhook";

impl Sink {
    pub fn start(events: Sender<Event>) -> Outcome<Self> {
        let port = place::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let events = events.clone();
                std::thread::spawn(move || serve(stream, &events));
            }
        });
        Ok(Self { port, got: HashMap::new(), latest: HashMap::new(), stopping })
    }

    /// The part of the settings that leads here.
    pub fn bridge(&self) -> String {
        format!(
            "[[bridge]]\n\
             name = \"crash\"\n\
             kind = \"webhook\"\n\
             topics = [\"t/#\"]\n\
             url = \"http://127.0.0.1:{}/\"\n\
             retry_delay_min_millis = 5\n\
             retry_delay_max_millis = 20\n",
            self.port
        )
    }

    /// It takes the message.
    pub fn receive(&mut self, ledger: &mut Ledger, id: MessageId) {
        ledger.note(WHO, Some(id), "takes it".into());
        let message = ledger.message(id);
        let (topic, seq) = ((message.topic.clone(), message.qos), message.seq);
        let ordered = !message.abandoned;
        let times = self.got.entry(id).or_default();
        *times += 1;
        if *times > 1 {
            return;
        }
        let last = self.latest.entry(topic).or_default();
        let later = *last;
        *last = later.max(seq);
        if later > seq && ordered {
            ledger.violate(Fault::OutOfOrder, WHO, Some(id), format!("it comes after {later}"));
        }
    }

    pub fn missing<'a>(&'a self, ledger: &'a Ledger, first: usize) -> impl Iterator<Item = MessageId> + 'a {
        let owed = ledger
            .since(first)
            .filter(|(_, message)| message.topic.starts_with("t/") && message.acknowledged.is_some());
        owed.map(|(id, _)| id).filter(|id| !self.got.contains_key(id))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which closes the port.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Shows each request to the run and answers what it says; ends with the connection or the run.
fn serve(stream: TcpStream, events: &Sender<Event>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let body = read_request(&mut reader)?.json().ok()?;
        let (answer, status) = sync_channel(1);
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        events
            .send(Event::Posted(Posted { topic: text("topic")?, payload: text("payload")?, answer }))
            .ok()?;
        let status = status.recv().ok()?;
        // In one piece: the second one would wait for an acknowledgement of the first.
        let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n");
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

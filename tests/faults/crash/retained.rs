//! What a new subscriber is shown of the retained topics.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::faults::crash::ledger::{Fault, Ledger};
use crate::faults::crash::packet::{self, Packet, Publish};
use crate::harness::{Outcome, Stop};

pub const TOPICS: [&str; 4] = ["r/0", "r/1", "r/2", "r/3"];
const WHO: &str = "newcomer";
const END: &str = "end-of-retained";

/// Each topic shows what was acknowledged last, or something later that was sent. Nobody is told of
/// acknowledgements meanwhile.
pub fn check(ledger: &mut Ledger, port: u16) -> Outcome {
    let shown = show(port)?;
    judge(ledger, &shown);
    Ok(())
}

/// The payloads, by topic.
pub fn judge(ledger: &mut Ledger, shown: &BTreeMap<String, Vec<u8>>) {
    for topic in TOPICS {
        let payload = shown.get(topic);
        let seen = payload.and_then(|payload| ledger.identify(topic, payload));
        if payload.is_some() && seen.is_none() {
            let text = format!("{topic} shows what nobody sent");
            ledger.violate(Fault::Altered, WHO, None, text);
            continue;
        }
        let of_topic: Vec<_> = ledger.of_topic(topic).collect();
        let last = of_topic.iter().rposition(|message| message.acknowledged.is_some());
        let candidates = &of_topic[last.unwrap_or(0)..];
        let blamed = last.and_then(|at| ledger.id_of(topic, at)).or(seen);
        let shown = seen.map(|id| ledger.message(id).seq);
        let right = (last.is_none() && shown.is_none())
            || candidates
                .iter()
                .any(|message| if message.clears { None } else { Some(message.seq) } == shown);
        if right {
            continue;
        }
        let last = last.map(|at| (of_topic[at].seq, of_topic[at].clears));
        let text = match last {
            Some((seq, true)) => format!("{topic} shows {shown:?}, and {seq} has cleared it"),
            Some((seq, false)) => format!("{topic} shows {shown:?}, and {seq} was acknowledged last"),
            None => format!("{topic} shows {shown:?}, which was never sent"),
        };
        ledger.violate(Fault::Retained, WHO, blamed, text);
    }
}

fn show(port: u16) -> Outcome<BTreeMap<String, Vec<u8>>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(&packet::connect(WHO, true, 0, 100))?;
    stream.write_all(&packet::subscribe(1, &["r/+".to_owned(), END.to_owned()], 1))?;
    let mut shown = BTreeMap::new();
    loop {
        match packet::read(&mut stream)? {
            Packet::Connack { reason: 0, .. } | Packet::Puback { .. } => {}
            Packet::Suback { .. } => {
                // It comes behind all that is retained.
                let (topic, payload) = (END.to_owned(), b"end".to_vec());
                let end = Publish { topic, id: 1, qos: 1, duplicate: false, retain: false, payload };
                stream.write_all(&end.encode())?;
            }
            Packet::Publish(publish) if publish.topic == END => break,
            // What is not retained comes from a connection that was cut, and not yet read to its end.
            Packet::Publish(publish) if !publish.retain => {}
            Packet::Publish(publish) => {
                shown.insert(publish.topic, publish.payload);
            }
            other => return Err(Stop::Failed(format!("{WHO} gets {other:?}"))),
        }
    }
    stream.write_all(&packet::disconnect())?;
    Ok(shown)
}

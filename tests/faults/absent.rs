//! A session whose client is away, and comes back for what waited.

use std::collections::HashSet;

use crate::harness::raw::RawClient;
use crate::harness::{Gateway, Outcome};
use crate::{ensure, ensure_eq};

pub struct Absent(&'static str);

impl Absent {
    /// Subscribes at QoS 1, and leaves.
    pub fn begin(gateway: &Gateway, client_id: &'static str, filter: &str) -> Outcome<Self> {
        let mut client = RawClient::persistent(gateway.ports.mqtt, client_id)?;
        ensure_eq!(client.subscribe(&[filter.to_owned()])?, vec![1], "the SUBACK");
        Ok(Self(client_id))
    }

    /// Comes back for `count` messages, and leaves. What comes again counts once.
    pub fn fetch(&self, gateway: &Gateway, count: usize) -> Outcome<Vec<Vec<u8>>> {
        let mut client = RawClient::persistent(gateway.ports.mqtt, self.0)?;
        ensure!(client.session_present(), "the session of {} is gone", self.0);
        let mut seen = HashSet::new();
        let mut messages = Vec::new();
        while messages.len() < count {
            let (id, payload) = client.message()?;
            client.acknowledge(id)?;
            if seen.insert(payload.clone()) {
                messages.push(payload);
            }
        }
        // Its answer comes when the acknowledgements have been seen.
        client.send(0xc0, b"")?;
        ensure_eq!(client.packet()?.0, 0xd0, "nothing else, but a PINGRESP");
        Ok(messages)
    }
}

/// Numbered payloads of so many bytes.
pub fn payload(number: usize, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(bytes.max(payload.len()), b'.');
    payload
}

/// That these are the numbered payloads from 0 on, and no others.
pub fn are_numbered(messages: &[Vec<u8>], bytes: usize) -> Outcome {
    for (number, message) in messages.iter().enumerate() {
        let text = String::from_utf8_lossy(message);
        ensure!(*message == payload(number, bytes), "in place of message {number} stands {text:?}");
    }
    Ok(())
}

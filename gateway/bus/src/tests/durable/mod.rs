//! With a store: what is there after a crash, to the last flag, and what never gets to the disk.

mod copies;
mod messages;
mod room;
mod sessions;
mod unread;

use gateway_model::{Expiry, Open, Qos};
use gateway_store::{Figures, Store};

use super::scene::{Client, Scene, lasting};
use crate::Limits;

const ZERO: Qos = Qos::AtMostOnce;
const ONE: Qos = Qos::AtLeastOnce;
const TWO: Qos = Qos::ExactlyOnce;

fn scene() -> Scene {
    Scene::durable(Limits::default())
}

/// A session that the log knows.
fn open(scene: &Scene, name: &str) -> Client {
    scene.open(name, lasting(Expiry::Never))
}

/// A client that comes back to its session.
fn resume(scene: &Scene, name: &str) -> Client {
    let client = open(scene, name);
    assert!(client.opened.session_present, "{name} is known");
    client
}

/// A client that begins anew every time.
fn brief(scene: &Scene, name: &str) -> Client {
    scene.open(name, Open::transient())
}

/// What the store has been given so far, whether written or not.
fn appended(scene: &Scene) -> u64 {
    let Figures { bytes_written, bytes_pending, .. } = scene.disk().figures();
    bytes_written + bytes_pending
}

fn topic(text: &str) -> gateway_model::Topic {
    super::scene::topic(text)
}

fn bell() -> std::sync::Arc<super::scene::Bell> {
    std::sync::Arc::default()
}

/// In which file of the store some bytes are, and where.
fn find(scene: &Scene, bytes: &[u8]) -> (String, u64) {
    let names = (1..100).map(|number| format!("{number:08}.log"));
    let mut found = names.filter_map(|name| {
        let contents = scene.simulated().contents(&name)?;
        let place = contents.windows(bytes.len()).position(|window| window == bytes)?;
        Some((name, place as u64))
    });
    found.next().expect("the bytes are somewhere")
}

use super::{ONE, brief, find, open, resume, scene};
use crate::DropReason;
use crate::tests::scene::{Client, Scene};

/// Three messages that wait for a session that is away, the second on bytes that cannot be read. The file
/// that they are in.
fn waiting(scene: &mut Scene, filter: &str) -> String {
    let publisher = brief(scene, "p");
    let client = open(scene, "a");
    scene.subscribe(&client, filter, ONE);
    scene.lose(&client);
    for count in 0..3 {
        scene.publish(&publisher, "t", &format!("message {count}{}", ".".repeat(9000)), ONE);
    }
    scene.commit();
    let (name, offset) = find(scene, b"message 1");
    scene.simulated().make_unreadable(&name, offset..offset + 1);
    name
}

/// Everything that there is, without the dots that keep messages apart on the disk.
fn receive(scene: &Scene, client: &Client) -> Vec<String> {
    scene.receive(client).iter().map(|text| text.trim_end_matches('.').to_owned()).collect()
}

/// A client that has what can be read, and was not rung for more.
fn come_back(scene: &Scene) -> Client {
    let client = resume(scene, "a");
    assert_eq!(receive(scene, &client), ["message 0"]);
    client.bell.rung();
    client
}

#[test]
fn what_cannot_be_read_now_comes_when_it_can() {
    let mut scene = scene();
    let name = waiting(&mut scene, "t");
    let client = come_back(&scene);
    for _ in 0..100 {
        assert!(scene.take(&client).is_empty());
    }
    assert_eq!(client.bell.rung(), 0, "it does not go round and round");
    for _ in 0..5 {
        scene.pass(1);
        assert_eq!(client.bell.rung(), 1, "an idle receiver is told");
        assert!(scene.take(&client).is_empty());
    }
    scene.simulated().make_readable(&name);
    scene.pass(1);
    assert_eq!(client.bell.rung(), 1);
    assert_eq!(receive(&scene, &client), ["message 1", "message 2"]);
    assert_eq!(scene.dropped(DropReason::Damaged), 0);
    assert_eq!(scene.pass(1), None);
    assert_eq!(client.bell.rung(), 0);
}

#[test]
fn what_can_never_be_read_is_given_up_after_some_seconds() {
    let mut scene = scene();
    waiting(&mut scene, "t");
    let client = come_back(&scene);
    let mut tries = 1;
    while scene.dropped(DropReason::Damaged) == 0 {
        scene.pass(1);
        assert_eq!(scene.bus.poll(scene.moment), None);
        assert_eq!(client.bell.rung(), 1);
        let taken = receive(&scene, &client);
        tries += 1;
        assert_eq!(taken.is_empty(), tries < 20, "try {tries}");
    }
    assert_eq!((tries, scene.dropped(DropReason::Damaged)), (20, 1));
    scene.commit();
    assert_eq!(scene.crash(0).copies, 0);
}

/// However often the gateway looks: no try is sooner than 250 ms after the last.
#[test]
fn tries_take_their_time() {
    let mut scene = scene();
    waiting(&mut scene, "t");
    let client = come_back(&scene);
    for _ in 0..100 {
        let next = scene.bus.poll(scene.moment);
        let rung = client.bell.rung();
        assert!(scene.take(&client).is_empty());
        assert!(rung == 1 || next.is_some_and(|next| next > scene.moment.instant));
    }
    assert_eq!(scene.dropped(DropReason::Damaged), 0);
}

#[test]
fn a_group_goes_on_without_what_cannot_be_read_now() {
    let mut scene = scene();
    let name = waiting(&mut scene, "$share/g/t");
    let other = open(&scene, "b");
    scene.subscribe(&other, "$share/g/t", ONE);
    assert_eq!(receive(&scene, &other), ["message 0", "message 2"]);
    scene.simulated().make_readable(&name);
    scene.pass(1);
    assert_eq!(receive(&scene, &other), ["message 1"]);
    assert_eq!(scene.dropped(DropReason::Damaged), 0);
}

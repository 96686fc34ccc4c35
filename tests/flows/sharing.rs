//! Shared, exclusive and delayed: what the gateway knows beyond plain topics, with mosquitto's tools.

use std::time::{Duration, Instant};

use crate::harness::gateway::Settings;
use crate::harness::mqtt::{BOTH_VERSIONS, Subscriber, publish};
use crate::harness::raw::RawClient;
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, World};
use crate::{ensure, ensure_eq};

crate::cases!("sharing":
    a_queue_divides_the_messages_evenly,
    the_first_worker_to_return_gets_what_waits,
    what_a_worker_does_not_acknowledge_goes_to_another,
    an_exclusive_filter_is_for_one,
    a_delayed_message_comes_later,
);

fn a_queue_divides_the_messages_evenly(world: &mut World) -> Outcome {
    const EACH: usize = 10;
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    for version in BOTH_VERSIONS {
        let arguments = ["-V", version, "-t", "$queue/jobs/+", "-q", "1"];
        let workers = [(); 3].map(|()| Subscriber::start(world, port, &arguments));
        let workers = workers.into_iter().collect::<Outcome<Vec<_>>>()?;
        for number in 0..3 * EACH {
            let topic = format!("jobs/{}", number % 2);
            publish(world, port, &["-V", version, "-t", &topic, "-q", "1", "-m", &number.to_string()])?;
        }
        for worker in &workers {
            worker.messages(EACH, 10)?;
            ensure_eq!(worker.so_far()?.len(), EACH, "messages of one worker");
        }
    }
    gateway.stop()
}

/// Nobody is online: the queue of the group is kept as that of one session.
fn the_first_worker_to_return_gets_what_waits(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let arguments = |id| ["-V", "5", "-c", "-x", "3600", "-i", id, "-t", "$share/g/jobs", "-q", "1"];
    for id in ["a", "b", "c"] {
        let worker = Subscriber::start(world, port, &arguments(id))?;
        worker.leave()?;
    }
    for number in 0..10 {
        publish(world, port, &["-t", "jobs", "-q", "1", "-m", &number.to_string()])?;
    }
    let back = Subscriber::connecting(world, port, &arguments("b"))?;
    let got: Vec<String> = back.messages(10, 10)?.into_iter().map(|got| got.payload).collect();
    ensure_eq!(got, (0..10).map(|number| number.to_string()).collect::<Vec<_>>(), "all, in order");
    gateway.stop()
}

/// mosquitto_sub acknowledges whatever it gets, so the one that does not is made by hand.
fn what_a_worker_does_not_acknowledge_goes_to_another(world: &mut World) -> Outcome {
    const ACK_SECS: u64 = 2;
    let set = vec![format!("shared.ack_secs={ACK_SECS}")];
    let gateway = Gateway::start_with(world, Settings { set, ..Settings::default() })?;
    let port = gateway.ports.mqtt;
    let mut stuck = RawClient::connect(port, "stuck")?;
    ensure_eq!(stuck.subscribe(&["$share/g/jobs".to_owned()])?, vec![1], "the SUBACK");
    let begin = Instant::now();
    for number in 0..3 {
        publish(world, port, &["-t", "jobs", "-q", "1", "-m", &number.to_string()])?;
    }
    let late = (0..3).map(|_| stuck.message()).collect::<Outcome<Vec<_>>>()?;
    let worker = Subscriber::start(world, port, &["-V", "5", "-t", "$share/g/jobs", "-q", "1"])?;
    let got: Vec<String> = worker.messages(3, 15)?.into_iter().map(|got| got.payload).collect();
    ensure_eq!(got, ["0", "1", "2"].map(str::to_owned), "what the other gets");
    ensure!(begin.elapsed() >= Duration::from_secs(ACK_SECS), "it came too early");
    for (id, _) in &late {
        stuck.acknowledge(*id)?;
    }
    // Its answer comes when the acknowledgements have been seen.
    ensure_eq!(stuck.subscribe(&["other".to_owned()])?, vec![1], "late answers are no error");
    for number in 3..7 {
        publish(world, port, &["-t", "jobs", "-q", "1", "-m", &number.to_string()])?;
    }
    for _ in 0..2 {
        let (id, _) = stuck.message()?;
        ensure!(late.iter().all(|(other, _)| *other != id), "{id} named another message");
        stuck.acknowledge(id)?;
    }
    worker.messages(3 + 2, 10)?;
    let delivered = eventually("all are delivered", 10, || {
        let waiting = gateway.metric("tidegate_in_flight_messages")?;
        if waiting == Some(0.0) { gateway.metric("tidegate_messages_delivered_total") } else { Ok(None) }
    })?;
    ensure_eq!(delivered, 7.0, "deliveries, each message counted once");
    drop(stuck);
    gateway.stop()
}

fn an_exclusive_filter_is_for_one(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let arguments = ["-V", "5", "-t", "$exclusive/valve", "-q", "1"];
    let first = Subscriber::start(world, port, &arguments)?;
    let mut second = Subscriber::connecting(world, port, &arguments)?;
    // mosquitto_sub leaves when all its subscriptions are refused.
    second.process.line("All subscription requests were denied", 10)?;
    second.process.finish(10)?;
    publish(world, port, &["-t", "valve", "-m", "open"])?;
    ensure_eq!(first.message()?.payload, "open", "what the holder hears");
    first.leave()?;
    let third = Subscriber::start(world, port, &arguments)?;
    publish(world, port, &["-t", "valve", "-m", "shut"])?;
    ensure_eq!(third.message()?.payload, "shut", "what the next holder hears");
    gateway.stop()
}

fn a_delayed_message_comes_later(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let port = gateway.ports.mqtt;
    let heard = Subscriber::start(world, port, &["-t", "lamp/+", "-q", "1"])?;
    let begin = Instant::now();
    publish(world, port, &["-t", "$delayed/2/lamp/off", "-q", "1", "-m", "late"])?;
    publish(world, port, &["-t", "lamp/on", "-q", "1", "-m", "soon"])?;
    let got = eventually("both messages", 10, || {
        let got = heard.so_far()?;
        Ok((got.len() == 2).then_some(got))
    })?;
    let got: Vec<_> = got.into_iter().map(|got| (got.topic, got.payload)).collect();
    let expected = [("lamp/on", "soon"), ("lamp/off", "late")];
    ensure_eq!(got, expected.map(|(topic, text)| (topic.to_owned(), text.to_owned())).to_vec(), "in time");
    ensure!(begin.elapsed() >= Duration::from_secs(2), "the delayed one came too early");
    gateway.stop()
}

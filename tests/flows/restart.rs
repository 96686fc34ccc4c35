//! What a gateway finds again when it starts, and when it does not start.

use crate::harness::gateway::{Settings, data_dir};
use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::{Gateway, Outcome, World};
use crate::{ensure, ensure_eq};

crate::cases!("restart":
    what_was_acknowledged_is_there_after_a_restart_of_any_kind,
    a_user_keeps_the_session_and_nobody_else_gets_it,
    what_waits_for_a_bridge_outlives_its_settings,
    in_memory_a_restart_loses_everything_and_it_is_said,
);

fn what_was_acknowledged_is_there_after_a_restart_of_any_kind(world: &mut World) -> Outcome {
    let mut gateway = Gateway::start(world)?;
    let node = node_id(&gateway)?;
    let away = ["-c", "-i", "away", "-t", "a/#", "-q", "2", "-V", "5", "-x", "3600"];
    let port = gateway.ports.mqtt;
    Subscriber::start(world, port, &away)?.leave()?;
    publish(world, port, &["-t", "kept", "-r", "-q", "1", "-m", "still here"])?;
    for (round, kill) in [(0, true), (1, false), (2, true)] {
        for number in 0..20 {
            let payload = format!("{round}/{number}");
            let qos = if number % 2 == 0 { "1" } else { "2" };
            publish(world, port, &["-t", "a/b", "-q", qos, "-m", &payload])?;
        }
        gateway = gateway.restart(world, kill)?;
        gateway.process.line("store: recovered", 5)?;
    }
    let back = Subscriber::connecting(world, port, &away)?;
    let messages = back.messages(60, 20)?;
    // mosquitto_sub shows a message of QoS 2 when it is released.
    for qos in [1, 2] {
        let numbers =
            |round| (0..20).filter(move |number| number % 2 + 1 == qos).map(move |number| (round, number));
        let expected: Vec<_> =
            (0..3).flat_map(numbers).map(|(round, number)| format!("{round}/{number}")).collect();
        let of_this_qos = messages.iter().filter(|message| message.qos == qos);
        let received: Vec<String> = of_this_qos.map(|message| message.payload.clone()).collect();
        ensure_eq!(received, expected, "what the session had at QoS {qos}");
    }
    let retained = Subscriber::start(world, port, &["-t", "kept"])?.message()?;
    ensure_eq!((retained.payload.as_str(), retained.retain), ("still here", true), "what was retained");
    ensure_eq!(node_id(&gateway)?, node, "the identity of the gateway");
    gateway.stop()
}

fn a_user_keeps_the_session_and_nobody_else_gets_it(world: &mut World) -> Outcome {
    let users = "[[access.user]]\nname = \"one\"\npassword = \"1\"\n[[access.user]]\nname = \"other\"\npassword = \"2\"\n";
    let gateway = Gateway::start_with(world, Settings::file(users))?;
    let port = gateway.ports.mqtt;
    let device = ["-c", "-i", "device", "-t", "a", "-q", "1"];
    let by = |user: &[&'static str]| [&device[..], user].concat();
    let one = by(&["-u", "one", "-P", "1"]);
    Subscriber::start(world, port, &one)?.leave()?;
    publish(world, port, &["-u", "one", "-P", "1", "-t", "a", "-q", "1", "-m", "x"])?;
    let gateway = gateway.restart(world, true)?;
    let back = Subscriber::connecting(world, port, &one)?;
    ensure_eq!(back.message()?.payload, "x", "what waited");
    back.leave()?;
    publish(world, port, &["-u", "one", "-P", "1", "-t", "a", "-q", "1", "-m", "secret"])?;
    let gateway = gateway.restart(world, true)?;
    let thief = Subscriber::start(world, port, &by(&["-u", "other", "-P", "2"]))?;
    publish(world, port, &["-u", "one", "-P", "1", "-t", "a", "-q", "1", "-m", "new"])?;
    ensure_eq!(thief.message()?.payload, "new", "what another user with that client identifier gets");
    gateway.stop()
}

fn what_waits_for_a_bridge_outlives_its_settings(world: &mut World) -> Outcome {
    let bridge = |topic: &str| {
        let url = "http://127.0.0.1:9/";
        format!("[[bridge]]\nname = \"plant\"\nkind = \"webhook\"\ntopics = [\"{topic}\"]\nurl = \"{url}\"\n")
    };
    const BACKLOG: &str = "tidegate_bridge_backlog_messages";
    let gateway = Gateway::start_with(world, Settings::file(bridge("a")))?;
    let port = gateway.ports.mqtt;
    for _ in 0..3 {
        publish(world, port, &["-t", "a", "-q", "1", "-m", "x"])?;
    }
    let gateway = gateway.restart_with(world, true, Settings::default())?;
    let warning = gateway.process.line("wait for a bridge that is not configured", 5)?;
    ensure!(warning.contains("3 messages") && warning.contains("plant"), "the log has {warning}");
    publish(world, port, &["-t", "a", "-q", "1", "-m", "x"])?;
    let gateway = gateway.restart_with(world, false, Settings::file(bridge("b")))?;
    publish(world, port, &["-t", "a", "-q", "1", "-m", "x"])?;
    publish(world, port, &["-t", "b", "-q", "1", "-m", "x"])?;
    ensure_eq!(gateway.metric(BACKLOG)?, Some(4.0), "messages that wait for the bridge");
    gateway.stop()
}

fn in_memory_a_restart_loses_everything_and_it_is_said(world: &mut World) -> Outcome {
    let set = vec!["store.durability=memory".to_owned()];
    let gateway = Gateway::start_with(world, Settings { set, ..Settings::default() })?;
    gateway.process.line("a restart loses all sessions", 5)?;
    let port = gateway.ports.mqtt;
    let away = ["-c", "-i", "away", "-t", "a", "-q", "1"];
    Subscriber::start(world, port, &away)?.leave()?;
    publish(world, port, &["-t", "a", "-q", "1", "-m", "x"])?;
    ensure!(!data_dir(world).join("store").exists(), "something was written");
    let gateway = gateway.restart(world, false)?;
    ensure_eq!(gateway.metric("tidegate_sessions")?, Some(0.0), "sessions");
    gateway.stop()
}

fn node_id(gateway: &Gateway) -> Outcome<String> {
    let metrics = gateway.metrics()?;
    let info = metrics.lines().find(|line| line.starts_with("tidegate_info{")).unwrap_or_default();
    let id = info.split('"').nth(1).unwrap_or_default().to_owned();
    ensure_eq!(id.len(), 32, "digits of the identity");
    Ok(id)
}

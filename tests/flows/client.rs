//! `tidegate pub` and `tidegate sub`, with each other and with the mosquitto tools.

use std::process::Command;

use crate::harness::gateway::Settings;
use crate::harness::mqtt::{Subscriber, publish, tool as mosquitto};
use crate::harness::{Gateway, Outcome, Process, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("client":
    pub_and_sub_talk_to_each_other,
    pub_reaches_mosquitto_sub,
    sub_hears_mosquitto_pub,
    sub_gives_up_after_its_patience,
    pub_without_a_gateway_says_so,
    sub_prints_what_mosquitto_sub_prints,
    pub_takes_its_message_from_everywhere,
    pub_and_sub_survive_a_restart_of_the_gateway,
    the_password_comes_from_the_environment_or_a_file,
    a_kept_session_has_what_came_meanwhile,
    what_cannot_be_printed_is_not_acknowledged,
    the_password_is_proven_without_being_sent,
);

fn pub_and_sub_talk_to_each_other(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for (version, web) in [("5", false), ("311", false), ("5", true)] {
        let topic = format!("self/{version}/{web}");
        let mut arguments = vec!["-V", version, "-q", "1", "-r", "-t", &topic, "-m", "hello"];
        arguments.extend(web.then_some("--ws"));
        // Retained, so that it does not matter who is first.
        tool_succeeds(world, &gateway, web, "pub", &arguments)?;
        let mut arguments = vec!["-V", version, "-q", "1", "-C", "1", "-W", "10", "-t", &topic];
        arguments.extend(web.then_some("--ws"));
        let heard = tool_succeeds(world, &gateway, web, "sub", &arguments)?;
        ensure!(heard.iter().any(|line| line.contains("hello")), "sub printed {heard:?}");
    }
    gateway.stop()
}

fn pub_reaches_mosquitto_sub(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-V", "5", "-t", "ours/#", "-q", "2"])?;
    for qos in ["0", "1", "2"] {
        let topic = format!("ours/{qos}");
        tool_succeeds(world, &gateway, false, "pub", &["-t", &topic, "-m", "x", "-q", qos])?;
        let got = heard.on_topic(&topic)?;
        ensure_eq!((got.payload.as_str(), got.qos.to_string().as_str()), ("x", qos), "the message");
    }
    gateway.stop()
}

fn sub_hears_mosquitto_pub(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    publish(world, gateway.ports.mqtt, &["-t", "theirs/0", "-r", "-q", "1", "-m", "kept"])?;
    let mut heard =
        tool(world, &gateway, false, "sub", &["-t", "theirs/#", "-C", "3", "-W", "20", "-q", "1"])?;
    heard.line("kept", 10)?;
    publish(world, gateway.ports.mqtt, &["-t", "theirs/1", "-q", "1", "-m", "first"])?;
    publish(world, gateway.ports.mqtt, &["-t", "theirs/2", "-q", "1", "-m", "second"])?;
    let finished = heard.finish(10)?;
    ensure_eq!(finished.code, Some(0), "how it ended after three messages");
    ensure!(finished.text().contains("first") && finished.text().contains("second"), "what it printed");
    gateway.stop()
}

fn sub_gives_up_after_its_patience(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let finished =
        tool(world, &gateway, false, "sub", &["-t", "silence", "-C", "1", "-W", "1"])?.finish(10)?;
    ensure_eq!(finished.code, Some(27), "the exit code of a subscriber that got nothing");
    gateway.stop()
}

fn pub_without_a_gateway_says_so(world: &mut World) -> Outcome {
    let port = place::free_port().to_string();
    let mut command = Command::new(place::tidegate()?);
    command.args(["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "b"]);
    let finished = world.run("tidegate pub", &mut command, 20)?;
    ensure_eq!(finished.code, Some(14), "its exit code");
    ensure!(finished.text().contains(&port), "the message does not name the port");
    Ok(())
}

/// The retained messages of one gateway, as both programs print them with the same options.
fn sub_prints_what_mosquitto_sub_prints(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let properties = "-D publish content-type text/plain -D publish correlation-data c-1 \
        -D publish response-topic r/t -D publish payload-format-indicator 1 \
        -D publish user-property site north -D publish user-property site south";
    for (topic, text, qos) in [("a/b", "hello", "1"), ("a/c", "{\"x\":[1,2]}", "2"), ("a/long/name", "", "0")]
    {
        let mut arguments = vec!["-V", "5", "-r", "-q", qos, "-t", topic];
        // An empty retained message is none: this one has a space.
        arguments.extend(["-m", if text.is_empty() { " " } else { text }]);
        arguments.extend(properties.split_whitespace());
        tool_succeeds(world, &gateway, false, "pub", &arguments)?;
    }
    let everything = "%t|%p|%q|%r|%l|%x|%X|%C|%R|%D|%F|%P|%S|%%|%10t|%-12t|%.2t|%06l|%-30p|\\t\\\\|";
    for options in [
        &["-F", everything, "-D", "subscribe", "subscription-identifier", "7"][..],
        &["-v"],
        &["-v", "-T", "a/c"],
        &["-v", "-q", "0"],
        &["-N", "-T", "a/c"],
        &["--retained-only", "-v"],
        &["-F", "%j"],
        &["-F", "%J", "-T", "a/b", "-T", "a/+/+"],
    ] {
        let out = options.iter().filter(|option| **option == "-T").count();
        let count = (3 - out).to_string();
        for version in ["5", "311"] {
            let mut arguments = vec!["-V", version, "-q", "2", "-t", "a/#", "-W", "10", "-C", &count];
            if version == "311" && options.contains(&"-D") {
                continue;
            }
            arguments.extend(options);
            let ours = tool_succeeds(world, &gateway, false, "sub", &arguments)?;
            let mut command = mosquitto("mosquitto_sub", gateway.ports.mqtt)?;
            let theirs = world.succeed("mosquitto_sub", command.args(&arguments), 20)?;
            ensure_eq!(comparable(ours), comparable(theirs.lines), "output with {arguments:?}");
        }
    }
    gateway.stop()
}

/// JSON says when the message came, and which of two equal names a parser keeps is its own affair.
fn comparable(lines: Vec<String>) -> Vec<String> {
    let mut lines: Vec<String> = lines
        .into_iter()
        .map(|line| match serde_json::from_str::<serde_json::Value>(&line) {
            Ok(mut value) if line.starts_with("{\"tst\"") => {
                value["tst"].take();
                value["properties"]["user-properties"].take();
                value.to_string()
            }
            _ => line,
        })
        .collect();
    // mosquitto_sub prints a message at QoS 2 when it is released.
    lines.sort();
    lines
}

fn pub_takes_its_message_from_everywhere(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    // At QoS 2 it would print a message after those of QoS 1 that come before its PUBREL.
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-V", "5", "-t", "in/#", "-q", "1"])?;
    let file = world.write("message", "from a file\nof two lines")?.display().to_string();
    tool_succeeds(world, &gateway, false, "pub", &["-q", "1", "-t", "in/file", "-f", &file])?;
    tool_succeeds(world, &gateway, false, "pub", &["-q", "1", "-t", "in/null", "-n"])?;
    let mut stdin = tool(world, &gateway, false, "pub", &["-q", "1", "-t", "in/stdin", "-s"])?;
    stdin.say("one")?;
    stdin.say("two")?;
    ensure_eq!(stdin.finish(10)?.code, Some(0), "how -s ended");
    let mut lines = tool(world, &gateway, false, "pub", &["-q", "2", "-t", "in/lines", "-l"])?;
    lines.say("one")?;
    lines.say("two")?;
    ensure_eq!(lines.finish(10)?.code, Some(0), "how -l ended");
    let arguments = ["-q", "1", "in/again", "x", "--repeat", "3", "--repeat-delay", "0.01"];
    tool_succeeds(world, &gateway, false, "pub", &arguments)?;
    let url = format!("mqtt://127.0.0.1:{}/in/url", gateway.ports.mqtt);
    let mut command = Command::new(place::tidegate()?);
    world.succeed("tidegate pub -L", command.args(["pub", "-q", "1", "-L", &url, "-m", "by URL"]), 10)?;
    heard.on_topic("in/url")?;
    let got: Vec<String> =
        heard.so_far()?.into_iter().map(|got| format!("{} {}", got.topic, got.payload)).collect();
    // The receiving end prints two lines of the first, of which the second is no message.
    let expected = ["in/file from a file", "in/null ", "in/stdin one", "in/lines one", "in/lines two"];
    ensure_eq!(got[..5], expected.map(str::to_owned), "messages");
    ensure_eq!(got[5..], ["in/again x", "in/again x", "in/again x", "in/url by URL"], "repetitions");
    gateway.stop()
}

fn pub_and_sub_survive_a_restart_of_the_gateway(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let delay = ["--retry-delay", "0.05"];
    let arguments = [&["-t", "live/+", "-q", "1", "-v", "-d"], &delay[..]].concat();
    let heard = tool(world, &gateway, false, "sub", &arguments)?;
    heard.line("received SUBACK", 10)?;
    // Retained, so that it does not matter which of the two is back first.
    let arguments = [&["-t", "live/a", "-q", "1", "-r", "-l"], &delay[..]].concat();
    let mut speaker = tool(world, &gateway, false, "pub", &arguments)?;
    speaker.say("before")?;
    heard.line("live/a before", 10)?;
    let gateway = gateway.restart(world, true)?;
    speaker.line("connected again", 30)?;
    speaker.say("after")?;
    heard.line("live/a after", 40)?;
    ensure_eq!(speaker.finish(10)?.code, Some(0), "how the publisher ended");
    heard.signal("TERM")?;
    gateway.stop()
}

fn the_password_comes_from_the_environment_or_a_file(world: &mut World) -> Outcome {
    let settings = Settings::file(
        "[access]\nanonymous = \"never\"\n[[access.user]]\nname = \"press-17\"\npassword = \"word\"\n",
    );
    let gateway = Gateway::start_with(world, settings)?;
    let port = gateway.ports.mqtt.to_string();
    let file = world.write("password", "word\n")?;
    let mut command = Command::new(place::tidegate()?);
    command.args(["pub", "-p", &port, "-q", "1", "a", "b"]);
    command
        .env("TIDEGATE_USERNAME", "press-17")
        .env("TIDEGATE_PASSWORD", format!("file://{}", file.display()));
    world.succeed("tidegate pub", &mut command, 10)?;
    for (version, code) in [("5", 134), ("311", 4)] {
        let arguments = ["-V", version, "-u", "press-17", "-P", "wrong", "a", "b"];
        let finished = tool(world, &gateway, false, "pub", &arguments)?.finish(10)?;
        ensure_eq!(finished.code, Some(code), "exit code of a refused connection, version {version}");
        ensure!(finished.text().contains("bad user name or password"), "it does not say why");
    }
    let finished =
        tool(world, &gateway, false, "pub", &["--quiet", "-u", "nobody", "-P", "x", "a", "b"])?.finish(10)?;
    ensure_eq!((finished.code, finished.text().as_str()), (Some(134), ""), "a quiet refusal");
    gateway.stop()
}

fn the_password_is_proven_without_being_sent(world: &mut World) -> Outcome {
    let users = "[access]\nanonymous = \"never\"\n[[access.user]]\nname = \"a,b=c\"\npassword = \"word\"\n";
    let gateway = Gateway::start_with(world, Settings::file(users))?;
    let by_scram = ["--auth-method", "SCRAM-SHA-256", "-u", "a,b=c", "-t", "proven", "-q", "1"];
    for web in [false, true] {
        let mut ours = by_scram.to_vec();
        ours.extend(web.then_some("--ws"));
        tool_succeeds(world, &gateway, web, "pub", &[&ours[..], &["-P", "word", "-r", "-m", "hi"]].concat())?;
        let arguments = [&ours[..], &["-P", "word", "-C", "1", "-W", "10"]].concat();
        ensure_eq!(tool_succeeds(world, &gateway, web, "sub", &arguments)?, ["hi"], "what sub printed");
    }
    let arguments = [&by_scram[..], &["-P", "other", "-m", "hi"]].concat();
    let finished = tool(world, &gateway, false, "pub", &arguments)?.finish(10)?;
    ensure_eq!(finished.code, Some(134), "exit code with a wrong password");
    gateway.stop()
}

fn a_kept_session_has_what_came_meanwhile(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for version in ["5", "311"] {
        let id = format!("sleeper-{version}");
        let kept = ["-V", version, "-c", "-i", &id, "-q", "1"];
        tool_succeeds(world, &gateway, false, "sub", &[&kept[..], &["-t", "night", "-E"]].concat())?;
        tool_succeeds(world, &gateway, false, "pub", &["-q", "1", "night", "while asleep"])?;
        let arguments = [&kept[..], &["-t", "night", "-C", "1", "-W", "10"]].concat();
        let heard = tool_succeeds(world, &gateway, false, "sub", &arguments)?;
        ensure_eq!(heard, ["while asleep"], "what waited");
        tool_succeeds(world, &gateway, false, "sub", &[&kept[..], &["-U", "night", "-E"]].concat())?;
        tool_succeeds(world, &gateway, false, "pub", &["-q", "1", "night", "not any more"])?;
        let arguments = [&kept[..], &["-t", "other", "-C", "1", "-W", "1"]].concat();
        let finished = tool(world, &gateway, false, "sub", &arguments)?.finish(10)?;
        ensure_eq!(finished.code, Some(27), "a subscriber that has unsubscribed heard something");
    }
    gateway.stop()
}

fn what_cannot_be_printed_is_not_acknowledged(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let kept = ["-c", "-i", "full", "-q", "1", "-t", "night"];
    tool_succeeds(world, &gateway, false, "sub", &[&kept[..], &["-E"]].concat())?;
    tool_succeeds(world, &gateway, false, "pub", &["-q", "1", "night", "precious"])?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" sub \"$@\" > /dev/full"]).arg(place::tidegate()?);
    shell.args(["-h", "127.0.0.1", "-p", &gateway.ports.mqtt.to_string(), "-W", "10"]).args(kept);
    let finished = world.spawn("tidegate sub", &mut shell)?.finish(20)?;
    ensure_eq!(finished.code, Some(1), "how it ended with a full disk");
    let arguments = [&kept[..], &["-C", "1", "-W", "10"]].concat();
    let heard = tool_succeeds(world, &gateway, false, "sub", &arguments)?;
    ensure_eq!(heard, ["precious"], "what was not printed comes again");
    gateway.stop()
}

fn tool(world: &mut World, gateway: &Gateway, web: bool, verb: &str, arguments: &[&str]) -> Outcome<Process> {
    let port = if web { gateway.ports.websocket } else { gateway.ports.mqtt };
    let mut command = Command::new(place::tidegate()?);
    command.args([verb, "-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    world.spawn(&format!("tidegate {verb}"), &mut command)
}

fn tool_succeeds(
    world: &mut World,
    gateway: &Gateway,
    web: bool,
    verb: &str,
    arguments: &[&str],
) -> Outcome<Vec<String>> {
    let finished = tool(world, gateway, web, verb, arguments)?.finish(20)?;
    ensure!(finished.code == Some(0), "tidegate {verb} {arguments:?} ended with {:?}", finished.code);
    Ok(finished.lines)
}

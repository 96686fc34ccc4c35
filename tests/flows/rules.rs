//! Who gets in with which hash, and what they may do then, while the files change.

use std::process::Command;

use crate::harness::certificates::Authority;
use crate::harness::gateway::Settings;
use crate::harness::mqtt::{Subscriber, tool};
use crate::harness::{Gateway, Outcome, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("rules":
    hashes_of_mosquitto_passwd_and_of_tidegate_passwd_let_in,
    rules_decide_over_publishing_and_subscribing,
    a_reload_changes_what_a_connected_client_may_publish,
    a_mistake_in_a_file_is_named_and_changes_nothing,
    a_certificate_makes_its_client_that_user,
);

/// Written by mosquitto_passwd 2.0.11: the password of "press" is "word", that of "old" is "pass phrase".
const PASSWORDS: &str = "# of the plant\n\
    press:$7$101$+sPnFDENNtnyQWua$30nG6VmTqVLPCCrUIooyanLGwanoVFsOAd5N1MbzJ0c5iq94h5rOc9j3k+volN0Buj2Yigw9nFW\
    oqjv1kgVw3g==\n\
    old:$6$/ycJ5LqbZQwfhW8Y$8eJ8uzzj8hj70DkFzR+KOgABFVVwIUZGLOT0HGJ/zMtDbHgVQj0s02X2HCNpEyZDSCxHe31ThMmkFOaY\
    j5vO5w==\n";

fn hashes_of_mosquitto_passwd_and_of_tidegate_passwd_let_in(world: &mut World) -> Outcome {
    let file = world.write("passwords", &format!("{PASSWORDS}plain:to be hashed\n"))?;
    let mut passwd = |arguments: &[&str]| {
        let mut command = Command::new(place::tidegate()?);
        world.succeed("tidegate passwd", command.arg("passwd").arg(&file).args(arguments), 20)
    };
    passwd(&["-U"])?;
    passwd(&["argon", "-b", "two"])?;
    passwd(&["scram", "-b", "three", "--hash", "scram-sha-256"])?;
    passwd(&["gone", "-b", "four"])?;
    passwd(&["-D", "gone"])?;
    ensure!(std::fs::read_to_string(&file)?.starts_with(PASSWORDS), "what was there is kept");

    let settings = "[access]\nanonymous = \"never\"\npassword_file = \"passwords\"\n";
    let gateway = Gateway::start_with(world, Settings::file(settings))?;
    for (name, password, gets_in) in [
        ("press", "word", true),
        ("old", "pass phrase", true),
        ("plain", "to be hashed", true),
        ("argon", "two", true),
        // Remembered.
        ("argon", "two", true),
        ("scram", "three", true),
        ("argon", "three", false),
        ("scram", "two", false),
        ("press", "", false),
        ("gone", "four", false),
        ("nobody", "word", false),
    ] {
        let mut publish = tool("mosquitto_pub", gateway.ports.mqtt)?;
        publish.args(["-t", "a", "-m", "b", "-q", "1", "-u", name, "-P", password]);
        let finished = world.run("mosquitto_pub", &mut publish, 20)?;
        ensure_eq!(finished.code == Some(0), gets_in, "{name} with {password:?}");
    }
    gateway.stop()
}

const RULES: &str = "allow publish devices/${clientid}/# user=press qos=1\n\
    deny all secret/#\n\
    allow subscribe devices/# public/#\n\
    allow publish live\n";

fn rules_decide_over_publishing_and_subscribing(world: &mut World) -> Outcome {
    let gateway = start_with_rules(world, RULES)?;
    let port = gateway.ports.mqtt;
    for (arguments, allowed) in [
        (&["-t", "devices/c1/t", "-q", "1"][..], true),
        (&["-t", "devices/c2/t", "-q", "1"], false),
        (&["-t", "devices/c1/t", "-q", "2"], false),
        (&["-t", "secret/x", "-q", "1"], false),
    ] {
        let mut publish = tool("mosquitto_pub", port)?;
        publish.args(["-V", "5", "-d", "-m", "x", "-u", "press", "-P", "word", "-i", "c1"]).args(arguments);
        let text = world.run("mosquitto_pub", &mut publish, 20)?.text();
        ensure!(text.contains("PUBACK") || text.contains("PUBREC"), "{arguments:?} is acknowledged");
        ensure_eq!(!text.contains("failed: Not authorized"), allowed, "{arguments:?}");
    }
    let mut with_will = tool("mosquitto_pub", port)?;
    with_will.args(["-V", "5", "-d", "-u", "press", "-P", "word", "-i", "c1", "-t", "live", "-m", "x"]);
    with_will.args(["--will-topic", "secret/x", "--will-payload", "x"]);
    ensure!(world.run("mosquitto_pub", &mut with_will, 20)?.text().contains("CONNACK (135)"), "a will");

    for (filter, granted) in [
        ("devices/+/t", "1"),
        ("$share/g/public/#", "1"),
        ("#", "135"),
        ("secret/x", "135"),
        ("+/c1/t", "135"),
        ("$SYS/#", "135"),
    ] {
        let arguments = ["-V", "5", "-q", "1", "-u", "press", "-P", "word", "-t", filter];
        let subscriber = Subscriber::connecting(world, port, &arguments)?;
        let line = subscriber.process.line("Subscribed (mid:", 10)?;
        ensure!(line.ends_with(&format!(": {granted}")), "{filter} is answered {granted}: {line}");
    }
    let old = ["-V", "311", "-u", "press", "-P", "word", "-t", "secret/x"];
    let subscriber = Subscriber::connecting(world, port, &old)?;
    ensure!(subscriber.process.line("Subscribed (mid:", 10)?.ends_with(": 128"), "0x80 for MQTT 3.1.1");

    let metrics = gateway.metrics()?;
    for (labels, count) in [
        ("action=\"publish\",reason=\"rule\"", 2),
        ("action=\"publish\",reason=\"unmatched\"", 2),
        ("action=\"subscribe\",reason=\"rule\"", 4),
        ("action=\"subscribe\",reason=\"unmatched\"", 1),
    ] {
        let line = format!("tidegate_denied_total{{{labels}}} {count}");
        ensure!(metrics.contains(&line), "the metrics have {line}");
    }
    let line = gateway.process.line("publish refused: no rule matched (access.acl_default)", 5)?;
    ensure!(line.contains("c1") && line.contains("devices/c2/t") && line.contains("press"), "{line}");
    gateway.process.line("subscribe refused: the rule in line 2 of access.acl_file", 5)?;
    gateway.stop()
}

fn a_reload_changes_what_a_connected_client_may_publish(world: &mut World) -> Outcome {
    let gateway = start_with_rules(world, RULES)?;
    let login = ["-V", "5", "-u", "press", "-P", "word"];
    let subscriber =
        Subscriber::start(world, gateway.ports.mqtt, &[&login[..], &["-t", "devices/#"]].concat())?;
    let mut publish = tool("mosquitto_pub", gateway.ports.mqtt)?;
    publish.args(login).args(["-d", "-l", "-q", "1", "-i", "c1", "-t", "devices/c1/t"]);
    let mut publisher = world.spawn("mosquitto_pub", &mut publish)?;
    for line in ["one", "two"] {
        publisher.say(line)?;
    }
    publisher.line("PUBACK (Mid: 2, RC:0)", 10)?;

    world.write("rules.acl", "deny all #\n")?;
    gateway.process.signal("HUP")?;
    gateway.process.line("access: read again", 10)?;
    publisher.say("three")?;
    publisher.line("PUBACK (Mid: 3, RC:135)", 10)?;

    world.write("rules.acl", RULES)?;
    gateway.process.signal("HUP")?;
    gateway.process.lines("a second reading", 2, 10, |line| line.contains("access: read again"))?;
    publisher.say("four")?;
    publisher.line("PUBACK (Mid: 4, RC:0)", 10)?;
    // The subscription was made before the rules denied it, and stayed.
    let got = subscriber.messages(3, 10)?;
    let payloads: Vec<_> = got.iter().map(|message| message.payload.as_str()).collect();
    ensure_eq!(payloads, ["one", "two", "four"], "what arrives");
    publisher.finish(10)?;
    gateway.stop()
}

fn a_mistake_in_a_file_is_named_and_changes_nothing(world: &mut World) -> Outcome {
    let gateway = start_with_rules(world, RULES)?;
    world.write("rules.acl", "# comment\nallow all # everything\n")?;
    gateway.process.signal("HUP")?;
    let line = gateway.process.line("access: nothing has changed", 10)?;
    ensure!(line.contains("rules.acl:2: "), "{line}");
    let mut publish = tool("mosquitto_pub", gateway.ports.mqtt)?;
    publish.args(["-V", "5", "-d", "-u", "press", "-P", "word", "-i", "c1", "-q", "1", "-m", "x"]);
    let text = world.succeed("mosquitto_pub", publish.args(["-t", "devices/c1/t"]), 20)?.text();
    ensure!(text.contains("PUBACK") && !text.contains("Not authorized"), "{text}");

    let mut check = Command::new(place::tidegate()?);
    let finished =
        world.run("tidegate check", check.arg("check").arg(world.dir.join("tidegate.toml")), 20)?;
    ensure_eq!(finished.code, Some(1), "the exit code of tidegate check");
    ensure!(finished.text().contains("rules.acl:2: "), "{}", finished.text());
    gateway.stop()
}

fn a_certificate_makes_its_client_that_user(world: &mut World) -> Outcome {
    let authority = Authority::new(world.dir.join("pki"), "our authority")?;
    for name in ["server", "press-17"] {
        authority.issue(name)?;
    }
    world.write("passwords", PASSWORDS)?;
    world.write("rules.acl", "allow publish own/${username}/#\n")?;
    let port = place::free_port();
    let settings = format!(
        "[access]\nanonymous = \"never\"\npassword_file = \"passwords\"\nacl_file = \"rules.acl\"\n\
         [listener.mqtts]\nprotocol = \"mqtt\"\nbind = \"127.0.0.1:{port}\"\n\
         [listener.mqtts.tls]\ncert_file = \"pki/server.pem\"\nkey_file = \"pki/server.key\"\n\
         client_auth = \"required\"\nclient_ca_file = \"pki/ca.pem\"\nidentity = \"common_name\"\n"
    );
    let gateway = Gateway::start_with(world, Settings::file(settings))?;
    for (arguments, gets_in, allowed) in [
        (&["-t", "own/press-17/a"][..], true, true),
        (&["-t", "own/press-17/a", "-u", "press-17"], true, true),
        (&["-t", "own/press/a"], true, false),
        // Even with the right password: one client is one user.
        (&["-t", "own/press/a", "-u", "press", "-P", "word"], false, false),
    ] {
        let mut publish = tool("mosquitto_pub", port)?;
        publish.args(["--cafile", &authority.path("ca.pem"), "--cert", &authority.path("press-17.pem")]);
        publish.args(["--key", &authority.path("press-17.key"), "-V", "5", "-d", "-q", "1", "-m", "x"]);
        let text = world.run("mosquitto_pub", publish.args(arguments), 20)?.text();
        ensure_eq!(text.contains("CONNACK (0)"), gets_in, "{arguments:?} gets in");
        let published = text.contains("PUBACK") && !text.contains("Not authorized");
        ensure_eq!(published, allowed, "{arguments:?} is allowed");
    }
    gateway.stop()
}

fn start_with_rules(world: &mut World, rules: &str) -> Outcome<Gateway> {
    world.write("passwords", PASSWORDS)?;
    world.write("rules.acl", rules)?;
    let settings = "[access]\npassword_file = \"passwords\"\nacl_file = \"rules.acl\"\n";
    Gateway::start_with(world, Settings::file(settings))
}

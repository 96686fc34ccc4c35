//! Layers in, settings or problems out.

use std::path::Path;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::*;

/// Stands for a protocol's settings.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Tea {
    cups_max: u16,
    sugar: bool,
    password: Secret,
    leaf: Option<Leaf>,
}

impl Default for Tea {
    fn default() -> Self {
        Self { cups_max: 3, sugar: false, password: Secret::default(), leaf: None }
    }
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Leaf {
    Green,
    Black,
}

/// Stands for a bridge's settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pipe {
    brokers: Vec<String>,
    #[serde(default)]
    sasl_password: Secret,
    /// The name of a key that every bridge has.
    #[serde(default)]
    in_flight_max: u32,
}

fn known() -> Known {
    Known {
        sections: vec![
            Schema::of::<IgnoredAny>("access"),
            Schema::of::<IgnoredAny>("mqtt"),
            Schema::of::<IgnoredAny>("mqtt-ws"),
            Schema::of::<IgnoredAny>("coap"),
            Schema::of::<IgnoredAny>("lwm2m"),
            Schema::of::<IgnoredAny>("sys"),
            Schema::of::<Tea>("tea"),
            Schema::checked::<Tea>("tea-two", |tea| match tea.cups_max {
                13 => Err(("cups_max".to_owned(), "13 brings bad luck".to_owned())),
                _ => Ok(()),
            }),
            Schema::list::<Tea>("pot", |pots| match pots.len() {
                3.. => Err(("2.cups_max".to_owned(), "is one too many".to_owned())),
                _ => Ok(()),
            }),
        ],
        protocols: vec![
            ("mqtt", Carrier::Stream),
            ("mqtt-ws", Carrier::Stream),
            ("coap", Carrier::Datagram),
            ("lwm2m", Carrier::Datagram),
        ],
        bridges: vec![Schema::of::<Pipe>("kafka"), Schema::of::<Tea>("webhook")],
    }
}

fn file(text: &str) -> Layers {
    Layers::new().text(Path::new("t.toml"), text)
}

fn loaded(text: &str) -> Settings {
    file(text).load(&known()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Vec<String> {
    file(text).load(&known()).err().unwrap().iter().map(Problem::to_string).collect()
}

fn environment(name: &str, value: &str) -> Layers {
    Layers::new().environment([(name.to_owned(), value.to_owned())])
}

#[test]
fn the_embedded_file_says_what_the_defaults_are() {
    let settings = Layers::new().load(&known()).unwrap();
    assert_eq!(settings.node, Node::default());
    assert_eq!(settings.admin, Admin::default());
    assert_eq!(settings.store, Store::default());
    assert_eq!(settings.session, Session::default());
    assert_eq!(settings.shared, Shared::default());
    assert_eq!(settings.delayed, Delayed::default());
    assert_eq!(settings.retained, Retained::default());
    assert_eq!(settings.limits, Limits::default());
    assert_eq!(settings.log, Log::default());
    assert!(settings.bridges().is_empty());
    let listeners: Vec<_> = settings
        .listeners()
        .iter()
        .map(|listener| format!("{} {} {}", listener.name, listener.protocol, listener.bind))
        .collect();
    assert_eq!(
        listeners,
        [
            "coap coap 127.0.0.1:5683",
            "lwm2m lwm2m 127.0.0.1:5783",
            "mqtt mqtt 127.0.0.1:1883",
            "websocket mqtt-ws 127.0.0.1:8083"
        ]
    );
}

#[test]
fn topics_have_priorities() {
    let text = "[session]\nqueue_priority_default = \"highest\"\n[session.queue_priorities]\n\"alarms/#\" = 10\n\"a/+\" = 255\n";
    let session = loaded(text).session;
    let table: Vec<_> =
        session.queue_priorities.iter().map(|(filter, priority)| (&filter[..], *priority)).collect();
    assert_eq!(table, [("a/+", 255), ("alarms/#", 10)]);
    assert_eq!(session.queue_priority_default, crate::PriorityDefault::Highest);
}

#[test]
fn every_field_is_a_key_of_the_embedded_file_and_the_other_way_round() {
    let settings = Layers::new().load(&known()).unwrap();
    let keys_of = |section: &str| -> Vec<String> {
        let prefix = format!("{section}.");
        let keys = settings.report().into_iter().map(|line| line.key.to_string());
        keys.filter_map(|key| key.strip_prefix(&prefix).map(str::to_owned)).collect()
    };
    let sorted = |fields: &[&str]| {
        let mut fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
        fields.sort();
        fields
    };
    assert_eq!(keys_of("node"), sorted(fields::<Node>()));
    assert_eq!(keys_of("admin"), sorted(fields::<Admin>()));
    assert_eq!(keys_of("store"), sorted(fields::<Store>()));
    assert_eq!(keys_of("session"), sorted(fields::<Session>()));
    assert_eq!(keys_of("shared"), sorted(fields::<Shared>()));
    assert_eq!(keys_of("delayed"), sorted(fields::<Delayed>()));
    assert_eq!(keys_of("retained"), sorted(fields::<Retained>()));
    assert_eq!(keys_of("limits"), sorted(fields::<Limits>()));
    assert_eq!(keys_of("log"), sorted(fields::<Log>()));
    // What only some listeners have stands in comments.
    let commented = ["anonymous", "tls", "unix_mode"];
    let mut keys = keys_of("listener.mqtt");
    keys.extend(commented.map(str::to_owned));
    keys.sort();
    assert_eq!(keys, sorted(fields::<Listener>()));
    assert!(DEFAULT_TEXT.contains("\n# [listener.mqtts.tls]"));
    for listener in settings.listeners() {
        assert_eq!(listener.unix_mode, 0o660);
        assert!(keys_of(&format!("listener.{}", listener.name)).iter().all(|key| keys.contains(key)));
    }
    for name in fields::<ListenerTls>() {
        assert!(DEFAULT_TEXT.contains(&format!("\n# {name} = ")), "{name} of tls is not documented");
    }
    for name in ["anonymous", "unix_mode"] {
        assert!(DEFAULT_TEXT.contains(&format!("\n# {name} = ")), "{name} of a listener is not documented");
    }
    for name in BridgeKeys::NAMES {
        assert!(DEFAULT_TEXT.contains(&format!("\n# {name} = ")), "{name} of a bridge is not documented");
    }
}

#[test]
fn the_commented_bridge_is_right_and_shows_the_defaults() {
    let start = DEFAULT_TEXT.rfind("# [[bridge]]\n# name = \"plant\"").unwrap();
    let example: String = DEFAULT_TEXT[start..]
        .lines()
        .take_while(|line| line.len() > 1 && line.starts_with('#'))
        .map(|line| format!("{}\n", line.trim_start_matches("# ")))
        .collect();
    let shown = loaded(&format!("{example}brokers = [\"k:9092\"]"));
    let least = loaded(
        "[[bridge]]\nname = \"plant\"\nkind = \"kafka\"\ntopics = [\"plant/#\"]\nbrokers = [\"k:9092\"]",
    );
    assert_eq!(format!("{:?}", shown.bridges()), format!("{:?}", least.bridges()));
}

#[test]
fn stronger_layers_win_key_by_key() {
    let settings = file("[node]\nname = \"file\"\nworkers = 1\n[listener.mqtt]\nbind = \"127.0.0.1:1\"\n")
        .environment([
            ("TIDEGATE__NODE__NAME".to_owned(), "environment".to_owned()),
            ("TIDEGATE__LISTENER__MQTT__CONNECTIONS_MAX".to_owned(), "5".to_owned()),
            ("TIDEGATE_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ])
        .set("node.workers=3")
        .load(&known())
        .unwrap();
    assert_eq!(settings.node.name, "environment");
    assert_eq!(settings.node.workers, 3);
    let mqtt = settings.listeners().iter().find(|listener| listener.name == "mqtt").unwrap();
    assert_eq!(
        (mqtt.bind.to_string(), mqtt.connections_max, mqtt.enabled),
        ("127.0.0.1:1".to_owned(), 5, true)
    );
    let origin = |segments: &[&str]| settings.origin(&Key::new(segments.iter().copied())).to_string();
    assert_eq!(origin(&["node", "name"]), "TIDEGATE__NODE__NAME");
    assert_eq!(origin(&["node", "workers"]), "--set node.workers");
    assert_eq!(origin(&["node", "data_dir"]), "default");
    assert_eq!(origin(&["listener", "mqtt", "bind"]), "t.toml:5");
    assert_eq!(origin(&["listener", "mqtt", "connections_max"]), "TIDEGATE__LISTENER__MQTT__CONNECTIONS_MAX");
}

#[test]
fn values_are_typed_by_what_they_replace() {
    let settings = environment("TIDEGATE__NODE__NAME", "17").load(&known()).unwrap();
    assert_eq!(settings.node.name, "17");
    let settings = environment("TIDEGATE__SESSION__QUEUE_QOS0", "true").load(&known()).unwrap();
    assert!(settings.session.queue_qos0);
    let settings = Layers::new().set("tea.password=123").load(&known()).unwrap();
    assert_eq!(settings.section::<Tea>("tea").unwrap().password.expose(), "123");
    let settings = Layers::new().set("tea.leaf=green").load(&known()).unwrap();
    assert_eq!(settings.section::<Tea>("tea").unwrap().leaf, Some(Leaf::Green));
    let set = "bridge=[{name=\"a\",kind=\"kafka\",topics=[\"t\"],brokers=[\"k:1\"]}]";
    let settings = Layers::new().set(set).load(&known()).unwrap();
    assert_eq!(settings.bridges()[0].topics[0].as_str(), "t");
}

#[test]
fn an_underscore_in_the_environment_also_means_a_hyphen() {
    let variable = ("TIDEGATE__TEA_TWO__CUPS_MAX".to_owned(), "9".to_owned());
    let settings = file("[tea-two]\nsugar = true\n").environment([variable]).load(&known()).unwrap();
    assert_eq!(settings.section::<Tea>("tea-two").unwrap().cups_max, 9);
}

const BRIDGES: &str = "[[bridge]]\nname = \"one\"\nkind = \"kafka\"\ntopics = [\"a/#\", \"b/+\"]\n\
                       brokers = [\"k:1\"]\n\n[[bridge]]\nname = \"two-b\"\nkind = \"webhook\"\n\
                       topics = [\"c\"]\ncups_max = 4\n";

#[test]
fn bridges_have_common_keys_and_their_own() {
    let settings = loaded(BRIDGES);
    let [one, two] = settings.bridges() else { panic!("two bridges") };
    assert_eq!((one.name.as_str(), one.kind.as_str(), one.enabled), ("one", "kafka", true));
    assert_eq!(one.topics.iter().map(|topic| topic.as_str()).collect::<Vec<_>>(), ["a/#", "b/+"]);
    assert_eq!(one.extract::<Pipe>().unwrap().brokers, ["k:1"]);
    assert_eq!(two.extract::<Tea>().unwrap().cups_max, 4);
}

#[test]
fn a_kind_may_read_a_common_key_too() {
    let settings = loaded(&BRIDGES.replace("brokers", "in_flight_max = 7\nbrokers"));
    let one = &settings.bridges()[0];
    assert_eq!((one.in_flight_max, one.extract::<Pipe>().unwrap().in_flight_max), (7, 7));
}

#[test]
fn a_bridge_is_addressed_by_its_name() {
    let settings = file(BRIDGES)
        .environment([("TIDEGATE__BRIDGE__TWO_B__CUPS_MAX".to_owned(), "8".to_owned())])
        .set("bridge.one.sasl_password=007")
        .load(&known())
        .unwrap();
    let [one, two] = settings.bridges() else { panic!("two bridges") };
    assert_eq!(one.extract::<Pipe>().unwrap().sasl_password.expose(), "007");
    assert_eq!(two.extract::<Tea>().unwrap().cups_max, 8);
    let report: Vec<_> = settings.report().iter().map(Line::to_string).collect();
    let line = |start: &str| report.iter().find(|line| line.starts_with(start)).unwrap().as_str();
    assert!(line("bridge[0].sasl_password").ends_with("# --set bridge.one.sasl_password"));
    assert!(line("bridge[0].sasl_password = \"****\"").len() > 1);
    assert!(line("bridge[0].topics = [\"a/#\", \"b/+\"]").ends_with("# t.toml:4"), "{report:#?}");
    assert!(line("bridge[1].cups_max = 8").ends_with("# TIDEGATE__BRIDGE__TWO_B__CUPS_MAX"));
    let error = file(BRIDGES).set("bridge.three.enabled=false").load(&known()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "--set bridge.three.enabled: bridge.three.enabled: the list has no such element"
    );
}

#[test]
fn an_unknown_key_names_its_place_and_the_nearest_right_one() {
    assert_eq!(
        problems("[listener.mqtt]\nbnd = \"127.0.0.1:1\"\n"),
        ["t.toml:2: listener.mqtt.bnd: unknown key; did you mean \"bind\"?"]
    );
    assert_eq!(
        problems("[tea]\ncup_max = 2\n"),
        ["t.toml:2: tea.cup_max: unknown key; did you mean \"cups_max\"?"]
    );
    assert_eq!(
        problems("[log]\nzzzzzz = 2\n"),
        ["t.toml:2: log.zzzzzz: unknown key; known: \"level\", \"format\""]
    );
    assert_eq!(problems("[lstener.x]\n"), ["t.toml:1: lstener: unknown section; did you mean \"listener\"?"]);
    let error = environment("TIDEGATE__NODE__NAEM", "x").load(&known()).err().unwrap();
    assert_eq!(error.to_string(), "TIDEGATE__NODE__NAEM: node.naem: unknown key; did you mean \"name\"?");
    let error = Layers::new().set("node.naem=x").load(&known()).err().unwrap();
    assert_eq!(error.to_string(), "--set node.naem: node.naem: unknown key; did you mean \"name\"?");
}

#[test]
fn a_wrong_type_names_key_value_and_what_was_expected() {
    assert_eq!(
        problems("[node]\nworkers = \"many\"\n"),
        ["t.toml:2: node.workers: \"many\" is not a whole number from 0 to 65535"]
    );
    assert_eq!(
        problems("[node]\nworkers = 70000\n"),
        ["t.toml:2: node.workers: 70000 is not a whole number from 0 to 65535"]
    );
    assert_eq!(problems("[node]\nname = 5\n"), ["t.toml:2: node.name: 5 is not a text; put it in quotes"]);
    assert_eq!(
        problems("[session]\nqueue_qos0 = \"yes\"\n"),
        ["t.toml:2: session.queue_qos0: \"yes\" is not true or false"]
    );
    assert_eq!(
        problems("[session]\nqueue_drop = \"oldst\"\n"),
        ["t.toml:2: session.queue_drop: \"oldst\": did you mean \"oldest\"?"]
    );
    assert_eq!(
        problems("[session]\nin_flight_max = 0\n"),
        ["t.toml:2: session.in_flight_max: 0 is not a whole number from 1 to 65535"]
    );
    assert_eq!(
        problems("[shared]\nstrategy = \"round-robin\"\n"),
        ["t.toml:2: shared.strategy: \"round-robin\": did you mean \"round_robin\"?"]
    );
    for (entry, why) in [
        ("\"a#\" = 1", "\"a#\": a wildcard must fill its level, and # must be the last"),
        ("\"$share/g/a\" = 1", "\"$share/g/a\": is not a plain topic filter"),
        ("a = 0", "\"a\": a priority is a whole number from 1 to 255"),
        ("a = 256", "\"a\": a priority is a whole number from 1 to 255"),
    ] {
        let found = problems(&format!("[session.queue_priorities]\n{entry}\n"));
        assert!(found[0].contains(": session.queue_priorities: ") && found[0].ends_with(why), "{found:?}");
    }
    assert_eq!(problems("node = 5\n"), ["t.toml:1: node: 5 is not a table"]);
    let error = Layers::new().set("node=5").load(&known()).err().unwrap();
    assert_eq!(error.to_string(), "--set node: node: is a table; name one of its keys");
}

#[test]
fn sizes_of_the_store_have_a_range() {
    for (entry, why) in [
        ("durability = \"fsync\"", "durability: \"fsync\": did you mean \"sync\"?"),
        ("interval_millis = 0", "interval_millis: 0 is not a whole number from 1 to 60000"),
        ("segment_bytes = 1", "segment_bytes: 1 is not a whole number from 65536 to 1073741824"),
        (
            "segment_bytes = 4294967297",
            "segment_bytes: 4294967297 is not a whole number from 65536 to 1073741824",
        ),
        ("bytes_max = 1", "bytes_max: 1 is neither 0 nor a whole number from 262144 on"),
        ("bytes_max = 262143", "bytes_max: 262143 is neither 0 nor a whole number from 262144 on"),
        ("pending_bytes_max = 0", "pending_bytes_max: 0 is not a whole number from 65536 to 1073741824"),
    ] {
        assert_eq!(problems(&format!("[store]\n{entry}\n")), [format!("t.toml:2: store.{why}")]);
    }
    for bytes in [0, 262_144] {
        assert_eq!(loaded(&format!("[store]\nbytes_max = {bytes}\n")).store.bytes_max, bytes);
    }
}

#[test]
fn a_bad_address_says_how_to_write_one() {
    let text = "t.toml:2: listener.mqtt.bind: \"1883\" is not an address; write IP:PORT, such as \
                127.0.0.1:1883 (this machine) or 0.0.0.0:1883 (everybody)";
    assert_eq!(problems("[listener.mqtt]\nbind = \"1883\"\n"), [text]);
    let localhost = problems("[admin]\nbind = \"localhost:80\"\n");
    assert!(localhost[0].ends_with("such as 127.0.0.1:80"), "{localhost:?}");
}

#[test]
fn an_unknown_protocol_or_kind_names_the_nearest() {
    assert_eq!(
        problems("[listener.x]\nprotocol = \"mqqt\"\nbind = \"127.0.0.1:1\"\n"),
        ["t.toml:2: listener.x.protocol: \"mqqt\" is not a protocol; did you mean \"mqtt\"?"]
    );
    assert_eq!(
        problems("[[bridge]]\nname = \"a\"\nkind = \"kafak\"\ntopics = [\"t\"]\n"),
        ["t.toml:3: bridge[0].kind: \"kafak\" is not a kind of bridge; did you mean \"kafka\"?"]
    );
}

#[test]
fn a_missing_key_is_named_with_its_table() {
    assert_eq!(
        problems("[listener.x]\nprotocol = \"mqtt\"\n"),
        ["t.toml:1: listener.x.bind: is missing"],
        "a wrong bind is not also a missing one"
    );
    assert_eq!(
        problems("[[bridge]]\nname = \"a\"\nkind = \"kafka\"\ntopics = [\"t\"]\n"),
        ["t.toml:1: bridge[0].brokers: is missing"]
    );
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let all = problems(
        "[node]\nnme = 1\nworkers = -1\n[listener.mqtt]\nbind = \"x\"\nprotocol = 4\n[tea]\ncups_max = \"a\"\n\
         [tea-two]\ncups_max = 13\n[[bridge]]\nname = \"a b\"\nkind = \"kafka\"\ntopcs = [\"t\"]\nbrokers = 1\n",
    );
    let start = |start: &str| assert!(all.iter().any(|line| line.starts_with(start)), "{start} in {all:#?}");
    start("t.toml:2: node.nme: unknown key; did you mean \"name\"?");
    start("t.toml:3: node.workers: -1 is not a whole number");
    start("t.toml:5: listener.mqtt.bind: \"x\"");
    start("t.toml:6: listener.mqtt.protocol: 4 is not a text");
    start("t.toml:8: tea.cups_max: \"a\" is not a whole number");
    start("t.toml:10: tea-two.cups_max: 13 brings bad luck");
    start("t.toml:11: bridge[0].topics: is missing");
    start("t.toml:14: bridge[0].topcs: unknown key; did you mean \"topics\"?");
    start("t.toml:15: bridge[0].brokers: 1 is not a list");
    assert_eq!(all.len(), 9, "{all:#?}");
}

#[test]
fn topics_of_a_bridge_are_filters() {
    let with = |topics: &str| {
        let text = format!("[[bridge]]\nname = \"a\"\nkind = \"kafka\"\nbrokers = []\ntopics = {topics}\n");
        problems(&text).join("\n")
    };
    assert!(with("[\"a/#/b\"]").contains("t.toml:5: bridge[0].topics: "), "{}", with("[\"a/#/b\"]"));
    assert!(with("[\"a/#/b\"]").contains("\"a/#/b\": a wildcard must fill its level"));
    assert!(with("[]").contains("at least one topic filter"));
    assert!(with("\"a\"").contains("\"a\" is not a list, such as"), "{}", with("\"a\""));
}

#[test]
fn names_of_bridges_are_plain_and_unique() {
    let text = BRIDGES.replace("two-b", "one");
    assert_eq!(problems(&text), ["t.toml:8: bridge[1].name: \"one\" is the name of another bridge"]);
    let text = BRIDGES.replace("two-b", "tw/o");
    assert_eq!(
        problems(&text),
        ["t.toml:8: bridge[1].name: \"tw/o\" is not a name of letters, digits, - and _"]
    );
}

#[test]
fn two_listeners_may_not_share_an_address_on_one_carrier() {
    let second = |bind: &str, protocol: &str, more: &str| {
        format!("[listener.second]\nprotocol = \"{protocol}\"\nbind = \"{bind}\"\n{more}")
    };
    assert_eq!(
        problems(&second("0.0.0.0:1883", "mqtt", "")),
        ["t.toml:3: listener.second.bind: 0.0.0.0:1883 is taken by listener.mqtt.bind (default)"]
    );
    assert_eq!(
        problems(&second("127.0.0.1:18083", "mqtt", "")),
        ["t.toml:3: listener.second.bind: 127.0.0.1:18083 is taken by admin.bind (default)"]
    );
    loaded(&second("127.0.0.1:1883", "coap", ""));
    loaded(&second("127.0.0.1:1883", "mqtt", "enabled = false\n"));
    loaded(&second("127.0.0.1:0", "mqtt", ""));
}

#[test]
fn broken_toml_names_line_and_column() {
    let all = problems("[node]\nname = \n");
    assert!(all[0].starts_with("t.toml:2: column 8: "), "{all:?}");
    let error = Layers::new().file(Path::new("/nowhere/t.toml")).load(&known()).err().unwrap();
    assert!(error.to_string().starts_with("/nowhere/t.toml: cannot read the settings: "), "{error}");
    let error = Layers::new().set("node.name").load(&known()).err().unwrap();
    assert!(error.to_string().contains("expected key=value"), "{error}");
    let error = environment("TIDEGATE__NODE____NAME", "x").load(&known()).err().unwrap();
    assert!(error.to_string().contains("a segment of the key is empty"), "{error}");
}

#[test]
fn secrets_come_from_files_and_are_never_printed() {
    let directory = std::env::temp_dir().join(format!("gateway-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("word"), "s3cret\n").unwrap();
    let path = directory.join("t.toml");
    let relative = Layers::new().text(&path, "[tea]\npassword = \"file://word\"\n").load(&known()).unwrap();
    let absolute = format!("[tea]\npassword = \"file://{}/word\"\n", directory.display());
    let absolute = Layers::new().text(&path, &absolute).load(&known()).unwrap();
    let missing = Layers::new().text(&path, "[tea]\npassword = \"file://none\"\n").load(&known());
    std::fs::remove_dir_all(&directory).unwrap();

    for settings in [&relative, &absolute] {
        assert_eq!(settings.section::<Tea>("tea").unwrap().password.expose(), "s3cret");
        assert!(!format!("{settings:?}").contains("s3cret"));
    }
    let error = missing.err().unwrap().to_string();
    assert!(error.contains(":2: tea.password: cannot read the secret from "), "{error}");
    assert!(error.contains("none: No such file"), "{error}");
    let plain = loaded("[tea]\npassword = \"hunter2\"\n");
    assert!(format!("{plain:?}").contains("tea.password") && !format!("{plain:?}").contains("hunter2"));
    let all = problems("[tea]\npassword = 4711\n");
    assert_eq!(all, ["t.toml:2: tea.password: **** is not a text; put it in quotes"]);
}

#[test]
fn zero_is_unlimited() {
    let settings =
        loaded("[session]\nqueue_messages_max = 0\nexpiry_secs_max = 0\n[retained]\nbytes_max = 0\n");
    assert_eq!(settings.session.queue_messages_max, u32::MAX);
    assert_eq!(settings.session.expiry_secs_max, u32::MAX);
    assert_eq!(settings.retained.bytes_max, u64::MAX);
}

#[test]
fn a_listener_may_encrypt_trust_proxies_and_be_a_file() {
    let settings = file(
        "[listener.a]\nprotocol = \"mqtt\"\nbind = \"unix:/run/a.sock\"\nunix_mode = \"600\"\n\
         trusted_proxies = [\"::1\", \"10.1.2.3/8\"]\nproxy_protocol = \"required\"\n\
         tls = { cert_file = \"a.pem\", key_file = \"/k.pem\" }\n",
    )
    .load(&known())
    .unwrap();
    let listener = settings.listeners().iter().find(|listener| listener.name == "a").unwrap();
    assert_eq!((listener.bind.to_string().as_str(), listener.unix_mode), ("unix:/run/a.sock", 0o600));
    let networks: Vec<_> = listener.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["::1/128", "10.0.0.0/8"]);
    assert_eq!(listener.proxy_protocol, ProxyProtocol::Required);
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!(tls.key_file, Path::new("/k.pem"));
    let elsewhere = Path::new("/etc/tidegate/t.toml");
    let text = "[listener.mqtt.tls]\ncert_file = \"a.pem\"\nkey_file = \"k.pem\"\n";
    let settings = Layers::new().text(elsewhere, text).load(&known()).unwrap();
    let listener = settings.listeners().iter().find(|listener| listener.name == "mqtt").unwrap();
    assert_eq!(listener.tls.as_ref().unwrap().cert_file, Path::new("/etc/tidegate/a.pem"));
}

#[test]
fn what_a_listener_cannot_be_is_said_of_its_key() {
    let tls = "[listener.mqtt.tls]\ncert_file = \"a\"\nkey_file = \"b\"\n";
    for (text, words) in [
        (
            "[listener.mqtt]\nbind = \"unix:mqtt.sock\"",
            "listener.mqtt.bind: \"unix:mqtt.sock\" is not an address",
        ),
        ("[listener.mqtt]\nunix_mode = \"rw\"", "listener.mqtt.unix_mode: \"rw\" is not a mode"),
        (
            "[listener.mqtt]\ntrusted_proxies = [\"ten\"]",
            "listener.mqtt.trusted_proxies: [\"ten\"]: \"ten\" is neither",
        ),
        ("[listener.mqtt]\nhandshake_timeout_secs = 0", "listener.mqtt.handshake_timeout_secs: 0 is not"),
        ("[listener.mqtt.tls]\nkey_file = \"b\"", "listener.mqtt.tls.cert_file: is missing"),
        (&format!("{tls}client_auth = \"required\""), "listener.mqtt.tls.client_ca_file: is missing"),
        (&format!("{tls}client_ca_file = \"c\""), "listener.mqtt.tls.client_auth: is \"none\""),
        (&format!("{tls}identity = \"san\""), "listener.mqtt.tls.identity: needs client_auth"),
        (&format!("{tls}identity = \"cn\""), "listener.mqtt.tls.identity: \"cn\": known: \"none\""),
        (&tls.replace("mqtt", "coap"), "listener.coap.tls: cannot be used: coap travels in datagrams"),
        ("[listener.coap]\nproxy_protocol = \"required\"", "listener.coap.proxy_protocol: cannot be used"),
        ("[listener.coap]\ntrusted_proxies = [\"::1\"]", "listener.coap.trusted_proxies: cannot be used"),
        ("[listener.coap]\nbind = \"unix:/c\"", "listener.coap.bind: is a Unix socket"),
    ] {
        let found = problems(text).join("\n");
        assert!(found.contains(words), "{text}\n{found}");
    }
}

#[test]
fn a_section_may_be_a_list() {
    assert_eq!(loaded("").list::<Tea>("pot").unwrap(), []);
    let two = loaded("[[pot]]\ncups_max = 1\n[[pot]]\nsugar = true");
    let pots = two.list::<Tea>("pot").unwrap();
    assert_eq!(pots.iter().map(|pot| (pot.cups_max, pot.sugar)).collect::<Vec<_>>(), [(1, false), (3, true)]);
    for (text, problem) in [
        ("[[pot]]\n[[pot]]\ncup_max = 1", "t.toml:3: pot[1].cup_max: unknown key"),
        ("[[pot]]\ncups_max = \"x\"", "t.toml:2: pot[0].cups_max: \"x\" is not"),
        ("[[pot]]\n[[pot]]\n[[pot]]\ncups_max = 1", "t.toml:4: pot[2].cups_max: is one too many"),
        ("[pot]\ncups_max = 1", "t.toml:1: pot"),
    ] {
        let problems = problems(text).concat();
        assert!(problems.contains(problem), "{text}\n{problems}");
    }
}

#[test]
fn only_streams_have_mount_points() {
    loaded("[listener.mqtt]\nmountpoint = \"a/\"");
    let problems = problems("[listener.coap]\nmountpoint = \"a/\"").concat();
    assert!(
        problems.contains("listener.coap.mountpoint: there are mount points for MQTT only"),
        "{problems}"
    );
}

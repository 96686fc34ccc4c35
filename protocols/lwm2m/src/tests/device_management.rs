use serde_json::json;

use super::*;

/// A command, the request it becomes, the device's answer, and the answer published.
fn exchange(bench: &mut Bench, words: &str, payload: &str, answered: Packet) -> (Packet, Json) {
    let asked = bench.command(words, payload);
    assert_eq!(asked.len(), 1, "{words}");
    assert!(bench.respond(&asked[0], answered).is_empty(), "{words}");
    assert_eq!(bench.settled(), [Settlement::Delivered]);
    let published = bench.out.published.pop().unwrap().1;
    assert_eq!(published.topic.as_str(), format!("lwm2m/ep1/resp/{words}"));
    let mut asked = asked;
    (asked.remove(0), serde_json::from_slice(&published.payload).unwrap())
}

fn content(format: u16, payload: &[u8]) -> Packet {
    answer(Code::CONTENT, Some(format), payload)
}

#[test]
fn int_201_and_224_read_a_resource_in_plain_text() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (asked, answered) = exchange(&mut bench, "read/3/0/9", r#"{"id":"abc"}"#, content(0, b"100"));
    assert_eq!((path(&asked), uint(&asked, number::ACCEPT)), ("0.01 /3/0/9".into(), Some(110)));
    assert_eq!(answered, json!({"id": "abc", "code": "2.05", "ok": true, "value": 100}));
    assert_eq!(bench.published(), [("r/3/0/9".into(), "100".into(), true)]);
}

#[test]
fn int_202_read_opaque() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (_, answered) = exchange(&mut bench, "read/31024/0/1", "", content(42, &[1, 2]));
    assert_eq!(answered["value"], "AQI=");
    let published = bench.out.published.remove(0).1;
    let content_type = published.properties.unwrap().content_type.clone().unwrap();
    assert_eq!(
        (&published.payload[..], &*content_type),
        (&b"AQI="[..], "application/octet-stream;encoding=base64")
    );
}

#[test]
fn int_203_and_223_read_an_instance_in_tlv() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let tlv = [0xC1, 9, 100, 0x86, 6, 0x41, 0, 1, 0x41, 1, 5];
    let (_, answered) = exchange(&mut bench, "read/3/0", "", content(11542, &tlv));
    assert_eq!(answered["value"], json!({"9": 100, "6": {"0": 1, "1": 5}}));
    let topics: Vec<_> = bench.published().into_iter().map(|p| (p.0, p.1)).collect();
    let wanted = [("r/3/0/9", "100"), ("r/3/0/6/0", "1"), ("r/3/0/6/1", "5")];
    assert_eq!(topics, wanted.map(|(topic, payload)| (topic.to_owned(), payload.to_owned())));
}

#[test]
fn int_204_222_225_and_231_read_object_and_resource_instance_in_json() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let senml = br#"[{"bn":"/3/","n":"0/9","v":100},{"n":"0/6/1","v":5}]"#;
    let (_, answered) = exchange(&mut bench, "read/3", "", content(110, senml));
    assert_eq!(answered["value"], json!({"0": {"9": 100, "6": {"1": 5}}}));
    let (_, answered) =
        exchange(&mut bench, "read/3/0/6/1", "", content(110, br#"[{"n":"/3/0/6/1","v":5}]"#));
    assert_eq!(answered["value"], 5);
    let (_, answered) =
        exchange(&mut bench, "read/3/0", "", content(11543, br#"{"bn":"/3/0/","e":[{"n":"9","v":7}]}"#));
    assert_eq!(answered["value"], json!({"9": 7}));
}

#[test]
fn a_refused_accept_is_learned() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let asked = bench.command("read/3/0/9", "");
    let asked = bench.respond(&asked[0], answer(Code::NOT_ACCEPTABLE, None, b""));
    assert_eq!(uint(&asked[0], number::ACCEPT), Some(11542));
    let asked = bench.respond(&asked[0], answer(Code::NOT_ACCEPTABLE, None, b""));
    assert_eq!(uint(&asked[0], number::ACCEPT), None);
    bench.respond(&asked[0], content(0, b"100"));
    assert_eq!(bench.json("resp/read/3/0/9")["value"], 100);
    assert_eq!(uint(&bench.command("read/3/0/9", "")[0], number::ACCEPT), None);
}

#[test]
fn clients_of_1_0_are_not_asked_for_a_format() {
    let (mut bench, _) = Bench::registered(OLD, Config::default());
    let (asked, answered) = exchange(&mut bench, "read/3/0/9", "", answer(Code::CONTENT, None, b"100"));
    assert_eq!((uint(&asked, number::ACCEPT), &answered["value"]), (None, &json!(100)));
}

#[test]
fn int_205_and_227_write() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (asked, answered) = exchange(&mut bench, "write/1/0/1", "60", answer(Code::CHANGED, None, b""));
    assert_eq!((path(&asked), text(&asked)), ("0.03 /1/0/1".into(), "60"));
    assert_eq!(uint(&asked, number::CONTENT_FORMAT), Some(0));
    assert_eq!(answered, json!({"code": "2.04", "ok": true}));
    let payload = r#"{"value":{"1":60,"6":true},"replace":true}"#;
    let (asked, _) = exchange(&mut bench, "write/1/0", payload, answer(Code::CHANGED, None, b""));
    assert_eq!(path(&asked), "0.03 /1/0");
}

#[test]
fn int_215_and_226_partial_update() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let asked = bench.command("write/1/0", r#"{"1":60,"6":true}"#);
    assert_eq!((path(&asked[0]), uint(&asked[0], number::CONTENT_FORMAT)), ("0.02 /1/0".into(), Some(110)));
    assert_eq!(text(&asked[0]), r#"[{"bn":"/1/0/","n":"1","v":60},{"n":"6","vb":true}]"#);
    let asked = bench.respond(&asked[0], answer(Code::UNSUPPORTED_CONTENT_FORMAT, None, b""));
    assert_eq!(uint(&asked[0], number::CONTENT_FORMAT), Some(11542));
    assert_eq!(asked[0].payload, [0xC1, 1, 60, 0xC1, 6, 1]);
    bench.respond(&asked[0], answer(Code::UNSUPPORTED_CONTENT_FORMAT, None, b"no"));
    let answered = bench.json("resp/write/1/0");
    assert_eq!(answered, json!({"code": "4.15", "ok": false, "error": "no"}));
}

#[test]
fn int_228_write_a_resource_instance() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (asked, _) = exchange(&mut bench, "write/2/0/2/127", "7", answer(Code::CHANGED, None, b""));
    assert_eq!((path(&asked), text(&asked)), ("0.03 /2/0/2/127".into(), "7"));
}

#[test]
fn int_241_execute() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (asked, answered) = exchange(&mut bench, "execute/3/0/4", "", answer(Code::CHANGED, None, b""));
    assert_eq!((path(&asked), asked.payload.len()), ("0.02 /3/0/4".into(), 0));
    assert_eq!(answered["ok"], true);
    let (asked, answered) =
        exchange(&mut bench, "execute/3/0/9", "", answer(Code::METHOD_NOT_ALLOWED, None, b""));
    assert_eq!(path(&asked), "0.02 /3/0/9", "what may be executed is the device's to say");
    assert_eq!(answered["error"], "refused by the device: Battery Level is read-only");
    let (asked, _) = exchange(&mut bench, "execute/5/0/2", "0='now'", answer(Code::CHANGED, None, b""));
    assert_eq!((text(&asked), uint(&asked, number::CONTENT_FORMAT)), ("0='now'", Some(0)));
}

#[test]
fn int_256_a_failed_write_is_told_with_the_device_s_code() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (_, answered) = exchange(&mut bench, "write/1/0/2", "-1", answer(Code::BAD_REQUEST, None, b""));
    assert_eq!(answered, json!({"code": "4.00", "ok": false, "error": "refused by the device"}));
}

#[test]
fn int_260_discover() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (asked, answered) = exchange(&mut bench, "discover/3/0", "", content(40, b"</3/0>;pmin=10,</3/0/9>"));
    assert_eq!((path(&asked), uint(&asked, number::ACCEPT)), ("0.01 /3/0".into(), Some(40)));
    assert_eq!(answered["value"], json!([{"path": "/3/0", "pmin": "10"}, {"path": "/3/0/9"}]));
}

#[test]
fn int_261_write_attributes() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let answered = answer(Code::CHANGED, None, b"");
    let (asked, _) = exchange(&mut bench, "attributes/3/0/9", r#"{"pmin":1,"pmax":60}"#, answered);
    assert_eq!(path(&asked), "0.03 /3/0/9");
    assert_eq!(texts(&asked, CoapOption::UriQuery), ["pmax=60", "pmin=1"]);
}

#[test]
fn int_270_and_290_create_and_delete() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let mut created = answer(Code::CREATED, None, b"");
    created.add_option(CoapOption::LocationPath, b"3303".to_vec());
    created.add_option(CoapOption::LocationPath, b"5".to_vec());
    let (asked, answered) = exchange(&mut bench, "create/3303", r#"{"5850":true}"#, created);
    assert_eq!((path(&asked), uint(&asked, number::CONTENT_FORMAT)), ("0.02 /3303".into(), Some(11542)));
    assert_eq!(answered, json!({"code": "2.01", "ok": true, "location": "/3303/5"}));
    let (asked, _) =
        exchange(&mut bench, "create/3303/6", r#"{"5850":true}"#, answer(Code::CREATED, None, b""));
    assert_eq!(text(&asked), r#"[{"bn":"/3303/6/","n":"5850","vb":true}]"#);
    let (asked, _) = exchange(&mut bench, "delete/3303/6", "", answer(Code::DELETED, None, b""));
    assert_eq!(path(&asked), "0.04 /3303/6");
}

#[test]
fn answers_go_to_the_response_topic_with_the_correlation_data() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let properties = Properties {
        response_topic: Some(Topic::parse("my/answers").unwrap()),
        correlation_data: Some(Bytes::from_static(b"42")),
        ..Properties::default()
    };
    bench.queue("read/3/0/9", "", Some(properties));
    let asked = bench.deliver();
    bench.respond(&asked[0], content(0, b"1"));
    let published = bench.out.published.pop().unwrap().1;
    assert_eq!(published.topic.as_str(), "my/answers");
    assert_eq!(published.properties.unwrap().correlation_data.as_deref(), Some(&b"42"[..]));
}

#[test]
fn bad_commands_are_answered_and_dropped() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    assert!(bench.command("write/1/0/1", "soon").is_empty());
    assert_eq!(bench.settled(), [Settlement::Dropped("bad_command")]);
    let answered = bench.json("resp/write/1/0/1");
    assert_eq!(
        answered,
        json!({"code": "bad_command", "ok": false, "error": "/1/0/1: not a value of type integer"})
    );
    assert!(bench.command("cancel/3/0/9", "").is_empty());
    assert_eq!(bench.json("resp/cancel/3/0/9")["error"], "/3/0/9 is not observed");
}

#[test]
fn one_request_at_a_time_in_order() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    bench.queue("read/3/0/9", "", None);
    bench.queue("read/3/0/10", "", None);
    let asked = bench.deliver();
    assert_eq!((asked.len(), bench.outbox.0.len()), (1, 1));
    assert!(bench.deliver().is_empty());
    bench.respond(&asked[0], content(0, b"1"));
    assert_eq!(path(&bench.deliver()[0]), "0.01 /3/0/10");
}

#[test]
fn a_silent_device_is_asked_five_times_and_then_given_up() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let asked = bench.command("read/3/0/9", "");
    let again = bench.pass(93);
    assert_eq!(again, vec![asked[0].clone(); 4], "MAX_RETRANSMIT, the same bytes");
    assert_eq!(bench.settled(), [Settlement::Dropped("timeout")]);
    let answered = bench.json("resp/read/3/0/9");
    assert_eq!(answered, json!({"code": "timeout", "ok": false, "error": "the device did not answer"}));
    assert_eq!(bench.command("read/3/0/9", "").len(), 1, "and the next is sent");
}

#[test]
fn separate_responses_and_resets() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let asked = bench.command("read/3/0/9", "");
    let id = asked[0].header.message_id.to_be_bytes();
    bench.receive(&[0x60, 0, id[0], id[1]]);
    assert!(bench.pass(60).is_empty(), "acknowledged: no retransmission");
    let mut separate = content(0, b"100");
    separate.set_token(asked[0].get_token().to_vec());
    assert_eq!(code_of(&bench.ask_as(separate)[0]), Code::EMPTY, "acknowledged");
    assert_eq!(bench.json("resp/read/3/0/9")["value"], 100);

    let asked = bench.command("read/3/0/9", "");
    let id = asked[0].header.message_id.to_be_bytes();
    bench.receive(&[0x70, 0, id[0], id[1]]);
    assert_eq!(bench.json("resp/read/3/0/9")["code"], "reset");
}

#[test]
fn a_long_value_is_read_in_blocks() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let body = [b'x'; 150];
    let mut asked = bench.command("read/31024/0/1", "").remove(0);
    for number in 0..3u32 {
        let start = number as usize * 64;
        let mut piece = content(0, &body[start..(start + 64).min(150)]);
        add_uint(&mut piece, number::BLOCK2, number << 4 | u32::from(number < 2) << 3 | 2);
        let next = bench.respond(&asked, piece);
        if number < 2 {
            asked = next.into_iter().next().unwrap();
            assert_eq!(uint(&asked, number::BLOCK2), Some((number + 1) << 4 | 2));
            assert_eq!(path(&asked), "0.01 /31024/0/1");
        }
    }
    assert_eq!(bench.json("resp/read/31024/0/1")["value"], "x".repeat(150));
}

#[test]
fn a_long_value_is_written_in_blocks() {
    let (mut bench, _) = Bench::registered(PLAIN, Config { block_bytes: 64, ..Config::default() });
    let mut asked = bench.command("write/31024/0/1", &"x".repeat(150)).remove(0);
    for number in 0..3u32 {
        let block = number << 4 | u32::from(number < 2) << 3 | 2;
        assert_eq!(uint(&asked, number::BLOCK1), Some(block));
        assert_eq!(asked.payload.len(), if number < 2 { 64 } else { 22 });
        let mut piece = answer(if number < 2 { Code::CONTINUE } else { Code::CHANGED }, None, b"");
        add_uint(&mut piece, number::BLOCK1, block);
        if let Some(next) = bench.respond(&asked, piece).into_iter().next() {
            asked = next;
        }
    }
    assert_eq!(bench.json("resp/write/31024/0/1"), json!({"code": "2.04", "ok": true}));
}

#[test]
fn what_nobody_understands_is_handed_on() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let (_, answered) = exchange(&mut bench, "read/3/0/9", "", content(11544, &[1, 2]));
    assert_eq!((&answered["raw"], &answered["content_format"]), (&json!("AQI="), &json!(11544)));
    assert_eq!(answered["ok"], false);
    let (_, answered) = exchange(&mut bench, "read/3/0", "", content(11542, &[0xC8]));
    assert_eq!((&answered["ok"], &answered["raw"]), (&json!(false), &json!("yA==")));
}

#[test]
fn json_payloads() {
    let config = Config { payload_mode: crate::PayloadMode::Json, ..Config::default() };
    let (mut bench, _) = Bench::registered(PLAIN, config);
    exchange(&mut bench, "read/3/0/9", "", content(0, b"100"));
    assert_eq!(
        bench.json("r/3/0/9"),
        json!({"v": 100, "type": "integer", "src": "read", "n": "Battery Level"})
    );
}

#[test]
fn the_alternate_path_comes_first() {
    let mut bench = Bench::new(Config::default());
    let mut packet = registration(PLAIN);
    packet.payload = b"</lwm2m>;rt=\"oma.lwm2m\",</lwm2m/3/0>".to_vec();
    bench.ask(packet);
    bench.open(Ok(()));
    assert_eq!(path(&bench.command("read/3/0/9", "")[0]), "0.01 /lwm2m/3/0/9");
}

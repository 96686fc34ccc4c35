use super::*;
use crate::Path;
use crate::codec::Format;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Some bytes flipped, cut off or put in.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, self.next() as u8),
                _ if !bytes.is_empty() => bytes[place] = self.next() as u8,
                _ => {}
            }
        }
        bytes
    }
}

const SEEDS: [(Format, &str, &[u8]); 6] = [
    (Format::Tlv, "/3", b"\x08\x00\x0e\xc1\x09\x64\x86\x06\x41\x00\x01\x41\x01\x05\xc1\x0a\x0f"),
    (
        Format::SenmlJson,
        "/",
        br#"[{"bn":"/3/0/","bt":1,"n":"9","v":100},{"n":"0","vs":"x"},{"n":"1","vd":"AA"}]"#,
    ),
    (Format::SenmlCbor, "/", b"\x82\xa3\x21\x65/3/0/\x00\x619\x02\x18\x64\xa2\x00\x6213\x02\xf9\x3e\x00"),
    (Format::Json, "/3/0", br#"{"bn":"/3/0/","e":[{"n":"9","v":100},{"n":"6/0","v":1}]}"#),
    (Format::Cbor, "/3/0/9", b"\x18\x64"),
    (Format::Text, "/3/0/9", b"100"),
];

#[test]
fn no_payload_panics_a_decoder() {
    let mut random = Random(1);
    for (format, path, payload) in SEEDS {
        let base = Path::parse(path).unwrap();
        assert!(format.decode(base, &Bytes::from_static(payload)).is_ok(), "{format:?}");
        for _ in 0..3000 {
            let _ = format.decode(base, &random.mutate(payload).into());
        }
    }
}

#[test]
fn no_datagram_panics_an_endpoint() {
    let mut random = Random(2);
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    let mut packet = registration(PLAIN);
    packet.header.message_id = 1;
    seeds.push(packet.to_bytes_unlimited().unwrap());
    let mut send = request(Code::POST, ["dp"]);
    add_uint(&mut send, number::CONTENT_FORMAT, 110);
    send.payload = SEEDS[1].2.to_vec();
    seeds.push(send.to_bytes_unlimited().unwrap());
    let mut observed = answer(Code::CONTENT, Some(11542), SEEDS[0].2);
    add_uint(&mut observed, number::OBSERVE, 5);
    for round in 0..300 {
        let (mut bench, location) =
            Bench::registered(if round % 2 == 0 { PLAIN } else { QUEUE }, Config::default());
        let update = request(Code::POST, ["rd", &location]).to_bytes_unlimited().unwrap();
        for _ in 0..20 {
            let asked = bench.command(["read/3", "observe/3/0", "write/1/0/1"][random.below(3)], "60");
            if let Some(asked) = asked.first() {
                observed.header.message_id = asked.header.message_id;
                observed.header.set_type(MessageType::Acknowledgement);
                observed.set_token(asked.get_token().to_vec());
            }
            let all = [&seeds[0], &seeds[1], &update, &observed.to_bytes_unlimited().unwrap()];
            let seed = all[random.below(4)];
            let bytes = random.mutate(seed);
            bench.adapter.receive(bench.now, &bytes, &mut bench.out);
            bench.out.requests.clear();
            if bench.out.closed.is_none() {
                bench.pass(random.below(30) as u64);
            }
        }
    }
}

#[test]
fn no_command_panics_an_endpoint() {
    let mut random = Random(3);
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let seeds = [
        ("write/1/0", r#"{"value":{"1":60,"6":true},"replace":true,"id":[1]}"#),
        ("attributes/3/0/9", r#"{"pmin":1,"pmax":null,"gt":"2.5"}"#),
        ("create/3303/5", r#"{"5700":1e300}"#),
        ("execute/3/0/4", "0='x'"),
    ];
    for _ in 0..2000 {
        let (words, payload) = seeds[random.below(seeds.len())];
        let words = String::from_utf8_lossy(&random.mutate(words.as_bytes())).replace(['+', '#', '\0'], "/");
        let payload = String::from_utf8_lossy(&random.mutate(payload.as_bytes())).into_owned();
        bench.command(&words, &payload);
        bench.pass(93);
        assert_eq!(bench.settled().len(), 1, "{words} {payload}");
        if bench.out.closed.is_some() {
            bench = Bench::registered(PLAIN, Config::default()).0;
        }
    }
}

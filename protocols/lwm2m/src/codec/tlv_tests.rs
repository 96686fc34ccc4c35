use std::collections::BTreeMap;

use super::super::Entry;
use super::*;

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// OMA LwM2M Core 1.1 section 7.4.3.2: `GET /3/0`.
const DEVICE: &str = "C8 00 14 4F 70 65 6E 20 4D 6F 62 69 6C 65 20 41 6C 6C 69 61 6E 63 65
    C8 01 16 4C 69 67 68 74 77 65 69 67 68 74 20 4D 32 4D 20 43 6C 69 65 6E 74
    C8 02 09 33 34 35 30 30 30 31 32 33  C3 03 31 2E 30  86 06 41 00 01 41 01 05
    88 07 08 42 00 0E D8 42 01 13 88  87 08 41 00 7D 42 01 03 84  C1 09 64  C1 0A 0F
    83 0B 41 00 00  C4 0D 51 82 42 8F  C6 0E 2B 30 32 3A 30 30  C1 10 55";

#[test]
fn oma_example_of_a_single_object_instance() {
    let payload = hex(DEVICE);
    let items = decode(&payload).unwrap();
    assert_eq!(encode(&items).unwrap(), payload);
    let readings = readings(path("/3/0"), &items).unwrap();
    let wanted = [
        ("/3/0/0", Value::String("Open Mobile Alliance".into())),
        ("/3/0/1", Value::String("Lightweight M2M Client".into())),
        ("/3/0/2", Value::String("345000123".into())),
        ("/3/0/3", Value::String("1.0".into())),
        ("/3/0/6/0", Value::Integer(1)),
        ("/3/0/6/1", Value::Integer(5)),
        ("/3/0/7/0", Value::Integer(3800)),
        ("/3/0/7/1", Value::Integer(5000)),
        ("/3/0/8/0", Value::Integer(125)),
        ("/3/0/8/1", Value::Integer(900)),
        ("/3/0/9", Value::Integer(100)),
        ("/3/0/10", Value::Integer(15)),
        ("/3/0/11/0", Value::Integer(0)),
        ("/3/0/13", Value::Time(1_367_491_215)),
        ("/3/0/14", Value::String("+02:00".into())),
        ("/3/0/16", Value::String("U".into())),
    ];
    assert_eq!(readings.len(), wanted.len());
    for (reading, (wanted_path, value)) in readings.iter().zip(wanted) {
        assert_eq!((reading.path, &reading.value), (path(wanted_path), &value));
    }
}

#[test]
fn oma_example_of_several_object_instances() {
    let payload = hex("08 00 0E C1 00 01 C1 01 00 83 02 41 7F 07 C1 03 7F
        08 02 12 C1 00 03 C1 01 00 87 02 41 7F 07 61 01 36 01 C1 03 7F");
    let items = decode(&payload).unwrap();
    assert_eq!(encode(&items).unwrap(), payload);
    let readings = readings(path("/2"), &items).unwrap();
    assert_eq!(readings[2], Reading::new(path("/2/0/2/127"), Value::Integer(7)));
    assert_eq!(readings[7], Reading::new(path("/2/2/2/310"), Value::Integer(1)));
    assert_eq!(readings.len(), 9);
}

#[test]
fn oma_example_of_object_links() {
    let payload = hex("88 00 0C 44 00 00 42 00 00 44 01 00 42 00 01
        C8 01 0D 38 36 31 33 38 30 30 37 35 35 35 30 30 C4 02 12 34 56 78");
    let items = decode(&payload).unwrap();
    assert_eq!(encode(&items).unwrap(), payload);
    let Some(Tlv::MultipleResource(0, links)) = items.first() else { panic!("{items:?}") };
    let Some(Tlv::ResourceInstance(1, link)) = links.get(1) else { panic!("{links:?}") };
    assert_eq!(value(link, Kind::ObjectLink), Some(Value::ObjectLink(66, 1)));
}

#[test]
fn every_length_form_survives() {
    for len in [0, 7, 8, 255, 256, 65_535, 65_536] {
        let items = [Tlv::Resource(0x0102, vec![7; len].into())];
        let bytes = encode(&items).unwrap();
        assert_eq!(decode(&bytes.into()).unwrap(), items, "{len}");
    }
    assert_eq!(encode(&[Tlv::Resource(0, vec![0; LENGTH_MAX + 1].into())]), Err(CodecError::TooLong));
}

#[test]
fn what_the_table_does_not_know_stays_opaque() {
    let items =
        [Tlv::Resource(1, Bytes::from_static(b"x")), Tlv::Resource(5700, Bytes::from_static(&[0; 3]))];
    let readings = readings(path("/31024/0"), &items).unwrap();
    assert_eq!(readings[0].value, Value::Opaque(Bytes::from_static(b"x")));
    assert_eq!(readings[1].value, Value::Opaque(Bytes::from_static(&[0; 3])));
}

#[test]
fn numbers_have_four_widths_and_floats_two() {
    for number in [0, -1, 127, -129, 40_000, -3_000_000_000, i64::MAX] {
        assert_eq!(value(&bytes(&Value::Integer(number)), Kind::Integer), Some(Value::Integer(number)));
    }
    for number in [0, 255, 256, 70_000, u64::MAX] {
        assert_eq!(value(&bytes(&Value::Unsigned(number)), Kind::Unsigned), Some(Value::Unsigned(number)));
    }
    let short = Bytes::copy_from_slice(&0.1f32.to_be_bytes());
    assert_eq!(value(&short, Kind::Float), Some(Value::Float(0.1)));
    assert_eq!(value(&Bytes::from_static(&[1, 2, 3]), Kind::Integer), None);
}

#[test]
fn deviations_of_real_clients() {
    let battery = Tlv::Resource(9, Bytes::from_static(&[100]));
    let wanted = [Reading::new(path("/3/0/9"), Value::Integer(100))];
    let wrapped = [Tlv::ObjectInstance(0, vec![battery.clone()])];
    let bare = [battery];
    for (base, items) in
        [("/3", &wrapped), ("/3", &bare), ("/3/0", &wrapped), ("/3/0", &bare), ("/3/0/9", &bare)]
    {
        assert_eq!(readings(path(base), items).unwrap(), wanted, "{base} {items:?}");
    }
    assert_eq!(readings(path("/3/0/10"), &bare), Err(CodecError::OtherPath));
}

#[test]
fn resource_instances_are_read_by_name() {
    let one = [Tlv::ResourceInstance(1, Bytes::from_static(&[5]))];
    let wanted = Reading::new(path("/3/0/6/1"), Value::Integer(5));
    assert_eq!(readings(path("/3/0/6"), &one).unwrap(), std::slice::from_ref(&wanted));
    assert_eq!(readings(path("/3/0/6/1"), &one).unwrap(), std::slice::from_ref(&wanted));
    let whole = [Tlv::MultipleResource(6, one.to_vec())];
    assert_eq!(readings(path("/3/0/6/1"), &whole).unwrap(), [wanted]);
    assert_eq!(readings(path("/3/0/6/2"), &whole), Err(CodecError::OtherPath));
}

#[test]
fn cut_and_nested_payloads_are_refused() {
    let payload = hex(DEVICE);
    for len in 0..payload.len() {
        // A cut between two elements is a shorter, legal list; elsewhere it is an error.
        let _ = decode(&payload.slice(..len));
    }
    assert_eq!(decode(&hex("C8 00 14 4F")), Err(CodecError::Truncated));
    assert_eq!(decode(&hex("C8")), Err(CodecError::Truncated));
    let mut nested = Tlv::Resource(0, Bytes::new());
    for _ in 0..4 {
        nested = Tlv::ObjectInstance(0, vec![nested]);
    }
    assert_eq!(decode(&encode(&[nested]).unwrap().into()), Err(CodecError::TooDeep));
}

#[test]
fn writes() {
    let lifetime = Entry::Single(Value::Integer(60));
    let written = Written::instance(path("/1/0"), BTreeMap::from([(1, lifetime.clone())]));
    assert_eq!(encode_written(&written).unwrap(), hex("C1 01 3C"));
    let written = Written::create(path("/1"), Some(3), BTreeMap::from([(1, lifetime.clone())]));
    assert_eq!(encode_written(&written).unwrap(), hex("03 03 C1 01 3C"));
    let written = Written::resource(path("/2/0/2/5"), lifetime).unwrap();
    assert_eq!(encode_written(&written).unwrap(), hex("41 05 3C"));
    let acl = Entry::Multiple(BTreeMap::from([(127, Value::Integer(7))]));
    let written = Written::resource(path("/2/0/2"), acl).unwrap();
    assert_eq!(encode_written(&written).unwrap(), hex("83 02 41 7F 07"));
}

use std::num::NonZeroU16;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use gateway_model::{PayloadFormat, Qos, Reason};
use protocol_mqtt::codec::{
    Acknowledgement, Connect, Header, LastWill, Packet, Properties, Property, PropertyBuffer, Publish,
    RequestedFilter, Suback, Subscribe, Version,
};

/// What is measured: a packet as clients and gateways send it.
#[derive(Clone, Copy, Debug)]
enum Sample {
    Connect,
    ConnectWithWill,
    Publish(Version, Qos),
    PublishWithProperties(Qos),
    Subscribe(Version),
    Suback,
    Puback(Version),
    Pubrel,
    PubackWithReason,
}

const SAMPLES: [Sample; 14] = [
    Sample::Connect,
    Sample::ConnectWithWill,
    Sample::Publish(Version::V311, Qos::AtMostOnce),
    Sample::Publish(Version::V311, Qos::AtLeastOnce),
    Sample::Publish(Version::V5, Qos::AtMostOnce),
    Sample::Publish(Version::V5, Qos::AtLeastOnce),
    Sample::PublishWithProperties(Qos::AtMostOnce),
    Sample::PublishWithProperties(Qos::AtLeastOnce),
    Sample::Subscribe(Version::V311),
    Sample::Subscribe(Version::V5),
    Sample::Suback,
    Sample::Puback(Version::V311),
    Sample::Pubrel,
    Sample::PubackWithReason,
];

const PACKET_ID: NonZeroU16 = NonZeroU16::MAX;
const TOPIC: &str = "plant/hall-3/press-17/temperature";
const PAYLOAD: [u8; 64] = [b'x'; 64];

#[divan::bench(args = SAMPLES)]
fn decode(bencher: Bencher<'_, '_>, sample: Sample) {
    let properties = sample.properties();
    let mut bytes = Vec::new();
    sample.packet(&properties).encode(sample.version(), &mut bytes);
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| {
        let bytes = black_box(&bytes[..]);
        let header = Header::parse(bytes).expect("well formed").expect("complete");
        let body = &bytes[header.header_len..header.frame_len()];
        black_box(Packet::decode(sample.version(), header.first, body).expect("well formed"));
    });
}

#[divan::bench(args = SAMPLES)]
fn encode(bencher: Bencher<'_, '_>, sample: Sample) {
    let properties = sample.properties();
    let packet = sample.packet(&properties);
    let mut bytes = Vec::with_capacity(1024);
    bencher.bench_local(|| {
        bytes.clear();
        black_box(&packet).encode(sample.version(), &mut bytes);
        black_box(&bytes);
    });
}

impl Sample {
    fn version(self) -> Version {
        match self {
            Self::Publish(version, _) | Self::Subscribe(version) | Self::Puback(version) => version,
            Self::Connect => Version::V311,
            _ => Version::V5,
        }
    }

    fn properties(self) -> PropertyBuffer {
        let mut properties = PropertyBuffer::default();
        match self {
            Self::ConnectWithWill => {
                properties.push(Property::SessionExpirySecs(3600)).push(Property::ReceiveMaximum(100));
            }
            Self::PublishWithProperties(_) => {
                properties
                    .push(Property::PayloadFormat(PayloadFormat::Utf8))
                    .push(Property::MessageExpirySecs(60))
                    .push(Property::ContentType("application/json"))
                    .push(Property::ResponseTopic("plant/answers"))
                    .push(Property::CorrelationData(b"4711"))
                    .push(Property::User("unit", "celsius"));
            }
            Self::PubackWithReason => {
                properties.push(Property::ReasonString("nobody has subscribed to this topic"));
            }
            _ => {}
        }
        properties
    }

    fn packet(self, properties: &PropertyBuffer) -> Packet<'_> {
        let properties = properties.as_properties();
        let acknowledgement =
            Acknowledgement { properties, ..Acknowledgement::new(PACKET_ID, self.reason()) };
        match self {
            Self::Connect | Self::ConnectWithWill => Packet::Connect(Box::new(self.connect(properties))),
            Self::Publish(_, qos) | Self::PublishWithProperties(qos) => Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: TOPIC.as_bytes(),
                packet_id: (qos > Qos::AtMostOnce).then_some(PACKET_ID),
                properties,
                payload: &PAYLOAD,
            }),
            Self::Subscribe(_) => {
                let filter = |filter| RequestedFilter::new(filter, Qos::AtLeastOnce);
                let filters = vec![filter(TOPIC), filter("plant/+/press-17/#")];
                Packet::Subscribe(Subscribe { packet_id: PACKET_ID, properties, filters })
            }
            Self::Suback => {
                let reasons = vec![Reason::GrantedQos1, Reason::GrantedQos1];
                Packet::Suback(Suback { packet_id: PACKET_ID, properties, reasons })
            }
            Self::Puback(_) | Self::PubackWithReason => Packet::Puback(acknowledgement),
            Self::Pubrel => Packet::Pubrel(acknowledgement),
        }
    }

    fn connect(self, properties: Properties<'_>) -> Connect<'_> {
        let will = LastWill {
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: Properties::default(),
            topic: "plant/hall-3/press-17/state",
            payload: b"gone",
        };
        let has_will = matches!(self, Self::ConnectWithWill);
        Connect {
            version: self.version(),
            clean_start: true,
            keep_alive_secs: 60,
            properties,
            client_id: "press-17",
            will: has_will.then_some(will),
            username: has_will.then_some("press"),
            password: has_will.then_some(b"secret"),
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::PubackWithReason => Reason::NoMatchingSubscribers,
            _ => Reason::Success,
        }
    }
}

use coap_lite::{CoapOption, MessageType, Packet};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use protocol_coap::datagram::Datagram;
use protocol_coap::message::{self, Code, number};

/// What is measured: a message of one exchange.
#[derive(Clone, Copy, Debug)]
enum Sample {
    /// What a device publishes.
    Put,
    /// What the gateway answers.
    Changed,
    /// An observation begins,
    Observe,
    /// and an event of it.
    Notification,
    Empty,
}

const SAMPLES: [Sample; 5] =
    [Sample::Put, Sample::Changed, Sample::Observe, Sample::Notification, Sample::Empty];

/// Header and token, the options one by one, and the payload.
#[divan::bench(args = SAMPLES)]
fn decode(bencher: Bencher<'_, '_>, sample: Sample) {
    let bytes = encoded(&sample.packet());
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| {
        let datagram = Datagram::parse(black_box(&bytes)).expect("well formed");
        datagram.options().for_each(|option| _ = black_box(option));
        black_box(datagram.payload)
    });
}

#[divan::bench(args = SAMPLES)]
fn encode(bencher: Bencher<'_, '_>, sample: Sample) {
    let packet = sample.packet();
    bencher.bench(|| encoded(black_box(&packet)));
}

fn encoded(packet: &Packet) -> Vec<u8> {
    packet.to_bytes_unlimited().expect("it can be encoded")
}

impl Sample {
    fn packet(self) -> Packet {
        let (code, kind) = match self {
            Self::Put => (Code::PUT, MessageType::Confirmable),
            Self::Changed => (Code::CHANGED, MessageType::Acknowledgement),
            Self::Observe => (Code::GET, MessageType::Confirmable),
            Self::Notification => (Code::CONTENT, MessageType::NonConfirmable),
            Self::Empty => (Code::EMPTY, MessageType::Acknowledgement),
        };
        let mut packet = message::with_code(code);
        packet.header.set_type(kind);
        packet.header.message_id = 4711;
        if code != Code::EMPTY {
            packet.set_token(vec![1, 2, 3, 4]);
        }
        let mut add = |number: u16, value: &[u8]| packet.add_option(CoapOption::from(number), value.to_vec());
        if matches!(self, Self::Observe | Self::Notification) {
            add(number::OBSERVE, &[]);
        }
        if code.is_request() {
            let path = ["ps", "plant", "press-17", "temperature"];
            path.iter().for_each(|segment| add(number::URI_PATH, segment.as_bytes()));
        }
        if matches!(self, Self::Put | Self::Notification) {
            add(number::CONTENT_FORMAT, &[50]);
            packet.payload = vec![b'x'; 64];
        }
        packet
    }
}

use std::fmt::Write;

use serde::Serialize;

use super::histogram::Histogram;

/// What a run has found. `--json` prints it as it stands here: the names are documented in README.md
/// and stay.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub command: &'static str,
    /// Everything that had to arrive has arrived.
    pub complete: bool,
    /// Ended by a signal.
    pub interrupted: bool,
    pub mqtt_version: &'static str,
    pub qos: u8,
    pub publishers: u32,
    pub subscribers: u32,
    pub threads: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_messages: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_publisher_per_second: Option<f64>,
    pub connections: Connections,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<Messages>,
    /// From when a message was sent, or was due, to its arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_us: Option<Percentiles>,
    /// From PUBLISH to PUBACK, or to PUBCOMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledgement_us: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerCost>,
    pub generator: GeneratorCost,
    pub errors: Vec<Error>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Connections {
    pub asked: u32,
    /// Connected, and subscribed if that was asked for.
    pub established: u64,
    pub refused: u64,
    /// Ended without our doing.
    pub lost: u64,
    pub seconds: f64,
    pub per_second: f64,
    /// From the beginning of a connection to its CONNACK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connack_us: Option<Percentiles>,
}

/// The counts are of the whole run, the rates of its measured part.
#[derive(Clone, Debug, Serialize)]
pub struct Messages {
    pub sent: u64,
    pub acknowledged: u64,
    /// Publishes that the broker answered with an error.
    pub denied: u64,
    /// Deliveries, duplicates too.
    pub received: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    /// Deliveries that are not of this run, or not for who got them.
    pub unexpected: u64,
    /// Times that a publisher waited a second for what never came.
    pub stalls: u64,
    /// Due by the rate, and not sent when the time was over.
    pub unsent: u64,
    pub seconds: f64,
    pub sent_per_second: f64,
    pub acknowledged_per_second: f64,
    pub received_per_second: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
    pub mean: f64,
}

/// What it cost the broker's process.
#[derive(Clone, Debug, Serialize)]
pub struct BrokerCost {
    pub pid: u32,
    pub threads: u64,
    pub rss_before_bytes: u64,
    /// When all clients were there.
    pub rss_connected_bytes: u64,
    /// At the end, the clients still there.
    pub rss_after_bytes: u64,
    pub bytes_per_connection: i64,
    pub cpu_us_per_connection: f64,
    /// Of what was measured: delivered messages, or sent ones where nobody received here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_message: Option<f64>,
    /// CPUs that it kept busy meanwhile.
    pub cpus: f64,
}

/// What it cost the generator itself: near one CPU for each thread it was the limit, not the broker.
#[derive(Clone, Debug, Serialize)]
pub struct GeneratorCost {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_message: Option<f64>,
    pub cpus: f64,
}

/// One kind of failure.
#[derive(Clone, Debug, Serialize)]
pub struct Error {
    pub kind: String,
    pub count: u64,
    /// The first case in full.
    pub first: String,
}

impl Percentiles {
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let micros = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
        (histogram.count() > 0).then(|| Self {
            p50: micros(histogram.quantile(0.5)),
            p90: micros(histogram.quantile(0.9)),
            p99: micros(histogram.quantile(0.99)),
            p999: micros(histogram.quantile(0.999)),
            max: micros(histogram.max()),
            mean: micros(histogram.mean()),
        })
    }
}

impl Summary {
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = self.heading();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<16}{value}");
        };
        let all = &self.connections;
        let connected = format!(
            "{} of {} in {:.2} s, {:.0}/s; {} refused, {} lost",
            all.established, all.asked, all.seconds, all.per_second, all.refused, all.lost
        );
        line("connected", connected);
        if let Some(times) = &all.connack_us {
            line("CONNACK", times.text());
        }
        if let Some(messages) = &self.messages {
            if self.publishers > 0 {
                line("sent", messages.sent_text());
            }
            if messages.acknowledged > 0 || (self.qos > 0 && self.publishers > 0) {
                line("acknowledged", messages.acknowledged_text());
            }
            if self.subscribers > 0 {
                line("received", messages.received_text());
            }
        }
        for (name, times) in [("acknowledgement", &self.acknowledgement_us), ("delivery", &self.delivery_us)]
        {
            if let Some(times) = times {
                line(name, times.text());
            }
        }
        if let Some(broker) = &self.broker {
            line("broker", broker.text());
        }
        line("generator", self.generator.text());
        for error in &self.errors {
            line("failed", format!("{} x {}", error.count, error.kind));
        }
        line("complete", if self.complete { "yes" } else { "no" }.to_owned());
        text
    }

    fn heading(&self) -> String {
        let mut text = format!("{}: MQTT {}", self.command, self.mqtt_version);
        if let Some(bytes) = self.payload_bytes {
            let _ = write!(text, ", QoS {}, {bytes} bytes", self.qos);
        }
        if let Some(window) = self.window_messages {
            let _ = write!(text, ", window {window}");
        }
        if let Some(rate) = self.rate_per_publisher_per_second {
            let _ = write!(text, ", {rate}/s each");
        }
        for (count, name) in [(self.publishers, "publishers"), (self.subscribers, "subscribers")] {
            if count > 0 && self.command != "connect" {
                let _ = write!(text, ", {count} {name}");
            }
        }
        if self.interrupted {
            text.push_str("; interrupted");
        }
        text.push('\n');
        text
    }
}

impl Messages {
    fn sent_text(&self) -> String {
        let unsent = match self.unsent {
            0 => String::new(),
            count => format!("; {count} more were due"),
        };
        format!("{}, {:.0}/s{unsent}", self.sent, self.sent_per_second)
    }

    fn acknowledged_text(&self) -> String {
        format!("{}, {:.0}/s; {} denied", self.acknowledged, self.acknowledged_per_second, self.denied)
    }

    fn received_text(&self) -> String {
        let mut text = format!(
            "{}, {:.0}/s; {} lost, {} duplicates, {} out of order",
            self.received, self.received_per_second, self.lost, self.duplicates, self.out_of_order
        );
        for (count, name) in [(self.unexpected, "unexpected"), (self.stalls, "stalls")] {
            if count > 0 {
                let _ = write!(text, ", {count} {name}");
            }
        }
        text
    }
}

impl Percentiles {
    fn text(&self) -> String {
        let values = [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("max", self.max),
        ];
        values.map(|(name, micros)| format!("{name} {}", time(micros))).join("  ")
    }
}

impl BrokerCost {
    fn text(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        let message = match self.cpu_us_per_message {
            Some(micros) => format!("{micros:.2} us of CPU per message, {:.2} CPUs, ", self.cpus),
            None => String::new(),
        };
        format!(
            "{message}{:.1} us of CPU and {} bytes per connection; RSS {:.1} MiB before, {:.1} connected, \
             {:.1} after; {} threads",
            self.cpu_us_per_connection,
            self.bytes_per_connection,
            mib(self.rss_before_bytes),
            mib(self.rss_connected_bytes),
            mib(self.rss_after_bytes),
            self.threads
        )
    }
}

impl GeneratorCost {
    fn text(&self) -> String {
        match self.cpu_us_per_message {
            Some(micros) => format!("{micros:.2} us of CPU per message, {:.2} CPUs", self.cpus),
            None => format!("{:.2} CPUs", self.cpus),
        }
    }
}

/// In the unit in which it has one to three digits before the point.
pub fn time(micros: f64) -> String {
    match micros {
        ..1e3 => format!("{micros:.0} us"),
        ..1e6 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let times = Some(Percentiles { p50: 80.0, p90: 900.5, p99: 2e3, p999: 5e5, max: 3e6, mean: 100.0 });
        Summary {
            command: "p2p",
            complete: false,
            interrupted: true,
            mqtt_version: "5",
            qos: 1,
            publishers: 100,
            subscribers: 100,
            threads: 1,
            payload_bytes: Some(64),
            window_messages: Some(16),
            rate_per_publisher_per_second: Some(5.0),
            connections: Connections {
                asked: 200,
                established: 199,
                refused: 1,
                lost: 0,
                seconds: 0.5,
                per_second: 398.0,
                connack_us: times,
            },
            messages: Some(Messages {
                sent: 1000,
                acknowledged: 999,
                denied: 1,
                received: 990,
                lost: 10,
                duplicates: 0,
                out_of_order: 0,
                unexpected: 2,
                stalls: 0,
                unsent: 3,
                seconds: 10.0,
                sent_per_second: 100.0,
                acknowledged_per_second: 99.9,
                received_per_second: 99.0,
            }),
            delivery_us: times,
            acknowledgement_us: times,
            broker: Some(BrokerCost {
                pid: 1,
                threads: 2,
                rss_before_bytes: 1 << 20,
                rss_connected_bytes: 2 << 20,
                rss_after_bytes: 3 << 20,
                bytes_per_connection: -5,
                cpu_us_per_connection: 30.0,
                cpu_us_per_message: Some(1.5),
                cpus: 0.9,
            }),
            generator: GeneratorCost { cpu_us_per_message: Some(1.0), cpus: 1.0 },
            errors: vec![Error { kind: "lost".to_owned(), count: 3, first: "a: lost".to_owned() }],
        }
    }

    /// All names, nested ones after a point.
    fn keys(value: &serde_json::Value, of: &str, into: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                members.iter().for_each(|(name, value)| keys(value, &format!("{of}.{name}"), into));
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, of, into)),
            _ => into.push(of.trim_start_matches('.').to_owned()),
        }
    }

    /// Programs go by these names, and README.md says what they mean.
    #[test]
    fn the_names_in_json_are_documented() {
        let value: serde_json::Value = serde_json::from_str(&summary().json()).unwrap();
        let mut names = Vec::new();
        keys(&value, "", &mut names);
        assert_eq!(names.len(), 63, "{names:?}");
        let readme = include_str!("../../../../README.md");
        for name in names.iter().flat_map(|name| name.split('.')) {
            assert!(readme.contains(&format!("`{name}`")), "README.md does not say what {name} is");
        }
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let mut summary = summary();
        (summary.messages, summary.broker, summary.delivery_us) = (None, None, None);
        let value: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
        assert!(value.get("messages").is_none() && value.get("broker").is_none());
        assert!(!summary.text().contains("sent"));
    }

    #[test]
    fn people_read_the_same() {
        let text = summary().text();
        for part in [
            "p2p: MQTT 5, QoS 1, 64 bytes, window 16, 5/s each, 100 publishers, 100 subscribers; interrupted",
            "199 of 200 in 0.50 s, 398/s; 1 refused, 0 lost",
            "1000, 100/s; 3 more were due",
            "990, 99/s; 10 lost, 0 duplicates, 0 out of order, 2 unexpected",
            "p50 80 us  p90 900 us  p99 2.00 ms  p99.9 500.00 ms  max 3.00 s",
            "3 x lost",
            "complete        no",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}

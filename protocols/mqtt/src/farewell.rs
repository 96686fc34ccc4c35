//! The last word of a connection, and how any word but a publish is written.

use gateway_model::{Close, Reason, Sink};

use crate::codec::{
    Connack, Disconnect, Properties, Property, PropertyBuffer, Version, is_connack_reason,
    is_disconnect_reason,
};
use crate::connection::Connection;

impl Connection {
    /// Ends an open connection, saying why if the version can.
    pub(crate) fn dismiss(&mut self, reason: Reason, text: &str, out: &mut dyn Sink) {
        if self.version == Version::V5 {
            let mut properties = PropertyBuffer::default();
            let told = self.directions(reason, &mut properties);
            let reason = if is_disconnect_reason(told) { told } else { Reason::UnspecifiedError };
            self.write_last(properties, text, out, |properties, into| {
                Disconnect { reason, properties }.encode(Version::V5, into);
            });
        }
        self.close(Close::because(reason), out);
    }

    /// Says no to a CONNECT, as far as its version has a word for it, and closes.
    pub(crate) fn refuse(&mut self, reason: Reason, text: &str, out: &mut dyn Sink) {
        tracing::debug!(%reason, text, "connection refused");
        let mut properties = PropertyBuffer::default();
        let answer = match self.version {
            Version::V5 => match self.directions(reason, &mut properties) {
                told if is_connack_reason(told) => Some(told),
                // MQTT 5.0 table 3-1 does not know it.
                Reason::ServerShuttingDown => Some(Reason::ServerUnavailable),
                _ => Some(Reason::UnspecifiedError),
            },
            // MQTT-3.1.4-1 (3.1.1): a CONNECT that breaks the rules is not answered.
            _ if matches!(
                reason,
                Reason::MalformedPacket | Reason::ProtocolError | Reason::TopicNameInvalid
            ) =>
            {
                None
            }
            _ => Some(reason),
        };
        if let Some(reason) = answer {
            let version = self.version;
            self.write_last(properties, text, out, |properties, into| {
                Connack { session_present: false, reason, properties }.encode(version, into);
            });
        }
        self.close(Close::because(reason), out);
    }

    /// Where a client goes that the gateway sends away because it shuts down (MQTT 5.0 section
    /// 4.11), and the reason to tell it.
    fn directions(&self, reason: Reason, properties: &mut PropertyBuffer) -> Reason {
        let reference = &*self.config.server_reference;
        let told = match reason {
            Reason::ServerShuttingDown if reference.is_empty() => return reason,
            Reason::ServerShuttingDown if self.config.server_moved => Reason::ServerMoved,
            Reason::ServerShuttingDown => Reason::UseAnotherServer,
            Reason::UseAnotherServer | Reason::ServerMoved if !reference.is_empty() => reason,
            other => return other,
        };
        properties.push(Property::ServerReference(reference));
        told
    }

    /// Writes a packet: with a reason string if the client wants any and it fits, without if not,
    /// and not at all if even then it is larger than the client takes (MQTT-3.1.2-24 and -25).
    /// Whether it was written.
    pub(crate) fn write(
        &self,
        properties: PropertyBuffer,
        text: &str,
        out: &mut dyn Sink,
        encode: impl Fn(Properties<'_>, &mut Vec<u8>),
    ) -> bool {
        let bytes = out.wire().as_mut_vec();
        let start = bytes.len();
        let mut encode_fitting = |properties: &PropertyBuffer| {
            encode(properties.as_properties(), bytes);
            let fits = bytes.len() - start <= self.frame_len_max as usize;
            match bytes.get(start) {
                Some(first) if fits => self.config.packets.sent(*first, 1),
                _ => bytes.truncate(start),
            }
            fits
        };
        if self.version == Version::V5 && self.problem_information && !text.is_empty() {
            let mut with_text = properties.clone();
            with_text.push(Property::ReasonString(text));
            if encode_fitting(&with_text) {
                return true;
            }
            tracing::trace!("a reason string does not fit");
        }
        encode_fitting(&properties)
    }

    /// The same for a last word, which can do without all properties.
    fn write_last(
        &self,
        properties: PropertyBuffer,
        text: &str,
        out: &mut dyn Sink,
        encode: impl Fn(Properties<'_>, &mut Vec<u8>),
    ) {
        if !self.write(properties, text, out, &encode) {
            self.write(PropertyBuffer::default(), "", out, &encode);
        }
    }
}

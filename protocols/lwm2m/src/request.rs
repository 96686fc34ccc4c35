//! A command as a CoAP request to the device, in a format that it understands.

use coap_lite::Packet;
use protocol_coap::block::{Block, Body, szx_for};
use protocol_coap::message::{Code, add_uint, number, with_code};

use crate::codec::{CodecError, Format, Written};
use crate::command::Action;
use crate::path::Path;
use crate::registration::Version;
use crate::value::Value;

/// Observe option values (RFC 7641 section 2).
const REGISTER: u32 = 0;
const DEREGISTER: u32 = 1;

/// What was learned about the formats of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formats {
    version: Version,
    /// How many Accept candidates it refused.
    refused: u8,
}

impl Formats {
    pub(crate) fn new(version: Version) -> Self {
        Self { version, refused: 0 }
    }

    /// What to ask for. Clients of 1.0 are not asked for anything: they have one format per kind of
    /// path, and some do not answer an Accept that they do not know.
    pub(crate) fn accept(&self) -> Option<Format> {
        match (self.version, self.refused) {
            (Version::V1_0, _) => None,
            (_, 0) => Some(Format::SenmlJson),
            (_, 1) => Some(Format::Tlv),
            _ => None,
        }
    }

    /// After 4.06. False if there is nothing left to try.
    pub(crate) fn refuse_accept(&mut self) -> bool {
        let had_more = self.accept().is_some();
        self.refused = self.refused.saturating_add(1);
        had_more
    }

    /// The format of an answer that does not name it (OMA LwM2M 1.0.2 section 6.4).
    pub(crate) fn assumed(path: Path) -> Format {
        if path.depth() >= 3 { Format::Text } else { Format::Tlv }
    }

    /// What to try in turn when writing: text and opaque are what every client knows for a single
    /// value, TLV what every client of 1.0 knows for several.
    fn for_writing(&self, written: &Written) -> &'static [Format] {
        match written.single() {
            Some(Value::Opaque(_)) => &[Format::Opaque, Format::Tlv, Format::SenmlJson],
            Some(_) => &[Format::Text, Format::Tlv, Format::SenmlJson],
            None if self.version == Version::V1_0 => &[Format::Tlv],
            None if self.refused == 0 => &[Format::SenmlJson, Format::Tlv],
            None => &[Format::Tlv, Format::SenmlJson],
        }
    }

    /// The payload of a write in the first format from `attempt` on that can carry it, with the
    /// number of that attempt.
    pub(crate) fn encode(
        &self,
        written: &Written,
        attempt: usize,
    ) -> Result<(usize, Format, bytes::Bytes), CodecError> {
        let mut error = CodecError::Unsupported(0);
        for (index, format) in self.for_writing(written).iter().enumerate().skip(attempt) {
            match format.encode(written) {
                Ok(payload) => return Ok((index, *format, payload)),
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }
}

/// The body of a request.
pub(crate) struct Upload {
    pub format: u16,
    pub body: Body,
}

impl Upload {
    pub(crate) fn new(format: u16, payload: bytes::Bytes, block_bytes: usize) -> Self {
        Self { format, body: Body::new(payload, szx_for(block_bytes)) }
    }
}

/// The request for `action`, with the piece of `upload` that is due, or asking for `block` of the
/// answer (RFC 7959 section 3.4: later blocks of an observed resource come without Observe).
pub(crate) fn packet<'a>(
    action: &Action,
    path: Path,
    root: impl Iterator<Item = &'a str>,
    accept: Option<Format>,
    upload: Option<&Upload>,
    block: Option<Block>,
) -> Packet {
    let mut packet = with_code(method(action, path));
    for segment in root {
        packet.add_option(number::URI_PATH.into(), segment.as_bytes().to_vec());
    }
    for id in path.ids() {
        packet.add_option(number::URI_PATH.into(), id.to_string().into_bytes());
    }
    match action {
        Action::Discover => add_uint(&mut packet, number::ACCEPT, Format::LINK.into()),
        Action::Read | Action::Observe | Action::Cancel => {
            if let Some(accept) = accept {
                add_uint(&mut packet, number::ACCEPT, accept.number().into());
            }
        }
        Action::Attributes(queries) => {
            for query in queries {
                packet.add_option(number::URI_QUERY.into(), query.as_bytes().to_vec());
            }
        }
        Action::Write { .. } | Action::Create(_) | Action::Execute(_) | Action::Delete => {}
    }
    match (action, block) {
        (_, Some(block)) => block.add_to(&mut packet, number::BLOCK2),
        (Action::Observe, None) => add_uint(&mut packet, number::OBSERVE, REGISTER),
        (Action::Cancel, None) => add_uint(&mut packet, number::OBSERVE, DEREGISTER),
        _ => {}
    }
    if let Some(upload) = upload {
        let piece = upload.body.piece();
        add_uint(&mut packet, number::CONTENT_FORMAT, upload.format.into());
        if let Some(block) = piece.block {
            block.add_to(&mut packet, number::BLOCK1);
        }
        packet.payload = piece.payload.to_vec();
    }
    packet
}

/// OMA LwM2M Transport 1.1 section 6.4.
fn method(action: &Action, path: Path) -> Code {
    match action {
        Action::Read | Action::Discover | Action::Observe | Action::Cancel => Code::GET,
        // A partial update, which is all that several resources can mean unless replacing is asked for.
        Action::Write { replace: false, .. } if path.depth() == 2 => Code::POST,
        Action::Write { written, replace: false } if is_multiple(written) => Code::POST,
        Action::Write { .. } | Action::Attributes(_) => Code::PUT,
        Action::Create(_) | Action::Execute(_) => Code::POST,
        Action::Delete => Code::DELETE,
    }
}

fn is_multiple(written: &Written) -> bool {
    written.single().is_none()
}

//! Every mapping between the gateway's words and CoAP's.

use std::hash::Hasher;
use std::sync::Arc;
use std::time::Instant;

use coap_lite::{CoapOption, Packet};
use gateway_model::{Message, Properties, Reason};

use crate::block::{Block, serve};
use crate::content_format::{self, OCTET_STREAM, TEXT_PLAIN};
use crate::message::{Code, add_uint, number, with_code};

/// How long a peer is asked to stay away after 4.29 and 5.03.
const RETRY_AFTER_SECS: u32 = 5;
/// Max-Age when the option is absent (RFC 7252 section 5.10.5).
const MAX_AGE_DEFAULT_SECS: u32 = 60;

/// A refusal: its code, a diagnostic payload, and the seconds after which to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) text: Box<str>,
    pub(crate) max_age_secs: Option<u32>,
}

impl Refused {
    pub(crate) fn new(code: Code, text: impl Into<Box<str>>) -> Self {
        Self { code, text: text.into(), max_age_secs: None }
    }

    pub(crate) fn busy(text: &str) -> Self {
        Self { code: Code::SERVICE_UNAVAILABLE, text: text.into(), max_age_secs: Some(RETRY_AFTER_SECS) }
    }

    pub(crate) fn because(reason: Reason) -> Self {
        let code = code_for(reason);
        let again = matches!(code, Code::TOO_MANY_REQUESTS | Code::SERVICE_UNAVAILABLE);
        Self { code, text: reason.name().into(), max_age_secs: again.then_some(RETRY_AFTER_SECS) }
    }

    pub(crate) fn packet(&self) -> Packet {
        let mut packet = with_code(self.code);
        if let Some(secs) = self.max_age_secs {
            add_uint(&mut packet, number::MAX_AGE, secs);
        }
        packet.payload = self.text.as_bytes().to_vec();
        packet
    }
}

/// The response code for an error reason.
pub(crate) fn code_for(reason: Reason) -> Code {
    match reason {
        Reason::BadUserNameOrPassword
        | Reason::BadAuthenticationMethod
        | Reason::ClientIdentifierNotValid => Code::UNAUTHORIZED,
        Reason::NotAuthorized | Reason::Banned => Code::FORBIDDEN,
        Reason::MalformedPacket
        | Reason::ProtocolError
        | Reason::TopicFilterInvalid
        | Reason::TopicNameInvalid
        | Reason::PayloadFormatInvalid
        | Reason::RetainNotSupported
        | Reason::QosNotSupported
        | Reason::SharedSubscriptionsNotSupported
        | Reason::SubscriptionIdentifiersNotSupported
        | Reason::WildcardSubscriptionsNotSupported => Code::BAD_REQUEST,
        Reason::PacketTooLarge => Code::REQUEST_ENTITY_TOO_LARGE,
        Reason::MessageRateTooHigh | Reason::ConnectionRateExceeded => Code::TOO_MANY_REQUESTS,
        Reason::QuotaExceeded
        | Reason::ServerBusy
        | Reason::ServerUnavailable
        | Reason::ServerShuttingDown
        | Reason::UseAnotherServer
        | Reason::ServerMoved
        | Reason::SessionTakenOver
        | Reason::AdministrativeAction
        | Reason::MaximumConnectTime => Code::SERVICE_UNAVAILABLE,
        _ => Code::INTERNAL_SERVER_ERROR,
    }
}

/// The code for a session that was not opened: whatever forbids it, credentials may help.
pub(crate) fn code_for_refusal(reason: Reason) -> Code {
    match code_for(reason) {
        Code::FORBIDDEN => Code::UNAUTHORIZED,
        other => other,
    }
}

pub(crate) fn properties_of(content_format: Option<u16>) -> Option<Arc<Properties>> {
    let content_type = Some(content_format::to_media_type(content_format?));
    Some(Arc::new(Properties { content_type, ..Properties::default() }))
}

/// What a reader wants of a representation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) accept: Option<u16>,
    pub(crate) block: Option<Block>,
    /// ETags the reader has; ours are 8 bytes, so no others can match.
    pub(crate) etags: smallvec::SmallVec<[[u8; 8]; 1]>,
}

/// A message as a 2.05 response (2.03 if the reader has it already), at most one block of it.
///
/// # Errors
/// 4.06 if it is not acceptable, 4.00 if the block lies behind its end.
pub(crate) fn represent(
    message: &Message,
    etag: [u8; 8],
    now: Instant,
    wanted: &Wanted,
    szx_max: u8,
) -> Result<Packet, Refused> {
    let format = format_of(message);
    let served = match (format, wanted.accept) {
        (_, None) => format,
        (Some(format), Some(accept)) if format == accept => Some(format),
        // A payload without a type is octets, and perhaps also text.
        (None, Some(OCTET_STREAM)) => Some(OCTET_STREAM),
        (None, Some(TEXT_PLAIN)) if std::str::from_utf8(&message.payload).is_ok() => Some(TEXT_PLAIN),
        _ => return Err(Refused::new(Code::NOT_ACCEPTABLE, "the value has another content format")),
    };
    let valid = wanted.etags.contains(&etag);
    let mut packet = with_code(if valid { Code::VALID } else { Code::CONTENT });
    packet.add_option(CoapOption::ETag, etag.to_vec());
    if let Some(secs) = message.expiry_secs_left(now).filter(|secs| *secs != MAX_AGE_DEFAULT_SECS) {
        add_uint(&mut packet, number::MAX_AGE, secs);
    }
    if valid {
        return Ok(packet);
    }
    if let Some(format) = served {
        add_uint(&mut packet, number::CONTENT_FORMAT, u32::from(format));
    }
    let piece = serve(&message.payload, wanted.block, szx_max)
        .ok_or(Refused::new(Code::BAD_REQUEST, "the block lies behind the end"))?;
    add_piece(&mut packet, piece, message.payload.len());
    Ok(packet)
}

/// Puts a piece of a body of `total` bytes into a response.
pub(crate) fn add_piece(packet: &mut Packet, piece: crate::block::Piece, total: usize) {
    if let Some(block) = piece.block {
        block.add_to(packet, number::BLOCK2);
        if block.number == 0 {
            add_uint(packet, number::SIZE2, total as u32);
        }
    }
    packet.payload = piece.payload.to_vec();
}

fn format_of(message: &Message) -> Option<u16> {
    content_format::from_media_type(message.properties.as_ref()?.content_type.as_ref()?)
}

/// Names a representation: its type and payload. The same on every gateway and after a restart.
pub(crate) fn etag_of(message: &Message) -> [u8; 8] {
    let content_type = message.properties.as_ref().and_then(|properties| properties.content_type.as_deref());
    hash([content_type.unwrap_or_default().as_bytes(), &message.payload])
}

/// A hash for ETags; no peer gains anything from a collision of its own making.
pub(crate) fn hash<const N: usize>(parts: [&[u8]; N]) -> [u8; 8] {
    let mut hasher = Fnv(0xCBF2_9CE4_8422_2325);
    for part in parts {
        hasher.write(part);
        hasher.write_usize(part.len());
    }
    hasher.finish().to_be_bytes()
}

/// FNV-1a over eight bytes at a time, with a final mix.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.0 = (self.0 ^ u64::from_le_bytes(*word)).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
        }
        for byte in rest {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        mixed ^ mixed >> 33
    }
}

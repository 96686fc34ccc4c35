use std::num::NonZeroU16;

use super::PacketError;

/// A cursor over a packet's body; every read says when the body is too short.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

const SHORT: PacketError = PacketError::Malformed("packet ends early");

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    #[inline]
    pub(crate) fn remainder(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, PacketError> {
        let (&byte, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, PacketError> {
        let (bytes, rest) = self.rest.split_first_chunk::<2>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, PacketError> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<NonZeroU16, PacketError> {
        // MQTT-2.2.1-3.
        NonZeroU16::new(self.u16()?).ok_or(PacketError::Protocol("packet identifier is 0"))
    }

    /// A Variable Byte Integer (MQTT 5.0 section 1.5.5).
    #[inline]
    pub(crate) fn variable(&mut self) -> Result<u32, PacketError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(PacketError::Malformed("variable byte integer is padded"));
                }
                return Ok(value);
            }
        }
        Err(PacketError::Malformed("variable byte integer is longer than four bytes"))
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], PacketError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Binary data: a two-byte length and that many bytes (MQTT 5.0 section 1.5.6).
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], PacketError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 encoded string without U+0000 (MQTT 5.0 section 1.5.4).
    pub(crate) fn text(&mut self) -> Result<&'a str, PacketError> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(bytes).map_err(|_| PacketError::Malformed("text is not UTF-8"))?;
        if bytes.contains(&0) {
            return Err(PacketError::Malformed("text holds U+0000"));
        }
        Ok(text)
    }
}

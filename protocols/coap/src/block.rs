//! Block-wise transfer (RFC 7959), both ways: pieces of a body out, pieces into a body.
//!
//! As a server: [`Uploads`] puts Block1 requests together, [`serve`] cuts a Block2 response.
//! As a client: [`Body`] is cut into Block1 requests, [`Download`] collects Block2 responses.

use std::time::{Duration, Instant};

use bytes::Bytes;
use coap_lite::Packet;

use crate::datagram::Datagram;
use crate::message::{add_uint, number, parse_uint};

/// The value of a Block1 or Block2 option (RFC 7959 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// At most 20 bits.
    pub number: u32,
    pub more: bool,
    /// The size is `2 ** (szx + 4)`; 0 to 6.
    pub szx: u8,
}

/// Why an option value is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("block option longer than 3 bytes")]
    TooLong,
    #[error("block size exponent 7 is reserved")]
    Reserved,
}

impl Block {
    pub const NUMBER_MAX: u32 = (1 << 20) - 1;

    /// # Errors
    /// More than three bytes, or size exponent 7 (reserved on UDP).
    pub fn parse(value: &[u8]) -> Result<Self, BlockError> {
        let value = parse_uint(value).filter(|_| value.len() <= 3).ok_or(BlockError::TooLong)?;
        let szx = (value & 7) as u8;
        if szx == 7 {
            return Err(BlockError::Reserved);
        }
        Ok(Self { number: value >> 4, more: value & 8 != 0, szx })
    }

    /// The option's value as a `uint`.
    pub fn value(self) -> u32 {
        self.number << 4 | u32::from(self.more) << 3 | u32::from(self.szx & 7)
    }

    /// In bytes: 16 to 1024.
    pub fn size(self) -> usize {
        16 << self.szx.min(6)
    }

    /// Where it begins in the body.
    pub fn offset(self) -> usize {
        self.number as usize * self.size()
    }

    /// The Block1 or Block2 option of a message.
    ///
    /// # Errors
    /// As [`Block::parse`]; `Ok(None)` without the option.
    pub fn of(datagram: &Datagram<'_>, option: u16) -> Result<Option<Self>, BlockError> {
        datagram.values(option).next().map(Self::parse).transpose()
    }

    pub fn add_to(self, packet: &mut Packet, option: u16) {
        add_uint(packet, option, self.value());
    }
}

/// The largest size exponent whose blocks are not larger than `size` (but at least 16 bytes).
pub fn szx_for(size: usize) -> u8 {
    (0..=6).rev().find(|szx| 16usize << szx <= size).unwrap_or(0)
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub payload: Bytes,
    /// `None` if the body fits one message and no block was asked for.
    pub block: Option<Block>,
}

/// Cuts the requested Block2 (or the first) out of a response body; blocks are never larger than
/// `1 << (szx_max + 4)`. `None` if the block lies behind the end: answer 4.00.
pub fn serve(body: &Bytes, requested: Option<Block>, szx_max: u8) -> Option<Piece> {
    let mut block = requested.unwrap_or(Block { number: 0, more: false, szx: szx_max });
    if block.szx > szx_max {
        // RFC 7959 section 2.4: the server may answer with a smaller size; numbers shift along.
        block.number = block.number.checked_shl(u32::from(block.szx - szx_max))?;
        block.szx = szx_max;
    }
    let start = block.offset();
    if start > body.len() || start == body.len() && start > 0 {
        return None;
    }
    let end = body.len().min(start + block.size());
    block.more = end < body.len();
    let payload = body.slice(start..end);
    let whole = requested.is_none() && !block.more;
    Some(Piece { payload, block: (!whole).then_some(block) })
}

/// A body on its way out in Block1 requests.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Bytes,
    offset: usize,
    szx: u8,
}

impl Body {
    pub fn new(bytes: Bytes, szx: u8) -> Self {
        Self { bytes, offset: 0, szx: szx.min(6) }
    }

    /// The piece to send next, again and again until [`Body::advance`].
    pub fn piece(&self) -> Piece {
        let number = (self.offset / (16 << self.szx)) as u32;
        let mut block = Block { number, more: false, szx: self.szx };
        let end = self.bytes.len().min(self.offset + block.size());
        block.more = end < self.bytes.len();
        let whole = self.offset == 0 && !block.more;
        Piece { payload: self.bytes.slice(self.offset.min(end)..end), block: (!whole).then_some(block) }
    }

    /// The peer has the current piece (2.31) and named its block size. `false` if that was the last.
    pub fn advance(&mut self, acknowledged: Option<Block>) -> bool {
        self.offset = self.bytes.len().min(self.offset + (16 << self.szx));
        // Late negotiation (RFC 7959 section 2.5): only smaller, and the offset stays a multiple.
        if let Some(block) = acknowledged {
            self.szx = self.szx.min(block.szx);
        }
        self.offset < self.bytes.len()
    }
}

/// What to do after a Block2 response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ask for this block.
    Next(Block),
    Complete(Bytes),
    /// Not the block that was asked for, or another version of the body (its ETag changed):
    /// begin again, or give up.
    Broken,
    TooLarge,
}

/// A body on its way in by Block2 responses.
#[derive(Clone, Debug, Default)]
pub struct Download {
    bytes: Vec<u8>,
    etag: Option<Vec<u8>>,
}

impl Download {
    pub fn receive(&mut self, response: &Datagram<'_>, bytes_max: usize) -> Progress {
        let block = match Block::of(response, number::BLOCK2) {
            Ok(Some(block)) => block,
            Ok(None) if self.bytes.is_empty() => {
                return Progress::Complete(Bytes::copy_from_slice(response.payload));
            }
            _ => return Progress::Broken,
        };
        let etag = response.values(number::ETAG).next().map(<[u8]>::to_vec);
        if block.number == 0 {
            self.bytes.clear();
            self.etag = etag;
        } else if self.etag != etag {
            return Progress::Broken;
        }
        if block.offset() != self.bytes.len() || !is_full(block, response.payload) {
            return Progress::Broken;
        }
        if self.bytes.len() + response.payload.len() > bytes_max {
            return Progress::TooLarge;
        }
        self.bytes.extend_from_slice(response.payload);
        match block.more {
            true if block.number < Block::NUMBER_MAX => {
                Progress::Next(Block { number: block.number + 1, more: false, szx: block.szx })
            }
            true => Progress::TooLarge,
            false => Progress::Complete(std::mem::take(&mut self.bytes).into()),
        }
    }
}

/// A block that is not the last carries exactly its size (RFC 7959 section 2.2).
fn is_full(block: Block, payload: &[u8]) -> bool {
    if block.more { payload.len() == block.size() } else { payload.len() <= block.size() }
}

/// What to do after a Block1 request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upload {
    /// Answer 2.31 with this Block1 option.
    Continue(Block),
    /// The whole body; answer with this Block1 option.
    Complete(Bytes, Block),
    /// A block is missing, or the transfer was forgotten: 4.08.
    Incomplete,
    /// 4.13 with this Size1.
    TooLarge(usize),
    /// A block that is neither full nor the last: 4.00.
    Malformed,
}

/// Limits of [`Uploads`].
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    pub bytes_max: usize,
    /// Bodies under way at a time; the one that rested longest makes way.
    pub count_max: usize,
    /// How long a body may rest: EXCHANGE_LIFETIME (RFC 7959 section 2.5).
    pub lifetime: Duration,
    /// The largest block size we ask for.
    pub szx_max: u8,
}

/// The request bodies one peer is sending us.
pub struct Uploads {
    limits: UploadLimits,
    under_way: Vec<UnderWay>,
}

struct UnderWay {
    key: Vec<u8>,
    bytes: Vec<u8>,
    touched: Instant,
}

impl Uploads {
    pub fn new(limits: UploadLimits) -> Self {
        Self { limits, under_way: Vec::new() }
    }

    /// Takes one request that carries `block` as its Block1 option.
    pub fn receive(&mut self, now: Instant, request: &Datagram<'_>, block: Block) -> Upload {
        self.expire(now);
        let key = upload_key(request);
        let found = self.under_way.iter().position(|upload| upload.key == key);
        let mut upload = match found {
            Some(index) => self.under_way.swap_remove(index),
            None => UnderWay { key, bytes: Vec::new(), touched: now },
        };
        if block.number == 0 {
            upload.bytes.clear();
        }
        if block.offset() != upload.bytes.len() {
            return Upload::Incomplete;
        }
        if !is_full(block, request.payload) {
            return Upload::Malformed;
        }
        let announced = request.uint(number::SIZE1, 4).map_or(0, |size| size as usize);
        if upload.bytes.len() + request.payload.len() > self.limits.bytes_max
            || announced > self.limits.bytes_max
        {
            return Upload::TooLarge(self.limits.bytes_max);
        }
        upload.bytes.extend_from_slice(request.payload);
        let answer = Block { szx: block.szx.min(self.limits.szx_max), ..block };
        if !block.more {
            return Upload::Complete(upload.bytes.into(), answer);
        }
        upload.touched = now;
        self.keep(upload);
        Upload::Continue(answer)
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.under_way.iter().map(|upload| upload.touched).min().map(|at| at + self.limits.lifetime)
    }

    /// Forgets bodies that rested too long.
    pub fn expire(&mut self, now: Instant) {
        let lifetime = self.limits.lifetime;
        self.under_way.retain(|upload| upload.touched + lifetime > now);
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    fn keep(&mut self, upload: UnderWay) {
        if self.under_way.len() >= self.limits.count_max.max(1)
            && let Some(oldest) =
                (0..self.under_way.len()).min_by_key(|i| self.under_way.get(*i).map(|u| u.touched))
        {
            self.under_way.swap_remove(oldest);
        }
        self.under_way.push(upload);
    }
}

/// What makes blocks parts of one body: method, path, query, Content-Format, conditions and
/// Request-Tag (RFC 7959 section 2.5, RFC 9175 section 3.3).
fn upload_key(request: &Datagram<'_>) -> Vec<u8> {
    let mut key = vec![request.code.0];
    for (option, value) in request.options() {
        let counts = matches!(
            option,
            number::URI_PATH
                | number::URI_QUERY
                | number::CONTENT_FORMAT
                | number::IF_MATCH
                | number::IF_NONE_MATCH
                | number::REQUEST_TAG
        );
        if counts {
            key.extend_from_slice(&option.to_be_bytes());
            key.extend_from_slice(&(value.len() as u32).to_be_bytes());
            key.extend_from_slice(value);
        }
    }
    key
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;

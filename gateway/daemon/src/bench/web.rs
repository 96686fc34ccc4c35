//! The frames of a WebSocket (RFC 6455 section 5) as a client has them, without copying what they carry.
//! The upgrade is `client::carrier`'s.

use crate::client::ClientError;

/// Cuts what comes into frames. The boundaries of messages mean nothing (MQTT 5.0 section 6), so
/// fragments are passed on as they come.
#[derive(Debug, Default)]
pub struct FrameReader {
    /// A header that has not come whole.
    header: Vec<u8>,
    opcode: u8,
    /// Bytes of the frame's payload that are to come.
    left: u64,
    /// The payload so far of a ping.
    ping: Vec<u8>,
}

/// What a frame has brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Bytes(&'a [u8]),
    /// To be answered with the same.
    Ping(Vec<u8>),
    Close,
}

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
/// For extensions, of which none was agreed.
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// RFC 6455 section 5.5.
const CONTROL_LEN_MAX: u64 = 125;

impl FrameReader {
    /// The next piece of `bytes`, which it takes from them; `None`: there is no more.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, ClientError> {
        loop {
            if self.left == 0 && !self.read_header(bytes)? {
                return Ok(None);
            }
            let len = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let (piece, rest) = bytes.split_at(len);
            *bytes = rest;
            self.left -= len as u64;
            match self.opcode {
                CONTINUATION | BINARY if len > 0 => return Ok(Some(Piece::Bytes(piece))),
                CLOSE => return Ok(Some(Piece::Close)),
                PING => {
                    self.ping.extend_from_slice(piece);
                    if self.left == 0 {
                        return Ok(Some(Piece::Ping(std::mem::take(&mut self.ping))));
                    }
                }
                _ => {}
            }
            if self.left > 0 {
                return Ok(None);
            }
        }
    }

    /// False: it has not come whole.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<bool, ClientError> {
        loop {
            if let Some((opcode, left)) = parsed(&self.header)? {
                self.header.clear();
                (self.opcode, self.left) = (opcode, left);
                return Ok(true);
            }
            let Some((byte, rest)) = bytes.split_first() else { return Ok(false) };
            self.header.push(*byte);
            *bytes = rest;
        }
    }
}

/// Opcode and payload length; `None`: more bytes are needed.
fn parsed(header: &[u8]) -> Result<Option<(u8, u64)>, ClientError> {
    let wrong = |text: &str| Err(ClientError::NoBroker(format!("WebSocket: {text}")));
    let [first, second, extended @ ..] = header else { return Ok(None) };
    let opcode = first & 0x0F;
    if first & RESERVED != 0 || !matches!(opcode, CONTINUATION | BINARY | CLOSE | PING | PONG) {
        return wrong("a frame that is not binary");
    }
    if second & MASKED != 0 {
        return wrong("a masked frame of a server");
    }
    let len = match (second, extended) {
        (126, [high, low]) => u64::from(u16::from_be_bytes([*high, *low])),
        (127, extended) => match extended.first_chunk() {
            Some(len) => u64::from_be_bytes(*len),
            None => return Ok(None),
        },
        (126, _) => return Ok(None),
        (len, _) => u64::from(*len),
    };
    if opcode >= CLOSE && len > CONTROL_LEN_MAX {
        return wrong("a control frame that is too long");
    }
    Ok(Some((opcode, len)))
}

/// Makes a frame of what stands in `out` from `start` on. The key of the mask is zero: a frame that
/// servers have to take, and that need not be rewritten.
pub fn frame_binary(out: &mut Vec<u8>, start: usize) {
    frame(out, start, BINARY);
}

pub fn put_pong(out: &mut Vec<u8>, ping: &[u8]) {
    let start = out.len();
    out.extend_from_slice(ping);
    frame(out, start, PONG);
}

fn frame(out: &mut Vec<u8>, start: usize, opcode: u8) {
    let len = out.len() - start;
    let mut header = [0; 14];
    header[0] = FINAL | opcode;
    let header_len = match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => {
            header[1] = MASKED | len;
            6
        }
        (_, Ok(len)) => {
            header[1] = MASKED | 126;
            header[2..4].copy_from_slice(&len.to_be_bytes());
            8
        }
        _ => {
            header[1] = MASKED | 127;
            header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            14
        }
    };
    out.extend_from_slice(&header[..header_len]);
    out.copy_within(start..start + len, start + header_len);
    out[start..start + header_len].copy_from_slice(&header[..header_len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces when the bytes come `step` at a time.
    fn pieces(bytes: &[u8], step: usize) -> (Vec<u8>, Vec<Vec<u8>>, bool) {
        let (mut reader, mut data, mut pings, mut closed) = (FrameReader::default(), vec![], vec![], false);
        for mut part in bytes.chunks(step) {
            while let Some(piece) = reader.next(&mut part).unwrap() {
                match piece {
                    Piece::Bytes(bytes) => data.extend_from_slice(bytes),
                    Piece::Ping(ping) => pings.push(ping),
                    Piece::Close => {
                        closed = true;
                        break;
                    }
                }
            }
        }
        (data, pings, closed)
    }

    #[test]
    fn frames_may_be_cut_anywhere() {
        let long = vec![7; 70_000];
        let mut bytes = b"\x02\x02ab\x89\x04ping\x80\x01c\x82\x00\x8a\x00\x82\x7e\x00\x80".to_vec();
        bytes.extend_from_slice(&long[..128]);
        bytes.extend_from_slice(b"\x82\x7f\x00\x00\x00\x00\x00\x01\x11\x70");
        bytes.extend_from_slice(&long);
        bytes.extend_from_slice(b"\x89\x00\x88\x02\x03\xe8");
        let mut data = b"abc".to_vec();
        data.extend_from_slice(&[7; 70_128]);
        for step in [1, 2, 3, 7, 1000, bytes.len()] {
            let expected = (data.clone(), vec![b"ping".to_vec(), Vec::new()], true);
            assert_eq!(pieces(&bytes, step), expected, "{step} at a time");
        }
    }

    #[test]
    fn what_is_no_frame_of_a_broker_is_refused() {
        for wrong in [&b"\x81\x01x"[..], b"\x82\x81", b"\x89\x7e\x00\x80", b"HTTP/1.1"] {
            assert!(FrameReader::default().next(&mut &wrong[..]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_frame_carries_what_was_written() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let mut out = b"before".to_vec();
            out.resize(6 + len, 9);
            frame_binary(&mut out, 6);
            assert_eq!(&out[..6], b"before");
            // With the bit and the four zeros of the mask taken away it is what a server would send.
            let header_len = out.len() - 6 - len;
            let mut frame = out[6..].to_vec();
            assert_eq!(frame[1] & MASKED, MASKED);
            frame[1] &= !MASKED;
            assert!(frame.drain(header_len - 4..header_len).all(|byte| byte == 0));
            assert_eq!(pieces(&frame, 1000), (vec![9; len], vec![], false), "{len}");
        }
    }
}

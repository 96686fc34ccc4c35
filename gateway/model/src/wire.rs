use bytes::Bytes;

/// Where an adapter writes what goes to its peer. The driver owns it, flushes it once per turn,
/// and keeps it only while the socket is blocked.
///
/// Small pieces are copied in, large ones kept by reference. On a datagram carrier
/// [`WireBuffer::end_datagram`] closes one datagram; on a stream it must not be called.
#[derive(Debug, Default)]
pub struct WireBuffer {
    bytes: Vec<u8>,
    /// Referenced pieces: `(offset in bytes before which it stands, piece)`, offsets ascending.
    pieces: Vec<(usize, Bytes)>,
    /// Ends of datagrams: offsets into `bytes`, ascending.
    datagram_ends: Vec<usize>,
    piece_bytes: usize,
}

impl WireBuffer {
    /// From this size on, a piece is kept by reference: below, copying is cheaper than one more
    /// entry in the vectored write.
    pub const PIECE_LEN_MIN: usize = 8 * 1024;

    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a payload, by reference if it is large. For streams only: datagrams hold no references.
    pub fn append(&mut self, payload: &Bytes) {
        if payload.len() < Self::PIECE_LEN_MIN {
            self.bytes.extend_from_slice(payload);
        } else {
            self.piece_bytes += payload.len();
            self.pieces.push((self.bytes.len(), payload.clone()));
        }
    }

    /// For encoders that write into a plain vector.
    pub fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends a datagram that holds everything written since the last one ended.
    pub fn end_datagram(&mut self) {
        self.datagram_ends.push(self.bytes.len());
    }

    /// Bytes not yet flushed.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.piece_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
        self.datagram_ends.clear();
        self.piece_bytes = 0;
    }

    /// The contents in order, as slices for a vectored write.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        let pieces = self.pieces.iter().flat_map(move |(offset, piece)| {
            let before = &self.bytes[start..*offset];
            start = *offset;
            [before, &piece[..]]
        });
        let last = self.pieces.last().map_or(0, |(offset, _)| *offset);
        pieces.chain([&self.bytes[last..]]).filter(|slice| !slice.is_empty())
    }

    /// The datagrams that have ended, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.datagram_ends.iter().map(move |end| {
            let datagram = &self.bytes[start..*end];
            start = *end;
            datagram
        })
    }

    /// Whether everything is in one contiguous piece.
    pub fn as_contiguous(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then_some(&self.bytes[..])
    }

    /// Forgets the first `count` bytes of a stream: they are on the wire.
    pub fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.len());
        if self.pieces.is_empty() {
            self.bytes.drain(..count);
            return;
        }
        let mut taken = 0; // bytes to cut off the front of `bytes`
        let mut whole = 0; // pieces to drop
        for (offset, piece) in &mut self.pieces {
            let before = (*offset - taken).min(count);
            taken += before;
            count -= before;
            if taken < *offset || count == 0 {
                break;
            }
            let cut = piece.len().min(count);
            let _ = piece.split_to(cut);
            self.piece_bytes -= cut;
            count -= cut;
            if !piece.is_empty() {
                break;
            }
            whole += 1;
        }
        if whole == self.pieces.len() {
            taken += count;
        }
        self.pieces.drain(..whole);
        self.bytes.drain(..taken);
        for (offset, _) in &mut self.pieces {
            *offset -= taken;
        }
    }

    /// What the buffer itself occupies, for the driver's decision to keep or drop it.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partly_written_stream_continues_where_it_stopped() {
        let large = Bytes::from(vec![7; WireBuffer::PIECE_LEN_MIN]);
        let mut whole = vec![1, 2, 3];
        whole.extend_from_slice(&large);
        whole.extend_from_slice(&[4, 5]);
        whole.extend_from_slice(&large);
        for cut in
            [0, 1, 3, 4, 3 + large.len(), 4 + large.len(), 5 + large.len(), whole.len() - 1, whole.len()]
        {
            let mut wire = WireBuffer::default();
            wire.extend(&[1, 2, 3]);
            wire.append(&large);
            wire.extend(&[4, 5]);
            wire.append(&large);
            assert_eq!(wire.len(), whole.len());
            wire.advance(cut);
            assert_eq!(wire.slices().collect::<Vec<_>>().concat(), whole[cut..], "cut at {cut}");
            assert_eq!(wire.len(), whole.len() - cut);
        }
    }
}

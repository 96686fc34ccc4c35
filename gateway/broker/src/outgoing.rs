use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use smallvec::SmallVec;

/// Datagrams of one pass that wait to be sent together: one call of the system instead of one each, which
/// is a fifth of what sending costs.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// To whom each goes, and where in `bytes` it ends.
    datagrams: Vec<(SocketAddr, usize)>,
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) bytes: u64,
    /// Datagrams that the socket could not take.
    pub(crate) lost: u64,
}

/// Datagrams in one call; more save no more.
const TOGETHER_MAX: usize = 32;
/// Room that is kept for the next pass.
const BYTES_KEPT: usize = 64 * 1024;

type Batch<T> = SmallVec<[T; TOGETHER_MAX]>;

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Whether it is time to send before the pass is over.
    pub(crate) fn is_full(&self) -> bool {
        self.datagrams.len() >= TOGETHER_MAX
    }

    pub(crate) fn push(&mut self, address: SocketAddr, datagram: &[u8]) {
        self.bytes.extend_from_slice(datagram);
        self.datagrams.push((address, self.bytes.len()));
    }

    /// Sends all of it. A datagram that the socket cannot take now is lost, as the network may lose any;
    /// protocols that care retransmit.
    pub(crate) fn send(&mut self, socket: impl AsFd) -> Sent {
        let mut sent = Sent::default();
        let mut done = 0;
        while done < self.datagrams.len() {
            match self.send_some(&socket, done) {
                Ok(count) if count > 0 => {
                    sent.bytes += (self.end_of(done + count) - self.end_of(done)) as u64;
                    done += count;
                }
                // It says so of the first; the next may go.
                Ok(_) | Err(_) => {
                    sent.lost += 1;
                    done += 1;
                }
            }
        }
        self.clear();
        sent
    }

    /// Takes all of it out, one by one.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn drain(&mut self, mut take: impl FnMut(SocketAddr, &[u8])) {
        for place in 0..self.datagrams.len() {
            take(self.datagrams[place].0, &self.bytes[self.end_of(place)..self.end_of(place + 1)]);
        }
        self.clear();
    }

    /// How many of those from a place on the system has taken.
    fn send_some(&self, socket: &impl AsFd, first: usize) -> io::Result<usize> {
        let places = first..self.datagrams.len().min(first + TOGETHER_MAX);
        let slice = |place: usize| IoSlice::new(&self.bytes[self.end_of(place)..self.end_of(place + 1)]);
        let slices: Batch<[IoSlice<'_>; 1]> = places.clone().map(|place| [slice(place)]).collect();
        let address = |place: usize| self.datagrams[place].0.as_any();
        let addresses: Batch<SocketAddrAny> = places.clone().map(address).collect();
        let mut controls: Batch<SendAncillaryBuffer<'_, '_, '_>> =
            places.map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Batch<MMsgHdr<'_>> = addresses
            .iter()
            .zip(&slices)
            .zip(&mut controls)
            .map(|((address, slices), control)| MMsgHdr::new_with_addr(address, slices, control))
            .collect();
        Ok(sendmmsg(socket, &mut messages, SendFlags::empty())?)
    }

    /// Where the first so many end.
    fn end_of(&self, count: usize) -> usize {
        count.checked_sub(1).map_or(0, |last| self.datagrams[last].1)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        self.datagrams.clear();
        self.datagrams.shrink_to(TOGETHER_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn all_arrive_whole_and_in_order_and_what_cannot_go_is_counted() {
        let (ours, theirs) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        theirs.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let to = theirs.local_addr().unwrap();
        let mut outgoing = Outgoing::default();
        let text = |number: usize| format!("{number}{}", "x".repeat(number));
        let count = 2 * TOGETHER_MAX + 3;
        let mut bytes = 0;
        for number in 0..count {
            // Port 0 is nobody's: the system refuses that, in the middle of a batch and at its beginning.
            if number == 0 || number == 40 {
                outgoing.push(([127, 0, 0, 1], 0).into(), b"lost");
            }
            outgoing.push(to, text(number).as_bytes());
            bytes += text(number).len() as u64;
        }
        assert!(outgoing.is_full());
        assert_eq!(outgoing.send(&ours), Sent { bytes, lost: 2 });
        let mut buffer = [0; 1500];
        for number in 0..count {
            let (length, from) = theirs.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (text(number).as_bytes(), ours.local_addr().unwrap()));
        }
        assert_eq!(outgoing.send(&ours), Sent::default(), "nothing is sent twice");
    }
}

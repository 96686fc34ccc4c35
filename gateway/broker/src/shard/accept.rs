//! The way of a new connection: accepted by any shard, looked after by one, greeted if there is
//! something before its protocol.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use gateway_bus::Moment;
use gateway_model::Origin;

use super::{ACCEPTOR_KEY, Arrival, Shard};
use crate::acceptor::{Acceptor, LooseListener};
use crate::carrier::Carrier;
use crate::direct::{DirectSocket, LooseSocket};
use crate::handshake::{self, Greeted};
use crate::listener::Listener;
use crate::ready_queue::IO;
use crate::stream::Socket;

/// Connections accepted from one listener in one pass.
const ACCEPTS_MAX: usize = 64;

impl Shard {
    pub(super) fn open_acceptor(&mut self, socket: LooseListener, listener: Arc<Listener>) {
        let key = ACCEPTOR_KEY | self.acceptors.len() as u32;
        match Acceptor::new(socket, listener.clone(), &self.poller, key) {
            Ok(acceptor) => {
                self.acceptors.push(acceptor);
                self.handle().queue.raise(key, IO);
            }
            Err(error) => tracing::error!(listener = %listener.name, "listening ended: {error}"),
        }
    }

    pub(super) fn accept(&mut self, index: u32, moment: Moment) {
        for count in 0.. {
            // None is left once the shard is stopping.
            let Some(acceptor) = self.acceptors.get_mut(index as usize) else { return };
            if count == ACCEPTS_MAX {
                return self.handle().queue.raise(ACCEPTOR_KEY | index, IO);
            }
            let Some((socket, address)) = acceptor.accept(moment.instant) else { return };
            self.shards.descriptors.note(socket.as_raw_fd());
            let listener = acceptor.listener.clone();
            if !listener.enter(moment.instant) {
                continue;
            }
            let place = self.shards.place(self.index, self.load());
            if place == self.index {
                self.welcome(socket, address, &listener, moment);
                continue;
            }
            self.shards.handles[place].send(Arrival::Stream(socket, address, listener));
        }
    }

    /// Listeners that the system had no connection for are asked again.
    pub(super) fn resume_accepting(&mut self, moment: Moment) {
        for (index, acceptor) in self.acceptors.iter_mut().enumerate() {
            if acceptor.paused_until.is_some_and(|until| until <= moment.instant) {
                acceptor.paused_until = None;
                self.shards.handles[self.index].queue.raise(ACCEPTOR_KEY | index as u32, IO);
            }
        }
    }

    /// Begins with a connection that another shard has accepted.
    pub(super) fn take_over(
        &mut self,
        socket: LooseSocket,
        address: SocketAddr,
        listener: &Arc<Listener>,
        moment: Moment,
    ) {
        if self.stopping {
            return listener.gauges.leave();
        }
        self.welcome(socket, address, listener, moment);
    }

    /// Begins with a new connection: with its protocol, or with what comes before.
    fn welcome(
        &mut self,
        socket: LooseSocket,
        address: SocketAddr,
        listener: &Arc<Listener>,
        moment: Moment,
    ) {
        if !handshake::is_needed(listener) {
            let carrier = Carrier::Direct(DirectSocket::new(socket));
            self.connect(carrier, listener.peer(address), listener, moment);
            return;
        }
        let socket = match Socket::try_from(socket) {
            Ok(socket) => socket,
            Err(error) => return lose(listener, &error),
        };
        self.greeting += 1;
        let (shards, index, listener) = (self.shards.clone(), self.index, listener.clone());
        tokio::spawn(async move {
            let greeted = AssertUnwindSafe(handshake::greet(socket, address, &listener)).catch_unwind().await;
            shards.handles[index].send(Arrival::Greeted(greeted.ok().flatten(), listener));
        });
    }

    pub(super) fn greeted(&mut self, greeted: Option<Greeted>, listener: &Arc<Listener>, moment: Moment) {
        self.greeting -= 1;
        match greeted {
            Some(Greeted { carrier, address, certificate_name }) if !self.stopping => {
                let mut peer = listener.peer(address);
                if certificate_name.is_some() {
                    let listener = listener.name.clone();
                    peer.origin = Arc::new(Origin { listener, certificate_name });
                }
                self.connect(carrier, peer, listener, moment);
            }
            _ => listener.gauges.leave(),
        }
    }
}

pub(super) fn lose(listener: &Listener, error: &std::io::Error) {
    tracing::warn!(listener = %listener.name, "cannot take a connection: {error}");
    listener.gauges.leave();
}

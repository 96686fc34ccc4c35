use std::sync::{Arc, mpsc};

use gateway_access::{Access, Config};
use gateway_bus::{Bus, Limits};
use gateway_model::{Peer, Reply, Ticket, WireBuffer};

use crate::login::SlowLogin;
use crate::ready_queue::ReadyQueue;
use crate::turn::{Client, Turn, World};
use crate::{Broker, DoorLimits, clock};

/// One client at the door, without a connection, and the logins it sent to another thread.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) client: Client,
    pub(crate) offloaded: mpsc::Receiver<SlowLogin>,
}

impl Desk {
    /// The ticket of every request.
    pub(crate) const TICKET: Ticket = Ticket(7);

    pub(crate) const LIMITS: DoorLimits = DoorLimits {
        topic_levels_max: 8,
        topic_bytes_max: 64,
        client_id_bytes_max: 64,
        logins_pending_max: 1,
    };

    pub(crate) fn new() -> Self {
        let bus = Bus::new(Limits::default(), 1);
        let broker = Broker::new(bus, Access::new(Config::default()), Self::LIMITS, 2);
        let (sender, offloaded) = mpsc::channel();
        let offload = Box::new(move |login| sender.send(login).unwrap());
        let client = Client::new(Peer::new(([127, 0, 0, 1], 1).into(), "lines".into()), true, 5, 3);
        let queue = Arc::<ReadyQueue>::default();
        Self { world: World::new(Arc::new(broker), offload, &queue), client, offloaded }
    }

    /// The reply, if there is one.
    pub(crate) fn turn(&mut self, call: impl FnOnce(&mut Turn<'_>)) -> Option<Reply> {
        let mut wire = WireBuffer::default();
        call(&mut Turn {
            moment: clock::moment(),
            world: &mut self.world,
            wire: &mut wire,
            client: &mut self.client,
            delivering: false,
        });
        self.world.replies.pop_front().map(|(ticket, reply)| {
            assert_eq!(ticket, Self::TICKET);
            reply
        })
    }
}

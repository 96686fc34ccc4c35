//! The limits of the bus and the door, as the settings have them.

use std::time::Duration;

use anyhow::Result;
use gateway_broker::{ClientLimits, DoorLimits};
use gateway_bus::{DropPolicy, Limits, PriorityDefault, QueueLimits, Sharing};
use gateway_config::{QueueDrop, Settings, Strategy};
use gateway_model::TopicFilter;

pub fn door(settings: &Settings) -> DoorLimits {
    DoorLimits {
        topic_levels_max: settings.limits.topic_levels_max.into(),
        topic_bytes_max: settings.limits.topic_bytes_max.into(),
        client_id_bytes_max: settings.limits.client_id_bytes_max.into(),
        logins_pending_max: settings.limits.logins_pending_max as usize,
    }
}

pub fn client(settings: &Settings) -> ClientLimits {
    let limits = &settings.limits;
    let given = |limit: u32| (limit < u32::MAX).then_some(limit);
    ClientLimits {
        message_rate_max: given(limits.message_rate_max),
        byte_rate_max: given(limits.byte_rate_max),
        write_stall: given(limits.write_stall_secs).map(|secs| Duration::from_secs(secs.into())),
    }
}

pub fn bus(settings: &Settings) -> Result<Limits> {
    let (session, retained, delayed) = (&settings.session, &settings.retained, &settings.delayed);
    let at_most = |secs: u32| (secs < u32::MAX).then(|| Duration::from_secs(secs.into()));
    let priority = |(filter, priority): (&String, &u8)| Ok((TopicFilter::parse(filter)?, *priority));
    Ok(Limits {
        queue: QueueLimits {
            messages_max: session.queue_messages_max,
            bytes_max: session.queue_bytes_max,
            drop: drop_policy(session.queue_drop),
            store_qos0: session.queue_qos0,
            upgrade_qos: false,
        },
        queues_bytes_max: session.queues_bytes_max,
        in_flight_max: session.in_flight_max,
        subscriptions_max: settings.limits.subscriptions_max as usize,
        session_expiry_max: at_most(session.expiry_secs_max),
        sessions_max: settings.limits.sessions_max as usize,
        retained_messages_max: retained.messages_max as usize,
        retained_bytes_max: usize::try_from(retained.bytes_max).unwrap_or(usize::MAX),
        retained_payload_bytes_max: retained.payload_bytes_max as usize,
        retained_expiry_max: at_most(retained.expiry_secs_max),
        retained_qos0_write: at_most(retained.qos0_write_secs),
        delayed_messages_max: delayed.messages_max as usize,
        delayed_bytes_max: usize::try_from(delayed.bytes_max).unwrap_or(usize::MAX),
        queue_priorities: session.queue_priorities.iter().map(priority).collect::<Result<_>>()?,
        queue_priority_default: match session.queue_priority_default {
            gateway_config::PriorityDefault::Lowest => PriorityDefault::Lowest,
            gateway_config::PriorityDefault::Highest => PriorityDefault::Highest,
        },
        sharing: sharing(settings.shared.strategy),
        sharing_stall: at_most(settings.shared.stall_secs),
        sharing_ack: at_most(settings.shared.ack_secs),
        ..Limits::default()
    })
}

fn sharing(strategy: Strategy) -> Sharing {
    match strategy {
        Strategy::RoundRobin => Sharing::RoundRobin,
        Strategy::Random => Sharing::Random,
        Strategy::Sticky => Sharing::Sticky,
        Strategy::LeastInFlight => Sharing::LeastInFlight,
        Strategy::HashClient => Sharing::HashClient,
        Strategy::HashTopic => Sharing::HashTopic,
    }
}

pub fn drop_policy(drop: QueueDrop) -> DropPolicy {
    match drop {
        QueueDrop::Oldest => DropPolicy::Oldest,
        QueueDrop::Newest => DropPolicy::Newest,
    }
}

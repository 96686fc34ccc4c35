//! Reason strings (MQTT 5.0 section 3.4.2.2.2 and the like): what to change after a refusal.

use gateway_model::Reason;

/// Why a publish was refused.
pub(crate) fn of_publish(reason: Reason) -> &'static str {
    match reason {
        Reason::NotAuthorized => "not allowed to publish to this topic",
        Reason::Banned => "banned",
        Reason::TopicNameInvalid => {
            "not $delayed/SECONDS/TOPIC, or over limits.topic_levels_max or limits.topic_bytes_max"
        }
        Reason::PacketIdentifierInUse => "packet identifier belongs to a publish that was not released",
        Reason::QuotaExceeded => "over a limit of [retained] or [delayed], or the store is full",
        Reason::MessageRateTooHigh => "messages come faster than allowed",
        Reason::PacketTooLarge => "message is larger than allowed",
        Reason::PayloadFormatInvalid => "payload is not UTF-8 as its format indicator says",
        Reason::ServerBusy | Reason::ServerUnavailable => "try again later",
        _ => "",
    }
}

/// Why the first refused filter of a SUBSCRIBE was refused.
pub(crate) fn of_subscribe(reasons: &[Reason]) -> &'static str {
    match reasons.iter().find(|reason| reason.is_error()) {
        Some(Reason::NotAuthorized) => "not allowed to subscribe to this filter",
        Some(Reason::TopicFilterInvalid) => {
            "filter is none, or over limits.topic_levels_max or limits.topic_bytes_max"
        }
        Some(Reason::PacketIdentifierInUse) => "packet identifier belongs to a publish",
        Some(Reason::QuotaExceeded) => {
            "more filters than limits.subscriptions_max, another client has the exclusive filter, or the store is full"
        }
        _ => "",
    }
}

/// Why the first refused filter of an UNSUBSCRIBE was refused.
pub(crate) fn of_unsubscribe(reasons: &[Reason]) -> &'static str {
    match reasons.iter().find(|reason| reason.is_error()) {
        Some(Reason::TopicFilterInvalid) => "filter is none",
        Some(Reason::PacketIdentifierInUse) => "packet identifier belongs to a publish",
        _ => "",
    }
}

/// Why the gateway ends a connection that did nothing wrong.
pub(crate) fn of_farewell(reason: Reason) -> &'static str {
    match reason {
        Reason::SessionTakenOver => "another connection has the same client identifier",
        Reason::KeepAliveTimeout => "no packet within the keep-alive times mqtt.keep_alive_multiplier",
        Reason::QuotaExceeded | Reason::ServerBusy => "over a limit of the gateway",
        Reason::MessageRateTooHigh => "packets come faster than allowed",
        Reason::AdministrativeAction => "ended by an operator",
        _ => "",
    }
}

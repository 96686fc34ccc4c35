use std::fmt;

/// How a request ended: the reason codes of MQTT 5.0 (section 2.4) are the gateway's own words;
/// each protocol translates them into its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    Success = 0x00,
    GrantedQos1 = 0x01,
    GrantedQos2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QosNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl Reason {
    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn is_error(self) -> bool {
        self.code() >= 0x80
    }

    /// `None` for numbers that section 2.4 does not define.
    pub fn from_code(code: u8) -> Option<Self> {
        use Reason::*;
        const ALL: [Reason; 43] = [
            Success,
            GrantedQos1,
            GrantedQos2,
            DisconnectWithWill,
            NoMatchingSubscribers,
            NoSubscriptionExisted,
            ContinueAuthentication,
            ReAuthenticate,
            UnspecifiedError,
            MalformedPacket,
            ProtocolError,
            ImplementationSpecificError,
            UnsupportedProtocolVersion,
            ClientIdentifierNotValid,
            BadUserNameOrPassword,
            NotAuthorized,
            ServerUnavailable,
            ServerBusy,
            Banned,
            ServerShuttingDown,
            BadAuthenticationMethod,
            KeepAliveTimeout,
            SessionTakenOver,
            TopicFilterInvalid,
            TopicNameInvalid,
            PacketIdentifierInUse,
            PacketIdentifierNotFound,
            ReceiveMaximumExceeded,
            TopicAliasInvalid,
            PacketTooLarge,
            MessageRateTooHigh,
            QuotaExceeded,
            AdministrativeAction,
            PayloadFormatInvalid,
            RetainNotSupported,
            QosNotSupported,
            UseAnotherServer,
            ServerMoved,
            SharedSubscriptionsNotSupported,
            ConnectionRateExceeded,
            MaximumConnectTime,
            SubscriptionIdentifiersNotSupported,
            WildcardSubscriptionsNotSupported,
        ];
        ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The name as a metric label and log word: `not_authorized`.
    pub fn name(self) -> &'static str {
        use Reason::*;
        match self {
            Success => "success",
            GrantedQos1 => "granted_qos1",
            GrantedQos2 => "granted_qos2",
            DisconnectWithWill => "disconnect_with_will",
            NoMatchingSubscribers => "no_matching_subscribers",
            NoSubscriptionExisted => "no_subscription_existed",
            ContinueAuthentication => "continue_authentication",
            ReAuthenticate => "re_authenticate",
            UnspecifiedError => "unspecified_error",
            MalformedPacket => "malformed_packet",
            ProtocolError => "protocol_error",
            ImplementationSpecificError => "implementation_specific_error",
            UnsupportedProtocolVersion => "unsupported_protocol_version",
            ClientIdentifierNotValid => "client_identifier_not_valid",
            BadUserNameOrPassword => "bad_user_name_or_password",
            NotAuthorized => "not_authorized",
            ServerUnavailable => "server_unavailable",
            ServerBusy => "server_busy",
            Banned => "banned",
            ServerShuttingDown => "server_shutting_down",
            BadAuthenticationMethod => "bad_authentication_method",
            KeepAliveTimeout => "keep_alive_timeout",
            SessionTakenOver => "session_taken_over",
            TopicFilterInvalid => "topic_filter_invalid",
            TopicNameInvalid => "topic_name_invalid",
            PacketIdentifierInUse => "packet_identifier_in_use",
            PacketIdentifierNotFound => "packet_identifier_not_found",
            ReceiveMaximumExceeded => "receive_maximum_exceeded",
            TopicAliasInvalid => "topic_alias_invalid",
            PacketTooLarge => "packet_too_large",
            MessageRateTooHigh => "message_rate_too_high",
            QuotaExceeded => "quota_exceeded",
            AdministrativeAction => "administrative_action",
            PayloadFormatInvalid => "payload_format_invalid",
            RetainNotSupported => "retain_not_supported",
            QosNotSupported => "qos_not_supported",
            UseAnotherServer => "use_another_server",
            ServerMoved => "server_moved",
            SharedSubscriptionsNotSupported => "shared_subscriptions_not_supported",
            ConnectionRateExceeded => "connection_rate_exceeded",
            MaximumConnectTime => "maximum_connect_time",
            SubscriptionIdentifiersNotSupported => "subscription_identifiers_not_supported",
            WildcardSubscriptionsNotSupported => "wildcard_subscriptions_not_supported",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

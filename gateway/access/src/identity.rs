use std::net::IpAddr;

/// Who a session belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// A name that was proven; `None` for an anonymous client and one from the list of clients.
    pub username: Option<Box<str>>,
    pub way: Way,
}

/// What let a client in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// The setting `anonymous`.
    #[default]
    Anonymous,
    /// A user name, with a password or by SCRAM.
    User,
    Certificate,
    /// `[[access.client]]`.
    Client,
}

/// What the rules for topics look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub identity: &'a Identity,
    pub client_id: &'a str,
    pub address: IpAddr,
    pub listener: &'a str,
}

impl<'a> Subject<'a> {
    pub(crate) fn username(&self) -> Option<&'a str> {
        self.identity.username.as_deref()
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.identity.way == Way::Anonymous
    }

    pub(crate) fn is_on_this_machine(&self) -> bool {
        is_loopback(self.address)
    }
}

/// Also in the clothes that a socket for both families gives to IPv4.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

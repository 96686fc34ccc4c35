use std::fmt;
use std::sync::Arc;

/// The name of a session, whatever protocol it came by.
///
/// Laws: 1 to 65,535 bytes of UTF-8 without U+0000 (MQTT 5.0 section 3.1.3.1). Names that begin
/// with `$` belong to the gateway (bridges, the admin page); clients may not take them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdError {
    #[error("client identifier is empty")]
    Empty,
    #[error("client identifier is longer than 65535 bytes")]
    TooLong,
    #[error("client identifier holds U+0000")]
    Nul,
}

impl ClientId {
    pub fn parse(text: &str) -> Result<Self, ClientIdError> {
        match text.len() {
            0 => Err(ClientIdError::Empty),
            1..=65_535 if text.contains('\0') => Err(ClientIdError::Nul),
            1..=65_535 => Ok(Self(text.into())),
            _ => Err(ClientIdError::TooLong),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the gateway's own: no client may take such a name.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

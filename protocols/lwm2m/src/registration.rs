use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use gateway_model::{Testament, Topic, Will};
use protocol_coap::datagram::Datagram;
use protocol_coap::link_format::{self, Link, LinkFormatError};
use protocol_coap::message::{Code, number};

use crate::config::Config;
use crate::object_list::ObjectList;
use crate::path::Path;
use crate::said::{Packed, Said};
use crate::translate::{self, State, Topics};

/// An endpoint name becomes a topic level; this much of it.
const ENDPOINT_LEN_MAX: usize = 255;
/// How long the gateway waits before it calls a vanished device offline: a device that comes back
/// from another address within that time was never away.
const OFFLINE_DELAY: Duration = Duration::from_secs(1);

/// What a device said about itself, and from where (OMA LwM2M Core 1.1 section 6.2.1). It does not
/// change: an Update makes another of it.
///
/// It is the will of the device's session, which calls it offline: a million wills that nobody looks at
/// need no memory of their own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Registration {
    /// Of its status, which shares the text. The last level but one is the endpoint name.
    pub status: Topic,
    pub address: SocketAddr,
    /// In seconds, within the configured limits.
    pub lifetime_secs: u32,
    pub version: Version,
    pub queue_mode: bool,
    pub said: Packed,
}

/// The version of the enabler that a device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V1_0,
    V1_1,
    V1_2,
}

/// The objects and instances of a device, and the root they lie under, while they are looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Objects {
    /// Segments of the alternate path (OMA LwM2M Core 1.1 section 7.1.2); mostly none.
    pub root: Vec<Box<str>>,
    pub by_id: BTreeMap<u16, Object>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object {
    pub version: Option<Box<str>>,
    pub instances: BTreeSet<u16>,
}

/// What an Update changes; the rest stays (OMA LwM2M Core 1.1 section 6.2.2).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Update {
    lifetime_secs: Option<u32>,
    binding: Option<Box<str>>,
    queue_mode: Option<bool>,
    sms: Option<Box<str>>,
    objects: Option<Objects>,
}

/// Why a registration is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RegistrationError {
    #[error("ep is missing")]
    EndpointMissing,
    #[error("ep is longer than {ENDPOINT_LEN_MAX} bytes, or holds / + # or U+0000")]
    EndpointName,
    #[error("lwm2m is missing")]
    VersionMissing,
    #[error("lwm2m version {0} is not supported")]
    Version(Box<str>),
    #[error("lt is not a number of seconds")]
    Lifetime,
    #[error("lt is above the limit of {0} s")]
    LifetimeTooLong(u32),
    #[error("the object list is not link-format: {0}")]
    Links(#[from] LinkFormatError),
    #[error("the object list must have Content-Format 40")]
    ContentFormat,
}

impl RegistrationError {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Version(_) => Code::PRECONDITION_FAILED,
            Self::ContentFormat => Code::UNSUPPORTED_CONTENT_FORMAT,
            _ => Code::BAD_REQUEST,
        }
    }
}

impl Registration {
    /// Reads `POST /rd?ep=..&lt=..&lwm2m=..&b=..&Q&sms=..` with `body` as its whole payload.
    pub(crate) fn parse(
        request: &Datagram<'_>,
        body: &[u8],
        address: SocketAddr,
        config: &Config,
    ) -> Result<Self, RegistrationError> {
        let endpoint = query(request, "ep").ok_or(RegistrationError::EndpointMissing)?;
        if endpoint.is_empty() {
            return Err(RegistrationError::EndpointMissing);
        }
        if !is_endpoint_name(endpoint) {
            return Err(RegistrationError::EndpointName);
        }
        let version = query(request, "lwm2m").ok_or(RegistrationError::VersionMissing)?;
        let version = Version::parse(version).ok_or_else(|| RegistrationError::Version(version.into()))?;
        let update = Update::parse(request, body, config)?;
        let status = Topics::new(&config.topic_prefix, endpoint).status();
        let said = Said { binding: "U", sms: None, objects: ObjectList::EMPTY };
        let registration = Self {
            status: status.map_err(|_| RegistrationError::EndpointName)?,
            address,
            lifetime_secs: bounded(config.lifetime_secs_default, config),
            version,
            queue_mode: false,
            said: said.pack(),
        };
        Ok(registration.updated(&update))
    }

    pub(crate) fn updated(&self, update: &Update) -> Self {
        let before = self.said();
        let objects = update.objects.as_ref().map(Objects::pack);
        let said = Said {
            binding: update.binding.as_deref().unwrap_or(before.binding),
            sms: update.sms.as_deref().or(before.sms),
            objects: objects.as_deref().map_or(before.objects, ObjectList::of),
        };
        Self {
            status: self.status.clone(),
            lifetime_secs: update.lifetime_secs.unwrap_or(self.lifetime_secs),
            queue_mode: update.queue_mode.unwrap_or(self.queue_mode),
            said: said.pack(),
            ..*self
        }
    }

    /// The same device at another address.
    pub(crate) fn moved(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// Where it is, in canonical form.
    pub(crate) fn peer(&self) -> SocketAddr {
        canonical(self.address)
    }

    pub(crate) fn lifetime(&self) -> Duration {
        Duration::from_secs(self.lifetime_secs.into())
    }

    pub(crate) fn said(&self) -> Said<'_> {
        self.said.said()
    }

    pub(crate) fn endpoint(&self) -> &str {
        self.status.rsplit('/').nth(1).unwrap_or_default()
    }
}

impl Testament for Registration {
    fn will(&self) -> Will {
        Will { publish: translate::status(self, State::Offline), delay: self.delay() }
    }

    fn delay(&self) -> Duration {
        OFFLINE_DELAY
    }
}

impl Update {
    /// Reads `POST /rd/{id}?lt=..&b=..&sms=..`, perhaps with a new object list.
    pub(crate) fn parse(
        request: &Datagram<'_>,
        body: &[u8],
        config: &Config,
    ) -> Result<Self, RegistrationError> {
        let lifetime_secs = query(request, "lt").map(|text| lifetime(text, config)).transpose()?;
        let binding = query(request, "b");
        // 1.0 has `b=UQ`, 1.1 a query parameter `Q` without value.
        let queue_flag = request.texts(number::URI_QUERY).any(|text| text == "Q" || text.starts_with("Q="));
        let queue_mode = (queue_flag || binding.is_some())
            .then(|| queue_flag || binding.is_some_and(|binding| binding.contains('Q')));
        let objects = if body.is_empty() {
            None
        } else if !matches!(request.uint(number::CONTENT_FORMAT, 2), None | Some(40)) {
            return Err(RegistrationError::ContentFormat);
        } else {
            Some(Objects::parse(body, config.links_max)?)
        };
        Ok(Self {
            lifetime_secs,
            binding: binding.map(Into::into),
            queue_mode,
            sms: query(request, "sms").map(Into::into),
            objects,
        })
    }
}

/// Whether it can be one level of a topic.
pub(crate) fn is_endpoint_name(text: &str) -> bool {
    text.len() <= ENDPOINT_LEN_MAX && !text.contains(['/', '+', '#', '\0'])
}

/// With its IP address as such if that is an IPv4 address in an IPv6 one.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A query parameter's value.
fn query<'a>(request: &Datagram<'a>, name: &str) -> Option<&'a str> {
    request.texts(number::URI_QUERY).find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
}

fn lifetime(text: &str, config: &Config) -> Result<u32, RegistrationError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RegistrationError::Lifetime);
    }
    let secs: u64 = text.parse().map_err(|_| RegistrationError::Lifetime)?;
    match u32::try_from(secs) {
        Ok(0) => Ok(config.lifetime_secs_max),
        Ok(secs) if secs <= config.lifetime_secs_max => Ok(bounded(secs, config)),
        _ => Err(RegistrationError::LifetimeTooLong(config.lifetime_secs_max)),
    }
}

fn bounded(secs: u32, config: &Config) -> u32 {
    secs.min(config.lifetime_secs_max).max(config.lifetime_secs_min)
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "1.0" => Some(Self::V1_0),
            "1.1" => Some(Self::V1_1),
            "1.2" => Some(Self::V1_2),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }
}

impl Objects {
    fn parse(body: &[u8], links_max: usize) -> Result<Self, LinkFormatError> {
        let links = link_format::parse(body, links_max)?;
        let is_root = |link: &&Link| {
            link.get("rt").is_some_and(|types| types.split(' ').any(|name| name == "oma.lwm2m"))
        };
        let root = links.iter().find(is_root).map_or("", |link| link.target.trim_matches('/'));
        let mut objects = Self {
            root: root.split('/').filter(|segment| !segment.is_empty()).map(Into::into).collect(),
            by_id: BTreeMap::new(),
        };
        for link in &links {
            objects.add(link, root);
        }
        Ok(objects)
    }

    /// Links that are no LwM2M paths are legal and none of our business.
    fn add(&mut self, link: &Link, root: &str) {
        let target = link.target.trim_start_matches('/');
        let Some(target) = target.strip_prefix(root) else { return };
        let Ok(path) = Path::parse(target) else { return };
        let Some(id) = path.object() else { return };
        let object = self.by_id.entry(id).or_default();
        object.instances.extend(path.instance());
        if let Some(version) = link.get("ver") {
            object.version = Some(version.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_lists_of_real_clients() {
        let anjay =
            Objects::parse(b"</>;rt=\"oma.lwm2m\";ct=\"60 110\",</1>;ver=1.2,</1/1>,</3/0>,</foo>", 10)
                .unwrap();
        assert!(anjay.root.is_empty() && ObjectList::of(&anjay.pack()).has(Path::parse("/3/0/9").unwrap()));
        assert_eq!(anjay.by_id[&1], Object { version: Some("1.2".into()), instances: BTreeSet::from([1]) });
        let rooted = Objects::parse(b"</lwm2m>;rt=\"oma.lwm2m\",</lwm2m/3/0>,</4/0>", 10).unwrap();
        assert_eq!(rooted.root, ["lwm2m".into()]);
        assert_eq!(rooted.by_id.keys().copied().collect::<Vec<_>>(), [3]);
        assert!(Objects::parse(b"</3/0", 10).is_err());
    }
}

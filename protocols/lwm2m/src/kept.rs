//! A registration as it is kept with its session, to be known again after a restart of the gateway.
//!
//! ```text
//!   format: 1    address: 4 or 6, octets, port    location, endpoint: text    version: 10, 11 or 12
//!   lifetime: number    flags: 1 queue mode, 2 SMS number    binding: text    [SMS number: text]
//!   root: count, texts    objects: count, each: id, 0 or 1 and a version: text, count, instances
//!   observed: count, each: count, identifiers
//! ```
//!
//! Numbers are LEB128, texts are their length and UTF-8; identifiers of objects and instances ascend
//! and are written as the distance from the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::path::Path;
use crate::registration::{Object, Objects, Registration, Version};

const FORMAT: u8 = 1;
const QUEUE_MODE: u8 = 1;
const SMS: u8 = 2;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) location: Box<str>,
    /// Where the device was, with its IP address in canonical form.
    pub(crate) address: SocketAddr,
    pub(crate) registration: Registration,
    pub(crate) observed: Box<[Path]>,
}

/// Why bytes are no registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeptError {
    #[error("its format {0} is of a newer version")]
    Newer(u8),
    #[error("it is malformed")]
    Malformed,
}

impl Kept {
    pub(crate) fn encode(&self) -> Bytes {
        let mut into = vec![FORMAT];
        put_address(&mut into, self.address);
        put_text(&mut into, &self.location);
        let registration = &self.registration;
        put_text(&mut into, &registration.endpoint);
        into.push(match registration.version {
            Version::V1_0 => 10,
            Version::V1_1 => 11,
            Version::V1_2 => 12,
        });
        put_number(&mut into, registration.lifetime_secs);
        let queue_mode = if registration.queue_mode { QUEUE_MODE } else { 0 };
        into.push(queue_mode | if registration.sms.is_some() { SMS } else { 0 });
        put_text(&mut into, &registration.binding);
        if let Some(sms) = &registration.sms {
            put_text(&mut into, sms);
        }
        put_objects(&mut into, &registration.objects);
        put_count(&mut into, self.observed.len());
        for path in &self.observed {
            put_count(&mut into, path.depth());
            path.ids().iter().for_each(|id| put_number(&mut into, (*id).into()));
        }
        into.into()
    }

    /// # Errors
    /// The bytes are not what [`Kept::encode`] makes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, KeptError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                let mut reader = Reader(rest);
                let kept = reader.kept().filter(|_| reader.0.is_empty());
                kept.ok_or(KeptError::Malformed)
            }
            Some((&format, _)) if format > FORMAT => Err(KeptError::Newer(format)),
            _ => Err(KeptError::Malformed),
        }
    }
}

fn put_number(into: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Whatever is counted here came in one request, which is far below the limit.
fn put_count(into: &mut Vec<u8>, count: usize) {
    put_number(into, u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    put_count(into, text.len());
    into.extend_from_slice(text.as_bytes());
}

fn put_address(into: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            into.push(4);
            into.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            into.push(6);
            into.extend_from_slice(&ip.octets());
        }
    }
    into.extend_from_slice(&address.port().to_be_bytes());
}

fn put_objects(into: &mut Vec<u8>, objects: &Objects) {
    put_count(into, objects.root.len());
    objects.root.iter().for_each(|segment| put_text(into, segment));
    put_count(into, objects.by_id.len());
    let mut before = 0;
    for (&id, object) in &objects.by_id {
        put_number(into, (id - before).into());
        before = id;
        into.push(u8::from(object.version.is_some()));
        if let Some(version) = &object.version {
            put_text(into, version);
        }
        put_count(into, object.instances.len());
        let mut before = 0;
        for &id in &object.instances {
            put_number(into, (id - before).into());
            before = id;
        }
    }
}

/// What is left of the bytes. Counts are not trusted: what they promise must be there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn kept(&mut self) -> Option<Kept> {
        let address = self.address()?;
        let location = self.text()?;
        let endpoint = self.text()?;
        let version = match self.byte()? {
            10 => Version::V1_0,
            11 => Version::V1_1,
            12 => Version::V1_2,
            _ => return None,
        };
        let lifetime_secs = self.number()?;
        let flags = self.byte()?;
        let binding = self.text()?;
        let sms = if flags & SMS == 0 { None } else { Some(self.text()?) };
        let objects = self.objects()?;
        let queue_mode = flags & QUEUE_MODE != 0;
        let registration =
            Registration { endpoint, version, lifetime_secs, binding, queue_mode, sms, objects };
        let observed = (0..self.number()?).map(|_| self.path()).collect::<Option<_>>()?;
        Some(Kept { location, address, registration, observed })
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        self.bytes(LEN)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u32> {
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return u32::try_from(number).ok();
            }
        }
        None
    }

    fn text(&mut self) -> Option<Box<str>> {
        let len = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.bytes(len)?).ok().map(Into::into)
    }

    fn address(&mut self) -> Option<SocketAddr> {
        let ip = match self.byte()? {
            4 => IpAddr::from(self.array::<4>()?),
            6 => IpAddr::from(self.array::<16>()?),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes(self.array()?)))
    }

    fn objects(&mut self) -> Option<Objects> {
        let root = (0..self.number()?).map(|_| self.text()).collect::<Option<_>>()?;
        let mut by_id = BTreeMap::new();
        let mut id = 0;
        for _ in 0..self.number()? {
            id = self.ascending(id)?;
            let version = if self.byte()? == 0 { None } else { Some(self.text()?) };
            let mut instances = BTreeSet::new();
            let mut instance = 0;
            for _ in 0..self.number()? {
                instance = self.ascending(instance)?;
                instances.insert(instance);
            }
            by_id.insert(id, Object { version, instances });
        }
        Some(Objects { root, by_id })
    }

    fn ascending(&mut self, before: u16) -> Option<u16> {
        before.checked_add(u16::try_from(self.number()?).ok()?)
    }

    fn path(&mut self) -> Option<Path> {
        (0..self.number()?)
            .try_fold(Path::ROOT, |path, _| path.child(u16::try_from(self.number()?).ok()?).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let object = |version: Option<&str>, instances: &[u16]| Object {
            version: version.map(Into::into),
            instances: instances.iter().copied().collect(),
        };
        let by_id = [
            (1, object(Some("1.1"), &[0])),
            (3, object(None, &[0])),
            (3303, object(None, &[0, 1, 65_534])),
            (65_534, object(None, &[])),
        ];
        Kept {
            location: "abcdefghij".into(),
            address: "127.0.0.1:56830".parse().unwrap(),
            registration: Registration {
                endpoint: "ep1".into(),
                version: Version::V1_1,
                lifetime_secs: 86_400,
                binding: "U".into(),
                queue_mode: true,
                sms: None,
                objects: Objects { root: Vec::new(), by_id: by_id.into() },
            },
            observed: [Path::parse("/3/0/9").unwrap(), Path::ROOT].into(),
        }
    }

    /// What an older gateway wrote must be read for ever: these bytes never change.
    #[test]
    fn format_1() {
        let bytes: &[u8] = b"\x01\x04\x7f\0\0\x01\xdd\xfe\x0aabcdefghij\x03ep1\x0b\x80\xa3\x05\x01\x01U\0\
            \x04\x01\x01\x031.1\x01\0\x02\0\x01\0\xe4\x19\0\x03\0\x01\xfd\xff\x03\x97\xe6\x03\0\0\
            \x02\x03\x03\0\x09\0";
        assert_eq!(kept().encode(), bytes);
        assert_eq!(Kept::decode(bytes), Ok(kept()));
        assert_eq!(Kept::decode(b"\x02"), Err(KeptError::Newer(2)));
    }

    #[test]
    fn everything_comes_back() {
        let mut kept = kept();
        kept.address = "[2001:db8::1]:5683".parse().unwrap();
        kept.registration.sms = Some("+491700000".into());
        kept.registration.queue_mode = false;
        kept.registration.version = Version::V1_0;
        kept.registration.lifetime_secs = u32::MAX;
        kept.registration.objects.root = vec!["lwm2m".into(), "\u{e9}".into()];
        kept.observed = Box::default();
        assert_eq!(Kept::decode(&kept.encode()), Ok(kept));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let bytes = kept().encode();
        for len in 0..bytes.len() {
            assert_eq!(Kept::decode(&bytes[..len]), Err(KeptError::Malformed), "{len}");
        }
        assert_eq!(Kept::decode(&[&bytes[..], &[0]].concat()), Err(KeptError::Malformed));
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut damaged = bytes.to_vec();
                damaged[at] = value;
                let _ = Kept::decode(&damaged);
            }
        }
    }
}

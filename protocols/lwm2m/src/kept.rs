//! A registration as it is kept with its session, to be known again after a restart of the gateway.
//!
//! ```text
//!   format: 1    address: 4 or 6, octets, port    location, endpoint: text    version: 10, 11 or 12
//!   lifetime: number    flags: 1 queue mode, 2 SMS number    binding: text    [SMS number: text]
//!   object list: as it is held
//!   observed: count, each: count, identifiers
//! ```
//!
//! Numbers and texts are those of `packed`; `object_list` says how that is held.

use std::sync::Arc;

use bytes::Bytes;

use crate::location::Location;
use crate::object_list::ObjectList;
use crate::packed::{Reader, put_address, put_count, put_number, put_text};
use crate::path::Path;
use crate::registration::{Objects, Registration, Version, is_endpoint_name};
use crate::said::Said;
use crate::translate::Topics;

const FORMAT: u8 = 1;
const QUEUE_MODE: u8 = 1;
const SMS: u8 = 2;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) location: Location,
    pub(crate) registration: Arc<Registration>,
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
        let registration = &self.registration;
        let said = registration.said();
        put_address(&mut into, registration.peer());
        put_text(&mut into, &self.location.to_string());
        put_text(&mut into, registration.endpoint());
        into.push(match registration.version {
            Version::V1_0 => 10,
            Version::V1_1 => 11,
            Version::V1_2 => 12,
        });
        put_number(&mut into, registration.lifetime_secs);
        let queue_mode = if registration.queue_mode { QUEUE_MODE } else { 0 };
        into.push(queue_mode | if said.sms.is_some() { SMS } else { 0 });
        put_text(&mut into, said.binding);
        if let Some(sms) = said.sms {
            put_text(&mut into, sms);
        }
        into.extend_from_slice(said.objects.as_bytes());
        put_count(&mut into, self.observed.len());
        for path in &self.observed {
            put_count(&mut into, path.depth());
            path.ids().iter().for_each(|id| put_number(&mut into, (*id).into()));
        }
        into.into()
    }

    /// The topics of the device begin with `topic_prefix` now, whatever they began with before.
    ///
    /// # Errors
    /// The bytes are not what [`Kept::encode`] makes.
    pub(crate) fn decode(topic_prefix: &str, bytes: &[u8]) -> Result<Self, KeptError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => {
                let mut reader = Reader(rest);
                let kept = read(topic_prefix, &mut reader).filter(|_| reader.0.is_empty());
                kept.ok_or(KeptError::Malformed)
            }
            Some((&format, _)) if format > FORMAT => Err(KeptError::Newer(format)),
            _ => Err(KeptError::Malformed),
        }
    }
}

fn read(topic_prefix: &str, reader: &mut Reader<'_>) -> Option<Kept> {
    let address = reader.address()?;
    let location = Location::parse(reader.text()?)?;
    let endpoint = reader.text().filter(|text| is_endpoint_name(text))?;
    let version = match reader.byte()? {
        10 => Version::V1_0,
        11 => Version::V1_1,
        12 => Version::V1_2,
        _ => return None,
    };
    let lifetime_secs = reader.number()?;
    let flags = reader.byte()?;
    let binding = reader.text()?;
    let sms = if flags & SMS == 0 { None } else { Some(reader.text()?) };
    let objects = Objects::read(reader)?.pack();
    let said = Said { binding, sms, objects: ObjectList::of(&objects) };
    let registration = Registration {
        status: Topics::new(topic_prefix, endpoint).status().ok()?,
        address,
        lifetime_secs,
        version,
        queue_mode: flags & QUEUE_MODE != 0,
        said: said.pack(),
    };
    let observed = (0..reader.number()?).map(|_| read_path(reader)).collect::<Option<_>>()?;
    Some(Kept { location, registration: Arc::new(registration), observed })
}

fn read_path(reader: &mut Reader<'_>) -> Option<Path> {
    (0..reader.number()?)
        .try_fold(Path::ROOT, |path, _| path.child(u16::try_from(reader.number()?).ok()?).ok())
}

#[cfg(test)]
mod tests {
    use gateway_model::Topic;

    use super::*;
    use crate::registration::Object;

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
        let objects = Objects { root: Vec::new(), by_id: by_id.into() }.pack();
        let said = Said { binding: "U", sms: None, objects: ObjectList::of(&objects) };
        Kept {
            location: Location::parse("abcdefghij").unwrap(),
            registration: Arc::new(Registration {
                status: Topic::parse("lwm2m/ep1/status").unwrap(),
                address: "127.0.0.1:56830".parse().unwrap(),
                version: Version::V1_1,
                lifetime_secs: 86_400,
                queue_mode: true,
                said: said.pack(),
            }),
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
        assert_eq!(Kept::decode("lwm2m", bytes), Ok(kept()));
        assert_eq!(Kept::decode("lwm2m", b"\x02"), Err(KeptError::Newer(2)));
    }

    #[test]
    fn everything_comes_back() {
        let mut kept = kept();
        let registration = Arc::make_mut(&mut kept.registration);
        let root = vec!["lwm2m".into(), "\u{e9}".into()];
        let objects = registration.said().objects.as_bytes();
        let objects = Objects { root, ..Objects::read(&mut Reader(objects)).unwrap() }.pack();
        let objects = ObjectList::of(&objects);
        registration.said = Said { sms: Some("+491700000"), objects, ..registration.said() }.pack();
        registration.address = "[2001:db8::1]:5683".parse().unwrap();
        registration.queue_mode = false;
        registration.version = Version::V1_0;
        registration.lifetime_secs = u32::MAX;
        kept.observed = Box::default();
        assert_eq!(Kept::decode("lwm2m", &kept.encode()), Ok(kept));
    }

    #[test]
    fn damaged_bytes_are_an_error_and_never_a_panic() {
        let bytes = kept().encode();
        for len in 0..bytes.len() {
            assert_eq!(Kept::decode("lwm2m", &bytes[..len]), Err(KeptError::Malformed), "{len}");
        }
        assert_eq!(Kept::decode("lwm2m", &[&bytes[..], &[0]].concat()), Err(KeptError::Malformed));
        let mut levels = bytes.to_vec();
        let endpoint = bytes.windows(3).position(|three| three == b"ep1").unwrap();
        levels[endpoint + 1] = b'x';
        assert!(Kept::decode("lwm2m", &levels).is_ok());
        levels[endpoint + 1] = b'/';
        assert_eq!(Kept::decode("lwm2m", &levels), Err(KeptError::Malformed), "two levels are no name");
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut damaged = bytes.to_vec();
                damaged[at] = value;
                let _ = Kept::decode("lwm2m", &damaged);
            }
        }
    }
}

//! What a request asks for: one pass over its options.

use std::time::Duration;

use gateway_model::Qos;

use crate::block::Block;
use crate::datagram::{Datagram, OptionDefect, check_options};
use crate::endpoint::RawTopic;
use crate::exchange::Origin;
use crate::message::{Code, number, parse_uint};
use crate::session::Login;
use crate::translate::{Refused, Wanted};

/// The resources of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `/.well-known/core`
    Discovery,
    /// `/ps`
    Collection,
    /// `/ps/{+topic}`
    Topic,
}

/// A request as understood. The topic's bytes are kept by the caller.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) datagram: Datagram<'a>,
    pub(crate) resource: Resource,
    pub(crate) content_format: Option<u16>,
    pub(crate) wanted: Wanted,
    pub(crate) observe: Option<u32>,
    pub(crate) block1: Option<Block>,
    pub(crate) has_conditions: bool,
    pub(crate) qos: Option<Qos>,
    pub(crate) retain: Option<bool>,
    pub(crate) expiry: Option<Duration>,
    pub(crate) login: Login,
}

/// Where the answer goes and how it must look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) origin: Origin,
    /// The bitmap of RFC 7967.
    pub(crate) no_response: u8,
    /// Comes back with the answer to the last block of a body.
    pub(crate) block1: Option<Block>,
}

impl ReplyTo {
    pub(crate) fn new(origin: Origin, datagram: &Datagram<'_>) -> Self {
        let no_response = datagram.uint(number::NO_RESPONSE, 1).unwrap_or(0) as u8;
        Self { origin, no_response, block1: None }
    }

    /// RFC 7967 section 2.1: one bit per class of response.
    pub(crate) fn suppresses(&self, code: Code) -> bool {
        self.no_response != 0 && self.no_response & 1 << (code.class().saturating_sub(1)) != 0
    }
}

/// Why a request cannot be served at all.
pub(crate) enum Unacceptable {
    Refused(Refused),
    /// RFC 7252 section 5.4.1: rejected if it is Non-confirmable, else 4.02.
    BadOption(Refused),
}

impl From<Refused> for Unacceptable {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl<'a> Asked<'a> {
    /// `topic` receives the levels behind `/ps/`, joined.
    pub(crate) fn parse(datagram: Datagram<'a>, topic: &mut RawTopic) -> Result<Self, Unacceptable> {
        check_options(&datagram, |_| true).map_err(|defect| {
            let refused = Refused::new(defect.code(), defect.to_string());
            match defect {
                OptionDefect::NotUnderstood(_) => Unacceptable::BadOption(refused),
                _ => Unacceptable::Refused(refused),
            }
        })?;
        let resource = parse_path(&datagram, topic)?;
        let mut asked = Self {
            datagram,
            resource,
            content_format: None,
            wanted: Wanted::default(),
            observe: None,
            block1: None,
            has_conditions: false,
            qos: None,
            retain: None,
            expiry: None,
            login: Login::default(),
        };
        asked.parse_options()?;
        Ok(asked)
    }

    fn parse_options(&mut self) -> Result<(), Refused> {
        for (option, value) in self.datagram.options() {
            match option {
                number::CONTENT_FORMAT if value.len() <= 2 => {
                    self.content_format = parse_uint(value).map(|v| v as u16)
                }
                number::ACCEPT => self.wanted.accept = parse_uint(value).map(|v| v as u16),
                number::OBSERVE if value.len() <= 3 => self.observe = parse_uint(value),
                number::BLOCK1 => self.block1 = Some(parse_block(value)?),
                number::BLOCK2 => self.wanted.block = Some(parse_block(value)?),
                number::IF_MATCH | number::IF_NONE_MATCH => self.has_conditions = true,
                number::ETAG => self.wanted.etags.extend(<[u8; 8]>::try_from(value)),
                number::URI_QUERY => self.parse_query(std::str::from_utf8(value).unwrap_or_default())?,
                _ => {}
            }
        }
        Ok(())
    }

    /// One `name=value`. Names that mean nothing here are left alone.
    fn parse_query(&mut self, query: &str) -> Result<(), Refused> {
        let (name, value) = query.split_once('=').unwrap_or((query, ""));
        match name {
            "clientid" | "c" => self.login.client_id = Some(value.into()),
            "username" | "u" => self.login.username = Some(value.into()),
            "password" | "p" => self.login.password = Some(value.into()),
            _ if self.resource != Resource::Topic => {}
            "qos" | "q" => {
                let qos = value.parse().ok().and_then(Qos::from_u8);
                self.qos = Some(qos.ok_or(Refused::new(Code::BAD_REQUEST, "qos is 0, 1 or 2"))?);
            }
            "retain" | "r" => {
                self.retain = Some(match value {
                    "true" | "1" | "" => true,
                    "false" | "0" => false,
                    _ => return Err(Refused::new(Code::BAD_REQUEST, "retain is true or false")),
                });
            }
            "expiry" => {
                let secs: u32 = value
                    .parse()
                    .map_err(|_| Refused::new(Code::BAD_REQUEST, "expiry is a number of seconds"))?;
                self.expiry = Some(Duration::from_secs(u64::from(secs)));
            }
            _ => {}
        }
        Ok(())
    }
}

fn parse_block(value: &[u8]) -> Result<Block, Refused> {
    Block::parse(value).map_err(|error| Refused::new(Code::BAD_REQUEST, error.to_string()))
}

fn parse_path(datagram: &Datagram<'_>, topic: &mut RawTopic) -> Result<Resource, Refused> {
    let not_found = || Refused::new(Code::NOT_FOUND, "there are /ps/{topic} and /.well-known/core");
    let mut segments = datagram.values(number::URI_PATH);
    match segments.next() {
        Some(b"ps") => {}
        Some(b".well-known") if segments.next() == Some(b"core") && segments.next().is_none() => {
            return Ok(Resource::Discovery);
        }
        _ => return Err(not_found()),
    }
    topic.clear();
    let mut levels = 0;
    for segment in segments {
        // Joined, "a/b" and "a" + "b" would be the same topic but not the same permission.
        if segment.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(Refused::new(Code::BAD_REQUEST, "a path segment holds / or U+0000"));
        }
        if levels > 0 {
            topic.push(b'/');
        }
        topic.extend_from_slice(segment);
        levels += 1;
    }
    Ok(if levels == 0 { Resource::Collection } else { Resource::Topic })
}

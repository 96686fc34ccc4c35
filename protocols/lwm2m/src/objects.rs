//! What the core objects 0 to 7 and the reusable resources of the IPSO sensors mean: names, types,
//! operations (from OMA's registry, object versions of LwM2M 1.1). Everything else is unknown and
//! takes its type from the format that carries it: nothing is dropped for being unknown.

use std::fmt;

use crate::path::Path;
use crate::value::{Kind, Value};

/// A resource definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    pub id: u16,
    pub name: &'static str,
    /// `None` if it can only be executed.
    pub kind: Option<Kind>,
    pub operations: Operations,
    /// Whether it has instances.
    pub multiple: bool,
}

/// What a server may do to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operations {
    Read,
    Write,
    ReadWrite,
    Execute,
    /// For the bootstrap server only.
    None,
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read-only",
            Self::Write => "write-only",
            Self::ReadWrite => "to be read and written",
            Self::Execute => "to be executed",
            Self::None => "for the bootstrap server only",
        })
    }
}

/// The definition of the resource that `path` names or lies in.
pub fn resource(path: Path) -> Option<&'static Resource> {
    let (object, id) = (path.object()?, path.resource()?);
    let table = match object {
        0 => SECURITY,
        1 => SERVER,
        2 => ACCESS_CONTROL,
        3 => DEVICE,
        4 => CONNECTIVITY_MONITORING,
        5 => FIRMWARE_UPDATE,
        6 => LOCATION,
        7 => CONNECTIVITY_STATISTICS,
        _ => REUSABLE,
    };
    table.binary_search_by_key(&id, |resource| resource.id).ok().and_then(|place| table.get(place))
}

/// The type of the resource that `path` names, if the table knows it.
pub fn kind(path: Path) -> Option<Kind> {
    resource(path)?.kind
}

/// `value` with the type that the table gives its resource, where nothing is lost by it.
pub fn typed(path: Path, value: Value) -> Value {
    match kind(path) {
        Some(kind) => value.into_kind(kind),
        None => value,
    }
}

use Kind::{Boolean, Float, Integer, ObjectLink, Opaque, String, Time, Unsigned};
use Operations::{Execute, Read, ReadWrite, Write};

const fn one(id: u16, name: &'static str, kind: Kind, operations: Operations) -> Resource {
    Resource { id, name, kind: Some(kind), operations, multiple: false }
}

const fn many(id: u16, name: &'static str, kind: Kind, operations: Operations) -> Resource {
    Resource { id, name, kind: Some(kind), operations, multiple: true }
}

const fn action(id: u16, name: &'static str) -> Resource {
    Resource { id, name, kind: None, operations: Execute, multiple: false }
}

const SECURITY: &[Resource] = &[
    one(0, "LwM2M Server URI", String, Operations::None),
    one(1, "Bootstrap-Server", Boolean, Operations::None),
    one(2, "Security Mode", Integer, Operations::None),
    one(3, "Public Key or Identity", Opaque, Operations::None),
    one(4, "Server Public Key", Opaque, Operations::None),
    one(5, "Secret Key", Opaque, Operations::None),
    one(6, "SMS Security Mode", Integer, Operations::None),
    one(7, "SMS Binding Key Parameters", Opaque, Operations::None),
    one(8, "SMS Binding Secret Key(s)", Opaque, Operations::None),
    one(9, "LwM2M Server SMS Number", String, Operations::None),
    one(10, "Short Server ID", Integer, Operations::None),
    one(11, "Client Hold Off Time", Integer, Operations::None),
    one(12, "Bootstrap-Server Account Timeout", Integer, Operations::None),
    one(13, "Matching Type", Unsigned, Operations::None),
    one(14, "SNI", String, Operations::None),
    one(15, "Certificate Usage", Unsigned, Operations::None),
    many(16, "DTLS/TLS Ciphersuite", Unsigned, Operations::None),
    one(17, "OSCORE Security Mode", ObjectLink, Operations::None),
];

const SERVER: &[Resource] = &[
    one(0, "Short Server ID", Integer, Read),
    one(1, "Lifetime", Integer, ReadWrite),
    one(2, "Default Minimum Period", Integer, ReadWrite),
    one(3, "Default Maximum Period", Integer, ReadWrite),
    action(4, "Disable"),
    one(5, "Disable Timeout", Integer, ReadWrite),
    one(6, "Notification Storing When Disabled or Offline", Boolean, ReadWrite),
    one(7, "Binding", String, ReadWrite),
    action(8, "Registration Update Trigger"),
    action(9, "Bootstrap-Request Trigger"),
    one(10, "APN Link", ObjectLink, ReadWrite),
    one(11, "TLS-DTLS Alert Code", Unsigned, Read),
    one(12, "Last Bootstrapped", Time, Read),
    one(13, "Registration Priority Order", Unsigned, Operations::None),
    one(14, "Initial Registration Delay Timer", Unsigned, Operations::None),
    one(15, "Registration Failure Block", Boolean, Operations::None),
    one(16, "Bootstrap on Registration Failure", Boolean, Operations::None),
    one(17, "Communication Retry Count", Unsigned, Operations::None),
    one(18, "Communication Retry Timer", Unsigned, Operations::None),
    one(19, "Communication Sequence Delay Timer", Unsigned, Operations::None),
    one(20, "Communication Sequence Retry Count", Unsigned, Operations::None),
    one(21, "Trigger", Boolean, ReadWrite),
    one(22, "Preferred Transport", String, ReadWrite),
    one(23, "Mute Send", Boolean, ReadWrite),
];

const ACCESS_CONTROL: &[Resource] = &[
    one(0, "Object ID", Integer, Read),
    one(1, "Object Instance ID", Integer, Read),
    many(2, "ACL", Integer, ReadWrite),
    one(3, "Access Control Owner", Integer, ReadWrite),
];

const DEVICE: &[Resource] = &[
    one(0, "Manufacturer", String, Read),
    one(1, "Model Number", String, Read),
    one(2, "Serial Number", String, Read),
    one(3, "Firmware Version", String, Read),
    action(4, "Reboot"),
    action(5, "Factory Reset"),
    many(6, "Available Power Sources", Integer, Read),
    many(7, "Power Source Voltage", Integer, Read),
    many(8, "Power Source Current", Integer, Read),
    one(9, "Battery Level", Integer, Read),
    one(10, "Memory Free", Integer, Read),
    many(11, "Error Code", Integer, Read),
    action(12, "Reset Error Code"),
    one(13, "Current Time", Time, ReadWrite),
    one(14, "UTC Offset", String, ReadWrite),
    one(15, "Timezone", String, ReadWrite),
    one(16, "Supported Binding and Modes", String, Read),
    one(17, "Device Type", String, Read),
    one(18, "Hardware Version", String, Read),
    one(19, "Software Version", String, Read),
    one(20, "Battery Status", Integer, Read),
    one(21, "Memory Total", Integer, Read),
    many(22, "ExtDevInfo", ObjectLink, Read),
];

const CONNECTIVITY_MONITORING: &[Resource] = &[
    one(0, "Network Bearer", Integer, Read),
    many(1, "Available Network Bearer", Integer, Read),
    one(2, "Radio Signal Strength", Integer, Read),
    one(3, "Link Quality", Integer, Read),
    many(4, "IP Addresses", String, Read),
    many(5, "Router IP Addresses", String, Read),
    one(6, "Link Utilization", Integer, Read),
    many(7, "APN", String, Read),
    one(8, "Cell ID", Integer, Read),
    one(9, "SMNC", Integer, Read),
    one(10, "SMCC", Integer, Read),
    one(11, "SignalSNR", Integer, Read),
    one(12, "LAC", Integer, Read),
];

const FIRMWARE_UPDATE: &[Resource] = &[
    one(0, "Package", Opaque, Write),
    one(1, "Package URI", String, ReadWrite),
    action(2, "Update"),
    one(3, "State", Integer, Read),
    one(5, "Update Result", Integer, Read),
    one(6, "PkgName", String, Read),
    one(7, "PkgVersion", String, Read),
    many(8, "Firmware Update Protocol Support", Integer, Read),
    one(9, "Firmware Update Delivery Method", Integer, Read),
];

const LOCATION: &[Resource] = &[
    one(0, "Latitude", Float, Read),
    one(1, "Longitude", Float, Read),
    one(2, "Altitude", Float, Read),
    one(3, "Radius", Float, Read),
    one(4, "Velocity", Opaque, Read),
    one(5, "Timestamp", Time, Read),
    one(6, "Speed", Float, Read),
];

const CONNECTIVITY_STATISTICS: &[Resource] = &[
    one(0, "SMS Tx Counter", Integer, Read),
    one(1, "SMS Rx Counter", Integer, Read),
    one(2, "Tx Data", Integer, Read),
    one(3, "Rx Data", Integer, Read),
    one(4, "Max Message Size", Integer, Read),
    one(5, "Average Message Size", Integer, Read),
    action(6, "Start"),
    action(7, "Stop"),
    one(8, "Collection Period", Integer, ReadWrite),
];

/// Identifiers from 2048 on mean the same in every object (OMA LwM2M Core 1.1 section 7.3).
const REUSABLE: &[Resource] = &[
    one(5500, "Digital Input State", Boolean, Read),
    one(5501, "Digital Input Counter", Integer, Read),
    one(5518, "Timestamp", Time, Read),
    one(5601, "Min Measured Value", Float, Read),
    one(5602, "Max Measured Value", Float, Read),
    one(5603, "Min Range Value", Float, Read),
    one(5604, "Max Range Value", Float, Read),
    action(5605, "Reset Min and Max Measured Values"),
    one(5700, "Sensor Value", Float, Read),
    one(5701, "Sensor Units", String, Read),
    one(5702, "X Value", Float, Read),
    one(5703, "Y Value", Float, Read),
    one(5704, "Z Value", Float, Read),
    one(5706, "Colour", String, ReadWrite),
    one(5750, "Application Type", String, ReadWrite),
    one(5800, "Active Power", Float, Read),
    one(5805, "Cumulative active power", Float, Read),
    one(5820, "Power factor", Float, Read),
    one(5821, "Current Calibration", Float, ReadWrite),
    one(5850, "On/Off", Boolean, ReadWrite),
    one(5851, "Dimmer", Integer, ReadWrite),
    one(5852, "On time", Integer, ReadWrite),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_for_the_search() {
        for table in [
            SECURITY,
            SERVER,
            ACCESS_CONTROL,
            DEVICE,
            CONNECTIVITY_MONITORING,
            FIRMWARE_UPDATE,
            LOCATION,
            CONNECTIVITY_STATISTICS,
            REUSABLE,
        ] {
            assert!(table.is_sorted_by(|a, b| a.id < b.id));
        }
    }

    #[test]
    fn lookups() {
        let path = |text| Path::parse(text).unwrap();
        assert_eq!(kind(path("/3/0/9")), Some(Kind::Integer));
        assert_eq!(
            resource(path("/3/0/6/1")).map(|r| (r.name, r.multiple)),
            Some(("Available Power Sources", true))
        );
        assert_eq!(kind(path("/3/0/4")), None);
        assert_eq!(kind(path("/3303/0/5700")), Some(Kind::Float));
        assert_eq!(kind(path("/31024/0/1")), None);
        assert_eq!(resource(path("/3/0")), None);
    }
}

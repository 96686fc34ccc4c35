use std::collections::BTreeMap;

use crate::path::Path;
use crate::value::Value;

/// What is to be written to a device, or created on it.
///
/// Laws: on a resource or a resource instance it holds exactly one entry; an `instance` is only
/// set on an object, where it names what to create.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    target: Path,
    instance: Option<u16>,
    resources: BTreeMap<u16, Entry>,
}

/// What one resource gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Single(Value),
    /// By resource instance.
    Multiple(BTreeMap<u16, Value>),
}

impl Written {
    /// The value of one resource, or of one instance of it. `None` for shorter paths.
    pub fn resource(target: Path, entry: Entry) -> Option<Self> {
        let id = target.resource()?;
        Some(Self { target, instance: None, resources: BTreeMap::from([(id, entry)]) })
    }

    /// Several resources of an object instance.
    pub fn instance(target: Path, resources: BTreeMap<u16, Entry>) -> Self {
        Self { target, instance: None, resources }
    }

    /// A new instance of an object; without a number the device chooses one.
    pub fn create(object: Path, instance: Option<u16>, resources: BTreeMap<u16, Entry>) -> Self {
        Self { target: object, instance, resources }
    }

    pub fn target(&self) -> Path {
        self.target
    }

    pub fn created_instance(&self) -> Option<u16> {
        self.instance
    }

    pub fn resources(&self) -> impl Iterator<Item = (u16, &Entry)> {
        self.resources.iter().map(|(id, entry)| (*id, entry))
    }

    /// The value if there is exactly one: what plain text can carry.
    pub fn single(&self) -> Option<&Value> {
        match self.resources.values().next() {
            Some(Entry::Single(value)) if self.target.depth() >= 3 => Some(value),
            _ => None,
        }
    }
}

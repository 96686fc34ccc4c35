use std::collections::{BTreeMap, BTreeSet};

use crate::packed::{Reader, put_count, put_number, put_text};
use crate::path::Path;
use crate::registration::{Object, Objects};

/// What a device lists, as it is held as long as it is registered: some 20 bytes instead of a tree of
/// trees.
///
/// ```text
///   root: count, texts    objects: count, each: id, 0 or 1 and a version: text, count, instances
/// ```
///
/// Identifiers of objects and instances ascend and are written as the distance from the one before.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct ObjectList<'a>(&'a [u8]);

impl<'a> ObjectList<'a> {
    pub(crate) const EMPTY: ObjectList<'static> = ObjectList(&[0, 0]);

    /// Of the bytes that [`Objects::pack`] has made.
    pub(crate) fn of(packed: &'a [u8]) -> Self {
        Self(packed)
    }

    pub(crate) fn unpack(self) -> Objects {
        Objects::read(&mut Reader(self.0)).unwrap_or_default()
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether the device said that it has what `path` names, as far as its list tells.
    pub(crate) fn has(self, path: Path) -> bool {
        let objects = self.unpack();
        let Some(object) = path.object().and_then(|id| objects.by_id.get(&id)) else { return false };
        path.instance().is_none_or(|id| object.instances.contains(&id))
    }

    /// Segments of the alternate path.
    pub(crate) fn root(self) -> Vec<Box<str>> {
        read_root(&mut Reader(self.0)).unwrap_or_default()
    }
}

impl Objects {
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut into = Vec::new();
        put_count(&mut into, self.root.len());
        self.root.iter().for_each(|segment| put_text(&mut into, segment));
        put_count(&mut into, self.by_id.len());
        let mut before = 0;
        for (&id, object) in &self.by_id {
            put_number(&mut into, (id - before).into());
            before = id;
            into.push(u8::from(object.version.is_some()));
            if let Some(version) = &object.version {
                put_text(&mut into, version);
            }
            put_count(&mut into, object.instances.len());
            let mut before = 0;
            for &id in &object.instances {
                put_number(&mut into, (id - before).into());
                before = id;
            }
        }
        into
    }

    /// From bytes that may be damaged: what comes out is in order.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let root = read_root(reader)?;
        let mut by_id = BTreeMap::new();
        let mut id = 0;
        for _ in 0..reader.number()? {
            id = reader.ascending(id)?;
            let version = if reader.byte()? == 0 { None } else { Some(reader.text()?.into()) };
            let mut instances = BTreeSet::new();
            let mut instance = 0;
            for _ in 0..reader.number()? {
                instance = reader.ascending(instance)?;
                instances.insert(instance);
            }
            by_id.insert(id, Object { version, instances });
        }
        Some(Self { root, by_id })
    }
}

fn read_root(reader: &mut Reader<'_>) -> Option<Vec<Box<str>>> {
    (0..reader.number()?).map(|_| reader.text().map(Into::into)).collect()
}

impl std::fmt::Debug for ObjectList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.unpack().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_small_and_comes_back() {
        let object = |version: Option<&str>, instances: &[u16]| Object {
            version: version.map(Into::into),
            instances: instances.iter().copied().collect(),
        };
        let by_id = [(1, object(None, &[0])), (3, object(None, &[0])), (3303, object(Some("1.1"), &[0, 1]))];
        let objects = Objects { root: Vec::new(), by_id: by_id.into() };
        let packed = objects.pack();
        assert!(packed.len() <= 24, "{} bytes", packed.len());
        let list = ObjectList::of(&packed);
        assert_eq!(list.unpack(), objects);
        assert!(list.has(Path::parse("/3303/1").unwrap()) && !list.has(Path::parse("/3303/2").unwrap()));
        let rooted = Objects { root: vec!["lwm2m".into()], ..objects };
        assert_eq!(*ObjectList::of(&rooted.pack()).root(), ["lwm2m".into()]);
        assert_eq!(ObjectList::EMPTY.unpack(), Objects::default());
        assert_eq!(Objects::default().pack(), ObjectList::EMPTY.as_bytes());
    }
}

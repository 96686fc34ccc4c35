use std::collections::{BTreeMap, BTreeSet};

use crate::packed::{Reader, put_count, put_number, put_text};
use crate::path::Path;
use crate::registration::{Object, Objects};

/// What a device lists, as it is held as long as it is registered: some 20 bytes instead of a tree of
/// trees. It is looked at where it lies.
///
/// ```text
///   root: count, texts    objects: count, each: id, 0 or 1 and a version: text, count, instances
/// ```
///
/// Identifiers of objects and instances ascend and are written as the distance from the one before.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct ObjectList<'a>(&'a [u8]);

/// One object of it.
pub(crate) struct Listed<'a> {
    pub id: u16,
    pub version: Option<&'a str>,
    pub instances: Instances<'a>,
}

/// Their identifiers.
#[derive(Clone, Copy)]
pub(crate) struct Instances<'a> {
    left: u32,
    last: u16,
    reader: Reader<'a>,
}

impl<'a> ObjectList<'a> {
    pub(crate) const EMPTY: ObjectList<'static> = ObjectList(&[0, 0]);

    /// Of the bytes that [`Objects::pack`] has made.
    pub(crate) fn of(packed: &'a [u8]) -> Self {
        Self(packed)
    }

    pub(crate) fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether the device said that it has what `path` names, as far as its list tells.
    pub(crate) fn has(self, path: Path) -> bool {
        let named = self.objects().find(|object| path.object() == Some(object.id));
        named.is_some_and(|mut object| path.instance().is_none_or(|id| object.instances.any(|has| has == id)))
    }

    /// Segments of the alternate path.
    pub(crate) fn root(self) -> impl Iterator<Item = &'a str> {
        let mut reader = Reader(self.0);
        (0..reader.number().unwrap_or(0)).map_while(move |_| reader.text())
    }

    pub(crate) fn objects(self) -> impl Iterator<Item = Listed<'a>> {
        let mut reader = Reader(self.0);
        for _ in 0..reader.number().unwrap_or(0) {
            let _segment = reader.text();
        }
        let mut id = 0;
        (0..reader.number().unwrap_or(0)).map_while(move |_| {
            id = reader.ascending(id)?;
            let version = if reader.byte()? == 0 { None } else { Some(reader.text()?) };
            let instances = Instances { left: reader.number()?, last: 0, reader };
            let mut behind = instances;
            behind.by_ref().for_each(drop);
            reader = behind.reader;
            Some(Listed { id, version, instances })
        })
    }
}

impl Iterator for Instances<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        self.last = self.reader.ascending(self.last)?;
        Some(self.last)
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
        Objects::read(&mut Reader(self.0)).fmt(f)
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
        assert_eq!(Objects::read(&mut Reader(&packed)).as_ref(), Some(&objects));
        let list = ObjectList::of(&packed);
        let last = list.objects().last().unwrap();
        assert_eq!((last.id, last.version, last.instances.collect()), (3303, Some("1.1"), vec![0, 1]));
        assert!(list.objects().map(|object| object.id).eq([1, 3, 3303]));
        assert!(list.has(Path::parse("/3303/1").unwrap()) && !list.has(Path::parse("/3303/2").unwrap()));
        let rooted = Objects { root: vec!["lwm2m".into()], ..objects };
        let packed = rooted.pack();
        let list = ObjectList::of(&packed);
        assert!(list.root().eq(["lwm2m"]) && list.objects().count() == 3);
        assert!(ObjectList::EMPTY.objects().next().is_none());
        assert_eq!(Objects::default().pack(), ObjectList::EMPTY.as_bytes());
    }
}

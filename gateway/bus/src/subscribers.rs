use crate::routes::Subscriber;

/// The subscribers of one filter, each session once. Most filters have one, which is held in place.
#[allow(clippy::box_collection)] // for the size of the others
#[derive(Default)]
pub(crate) enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    Many(Box<Vec<Subscriber>>),
}

impl Subscribers {
    pub(crate) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }

    /// Adds one, or replaces the same session's; whether it is new.
    pub(crate) fn insert(&mut self, subscriber: Subscriber) -> bool {
        let all = match self {
            Self::None => &mut [][..],
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(all) => all,
        };
        if let Some(present) = all.iter_mut().find(|present| present.is_same(&subscriber)) {
            *present = subscriber;
            return false;
        }
        *self = match std::mem::take(self) {
            Self::None => Self::One(subscriber),
            Self::One(first) => Self::Many(Box::new(vec![first, subscriber])),
            Self::Many(mut all) => {
                all.push(subscriber);
                Self::Many(all)
            }
        };
        true
    }

    /// Removes those that `gone` names.
    pub(crate) fn remove(&mut self, gone: impl Fn(&Subscriber) -> bool) {
        match self {
            Self::One(one) if gone(one) => *self = Self::None,
            Self::Many(all) => {
                all.retain(|subscriber| !gone(subscriber));
                if all.is_empty() {
                    *self = Self::None;
                }
            }
            Self::None | Self::One(_) => {}
        }
    }
}

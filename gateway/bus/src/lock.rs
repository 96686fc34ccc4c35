use std::ops::{Deref, DerefMut};

/// The locks of the bus: those of parking_lot, which in debug builds also count how many of them a
/// thread holds. Whoever holds one must not begin to append to the log ([`none_is_held`]).
#[derive(Default)]
pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

pub(crate) struct RwLock<T>(parking_lot::RwLock<T>);

pub(crate) struct Guard<G> {
    guard: G,
    _count: count::Count,
}

pub(crate) type MutexGuard<'a, T> = Guard<parking_lot::MutexGuard<'a, T>>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        Guard::new(self.0.lock())
    }
}

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }

    #[inline]
    pub(crate) fn read(&self) -> Guard<parking_lot::RwLockReadGuard<'_, T>> {
        Guard::new(self.0.read())
    }

    #[inline]
    pub(crate) fn write(&self) -> Guard<parking_lot::RwLockWriteGuard<'_, T>> {
        Guard::new(self.0.write())
    }
}

/// Whether this thread may take the outermost lock; release builds do not know.
pub(crate) fn none_is_held() -> bool {
    count::is_zero()
}

impl<G> Guard<G> {
    #[inline]
    fn new(guard: G) -> Self {
        Self { guard, _count: count::Count::new() }
    }
}

impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;

    #[inline]
    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Guard<G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

#[cfg(debug_assertions)]
mod count {
    use std::cell::Cell;

    thread_local! {
        static HELD: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) struct Count;

    impl Count {
        pub(super) fn new() -> Self {
            HELD.set(HELD.get() + 1);
            Self
        }
    }

    impl Drop for Count {
        fn drop(&mut self) {
            HELD.set(HELD.get() - 1);
        }
    }

    pub(super) fn is_zero() -> bool {
        HELD.get() == 0
    }
}

#[cfg(not(debug_assertions))]
mod count {
    pub(super) struct Count;

    impl Count {
        #[inline]
        pub(super) fn new() -> Self {
            Self
        }
    }

    pub(super) fn is_zero() -> bool {
        true
    }
}

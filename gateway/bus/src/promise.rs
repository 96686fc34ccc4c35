use gateway_store::Place;

/// A result, and from when on it may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what is promised must not be told before it is durable"]
pub struct Promise<T> {
    pub value: T,
    /// What the result promises is durable when [`gateway_store::Store::durable`] has reached this;
    /// [`Place::NOWHERE`] if nothing has to be.
    pub place: Place,
}

impl<T> Promise<T> {
    /// Nothing has to be durable for it.
    pub fn now(value: T) -> Self {
        Self { value, place: Place::NOWHERE }
    }

    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Promise<U> {
        Promise { value: make(self.value), place: self.place }
    }
}

/// All of them: they may be told together, when the last may be.
impl<T> FromIterator<Promise<T>> for Promise<Vec<T>> {
    fn from_iter<I: IntoIterator<Item = Promise<T>>>(promises: I) -> Self {
        let mut place = Place::NOWHERE;
        let take = |promise: Promise<T>| {
            place = place.max(promise.place);
            promise.value
        };
        let value = promises.into_iter().map(take).collect();
        Self { value, place }
    }
}

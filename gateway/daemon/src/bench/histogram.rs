/// Durations in nanoseconds, counted in buckets that are 1/128 of their value wide or narrower: what
/// is read is less than 0.8 % above what was recorded. 20 KiB, and one addition to record.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
    sum: u128,
}

/// Each power of two is divided into this many.
const SUB_BITS: u32 = 7;
const SUB: u64 = 1 << SUB_BITS;
/// A longer time, 19 hours, counts as this.
const LONGEST: u64 = (1 << 46) - 1;

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; index(LONGEST) + 1], count: 0, max: 0, sum: 0 }
    }

    #[inline]
    pub fn record(&mut self, nanos: u64) {
        let nanos = nanos.min(LONGEST);
        if let Some(count) = self.counts.get_mut(index(nanos)) {
            *count += 1;
        }
        self.count += 1;
        self.sum += u128::from(nanos);
        self.max = self.max.max(nanos);
    }

    /// Moves everything into another one.
    pub fn drain_into(&mut self, other: &mut Self) {
        if self.count == 0 {
            return;
        }
        for (into, from) in other.counts.iter_mut().zip(&mut self.counts) {
            *into += std::mem::take(from);
        }
        other.count += std::mem::take(&mut self.count);
        other.sum += std::mem::take(&mut self.sum);
        other.max = other.max.max(std::mem::take(&mut self.max));
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn mean(&self) -> u64 {
        u64::try_from(self.sum / u128::from(self.count.max(1))).unwrap_or(u64::MAX)
    }

    /// What this part of all, 0 to 1, does not exceed; 0 if nothing was recorded.
    pub fn quantile(&self, part: f64) -> u64 {
        let rank = ((self.count as f64 * part).ceil() as u64).clamp(1, self.count.max(1));
        let mut passed = 0;
        for (index, count) in self.counts.iter().enumerate() {
            passed += count;
            if passed >= rank {
                return highest(index).min(self.max);
            }
        }
        self.max
    }
}

/// The bucket of a value. The first 2 * SUB are one value wide.
#[inline]
fn index(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(SUB_BITS + 1);
    // The value shifted is below 2 * SUB, and at least SUB unless the shift is 0.
    (u64::from(shift) * SUB + (nanos >> shift)) as usize
}

/// The largest value of a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    let shift = (index / SUB).saturating_sub(1);
    ((index - shift * SUB + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut lowest = 0;
        for bucket in 0..=index(LONGEST) {
            let highest = highest(bucket);
            assert_eq!((index(lowest), index(highest)), (bucket, bucket));
            assert!((highest - lowest) as f64 <= lowest as f64 / SUB as f64, "{lowest}..={highest}");
            lowest = highest + 1;
        }
        assert_eq!(lowest, LONGEST + 1);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        (1..=1000).for_each(|micros| histogram.record(micros * 1000));
        for (part, micros) in [(0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999), (1.0, 1000), (0.0, 1)] {
            let (found, exact) = (histogram.quantile(part) as f64, f64::from(micros) * 1000.0);
            assert!(found >= exact && found <= exact * 1.008, "{part}: {found}");
        }
        assert_eq!((histogram.count(), histogram.max(), histogram.mean()), (1000, 1_000_000, 500_500));
    }

    #[test]
    fn draining_moves_everything_and_extremes_have_a_place() {
        let (mut from, mut into) = (Histogram::new(), Histogram::new());
        from.record(0);
        from.record(u64::MAX);
        into.record(5);
        from.drain_into(&mut into);
        assert_eq!((from.count(), from.max(), from.quantile(0.5)), (0, 0, 0));
        assert_eq!((into.count(), into.max(), into.quantile(0.5)), (3, LONGEST, 5));
    }
}

use std::time::{Duration, SystemTime};

use http::StatusCode;

/// How long a refusal that an operator must repair pauses its lane before the next probe.
pub(crate) const PROBE: Duration = Duration::from_secs(30);
/// No server may ask for more.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What an answer means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// The server blames the message: it would refuse it for ever.
    Poison,
    /// Overloaded or broken: try again, not before `after` if it said so.
    Again {
        after: Option<Duration>,
    },
    /// The server blames the configuration (rights, address): probe from time to time.
    Misconfigured,
}

/// Exponential delays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

/// Judges an answer. `retry_after` is the header's value, `now` the wall clock it refers to.
pub(crate) fn judge(status: StatusCode, retry_after: Option<&str>, now: SystemTime) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Delivered,
        408 | 425 | 429 | 500..=599 => {
            Verdict::Again { after: retry_after.and_then(|text| parse_retry_after(text, now)) }
        }
        // Content (400, 422), its size (413), or what templates made of it (414, 431).
        400 | 413 | 414 | 422 | 431 => Verdict::Poison,
        // Redirects are not followed (Standard Webhooks 1.0); whatever else it is, losing messages
        // would be worse than waiting for somebody to look.
        _ => Verdict::Misconfigured,
    }
}

impl Backoff {
    /// The delay after attempt number `attempt`, counted from 0: doubling, and shortened by up to
    /// half so that lanes which failed together do not return together.
    pub fn delay(&self, attempt: u32, seed: u64) -> Duration {
        let whole = self.min.saturating_mul(1 << attempt.min(20)).min(self.max);
        let random = mix(seed ^ u64::from(attempt)) >> 32;
        whole / 2 + whole.mul_f64(random as f64 / (2.0 * (1u64 << 32) as f64))
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let after = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(after.min(RETRY_AFTER_MAX))
}

/// SplitMix64's finalizer: spreads neighbouring numbers over the whole range.
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>) -> Verdict {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_480); // 21 Oct 2015 07:28:00
        judge(StatusCode::from_u16(status).unwrap(), retry_after, now)
    }

    #[test]
    fn standard_webhooks_only_2xx_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None), Verdict::Delivered);
        }
        for status in [301, 302, 307, 308, 304, 401, 403, 404, 405, 407, 410, 415] {
            assert_eq!(judged(status, None), Verdict::Misconfigured, "{status}");
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 599] {
            assert_eq!(judged(status, None), Verdict::Again { after: None }, "{status}");
        }
        for status in [400, 413, 422] {
            assert_eq!(judged(status, None), Verdict::Poison, "{status}");
        }
    }

    #[test]
    fn rfc9110_10_2_3_retry_after_is_seconds_or_a_date() {
        let after = |secs| Verdict::Again { after: Some(Duration::from_secs(secs)) };
        assert_eq!(judged(429, Some("120")), after(120));
        assert_eq!(judged(503, Some("Wed, 21 Oct 2015 07:29:30 GMT")), after(90));
        assert_eq!(judged(503, Some("Wed, 21 Oct 2015 07:00:00 GMT")), after(0));
        assert_eq!(judged(503, Some("99999999999")), after(3600));
        assert_eq!(judged(503, Some("soon")), Verdict::Again { after: None });
    }

    #[test]
    fn delays_double_and_are_spread_below_their_limit() {
        let backoff = Backoff { min: Duration::from_millis(500), max: Duration::from_secs(30) };
        for (attempt, whole) in [(0, 500), (1, 1000), (3, 4000), (6, 30_000), (4_000_000, 30_000)] {
            let delays: Vec<_> = (0..50).map(|seed| backoff.delay(attempt, seed).as_millis()).collect();
            assert!(delays.iter().all(|delay| (whole / 2..=whole).contains(delay)), "{delays:?}");
            let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            assert!(most - least > whole / 3, "{delays:?}");
        }
    }
}

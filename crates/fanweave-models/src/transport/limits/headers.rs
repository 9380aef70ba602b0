//! What headers say of limits, in one form for all vendors.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// What an answer says of the limits of its account.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Report {
    pub(super) requests: Option<Quota>,
    /// Input and output together.
    pub(super) tokens: Option<Quota>,
    pub(super) input: Option<Quota>,
    pub(super) output: Option<Quota>,
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quota {
    pub(super) limit: f64,
    pub(super) remaining: Option<f64>,
    /// Until it is full again: not until something may be sent.
    pub(super) reset: Option<Duration>,
    /// Seconds in which the limit holds.
    pub(super) window: f64,
}

/// Limits beyond this are none.
const MOST: f64 = 1e12;

/// Windows that providers have.
const WINDOWS: [f64; 4] = [1.0, 60.0, 3600.0, 86_400.0];

impl Report {
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let openai = |what: &str| {
            let name = |part: &str| format!("x-ratelimit-{part}-{what}");
            Quota::read(headers, [&name("limit"), &name("remaining"), &name("reset")], now)
        };
        let anthropic = |what: &str| {
            let name = |part: &str| format!("anthropic-ratelimit-{what}-{part}");
            Quota::read(headers, [&name("limit"), &name("remaining"), &name("reset")], now)
        };
        if headers.keys().all(|name| !name.as_str().contains("ratelimit")) {
            return Self::default();
        }
        Self {
            requests: openai("requests").or_else(|| anthropic("requests")),
            tokens: openai("tokens").or_else(|| anthropic("tokens")),
            input: anthropic("input-tokens"),
            output: anthropic("output-tokens"),
        }
    }

    pub(super) fn quotas(&self) -> [Option<Quota>; 4] {
        [self.requests, self.tokens, self.input, self.output]
    }

    /// Whether it says that every limit has something left and is full again long before `hint` is over.
    pub(super) fn contradicts(&self, hint: Duration) -> bool {
        let resets = self.quotas().into_iter().flatten().map(|quota| quota.reset);
        let longest = resets.reduce(|a, b| Some(a?.max(b?))).flatten();
        self.is_exhausted() == Some(false)
            && longest.is_some_and(|reset| hint > reset * 2 + Duration::from_secs(5))
    }

    /// Whether it says that something is used up. `None` where it does not say.
    pub(super) fn is_exhausted(&self) -> Option<bool> {
        let mut left = self.quotas().into_iter().flatten().filter_map(|quota| quota.remaining).peekable();
        left.peek()?;
        Some(left.any(|left| left < 1.0))
    }
}

impl Quota {
    fn read(headers: &HeaderMap, [limit, remaining, reset]: [&str; 3], now: SystemTime) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let number = |name: &str| {
            let n = text(name)?.parse::<f64>().ok()?;
            (n.is_finite() && (0.0..=MOST).contains(&n)).then_some(n)
        };
        let limit = number(limit).filter(|limit| *limit >= 1.0)?;
        let remaining = number(remaining).map(|left| left.min(limit));
        let reset = text(reset).and_then(|text| time(text, now));
        let window = match (remaining, reset) {
            (Some(left), Some(reset)) if left < limit && !reset.is_zero() => {
                nearest_window(limit * reset.as_secs_f64() / (limit - left))
            }
            _ => 60.0,
        };
        Some(Self { limit, remaining, reset, window })
    }
}

/// The window that a reading stands for. What is far below a minute is the rounding of a reset, or a server that
/// counts in seconds what it limits in minutes.
fn nearest_window(seconds: f64) -> f64 {
    let distance = |window: f64| (seconds / window).ln().abs();
    let nearest = WINDOWS.into_iter().min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap_or(60.0);
    if nearest < 60.0 { 60.0 } else { nearest }
}

/// A time from now in any form that is in use: `6m0s`, `88ms`, `23h18m29.144s`, seconds, an HTTP date, RFC 3339.
/// What is over is zero; what is no time, or more than 31 days, is nothing.
pub(crate) fn time(text: &str, now: SystemTime) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(31 * 24 * 3600);
    let text = text.trim();
    let date = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    let time = if let Ok(seconds) = text.parse::<f64>() {
        Duration::try_from_secs_f64(seconds).ok()
    } else {
        compound(text)
            .or_else(|| httpdate::parse_http_date(text).ok().map(date))
            .or_else(|| humantime::parse_rfc3339_weak(text).ok().map(date))
    };
    time.filter(|time| *time <= MOST)
}

/// Numbers with units, one after the other, as Go prints durations.
fn compound(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = rest[..digits].parse::<f64>().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..letters] {
                "d" => 86_400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn now() -> SystemTime {
        httpdate::parse_http_date("Fri, 20 Nov 2026 12:00:00 GMT").unwrap()
    }

    fn report(headers: &[(&str, &str)]) -> Report {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
        });
        Report::read(&HeaderMap::from_iter(headers), now())
    }

    #[test]
    fn a_time_is_read_in_every_form() {
        for (text, seconds) in [
            ("6m0s", Some(360.0)),
            ("1s", Some(1.0)),
            ("88ms", Some(0.088)),
            ("45.8s", Some(45.8)),
            ("23h18m29.144s", Some(83_909.144)),
            ("4m12.172s", Some(252.172)),
            ("1d2h", Some(93_600.0)),
            ("20", Some(20.0)),
            (" 1.5 ", Some(1.5)),
            ("0", Some(0.0)),
            ("Fri, 20 Nov 2026 12:00:30 GMT", Some(30.0)),
            ("Fri, 20 Nov 2026 11:00:00 GMT", Some(0.0)),
            ("2026-11-20T12:00:07Z", Some(7.0)),
            ("2026-11-20T12:00:07.5Z", Some(7.5)),
            ("", None),
            ("s", None),
            ("5x", None),
            ("NaN", None),
            ("nans", None),
            ("-5", None),
            ("-5s", None),
            ("inf", None),
            ("1e300", None),
            ("99999h", None),
            ("1.2.3s", None),
            ("soon", None),
        ] {
            let read = time(text, now()).map(|time| (time.as_secs_f64() * 1e6).round() / 1e6);
            assert_eq!(read, seconds, "{text:?}");
        }
    }

    #[test]
    fn the_time_to_full_refill_tells_the_window() {
        for (limit, remaining, reset, window) in [
            ("1500000", "1495621", "4m12.172s", 86_400.0),
            ("60", "59", "1s", 60.0),
            ("60", "0", "1m0s", 60.0),
            ("10000", "9999", "6ms", 60.0),
            ("14400", "14370", "2m59.56s", 86_400.0),
            ("1500", "1500", "0s", 60.0),
            ("1500", "1400", "garbage", 60.0),
        ] {
            let requests = report(&[
                ("x-ratelimit-limit-requests", limit),
                ("x-ratelimit-remaining-requests", remaining),
                ("x-ratelimit-reset-requests", reset),
            ])
            .requests
            .unwrap();
            assert_eq!((requests.limit, requests.window), (limit.parse().unwrap(), window), "{reset}");
        }
    }

    #[test]
    fn anthropic_limits_input_and_output_on_their_own() {
        let report = report(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-20T12:00:01Z"),
            ("anthropic-ratelimit-input-tokens-limit", "40000"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-11-20T12:01:00Z"),
            ("anthropic-ratelimit-output-tokens-limit", "8000"),
        ]);
        assert_eq!(report.tokens, None);
        let (requests, input) = (report.requests.unwrap(), report.input.unwrap());
        assert_eq!((requests.limit, requests.window, input.window), (50.0, 60.0, 60.0));
        assert_eq!(report.output.unwrap().limit, 8000.0);
        assert_eq!(report.is_exhausted(), Some(true));
    }

    #[test]
    fn values_that_mean_nothing_are_no_limits() {
        for value in ["NaN", "-1", "0", "inf", "1e300", "many", ""] {
            assert_eq!(report(&[("x-ratelimit-limit-tokens", value)]), Report::default(), "{value}");
        }
        assert_eq!(Report::read(&HeaderMap::new(), now()).is_exhausted(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_stands_in_the_headers_gives_usable_limits(
            values in prop::collection::vec("[0-9a-zA-Z.:,+ -]{0,14}|[0-9]{1,20}(ms|s|m|h)?", 6),
        ) {
            let names = ["limit-requests", "remaining-requests", "reset-requests", "limit-tokens",
                "remaining-tokens", "reset-tokens"];
            let names: Vec<_> = names.iter().map(|name| format!("x-ratelimit-{name}")).collect();
            let headers: Vec<_> = names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
            for quota in report(&headers).quotas().into_iter().flatten() {
                prop_assert!(quota.limit >= 1.0 && quota.limit <= MOST);
                prop_assert!(WINDOWS.contains(&quota.window));
                prop_assert!(quota.remaining.is_none_or(|left| left <= quota.limit));
                prop_assert!(quota.reset.is_none_or(|reset| reset.as_secs() <= 31 * 24 * 3600));
            }
        }
    }
}

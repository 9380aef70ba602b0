//! What headers say of limits, in one form for all vendors.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::transport::hints::time;

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

/// Limits beyond this are ignored.
const MOST: f64 = 1e12;

/// Windows that providers have.
const WINDOWS: [f64; 4] = [1.0, 60.0, 3600.0, 86_400.0];

impl Report {
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        let mut read = Read::default();
        for (name, value) in headers {
            if let Some(name) = Name::of(name.as_str())
                && let Ok(value) = value.to_str()
            {
                read.add(name, value.trim(), now);
            }
        }
        let [requests, tokens, input, output] = read.0.map(Resource::quota);
        Self { requests, tokens, input, output }
    }

    pub(super) fn quotas(&self) -> [Option<Quota>; 4] {
        [self.requests, self.tokens, self.input, self.output]
    }

    /// Whether it says that every limit has something left and is full again long before `hint` is over.
    pub(crate) fn contradicts(&self, hint: Duration) -> bool {
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

/// A header by its name.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Name {
    part: Part,
    /// Index of the field of [`Report`].
    resource: usize,
    window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Limit,
    Remaining,
    Reset,
    /// `ratelimit-policy: 100;w=60`.
    Policy,
}

/// How the window of a limit is known, in the order in which one is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Window {
    /// OpenAI: the time to the full refill tells it.
    Inferred,
    Anthropic,
    /// Its name tells it: Cerebras, Mistral.
    Minute,
    Hour,
    Day,
    /// Mistral's `ratelimitbysize`, which is a minute's.
    BySize,
    /// A second, or whatever its value tells.
    Told,
}

const REQUESTS: usize = 0;
const TOKENS: usize = 1;
const INPUT: usize = 2;
const OUTPUT: usize = 3;

impl Name {
    fn of(name: &str) -> Option<Self> {
        let part = |text: &str| {
            Some(match text {
                "limit" => Part::Limit,
                "remaining" => Part::Remaining,
                "reset" => Part::Reset,
                _ => return None,
            })
        };
        if let Some(rest) = name.strip_prefix("anthropic-ratelimit-") {
            let (what, end) = rest.rsplit_once('-')?;
            let resource = match what {
                "requests" => REQUESTS,
                "tokens" => TOKENS,
                "input-tokens" => INPUT,
                "output-tokens" => OUTPUT,
                _ => return None,
            };
            return Some(Self { part: part(end)?, resource, window: Window::Anthropic });
        }
        let name = name.strip_prefix("x-").unwrap_or(name);
        if let Some(rest) = name.strip_prefix("ratelimitbysize-") {
            // Also `limit-minute`, of newer answers.
            let rest = rest.strip_suffix("-minute").unwrap_or(rest);
            return Some(Self { part: part(rest)?, resource: TOKENS, window: Window::BySize });
        }
        if let Some(rest) = name.strip_prefix("tokenlimit-") {
            return Some(Self { part: part(rest)?, resource: TOKENS, window: Window::Told });
        }
        let rest = name.strip_prefix("ratelimit-")?;
        let (first, what) = match rest.split_once('-') {
            None if rest == "policy" => (Part::Policy, ""),
            None => (part(rest)?, ""),
            Some((first, what)) => (part(first)?, what),
        };
        let (what, window) = match what.rsplit_once('-') {
            Some((what, "minute")) => (what, Window::Minute),
            Some((what, "hour")) => (what, Window::Hour),
            Some((what, "day")) => (what, Window::Day),
            _ if what.is_empty() => ("", Window::Told),
            _ => (what, Window::Inferred),
        };
        let resource = match what {
            "" | "requests" | "req" => REQUESTS,
            "tokens" => TOKENS,
            // Fireworks.
            "tokens-prompt" => INPUT,
            "tokens-generated" => OUTPUT,
            _ => return None,
        };
        Some(Self { part: first, resource, window })
    }
}

/// What was read so far, by resource.
#[derive(Default)]
struct Read([Resource; 4]);

/// What was read of one resource, by [`Window`].
#[derive(Default, Clone, Copy)]
struct Resource([Parts; 7]);

#[derive(Default, Clone, Copy)]
struct Parts {
    limit: Option<f64>,
    remaining: Option<f64>,
    reset: Option<Duration>,
    /// Of [`Window::Told`], in seconds.
    window: Option<f64>,
}

impl Read {
    fn add(&mut self, name: Name, value: &str, now: SystemTime) {
        let parts = &mut self.0[name.resource].0[name.window as usize];
        match name.part {
            Part::Limit => parts.limit = parts.limit.or_else(|| number(value)).filter(|limit| *limit >= 1.0),
            Part::Remaining => parts.remaining = parts.remaining.or_else(|| number(value)),
            Part::Reset => parts.reset = parts.reset.or_else(|| time(value, now)),
            Part::Policy => {}
        }
        if name.window == Window::Told {
            if name.resource == TOKENS {
                // Together names the limits of requests and tokens of a second.
                self.0[REQUESTS].0[Window::Told as usize].window.get_or_insert(1.0);
                self.0[TOKENS].0[Window::Told as usize].window = Some(1.0);
            } else if let Some(window) = window_in(value) {
                self.0[REQUESTS].0[Window::Told as usize].window = Some(window);
            }
        }
    }
}

impl Resource {
    /// The limit that holds: of several windows the shortest, unless a longer one is used up.
    fn quota(self) -> Option<Quota> {
        let quota = |window: Window| self.0[window as usize].quota(window);
        let known = || quota(Window::Inferred).or_else(|| quota(Window::Anthropic));
        let named = || {
            let mut named =
                [Window::Minute, Window::Hour, Window::Day].into_iter().filter_map(quota).peekable();
            let shortest = named.peek().copied();
            named.rfind(|quota| quota.remaining.is_some_and(|left| left < 1.0)).or(shortest)
        };
        known().or_else(named).or_else(|| quota(Window::BySize)).or_else(|| quota(Window::Told))
    }
}

impl Parts {
    fn quota(self, window: Window) -> Option<Quota> {
        let limit = self.limit?;
        let remaining = self.remaining.map(|left| left.min(limit));
        let window = match (window, remaining, self.reset) {
            (Window::Minute | Window::BySize, ..) => 60.0,
            (Window::Hour, ..) => 3600.0,
            (Window::Day, ..) => 86_400.0,
            // Without its window a limit says nothing.
            (Window::Told, ..) => self.window?,
            (_, Some(left), Some(reset)) if left < limit && !reset.is_zero() => {
                nearest_window(limit * reset.as_secs_f64() / (limit - left))
            }
            _ => 60.0,
        };
        Some(Quota { limit, remaining, reset: self.reset, window })
    }
}

/// The first number of a value: `100`, or `100, 100;w=60` of the drafts of the IETF.
fn number(value: &str) -> Option<f64> {
    let first = value.split([',', ';']).next()?.trim();
    let number = first.parse::<f64>().ok()?;
    (number.is_finite() && (0.0..=MOST).contains(&number)).then_some(number)
}

/// The window in a value: `100;w=60`, `100;window=60`.
fn window_in(value: &str) -> Option<f64> {
    let mut parameters = value.split([';', ',']).filter_map(|part| part.trim().split_once('='));
    let (_, window) = parameters.find(|(name, _)| matches!(*name, "w" | "window"))?;
    window.trim().parse::<f64>().ok().filter(|window| (1.0..=86_400.0).contains(window))
}

/// The window that a reading stands for. What is far below a minute is the rounding of a reset, or a server that
/// counts in seconds what it limits in minutes.
fn nearest_window(seconds: f64) -> f64 {
    let distance = |window: f64| (seconds / window).ln().abs();
    let nearest = WINDOWS.into_iter().min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap_or(60.0);
    if nearest < 60.0 { 60.0 } else { nearest }
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

    #[test]
    fn limits_of_other_vendors_are_read_by_their_names() {
        type Limits<'a> = &'a [(&'a str, &'a str)];
        type Case<'a> = (&'a str, Limits<'a>, [Option<(f64, f64)>; 4]);
        let cases: [Case<'_>; 8] = [
            (
                "Cerebras",
                &[
                    ("x-ratelimit-limit-requests-day", "14400"),
                    ("x-ratelimit-remaining-requests-day", "14399"),
                    ("x-ratelimit-reset-requests-day", "33011.38"),
                    ("x-ratelimit-limit-tokens-minute", "60000"),
                    ("x-ratelimit-remaining-tokens-minute", "59000"),
                ],
                [Some((14_400.0, 86_400.0)), Some((60_000.0, 60.0)), None, None],
            ),
            (
                "Mistral",
                &[
                    ("x-ratelimit-limit-req-minute", "720"),
                    ("x-ratelimit-remaining-req-minute", "717"),
                    ("x-ratelimit-limit-tokens-minute", "5000000"),
                    ("x-ratelimit-tokens-query-cost", "52"),
                ],
                [Some((720.0, 60.0)), Some((5_000_000.0, 60.0)), None, None],
            ),
            (
                "Mistral, before",
                &[
                    ("ratelimitbysize-limit", "500000"),
                    ("ratelimitbysize-remaining", "499900"),
                    ("ratelimitbysize-reset", "28"),
                ],
                [None, Some((500_000.0, 60.0)), None, None],
            ),
            (
                "Mistral, by size",
                &[
                    ("x-ratelimitbysize-limit-minute", "500000"),
                    ("x-ratelimitbysize-limit-month", "1000000000"),
                ],
                [None, Some((500_000.0, 60.0)), None, None],
            ),
            (
                "Together",
                &[
                    ("x-ratelimit-limit", "10"),
                    ("x-ratelimit-remaining", "9"),
                    ("x-ratelimit-reset", "1"),
                    ("x-tokenlimit-limit", "3000"),
                ],
                [Some((10.0, 1.0)), Some((3000.0, 1.0)), None, None],
            ),
            (
                "Fireworks",
                &[
                    ("x-ratelimit-limit-requests", "600"),
                    ("x-ratelimit-limit-tokens-prompt", "60000"),
                    ("x-ratelimit-limit-tokens-generated", "6000"),
                ],
                [Some((600.0, 60.0)), None, Some((60_000.0, 60.0)), Some((6000.0, 60.0))],
            ),
            (
                "the drafts of the IETF",
                &[
                    ("ratelimit-limit", "100, 100;w=3600"),
                    ("ratelimit-remaining", "0"),
                    ("ratelimit-reset", "50"),
                ],
                [Some((100.0, 3600.0)), None, None, None],
            ),
            (
                "OpenRouter, whose window may be a minute or a day",
                &[
                    ("x-ratelimit-limit", "20"),
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1795000000000"),
                ],
                [None; 4],
            ),
        ];
        for (vendor, headers, limits) in cases {
            let read = report(headers).quotas().map(|quota| quota.map(|quota| (quota.limit, quota.window)));
            assert_eq!(read, limits, "{vendor}");
        }
    }

    #[test]
    fn a_longer_window_holds_once_it_is_used_up() {
        let requests = |left: &str| {
            report(&[
                ("x-ratelimit-limit-requests-minute", "30"),
                ("x-ratelimit-remaining-requests-minute", "12"),
                ("x-ratelimit-limit-requests-day", "900"),
                ("x-ratelimit-remaining-requests-day", left),
            ])
        };
        assert_eq!(requests("20").requests.unwrap().window, 60.0);
        assert_eq!(requests("0").requests.unwrap().window, 86_400.0);
        assert_eq!(requests("0").is_exhausted(), Some(true));
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

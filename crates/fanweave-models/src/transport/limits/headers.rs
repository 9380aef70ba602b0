//! Parses the rate limit headers of all vendors into one form.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::transport::hints::time;

/// The limits of the account reported by a response.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Report {
    pub(super) requests: Option<Quota>,
    /// Input and output combined.
    pub(super) tokens: Option<Quota>,
    pub(super) input: Option<Quota>,
    pub(super) output: Option<Quota>,
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quota {
    pub(super) limit: f64,
    pub(super) remaining: Option<f64>,
    /// Time until it is full again, not until something may be sent.
    pub(super) reset: Option<Duration>,
    /// Window of the limit in seconds.
    pub(super) window: f64,
}

/// Limits beyond this are ignored.
const MAX_PLAUSIBLE_LIMIT: f64 = 1e12;

/// Windows used by providers.
const WINDOWS: [f64; 4] = [1.0, 60.0, 3600.0, 86_400.0];

impl Report {
    pub(crate) fn read(headers: &HeaderMap, now: SystemTime) -> Self {
        Self::find(headers, || now).unwrap_or_default()
    }

    /// Reads the limits, or `None` if no header names one. `now` is the time at which the server wrote the
    /// response.
    pub(crate) fn find(headers: &HeaderMap, now: impl FnOnce() -> SystemTime) -> Option<Self> {
        let mut named = headers
            .iter()
            .filter_map(|(name, value)| Some((Name::of(name.as_str())?, value.to_str().ok()?)))
            .peekable();
        named.peek()?;
        let (mut read, now) = (Read::default(), now());
        named.for_each(|(name, value)| read.add(name, value.trim(), now));
        let [requests, tokens, input, output] = read.0.map(Resource::quota);
        Some(Self { requests, tokens, input, output })
    }

    pub(super) fn quotas(&self) -> [Option<Quota>; 4] {
        [self.requests, self.tokens, self.input, self.output]
    }

    /// Returns true if every limit has a remainder and is full again long before `hint` is over.
    pub(crate) fn contradicts(&self, hint: Duration) -> bool {
        let resets = self.quotas().into_iter().flatten().map(|quota| quota.reset);
        let max_reset = resets.reduce(|a, b| Some(a?.max(b?))).flatten();
        self.is_exhausted() == Some(false)
            && max_reset.is_some_and(|reset| hint > reset * 2 + Duration::from_secs(5))
    }

    /// Returns true if a limit is used up. `None` if the headers do not show it.
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

/// Source of the window of a limit, in order of preference.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Window {
    /// OpenAI: inferred from the time to the full refill.
    Inferred,
    Anthropic,
    /// Named in the header: Cerebras, Mistral.
    Minute,
    Hour,
    Day,
    /// Mistral's `ratelimitbysize`, which applies per minute.
    BySize,
    /// A second, or the window in the value.
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
            // Also `limit-minute`, in newer responses.
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

/// Values read so far, by resource.
#[derive(Default)]
struct Read([Resource; 4]);

/// Values read for one resource, by [`Window`].
#[derive(Default, Clone, Copy)]
struct Resource([Parts; 7]);

#[derive(Default, Clone, Copy)]
struct Parts {
    limit: Option<f64>,
    remaining: Option<f64>,
    reset: Option<Duration>,
    /// Window of [`Window::Told`], in seconds.
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
                // Together names the limits of requests and tokens per second.
                self.0[REQUESTS].0[Window::Told as usize].window.get_or_insert(1.0);
                self.0[TOKENS].0[Window::Told as usize].window = Some(1.0);
            } else if let Some(window) = window_in(value) {
                self.0[REQUESTS].0[Window::Told as usize].window = Some(window);
            }
        }
    }
}

impl Resource {
    /// The limit that applies: that of the shortest window, unless a longer one is used up.
    fn quota(self) -> Option<Quota> {
        let quota = |window: Window| self.0[window as usize].quota(window);
        let known = || quota(Window::Inferred).or_else(|| quota(Window::Anthropic));
        let named = || {
            let mut named =
                [Window::Minute, Window::Hour, Window::Day].into_iter().filter_map(quota).peekable();
            let first_refill = named.peek().copied();
            named.rfind(|quota| quota.remaining.is_some_and(|left| left < 1.0)).or(first_refill)
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
            // A limit without a known window cannot be used.
            (Window::Told, ..) => self.window?,
            (_, Some(left), Some(reset)) if left < limit && !reset.is_zero() => {
                nearest_window(limit * reset.as_secs_f64() / (limit - left))
            }
            _ => 60.0,
        };
        Some(Quota { limit, remaining, reset: self.reset, window })
    }
}

/// The first number of a value: `100`, or `100, 100;w=60` in the IETF drafts.
fn number(value: &str) -> Option<f64> {
    let first = value.split([',', ';']).next()?.trim();
    let number = first.parse::<f64>().ok()?;
    (number.is_finite() && (0.0..=MAX_PLAUSIBLE_LIMIT).contains(&number)).then_some(number)
}

/// The window in a value: `100;w=60`, `100;window=60`.
fn window_in(value: &str) -> Option<f64> {
    let mut parameters = value.split([';', ',']).filter_map(|part| part.trim().split_once('='));
    let (_, window) = parameters.find(|(name, _)| matches!(*name, "w" | "window"))?;
    window.trim().parse::<f64>().ok().filter(|window| (1.0..=86_400.0).contains(window))
}

/// The window closest to a reading. A reading far below a minute is the rounding of a reset, or a server that
/// counts in seconds but limits per minute.
fn nearest_window(seconds: f64) -> f64 {
    let distance = |window: f64| (seconds / window).ln().abs();
    let nearest = WINDOWS.into_iter().min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap_or(60.0);
    if nearest < 60.0 { 60.0 } else { nearest }
}

#[cfg(test)]
mod tests;

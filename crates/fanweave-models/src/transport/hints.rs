//! Retry hints of servers: from headers and from the text of error messages.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

/// Longer waits are ignored: the clock or the units of the server are wrong.
const MAX_PLAUSIBLE_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// Maximum wait read from a rate limit header or a sentence.
const MAX_WAIT: Duration = Duration::from_secs(31 * 24 * 3600);

/// The time at which the server wrote a response, by its own clock, which its dates refer to. `ours` if the
/// response has no date: an hour between two clocks must become neither an hour of waiting nor no wait at
/// all.
pub(crate) fn time_of(headers: &HeaderMap, ours: SystemTime) -> SystemTime {
    let date = text(headers, "date");
    date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(ours)
}

/// The wait requested by the headers: `retry-after-ms`, or `Retry-After` in seconds, with fractions or a
/// unit, or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    // The second name is used by the Azure SDKs.
    let ms = ["retry-after-ms", "x-ms-retry-after-ms"].into_iter().find_map(|name| text(headers, name));
    ms.and_then(|ms| seconds(ms, 1e-3)).or_else(|| {
        let text = text(headers, "retry-after")?.trim_matches('"');
        seconds(text, 1.0).or_else(|| time(text, now)).or_else(|| span(text))
    })
}

/// Value of `x-should-retry`, if valid.
pub(crate) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// Maximum number and size of the headers that an error keeps.
const MAX_REPORTED: usize = 32;
const MAX_REPORTED_BYTES: usize = 256;

/// Headers that an error keeps, for support and for programs with limits of their own: request ids, retry and
/// rate-limit headers.
pub(crate) fn reported(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let is_reported = |name: &str| {
        matches!(name, "date" | "x-should-retry" | "x-amzn-errortype" | "cf-ray")
            || ["request-id", "requestid", "retry-after", "retry-after-ms"]
                .iter()
                .any(|end| name.ends_with(end))
            || ["ratelimit", "rate-limit"].iter().any(|word| name.contains(word))
    };
    headers
        .iter()
        .filter(move |(name, value)| is_reported(name.as_str()) && value.len() <= MAX_REPORTED_BYTES)
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .take(MAX_REPORTED)
}

/// Headers with the end of a window and the remaining quota. OpenAI's `x-ratelimit-reset-requests` is not
/// listed: it is the time until a bucket is full again, long after the next request may be sent.
const RESETS: [(&str, &str); 9] = [
    // OpenRouter: milliseconds since the epoch. Together, GitHub and others: seconds since the epoch, or from
    // now.
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
    // IETF drafts: seconds from now.
    ("ratelimit-reset", "ratelimit-remaining"),
    ("x-rate-limit-reset", "x-rate-limit-remaining"),
    // Mistral.
    ("ratelimitbysize-reset", "ratelimitbysize-remaining"),
    // GitHub Models.
    ("x-ratelimit-timeremaining", "x-ratelimit-remaining"),
    // Cerebras. The longest window is last and takes precedence if both are used up.
    ("x-ratelimit-reset-requests-minute", "x-ratelimit-remaining-requests-minute"),
    ("x-ratelimit-reset-tokens-minute", "x-ratelimit-remaining-tokens-minute"),
    ("x-ratelimit-reset-requests-day", "x-ratelimit-remaining-requests-day"),
    ("x-ratelimit-reset-tokens-day", "x-ratelimit-remaining-tokens-day"),
];

/// Time until the end of the window that a rejected request has used up. Windows with remaining quota do not
/// count.
pub(crate) fn reset(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let spent = RESETS.iter().filter_map(|(reset, remaining)| {
        let left = text(headers, remaining).and_then(|left| left.parse::<f64>().ok());
        // A header that names its window must also show that this window is used up.
        let is_named = reset.ends_with("-minute") || reset.ends_with("-day");
        let is_spent = left.map_or(!is_named, |left| left < 1.0);
        text(headers, reset).filter(|_| is_spent).and_then(|reset| moment(reset, now))
    });
    spent.max().or_else(|| combined(text(headers, "ratelimit")?, now))
}

/// The single header of later IETF drafts: `limit=100, remaining=0, reset=50`, or `"default";r=0;t=50`.
fn combined(value: &str, now: SystemTime) -> Option<Duration> {
    let field = |names: [&str; 2]| {
        let mut fields = value.split([',', ';']).filter_map(|field| field.trim().split_once('='));
        fields.find(|(name, _)| names.contains(name)).map(|(_, value)| value.trim())
    };
    let is_spent = field(["remaining", "r"]).is_none_or(|left| left == "0");
    field(["reset", "t"]).filter(|_| is_spent).and_then(|reset| moment(reset, now))
}

/// Returns true if the headers show that a quota of a day or a month is used up:
/// `x-ratelimit-remaining-requests-day: 0`.
pub(crate) fn is_day_spent(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, left)| {
        let name = name.as_str();
        let is_long = ["-day", "-month"].iter().any(|window| name.ends_with(window));
        let is_left = name.contains("ratelimit") && name.contains("-remaining-");
        let left = left.to_str().ok().and_then(|left| left.trim().parse::<f64>().ok());
        is_long && is_left && left.is_some_and(|left| (0.0..1.0).contains(&left))
    })
}

/// A time from now. Numbers as large as an epoch time are one, in seconds or milliseconds.
fn moment(text: &str, now: SystemTime) -> Option<Duration> {
    let Ok(number) = text.parse::<f64>() else { return time(text, now) };
    let epoch = match number {
        1e9..1e11 => number,
        1e12..1e14 => number * 1e-3,
        _ => return seconds(text, 1.0),
    };
    let at = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(epoch).ok()?;
    let wait = at.duration_since(now).unwrap_or_default().as_secs_f64();
    // Rounded up to milliseconds: readable, and as precise as servers are.
    Duration::try_from_secs_f64((wait * 1e3).ceil() * 1e-3).ok().filter(|wait| *wait < MAX_PLAUSIBLE_WAIT)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

fn seconds(text: &str, unit: f64) -> Option<Duration> {
    let number = text.parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(number).ok().filter(|wait| *wait < MAX_PLAUSIBLE_WAIT)
}

/// Maximum bytes of a sentence to read: an echo of the prompt may follow.
const MAX_SENTENCE_BYTES: usize = 2048;

/// Words that introduce a wait in a sentence.
const ANCHORS: [&str; 8] =
    ["again", "retry", "retrying", "wait", "reset", "resets", "available", "replenished"];

/// Words that may appear between an anchor and the time.
const FILLERS: [&str; 27] = [
    "in",
    "after",
    "for",
    "at",
    "about",
    "approximately",
    "around",
    "another",
    "least",
    "again",
    "your",
    "the",
    "this",
    "request",
    "requests",
    "quota",
    "limit",
    "limits",
    "it",
    "is",
    "will",
    "be",
    "on",
    "until",
    "up",
    "to",
    "next",
];

/// The wait requested by a sentence: `try again in 2.3s`, `in 6m0s`, `retry after 20 seconds`, `wait 1
/// minute`.
pub(crate) fn prose(sentence: &str, now: SystemTime) -> Option<Duration> {
    let end = (0..=MAX_SENTENCE_BYTES.min(sentence.len())).rev().find(|at| sentence.is_char_boundary(*at));
    let sentence = sentence[..end.unwrap_or_default()].to_ascii_lowercase();
    if !ANCHORS.iter().any(|anchor| sentence.contains(anchor)) {
        return None;
    }
    let words: Vec<&str> =
        sentence.split([' ', '\n', '\t', ':', '-', '"', '`', '\'', '(', '*', '~']).collect();
    // Dates keep their dashes and colons.
    let whole: Vec<&str> = sentence.split_ascii_whitespace().collect();
    let named = (0..words.len())
        .filter(|at| ANCHORS.contains(&words[*at]))
        .find_map(|at| duration_in_sentence(&words[at + 1..]));
    let dated = || {
        let at = |at: &usize| ANCHORS.contains(&whole[*at]);
        (0..whole.len()).filter(at).find_map(|at| {
            let rest = whole[at + 1..].iter().find(|word| !FILLERS.contains(word))?;
            let word = rest.trim_end_matches(['.', ',', ';', ')']);
            clock(word).or_else(|| time(&word.to_ascii_uppercase(), now).filter(|_| word.len() > 9))
        })
    };
    named.or_else(dated).filter(|wait| *wait <= MAX_WAIT)
}

/// Numbers with units at the start of `words`, after fillers: `about 1 minute and 30 seconds`.
fn duration_in_sentence(words: &[&str]) -> Option<Duration> {
    let mut words =
        words.iter().filter(|word| !word.is_empty()).skip_while(|word| FILLERS.contains(word)).peekable();
    let (mut total, mut found) = (0.0, false);
    while let Some(word) = words.next() {
        let ends = word.ends_with(['.', ',', ';', ')', '!']);
        let word = word.trim_end_matches(['.', ',', ';', ')', '!']);
        if found && word == "and" {
            continue;
        }
        let number = match word {
            "a" | "an" | "one" => Some(1.0),
            word => word.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0),
        };
        let part = match number {
            Some(number) => {
                match words.peek().and_then(|next| unit(next.trim_end_matches(['.', ',', ';', ')', '!']))) {
                    Some(unit) if !ends => {
                        words.next();
                        Some(number * unit)
                    }
                    // A bare number at the end of a sentence means seconds.
                    _ if !found
                        && word.starts_with(|c: char| c.is_ascii_digit())
                        && (ends || words.peek().is_none()) =>
                    {
                        Some(number)
                    }
                    _ => None,
                }
            }
            None => compound(word),
        };
        match part {
            Some(part) => {
                total += part;
                found = true;
            }
            None => break,
        }
    }
    if found { Duration::try_from_secs_f64(total).ok() } else { None }
}

/// A time from now in any common format: `6m0s`, `88ms`, `23h18m29.144s`, seconds, an HTTP date, RFC 3339.
/// Zero if it is in the past. `None` if it is not a valid time, or more than 31 days.
pub(crate) fn time(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let date = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    let time = if let Ok(seconds) = text.parse::<f64>() {
        Duration::try_from_secs_f64(seconds).ok()
    } else {
        let compound = || Duration::try_from_secs_f64(compound(text)?).ok();
        compound()
            .or_else(|| httpdate::parse_http_date(text).ok().map(date))
            .or_else(|| humantime::parse_rfc3339_weak(text).ok().map(date))
    };
    time.filter(|time| *time <= MAX_WAIT)
}

/// Seconds of a sequence of numbers with units, as Go prints durations.
fn compound(text: &str) -> Option<f64> {
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = rest[..digits].parse::<f64>().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number * unit(&rest[..letters])?;
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// A length of time with units: `1 second`, `2000ms`, `1m 30s`. `None` if it is more than 31 days.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let joined: String = text.split_ascii_whitespace().flat_map(str::chars).collect();
    let seconds = compound(&joined.to_ascii_lowercase())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= MAX_WAIT)
}

fn unit(word: &str) -> Option<f64> {
    Some(match word {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" | "msec" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        _ => return None,
    })
}

/// `00:12:34` and `2.12:13:14`, the format of the Azure gateway.
fn clock(word: &str) -> Option<Duration> {
    let (days, time) = word.split_once('.').unwrap_or(("0", word));
    let mut parts = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days.parse::<u64>().ok().filter(|days| *days <= 31)?;
    let is_time = hours < 24 && minutes < 60 && seconds < 60;
    is_time.then(|| Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60 + seconds))
}

#[cfg(test)]
mod tests;

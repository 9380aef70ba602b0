use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn now() -> SystemTime {
    httpdate::parse_http_date("Fri, 20 Nov 2026 12:00:00 GMT").unwrap()
}

fn headers(values: &[(&str, &str)]) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    values.iter().map(parse).collect()
}

fn secs(wait: Option<Duration>) -> Option<f64> {
    wait.map(|wait| (wait.as_secs_f64() * 1e6).round() / 1e6)
}

#[test]
fn retry_after_is_read_in_every_form() {
    for (name, value, wait) in [
        ("retry-after", "20", Some(20.0)),
        ("retry-after", " 1.5 ", Some(1.5)),
        ("retry-after", "20s", Some(20.0)),
        ("retry-after", "1m30s", Some(90.0)),
        ("retry-after-ms", "250", Some(0.25)),
        ("x-ms-retry-after-ms", "250", Some(0.25)),
        ("retry-after", "Fri, 20 Nov 2026 12:00:30 GMT", Some(30.0)),
        ("retry-after", "Fri, 20 Nov 2026 11:00:00 GMT", Some(0.0)),
        ("retry-after", "2026-11-20T12:00:07Z", Some(7.0)),
        ("retry-after", "-5", None),
        ("retry-after", "NaN", None),
        ("retry-after", "inf", None),
        ("retry-after", "1e300", None),
        ("retry-after", "soon", None),
        ("retry-after", "None", None),
    ] {
        assert_eq!(secs(retry_after(&headers(&[(name, value)]), now())), wait, "{name}: {value}");
    }
}

#[test]
fn milliseconds_win_over_seconds() {
    let headers = headers(&[("retry-after", "9"), ("retry-after-ms", "100")]);
    assert_eq!(retry_after(&headers, now()), Some(Duration::from_millis(100)));
}

#[test]
fn a_date_is_read_by_the_clock_of_the_server() {
    let date = |at: SystemTime| httpdate::fmt_http_date(at);
    let second = Duration::from_secs(1);
    for theirs in [now() - second * 3600, now(), now() + second * 3600] {
        let headers = headers(&[("date", &date(theirs)), ("retry-after", &date(theirs + second * 30))]);
        assert_eq!(retry_after(&headers, time_of(&headers, now())), Some(second * 30));
    }
    for values in [&[][..], &[("date", "soon")]] {
        assert_eq!(time_of(&headers(values), now()), now());
    }
}

#[test]
fn the_end_of_a_window_is_read_from_epochs_and_from_seconds() {
    let epoch = now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let (seconds, ms) = ((epoch + 90).to_string(), ((epoch + 90) * 1000 + 500).to_string());
    for (values, wait) in [
        (&[("x-ratelimit-reset", ms.as_str()), ("x-ratelimit-remaining", "0")][..], Some(90.5)),
        (&[("x-ratelimit-reset", &ms)], Some(90.5)),
        (&[("x-ratelimit-reset", &seconds), ("x-ratelimit-remaining", "0")], Some(90.0)),
        (&[("x-ratelimit-reset", "30")], Some(30.0)),
        (&[("x-ratelimit-reset", "6m0s")], Some(360.0)),
        (&[("ratelimit-reset", "50"), ("ratelimit-remaining", "0")], Some(50.0)),
        (&[("ratelimitbysize-reset", "28"), ("ratelimitbysize-remaining", "0")], Some(28.0)),
        (&[("x-ratelimit-timeremaining", "85000")], Some(85_000.0)),
        (
            &[("x-ratelimit-reset-requests-day", "33011.38"), ("x-ratelimit-remaining-requests-day", "0")],
            Some(33_011.38),
        ),
        (&[("ratelimit", "limit=100, remaining=0, reset=50")], Some(50.0)),
        (&[("ratelimit", "\"default\";r=0;t=50")], Some(50.0)),
        (&[("ratelimit", "\"default\";r=7;t=50")], None),
        // A window with remaining quota is not the one that was hit.
        (&[("x-ratelimit-reset", "30"), ("x-ratelimit-remaining", "7")], None),
        (&[("x-ratelimit-reset-requests-day", "33011"), ("x-ratelimit-remaining-requests-day", "7")], None),
        (&[("x-ratelimit-reset-requests-day", "33011")], None),
        // The refill of a bucket.
        (&[("x-ratelimit-reset-requests", "6m0s"), ("x-ratelimit-remaining-requests", "0")], None),
        (&[("x-ratelimit-reset", "-1")], None),
        (&[("x-ratelimit-reset", "NaN")], None),
        (&[("x-ratelimit-reset", "None")], None),
        (&[("x-ratelimit-reset", "99999999999999999")], None),
    ] {
        assert_eq!(secs(reset(&headers(values), now())), wait, "{values:?}");
    }
}

#[test]
fn a_spent_day_is_known_by_its_header() {
    for (name, value, spent) in [
        ("x-ratelimit-remaining-requests-day", "0", true),
        ("x-ratelimit-remaining-tokens-month", "0", true),
        ("x-ratelimit-remaining-requests-day", "3", false),
        ("x-ratelimit-remaining-requests-day", "-1", false),
        ("x-ratelimit-remaining-requests-minute", "0", false),
        ("x-ratelimit-limit-requests-day", "0", false),
    ] {
        assert_eq!(is_day_spent(&headers(&[(name, value)])), spent, "{name}: {value}");
    }
}

#[test]
fn the_wait_is_read_from_a_sentence() {
    for (sentence, wait) in [
        ("Rate limit reached. Please try again in 2.3s. Visit https://x for 5 more", Some(2.3)),
        ("Please try again in 6m0s.", Some(360.0)),
        ("Please try again in 9m11.9s.", Some(551.9)),
        ("please retry after 20 seconds.", Some(20.0)),
        ("Please try again in 450ms", Some(0.45)),
        ("limit: 10 Please retry in 37.912s.", Some(37.912)),
        ("Please wait 85000 seconds before retrying.", Some(85_000.0)),
        ("Rate limit is exceeded. Try again in 5 seconds.", Some(5.0)),
        ("Try again in about 1 minute and 30 seconds", Some(90.0)),
        ("try again in 1 hour, 2 minutes", Some(3720.0)),
        ("Please retry your requests after 2 mins", Some(120.0)),
        ("Retry-After: 7", Some(7.0)),
        ("retry after 20.", Some(20.0)),
        ("Your quota resets in 3h", Some(10_800.0)),
        ("Please try again in a minute.", Some(60.0)),
        ("Quota will be replenished in 00:12:34.", Some(754.0)),
        ("Quota will be replenished in 2.12:13:14.", Some(216_794.0)),
        ("Try again at 2026-11-20T12:00:07Z.", Some(7.0)),
        ("limit of 5 requests per minute. Please wait and try again", None),
        ("Please wait before trying again. Limit 6000 s", None),
        ("Limit 6000, Used 5000, Requested 2000", None),
        ("retry after 3 requests", None),
        ("try again later", None),
        ("wait", None),
        ("try again in 99999h", None),
        ("", None),
    ] {
        assert_eq!(secs(prose(sentence, now())), wait, "{sentence:?}");
    }
}

#[test]
fn an_error_keeps_few_and_short_headers_that_concern_support_and_limits() {
    let mut all = headers(&[
        ("content-type", "application/json"),
        ("set-cookie", "session=1"),
        ("anthropic-ratelimit-tokens-remaining", "0"),
        ("x-amzn-requestid", "a-1"),
        ("apim-request-id", "b-2"),
        ("retry-after", "20"),
    ]);
    let names = |headers: &HeaderMap| reported(headers).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        names(&all),
        ["anthropic-ratelimit-tokens-remaining", "x-amzn-requestid", "apim-request-id", "retry-after"]
    );
    all.insert("x-ratelimit-long", "9".repeat(10_000).parse().expect("a header value"));
    assert_eq!(names(&all).len(), 4, "a long value is dropped");
    for _ in 0..1_000 {
        all.append("x-ratelimit-reset", "1".parse().expect("a header value"));
    }
    assert_eq!(names(&all).len(), 32);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sentence_yields_an_implausible_wait(
        sentence in "(try again in|retry after|wait|.{0,8}) ?[0-9a-z.:,µ -]{0,24}",
        value in "[0-9a-zA-Z.:,+ -]{0,18}",
    ) {
        let max = Duration::from_secs(31 * 24 * 3600);
        prop_assert!(prose(&sentence, now()).is_none_or(|wait| wait <= max));
        let headers = headers(&[("x-ratelimit-reset", value.trim()), ("retry-after", value.trim())]);
        prop_assert!(reset(&headers, now()).is_none_or(|wait| wait < MAX_PLAUSIBLE_WAIT));
        prop_assert!(retry_after(&headers, now()).is_none_or(|wait| wait < MAX_PLAUSIBLE_WAIT));
    }
}

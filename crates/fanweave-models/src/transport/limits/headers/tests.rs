use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn now() -> SystemTime {
    httpdate::parse_http_date("Fri, 20 Nov 2026 12:00:00 GMT").unwrap()
}

fn report(headers: &[(&str, &str)]) -> Report {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
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
fn the_window_is_inferred_from_the_time_to_a_full_refill() {
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
fn anthropic_limits_input_and_output_separately() {
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
fn meaningless_values_are_not_used_as_limits() {
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
            &[("x-ratelimitbysize-limit-minute", "500000"), ("x-ratelimitbysize-limit-month", "1000000000")],
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
fn a_longer_window_applies_once_it_is_used_up() {
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
    fn arbitrary_headers_give_usable_limits(
        values in prop::collection::vec("[0-9a-zA-Z.:,+ -]{0,14}|[0-9]{1,20}(ms|s|m|h)?", 6),
    ) {
        let names = ["limit-requests", "remaining-requests", "reset-requests", "limit-tokens",
            "remaining-tokens", "reset-tokens"];
        let names: Vec<_> = names.iter().map(|name| format!("x-ratelimit-{name}")).collect();
        let headers: Vec<_> = names.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
        for quota in report(&headers).quotas().into_iter().flatten() {
            prop_assert!(quota.limit >= 1.0 && quota.limit <= MAX_PLAUSIBLE_LIMIT);
            prop_assert!(WINDOWS.contains(&quota.window));
            prop_assert!(quota.remaining.is_none_or(|left| left <= quota.limit));
            prop_assert!(quota.reset.is_none_or(|reset| reset.as_secs() <= 31 * 24 * 3600));
        }
    }
}

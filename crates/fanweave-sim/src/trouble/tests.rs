use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn trouble(outages: &[&str]) -> FaultSchedule {
    let outages = outages.iter().map(|text| text.parse().unwrap()).collect();
    FaultSchedule::new(&Settings { outages, ..Settings::default() })
}

#[test]
fn every_kind_of_outage_reads_back_as_it_is_shown() {
    for text in [
        "5s..8s=502",
        "0ns..1.5s=refuse",
        "20ms..1s=reset",
        "1s..2s=hang",
        "1s..2s=silence",
        "1s..2s=garbage",
    ] {
        assert_eq!(text.parse::<Outage>().unwrap().to_string(), text);
    }
    assert_eq!("0..1m=529".parse::<Outage>().unwrap().until, 60 * SECOND);
}

#[test]
fn an_invalid_description_says_what_one_looks_like() {
    let outages = ["5s=502", "5s..8s", "5..8s=502", "5s..8s=200", "5s..8s=away"]
        .map(|text| text.parse::<Outage>().unwrap_err().to_string());
    let flaky =
        ["often", "30", "0.3=200", "0.3=hang"].map(|text| text.parse::<Flaky>().unwrap_err().to_string());
    let first = ["2", "x:2s"].map(|text| text.parse::<First429>().unwrap_err().to_string());
    let errors = [&outages[..], &flaky, &first].concat().join("\n");
    insta::assert_snapshot!(errors, @r"
    invalid value `5s=502`: must be FROM..UNTIL=KIND, such as 5s..8s=502
    invalid value `5s..8s`: must be FROM..UNTIL=KIND, such as 5s..8s=502
    invalid value `5..8s=502`: cannot read `5`: a duration needs a unit, such as 600ms or 1.5s
    invalid value `200`: must be a status from 400 to 599, refuse, reset, hang, silence or garbage
    invalid value `away`: must be a status from 400 to 599, refuse, reset, hang, silence or garbage
    invalid value `often`: the rate must be a share from 0 to 1, such as 0.3 or 0.3=503
    invalid value `30`: the flaky rate must be from 0 to 1, not 30
    invalid value `0.3=200`: the status of flaky requests must be from 400 to 599, not 200
    invalid value `0.3=hang`: must be RATE, RATE=STATUS or RATE=reset, such as 0.3=503
    invalid value `2`: cannot read `2`: a duration needs a unit, such as 600ms or 1.5s
    invalid value `x:2s`: must be WAIT or REQUESTS:WAIT, such as 2s or 20:2s
    ");
}

#[tokio::test(start_paused = true)]
async fn outages_count_from_the_first_request() {
    let trouble = trouble(&["1s..2s=502", "3s..4s=refuse"]);
    tokio::time::advance(90 * SECOND).await;
    assert_eq!((trouble.outage_now(), trouble.request_arrives()), (None, None));
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(trouble.request_arrives());
        tokio::time::advance(SECOND).await;
    }
    let (bad_gateway, refuse) = (Some(OutageKind::Status(502)), Some(OutageKind::Refuse));
    assert_eq!(seen, [None, bad_gateway, None, refuse, None]);
    trouble.reset();
    assert_eq!(trouble.request_arrives(), None);
    tokio::time::advance(SECOND).await;
    assert_eq!(trouble.request_arrives(), bad_gateway);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_outage_ends_at_its_start_its_end_or_a_reset() {
    let trouble = trouble(&["1s..2s=hang"]);
    let is_hanging = |outage| outage == Some(OutageKind::Hang);
    let waited = tokio::time::Instant::now();
    tokio::join!(trouble.wait_for(is_hanging), async {
        tokio::time::sleep(5 * SECOND).await;
        trouble.request_arrives();
    });
    assert_eq!(waited.elapsed(), 6 * SECOND);
    trouble.wait_for(|outage| !is_hanging(outage)).await;
    assert_eq!(waited.elapsed(), 7 * SECOND);
    tokio::join!(trouble.wait_for(is_hanging), async {
        trouble.reset();
        trouble.request_arrives();
    });
    assert_eq!(waited.elapsed(), 8 * SECOND);
    tokio::join!(trouble.wait_for(|outage| !is_hanging(outage)), async { trouble.reset() });
    assert_eq!(waited.elapsed(), 8 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_limit_at_the_start_ends_after_its_requests_or_its_wait() {
    let limit = |text: &str| {
        FaultSchedule::new(&Settings { first_429: Some(text.parse().unwrap()), ..Settings::default() })
    };
    let counted = limit("2:5s");
    assert_eq!([(); 3].map(|()| counted.first_429()), [Some(5 * SECOND), Some(5 * SECOND), None]);
    let timed = limit("2s");
    timed.request_arrives();
    assert_eq!(timed.first_429(), Some(2 * SECOND));
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(timed.first_429(), None);
}

#[test]
fn poison_is_found_in_any_text_however_it_is_escaped() {
    let trouble =
        FaultSchedule::new(&Settings { poison: Some("naïve \"x\"".to_owned()), ..Settings::default() });
    let body = |text: &str| format!(r#"{{"messages":[{{"content":[{{"text":"{text}"}}]}}]}}"#);
    assert!(trouble.is_poisoned(body(r#"a na\u00efve \"x\"."#).as_bytes()));
    assert!(!trouble.is_poisoned(body("a naive one").as_bytes()) && !trouble.is_poisoned(b"no JSON"));
}

#[test]
fn flaky_requests_match_their_share_and_retries_are_independent() {
    let flaky: Flaky = "0.3".parse().unwrap();
    let failed: Vec<bool> = (0..20_000).map(|seq| flaky.draw(9, seq).is_some()).collect();
    let share = failed.iter().filter(|is_failed| **is_failed).count() as f64 / 20_000.0;
    assert!((share - 0.3).abs() < 0.01, "{share}");
    // Six in a row, as a request with five retries would meet them: 0.3^6 of all.
    let six = failed.chunks_exact(6).filter(|six| six.iter().all(|is_failed| *is_failed)).count();
    assert!(six <= 8, "{six} of 3,333");
}

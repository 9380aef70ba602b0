use std::time::Duration;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::table::{Scope, rows};
use super::*;

/// A model of each dialect.
const MODELS: [&str; 6] =
    ["openai/x", "openai-responses/x", "openai-completions/x", "anthropic/x", "gemini/x", "ollama/x"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    note: String,
    #[serde(default)]
    vendor: String,
    status: u16,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    kind: ErrorKind,
    #[serde(default)]
    account: bool,
    wait: Option<f64>,
    retry: Option<bool>,
    says: Option<String>,
}

impl Case {
    fn all() -> Vec<Self> {
        toml::from_str::<Cases>(include_str!("cases.toml")).unwrap_or_else(|error| panic!("{error}")).case
    }

    /// The message that users must see.
    fn sentence(&self) -> String {
        let body = || serde_json::from_str::<Value>(&self.body).unwrap();
        let message = |body: &Value| {
            let error = [&body["error"], &body[0]["error"], &body["errors"][0], body];
            error.into_iter().find_map(|error| error["message"].as_str().map(str::to_owned))
        };
        self.says
            .clone()
            .or_else(|| message(&body()))
            .unwrap_or_else(|| panic!("{}: what does it say?", self.note))
    }
}

fn headers(values: impl IntoIterator<Item = (String, String)>) -> HeaderMap {
    let parse = |(name, value): (String, String)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
    };
    values.into_iter().map(parse).collect()
}

#[test]
fn every_refusal_of_the_cases_is_known() {
    let now = httpdate::parse_http_date("Fri, 20 Nov 2026 12:00:00 GMT").unwrap();
    let mut wrong = Vec::new();
    for case in Case::all() {
        let headers = headers(case.headers.clone());
        let status = (case.status > 0).then_some(case.status);
        let answer = Answer { status, headers: &headers, vendor: &case.vendor, now };
        let said = ProviderError::read(&case.body);
        let scope = verdict(&said, &answer).scope;
        let error = said.error(&answer);
        let read = (error.kind(), scope == Scope::Account, error.retry_after(), error.is_retryable());
        let wait = case.wait.map(Duration::from_secs_f64);
        let meant = (case.kind, case.account, wait, case.retry.unwrap_or(case.kind.is_retryable()));
        if read != meant || !error.message().contains(&case.sentence()) {
            wrong.push(format!("{}: {read:?} instead of {meant:?}: {error}", case.note));
        }
        if !case.vendor.is_empty() {
            let _ = crate::vendor::Vendor::of(&format!("{}/x", case.vendor)).expect(&case.note);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_stops_a_run_is_of_the_account() {
    for row in rows() {
        let stops = matches!(row.kind, ErrorKind::Authentication | ErrorKind::QuotaExhausted);
        assert!(!stops || row.scope == Scope::Account || row.daily.is_some(), "{row:?}");
        let fits_all = row.name.is_empty() && row.message.is_empty();
        assert!(!fits_all || !row.status.is_empty(), "{row:?}");
        assert!(row.origin.is_none() || !row.name.is_empty(), "{row:?}");
    }
}

#[test]
fn a_failure_inside_a_success_is_known_by_any_of_its_names() {
    for body in [
        json!({ "error": "no" }),
        json!({ "error": { "message": "no" }, "choices": [] }),
        json!({ "object": "error", "message": "no" }),
        json!({ "type": "error", "error": { "message": "no" } }),
        json!({ "base_resp": { "status_code": 1002 } }),
    ] {
        assert!(inside(&body, "").is_some(), "{body}");
    }
    for body in [
        json!({ "error": null, "choices": [] }),
        json!({ "error": "" }),
        json!({ "error": {} }),
        json!({ "error": [] }),
        json!({ "error": false }),
        json!({ "error": 0 }),
        json!({ "base_resp": { "status_code": 0, "status_msg": "success" } }),
        json!({ "message": "no" }),
        json!({}),
        json!([]),
    ] {
        assert!(inside(&body, "").is_none(), "{body}");
    }
    for body in [
        json!({ "message": "no" }),
        json!({ "detail": "no" }),
        json!({ "msg": "no", "code": 7 }),
        json!({ "errors": [{ "message": "no" }] }),
        json!({ "error_msg": "no", "error_code": 7 }),
        json!({ "fault": { "faultstring": "no" } }),
        json!([{ "error": { "message": "no" } }]),
    ] {
        assert_eq!(instead(&body, "", "empty").message(), "no", "{body}");
        assert_ne!(instead(&body, "", "empty").kind(), ErrorKind::Decode, "{body}");
    }
    for body in [json!({}), json!([]), json!(null)] {
        assert_eq!(instead(&body, "", "empty").message(), "empty", "{body}");
    }
    // The words or the beginning of an unknown body are shown.
    for (body, says) in [
        (json!({ "id": "x", "model": "y" }), r#"empty: {"id":"x","model":"y"}"#),
        (json!({ "errors": [] }), r#"empty: {"errors":[]}"#),
        (json!({ "code": 400, "data": { "text": "no" } }), r#"empty: {"code":400,"data":{"text":"no"}}"#),
        (json!({ "status": "error", "reason": "no such thing" }), "empty: no such thing"),
    ] {
        assert_eq!(instead(&body, "", "empty").message(), says, "{body}");
        assert_eq!(instead(&body, "", "empty").kind(), ErrorKind::Decode, "{body}");
    }
}

#[test]
fn all_dialects_read_refusals_alike() {
    let mut wrong = Vec::new();
    for case in Case::all() {
        let status = StatusCode::from_u16(case.status.max(400)).unwrap();
        let headers = headers(case.headers.clone());
        for model in MODELS {
            let vendor = crate::vendor::Vendor::of(model).unwrap().0;
            let error = vendor.versioned_protocol(None).unwrap().error(status, &headers, &case.body);
            // The meaning of a bare status can differ between vendors.
            let is_known = case.status == 0 || error.kind() == case.kind || !case.vendor.is_empty();
            if !is_known || !error.message().contains(&case.sentence()) {
                wrong.push(format!("{model}: {}: {error:?}", case.note));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Failures that a server of each dialect may send instead of an answer, whole or within a stream.
#[test]
fn a_429_inside_a_success_is_a_rate_limit_with_its_wait_in_every_dialect() {
    let refusals = [
        json!({ "error": { "message": "Slow down. Please try again in 2.5s.", "code": 429 } }),
        json!({ "error": { "message": "Slow down. Please try again in 2.5s.", "type": "rate_limit_error" } }),
        json!({ "error": { "message": "Slow down", "status": "RESOURCE_EXHAUSTED", "details": [{ "retryDelay": "2.5s" }] } }),
        json!({ "error": "Rate limit reached. Please try again in 2.5s." }),
        json!([{ "error": { "code": 429, "message": "Slow down", "details": [{ "retryDelay": "2.5s" }] } }]),
        json!({ "base_resp": { "status_code": 1002, "status_msg": "retry after 2.5 seconds" } }),
        json!({ "object": "error", "message": "try again in 2500ms", "code": 429 }),
        json!({ "type": "error", "error": { "type": "rate_limit_error", "message": "try again in 2.5s" } }),
    ];
    for model in MODELS {
        let vendor = crate::vendor::Vendor::of(model).unwrap().0;
        let protocol = vendor.versioned_protocol(None).unwrap();
        for body in &refusals {
            let body = body.to_string();
            let whole = protocol.response(body.as_bytes()).unwrap_err();
            let event = crate::protocol::SseEvent { name: "", data: &body };
            let streamed = protocol.decoder().event(&event, &mut Vec::new()).unwrap_err();
            for error in [whole, streamed] {
                let read = (error.kind(), error.retry_after());
                let meant = (ErrorKind::RateLimited, Some(Duration::from_millis(2500)));
                assert_eq!(read, meant, "{model}: {body}: {error:?}");
            }
        }
    }
}

#[test]
fn an_error_event_without_json_is_reported_in_every_dialect_with_events() {
    for model in
        MODELS.into_iter().filter(|model| !model.starts_with("ollama") && !model.starts_with("gemini"))
    {
        let vendor = crate::vendor::Vendor::of(model).unwrap().0;
        let protocol = vendor.versioned_protocol(None).unwrap();
        let event = crate::protocol::SseEvent { name: "error", data: "upstream timed out" };
        let error = protocol.decoder().event(&event, &mut Vec::new()).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "upstream timed out"), "{model}");
    }
}

#[test]
fn an_empty_error_beside_an_answer_costs_nothing() {
    let answers = [
        ("openai/x", json!({ "choices": [{ "message": { "content": "hi" } }] })),
        ("openai-responses/x", json!({ "output": [{ "type": "message", "content": "hi" }] })),
        ("openai-completions/x", json!({ "choices": [{ "text": "hi" }] })),
        ("anthropic/x", json!({ "content": [{ "type": "text", "text": "hi" }] })),
        ("gemini/x", json!({ "candidates": [{ "content": { "parts": [{ "text": "hi" }] } }] })),
        ("ollama/x", json!({ "message": { "content": "hi" }, "done": true })),
    ];
    for (model, mut answer) in answers {
        let vendor = crate::vendor::Vendor::of(model).unwrap().0;
        let protocol = vendor.versioned_protocol(None).unwrap();
        for error in [json!(null), json!(""), json!({}), json!([]), json!(false)] {
            answer["error"] = error;
            answer["base_resp"] = json!({ "status_code": 0, "status_msg": "success" });
            let message = protocol.response(answer.to_string().as_bytes()).unwrap();
            assert_eq!(message.text(), "hi", "{model}: {answer}");
        }
    }
}

#[test]
fn a_body_without_an_answer_says_what_it_says_in_every_dialect() {
    for model in MODELS {
        let vendor = crate::vendor::Vendor::of(model).unwrap().0;
        let protocol = vendor.versioned_protocol(None).unwrap();
        for body in [
            r#"{"detail":"no such route"}"#,
            r#"{"message":"no such route"}"#,
            r#"{"error_msg":"no such route","error_code":7}"#,
        ] {
            let error = protocol.response(body.as_bytes()).unwrap_err();
            assert_eq!(error.message(), "no such route", "{model}: {body}");
        }
    }
}

/// Arbitrary JSON with the field names that are looked up.
fn odd_json() -> impl Strategy<Value = Value> {
    let names = "error|errors|message|detail|msg|code|type|status|base_resp|fault|metadata|raw|headers|details|[a-z]{1,6}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}|try again in [0-9]{1,25}[smh]?|\\{\"error\":\"x\"\\}|[0-9]{3,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_body_makes_it_panic_or_leaves_it_without_a_word(body in odd_json(), text in ".{0,200}", status in 400..600_u16) {
        let status = StatusCode::from_u16(status).unwrap();
        for body in [body.to_string(), text] {
            let error = classify(status, &HeaderMap::new(), &body, "openai");
            prop_assert!(!error.message().is_empty());
            prop_assert!(error.message().len() <= body.len() * 2 + 400);
        }
        let _ = (inside(&body, ""), instead(&body, "", "empty"));
    }

    #[test]
    fn the_sentence_of_a_server_is_never_lost(sentence in "[A-Z][a-z]{2,9}( [a-z0-9]{1,9}){1,8}", form in 0..14_usize, status in 400..600_u16) {
        let body = [
            json!({ "error": { "message": sentence } }),
            json!({ "error": sentence }),
            json!({ "error": [{ "message": sentence }] }),
            json!({ "error": [sentence] }),
            json!({ "error": { "error": { "message": sentence } } }),
            json!({ "message": sentence, "code": "x" }),
            json!({ "detail": sentence }),
            json!({ "detail": [{ "msg": sentence }] }),
            json!({ "detail": { "error": sentence } }),
            json!({ "errors": [{ "message": sentence }] }),
            json!({ "base_resp": { "status_code": 7, "status_msg": sentence } }),
            json!({ "error_msg": sentence, "error_code": 7 }),
            json!({ "error": json!({ "error": { "message": sentence } }).to_string() }),
            json!({ "whatever": { "it": sentence } }),
        ];
        let status = StatusCode::from_u16(status).unwrap();
        let error = classify(status, &HeaderMap::new(), &body[form].to_string(), "");
        prop_assert!(error.message().contains(&sentence), "{}: {error}", body[form]);
        let text = classify(status, &HeaderMap::new(), &sentence, "");
        prop_assert!(text.message().contains(&sentence));
    }
}

#[test]
fn a_wait_in_a_body_is_read_in_all_its_forms() {
    for (body, seconds) in [
        (json!({ "error": { "message": "slow", "retry_after": 1 } }), 1.0),
        (json!({ "error": { "message": "slow", "retry_after": "2" } }), 2.0),
        (json!({ "error": { "message": "slow", "retry_after_seconds": 2 } }), 2.0),
        (json!({ "error": { "message": "slow", "retryAfter": "1.5s" } }), 1.5),
        (json!({ "error": { "message": "slow", "retryAfterMs": 250 } }), 0.25),
        (json!({ "error": { "message": "slow", "parameters": { "retry_after": 2 } } }), 2.0),
        (json!({ "error": { "message": "q", "retryDelay": "2s" } }), 2.0),
        (json!({ "error": { "message": "q", "details": { "retryDelay": "2s" } } }), 2.0),
        (json!({ "error": { "message": "q", "details": [{ "retryDelay": "2000ms" }] } }), 2.0),
        (
            json!({ "error": { "message": "q", "details": [{ "retryDelay": { "seconds": 2, "nanos": 5e8 } }] } }),
            2.5,
        ),
        (json!({ "error": { "message": "q", "details": [{ "retryDelay": { "seconds": "2" } }] } }), 2.0),
    ] {
        let error = classify(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), &body.to_string(), "");
        assert_eq!(error.retry_after(), Some(Duration::from_secs_f64(seconds)), "{body}");
    }
    for body in
        [json!({ "retry_after": -1 }), json!({ "retry_after": "soon" }), json!({ "retry_after": 1e300 })]
    {
        let error = classify(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), &body.to_string(), "");
        assert_eq!(error.retry_after(), None, "{body}");
    }
}

#[test]
fn pages_and_documents_say_what_is_in_them() {
    for (body, says) in [
        ("<html><head><title> 502 Bad Gateway </title></head><body>x</body></html>", "502 Bad Gateway"),
        (
            "<html><body><h1>Blocked by\n WAF rule 1789</h1><p>Sorry</p></body></html>",
            "Blocked by WAF rule 1789 Sorry",
        ),
        ("<!doctype html><body><style>p { a: b }</style><script>f(1<2)</script>Down", "Down"),
        (
            r#"<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"#,
            "Reduce your rate.",
        ),
        ("<error><reason>the sky fell</reason></error>", "the sky fell"),
        ("<<<", ""),
    ] {
        let error = classify(StatusCode::FORBIDDEN, &HeaderMap::new(), body, "");
        assert_eq!(error.message(), if says.is_empty() { "Forbidden" } else { says }, "{body}");
    }
}

#[test]
fn an_error_field_of_a_success_is_ignored() {
    for error in [
        json!("None"),
        json!("null"),
        json!({ "code": "0", "message": "" }),
        json!({ "code": 0, "message": "success" }),
        json!({ "code": 200, "message": "OK" }),
    ] {
        assert!(inside(&json!({ "error": error }), "").is_none(), "{error}");
    }
    for error in [json!("no"), json!({ "code": 0, "message": "no" }), json!({ "code": 500, "message": "" })] {
        assert!(inside(&json!({ "error": error }), "").is_some(), "{error}");
    }
}

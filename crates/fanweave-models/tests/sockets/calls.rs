//! Calls over real sockets: requests, responses and the use of connections.

use std::time::Duration;

use crate::server::{Act, Server, answer, completion, piece, refusal, stream, stream_head};
use fanweave_core::{
    Context, Delta, ErrorKind, EventKind, FinishReason, Message, Part, Prompt, Runnable, blocking, chain,
    runtime, text,
};
use fanweave_models::{Client, ModelBuilder, RetryPolicy, Timeouts};
use futures::StreamExt;
use tokio::task::JoinSet;

/// Retries immediately: these tests use real time.
fn hasty() -> RetryPolicy {
    RetryPolicy::default().initial_backoff(Duration::from_millis(1)).outage_timeout(Duration::ZERO)
}

#[tokio::test]
async fn a_plain_call_returns_the_answer_of_the_provider() {
    let server = Server::start(|_| completion("Paris")).await;
    let model = server.model().api_key("sk-test-1234").header("x-team", "search").build().unwrap();
    let message =
        model.invoke(Prompt::from("The capital of France?").with_system("Be brief.")).await.unwrap();
    assert_eq!(message.text(), "Paris");
    let reply = message.reply.expect("the reply of the provider");
    assert_eq!((reply.id.as_deref(), reply.request_id.as_deref()), (Some("chatcmpl-1"), Some("req_1")));
    assert_eq!((reply.model.as_deref(), reply.attempts), (Some("test-1"), 1));
    assert_eq!(reply.finish_reason, Some(FinishReason::Stop));
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (3, 2));
    assert_eq!(reply.raw, None);

    let seen = server.requests().remove(0);
    let head = seen.head.to_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    for header in [
        "authorization: bearer sk-test-1234",
        "content-type: application/json",
        "accept-encoding: identity",
        "x-team: search",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert_eq!(seen.body["model"], "test");
    assert_eq!(seen.body["messages"][1]["content"], "The capital of France?");
}

#[tokio::test]
async fn without_a_key_no_authorization_is_sent() {
    let server = Server::start(|_| completion("hi")).await;
    let model = server.model();
    // The environment of the test may set a key.
    let model = if std::env::var_os("OPENAI_API_KEY").is_some() { return } else { model };
    model.build().unwrap().invoke("x").await.unwrap();
    assert!(!server.requests()[0].head.to_lowercase().contains("authorization"));
}

#[tokio::test]
async fn the_raw_body_is_kept_on_request() {
    let server = Server::start(|_| completion("hi")).await;
    let message = server.model().keep_raw(true).build().unwrap().invoke("x").await.unwrap();
    let raw = message.reply.unwrap().raw.expect("the body");
    assert_eq!(raw.json::<serde_json::Value>().unwrap()["object"], "chat.completion");
    assert!(raw.text().starts_with(r#"{"id":"chatcmpl-1""#), "byte for byte: {}", raw.text());
}

#[tokio::test]
async fn the_events_of_a_stream_are_kept_on_request() {
    let server = Server::start(|_| stream(&["Once ", "upon"])).await;
    let chain = chain(server.model().keep_raw(true).build().unwrap());
    let mut run = chain.stream("x");
    while run.next().await.is_some() {}
    let message = run.output().await.unwrap();
    let raw = message.reply.unwrap().raw.expect("the events");
    assert!(raw.text().starts_with("data: {") && raw.text().contains("[DONE]"), "{}", raw.text());
    assert!(!raw.is_object());
}

#[tokio::test]
async fn a_stream_arrives_in_deltas_and_folds_to_the_same_message() {
    let server = Server::start(|_| stream(&["Once ", "upon ", "a time"])).await;
    let chain = chain(server.model().build().unwrap());
    let mut run = chain.stream("x");
    let mut texts = Vec::new();
    let mut first = None;
    while let Some(piece) = run.next().await {
        let piece = piece.unwrap();
        texts.extend(piece.as_text().map(str::to_owned));
        first.get_or_insert(piece);
    }
    assert_eq!(texts, ["Once ", "upon ", "a time"]);
    assert_eq!(first, Some(Delta::Started { id: Some("c".into()), model: Some("test-1".into()) }));
    let message = run.output().await.unwrap();
    assert_eq!(message.text(), "Once upon a time");
    let reply = message.reply.unwrap();
    assert_eq!((reply.usage.output_tokens, reply.request_id.as_deref()), (2, Some("req_s")));
    let body = &server.requests()[0].body;
    assert_eq!((&body["stream"], &body["stream_options"]["include_usage"]), (&true.into(), &true.into()));
}

#[tokio::test]
async fn the_first_delta_arrives_before_the_last_is_sent() {
    let server = Server::start(|_| vec![stream_head(), piece("one"), Act::Hang]).await;
    let mut run = (chain(server.model().build().unwrap()) | text()).stream("x");
    assert_eq!(run.next().await.unwrap().unwrap().to_string(), "one");
}

#[tokio::test]
async fn dropping_a_stream_closes_its_socket() {
    let server = Server::start(|_| vec![stream_head(), piece("one"), Act::Hang]).await;
    let mut run = (chain(server.model().build().unwrap()) | text()).stream("x");
    run.next().await.unwrap().unwrap();
    assert_eq!(server.closed(), 0);
    drop(run);
    tokio::time::timeout(Duration::from_secs(5), async {
        while server.closed() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the socket is closed");
}

#[tokio::test]
async fn a_server_that_cannot_stream_yields_a_single_delta() {
    let server = Server::start(|_| completion("all at once")).await;
    let run = (chain(server.model().build().unwrap()) | text()).stream("x");
    let pieces: Vec<_> = run.map(|piece| piece.unwrap().to_string()).collect().await;
    assert_eq!(pieces, ["all at once"]);
}

#[tokio::test]
async fn thinking_in_the_text_is_reasoning_unless_that_is_switched_off() {
    let server = Server::start(|seen| match seen.body["stream"] == true {
        true => stream(&["<thi", "nk>Hm.</think>\n\n", "Hello."]),
        false => completion("<think>Hm.</think>\n\nHello."),
    })
    .await;
    for (model, text, reasoning) in [
        (server.model(), "Hello.", true),
        (server.model().think_tags(false), "<think>Hm.</think>\n\nHello.", false),
    ] {
        let model = model.build().unwrap();
        let whole = model.invoke("x").await.unwrap();
        let streamed = chain(model).stream("x").output().await.unwrap();
        for message in [whole, streamed] {
            assert_eq!(message.text(), text);
            assert_eq!(message.parts.contains(&Part::reasoning("Hm.")), reasoning, "{message:?}");
        }
    }
}

#[tokio::test]
async fn calls_one_after_another_share_one_connection() {
    let server =
        Server::start(
            |seen| {
                if seen.body["stream"] == true { stream(&["a", "b"]) } else { completion("hi") }
            },
        )
        .await;
    let model = server.model().client(Client::builder().build().unwrap()).build().unwrap();
    for _ in 0..20 {
        model.invoke("x").await.unwrap();
        chain(model.clone()).stream("x").output().await.unwrap();
    }
    assert_eq!((server.requests().len(), server.connections()), (40, 1));
}

#[tokio::test]
async fn an_error_does_not_cost_the_connection() {
    let server = Server::start(|_| refusal(400, "", "bad", "no such parameter")).await;
    let model = server.model().client(Client::builder().build().unwrap()).build().unwrap();
    for _ in 0..5 {
        assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::BadRequest);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_rejection_quotes_the_message_of_the_provider() {
    let server = Server::start(|_| {
        refusal(
            429,
            "x-request-id: req_9\r\nretry-after: 500\r\n",
            "rate_limit_exceeded",
            "Rate limit reached",
        )
    })
    .await;
    let error = server.model().build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "step openai/test: openai answered 429 (request req_9), asked to wait 500s: Rate limit reached; \
         not retried: the requested wait is longer than 120s"
    );
    assert_eq!(error.code(), Some("rate_limit_exceeded"));
    assert!(error.body().unwrap().contains("Rate limit reached"));
    assert_eq!(error.headers().collect::<Vec<_>>(), [("x-request-id", "req_9"), ("retry-after", "500")]);
    assert_eq!(error.hint().unwrap(), "wait 500s, or send fewer requests at once");
}

#[tokio::test]
async fn a_429_waits_for_retry_after() {
    let server = Server::start(|seen| match seen.number {
        0 => refusal(429, "retry-after-ms: 300\r\n", "rate_limit_exceeded", "slow down"),
        _ => completion("hi"),
    })
    .await;
    let model = server.model().build().unwrap();
    let began = std::time::Instant::now();
    let mut run = chain(model).events("x");
    let mut retries = Vec::new();
    while let Some(event) = run.next().await {
        if let EventKind::Retrying { attempt, wait, error } = event.kind {
            retries.push((attempt, wait, error.kind()));
        }
    }
    let message = run.output().await.unwrap();
    assert_eq!(retries, [(1, Duration::from_millis(300), ErrorKind::RateLimited)]);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(message.reply.unwrap().attempts, 2);
}

#[tokio::test]
async fn an_exhausted_account_is_never_retried() {
    let server =
        Server::start(|_| refusal(429, "retry-after: 1\r\n", "insufficient_quota", "no credit")).await;
    let error = server.model().retry(hasty()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), server.requests().len()), (ErrorKind::QuotaExhausted, 1));
}

#[tokio::test]
async fn the_retry_header_of_the_server_is_honoured() {
    let server = Server::start(|seen| match seen.number {
        0 => refusal(400, "x-should-retry: true\r\n", "odd", "try again"),
        _ => refusal(500, "x-should-retry: false\r\n", "odd", "give up"),
    })
    .await;
    let error = server.model().retry(hasty()).build().unwrap().invoke("x").await.unwrap_err();
    assert_eq!((error.message(), server.requests().len(), error.attempts()), ("give up", 2, 2));
}

#[tokio::test]
async fn the_run_permit_is_free_while_a_call_waits_for_its_retry() {
    let server = Server::start(|seen| match seen.body["messages"][0]["content"].as_str() {
        Some("first") if seen.number == 0 => refusal(500, "retry-after-ms: 60000\r\n", "x", "down"),
        _ => completion("hi"),
    })
    .await;
    let model = server.model().build().unwrap();
    let cx = Context::new().with_concurrency(1);
    let mut first = std::pin::pin!(model.run("first".into(), &cx));
    let second = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        model.run("second".into(), &cx).await
    };
    tokio::select! {
        _ = &mut first => panic!("it waits a minute"),
        message = second => assert_eq!(message.unwrap().text(), "hi"),
    }
}

#[tokio::test]
async fn a_prompt_for_another_model_of_the_provider_is_sent_to_that_one() {
    let server = Server::start(|_| completion("hi")).await;
    let mut prompt = Prompt::new([Message::user("x")]);
    prompt.parameters.model = Some("other".into());
    server.model().build().unwrap().invoke(prompt).await.unwrap();
    assert_eq!(server.requests()[0].body["model"], "other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_calls_run_concurrently() {
    let server = Server::start(|seen| {
        let asked = seen.body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        [vec![Act::Wait(Duration::from_millis(500))], completion(&asked)].concat()
    })
    .await;
    let patient = Timeouts::default().connect(Duration::from_secs(30));
    let client = Client::builder().timeouts(patient).build().unwrap();
    let model = server.model().client(client).build().unwrap();
    let mut calls = JoinSet::new();
    for i in 0..2000 {
        let model = model.clone();
        calls.spawn(async move { (i, model.invoke(i.to_string()).await) });
    }
    for (i, message) in calls.join_all().await {
        assert_eq!(message.unwrap().text(), i.to_string());
    }
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    let acts = stream(&["Ünï", "cödé 😀"]);
    let server = Server::start(move |_| {
        let bytes: Vec<u8> =
            acts.iter().flat_map(|act| if let Act::Send(b) = act { b.clone() } else { vec![] }).collect();
        bytes.chunks(1).map(|byte| Act::Send(byte.to_vec())).collect()
    })
    .await;
    let message = chain(server.model().build().unwrap()).stream("x").output().await.unwrap();
    assert_eq!(message.text(), "Ünïcödé 😀");
}

#[tokio::test]
async fn the_answer_of_one_account_may_be_a_number_of_parts() {
    let body =
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
    let server = Server::start(move |_| answer(200, "", body)).await;
    assert_eq!(server.model().build().unwrap().invoke("x").await.unwrap().text(), "ab");
}

#[tokio::test]
async fn the_batch_api_is_called_with_the_version_of_the_dialect_and_the_key_of_a_function() {
    let server = Server::start(|seen| match seen.number {
        0 => answer(200, "", r#"{"id":"batch_1"}"#),
        _ => refusal(401, "", "x", "no such key: sk-canary-5f3a9c"),
    })
    .await;
    let url = format!("http://{}", server.address);
    let model = ModelBuilder::new("anthropic/claude-sonnet-4-5").base_url(url);
    let key = || async { Ok("sk-canary-5f3a9c".to_owned()) };
    let api = model.api_key_fn(key).api_version("2026-01-01").batch_api().unwrap();
    let line = api.line("row", "hi".into()).unwrap();
    assert_eq!(api.submit("tag", vec![line]).await.unwrap(), "batch_1");
    let error = api.poll("batch_1").await.unwrap_err();
    assert!(!format!("{error:?} {:?}", error.body()).contains("canary"), "{error:?}");
    for seen in server.requests() {
        let headers: Vec<_> = seen.head.lines().collect();
        assert!(headers.contains(&"anthropic-version: 2026-01-01"), "{headers:?}");
        assert!(headers.contains(&"x-api-key: sk-canary-5f3a9c"), "{headers:?}");
    }
}

#[tokio::test]
async fn a_header_that_the_caller_sets_is_sent_once_and_wins() {
    let server = Server::start(|_| answer(200, "", r#"{"content":"a"}"#)).await;
    let model = ModelBuilder::new("anthropic/claude-sonnet-4-5")
        .base_url(format!("http://{}", server.address))
        .api_key_fn(|| async { Ok("sk-of-the-function".to_owned()) })
        .header("anthropic-version", "2026-02-02")
        .header("x-api-key", "sk-of-the-header");
    model.build().unwrap().invoke("x").await.unwrap();
    let seen = server.requests().remove(0);
    let all = |name| seen.head.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
    assert_eq!(all("anthropic-version: "), ["2026-02-02"]);
    assert_eq!(all("x-api-key: "), ["sk-of-the-header"]);
}

#[tokio::test]
async fn results_of_a_batch_may_be_longer_together_than_any_one_answer() {
    let row = |n: u32, length: usize| {
        let said = "x".repeat(length);
        let body = serde_json::json!({ "choices": [{ "message": { "content": said } }] });
        let response = serde_json::json!({ "status_code": 200, "request_id": null, "body": body });
        serde_json::json!({ "custom_id": n.to_string(), "response": response }).to_string()
    };
    for (bytes, is_fine) in [(900_000, true), (2_500_000, false)] {
        let server = Server::start(move |seen| match seen.head.contains("/content") {
            true => {
                let rows: Vec<_> = (0..50).map(|n| row(n, if n == 30 { bytes } else { 40_000 })).collect();
                answer(200, "", &rows.join("\n"))
            }
            false => answer(200, "", r#"{"id":"batch_1","status":"completed","output_file_id":"file_1"}"#),
        })
        .await;
        let client = Client::builder().max_body_bytes(1 << 20).build().unwrap();
        let collected = server.model().client(client).batch_api().unwrap().collect("batch_1").await;
        assert_eq!(collected.as_ref().map(Vec::len).ok(), is_fine.then_some(50), "{:?}", collected.err());
    }
}

#[tokio::test]
async fn an_error_of_any_length_is_excerpted() {
    let long = "no such model ".repeat(1 << 16);
    for status in [200, 400] {
        let long = long.clone();
        let server = Server::start(move |_| refusal(status, "", &long, &long)).await;
        let error = server.model().retry(hasty()).build().unwrap().invoke("x").await.unwrap_err();
        let told = [error.message(), error.code().unwrap_or_default(), error.body().unwrap_or_default()];
        assert!(told.iter().all(|text| text.len() < 4096), "{status}: {:?}", told.map(str::len));
        assert!(status == 400 || error.message().starts_with("no such model"), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_wait_until_a_date_is_correct_if_the_clocks_differ_by_an_hour() {
    let server = Server::start(|seen| match seen.number {
        0 => {
            let later = std::time::SystemTime::now() + Duration::from_secs(3600);
            let [now, soon] = [later, later + Duration::from_secs(1)].map(httpdate::fmt_http_date);
            refusal(429, &format!("date: {now}\r\nretry-after: {soon}\r\n"), "slow_down", "slow down")
        }
        _ => completion("hi"),
    })
    .await;
    assert_eq!(server.model().build().unwrap().invoke("x").await.unwrap().text(), "hi");
}

#[tokio::test]
async fn an_invalid_line_of_a_batch_fails_only_its_row() {
    let server = Server::start(|seen| {
        let good = r#"{"custom_id":"a","response":{"status_code":200,"request_id":null,"body":{"choices":[{"message":{"content":"hi"}}]}}}"#;
        let odd = [
            r#"{"custom_id":"b","response":null,"error":"worn out"}"#,
            r#"{"custom_id":"c","response":{"status_code":"two hundred"}}"#,
        ];
        let anthropic = [
            r#"{"custom_id":"0123456789abcdef-a","result":{"type":"succeeded","message":{"content":"hi"}}}"#,
            r#"{"custom_id":"0123456789abcdef-b","result":{"type":"errored","error":{"type":5}}}"#,
            r#"{"custom_id":"0123456789abcdef-c","result":"none"}"#,
        ];
        let path = seen.head.split(' ').nth(1).unwrap();
        match path {
            path if path.ends_with("/content") => answer(200, "", &[good, odd[0], odd[1]].join("\n")),
            path if path.ends_with("/results") => answer(200, "", &anthropic.join("\n")),
            _ => answer(200, "", r#"{"id":"batch_1","status":"completed","output_file_id":"file_1"}"#),
        }
    })
    .await;
    let anthropic = ModelBuilder::new("anthropic/x").base_url(format!("http://{}", server.address));
    for model in [server.model(), anthropic.api_key("sk-none")] {
        let rows = model.batch_api().unwrap().collect("batch_1").await.unwrap();
        let ids: Vec<_> = rows.iter().map(|(id, result)| (id.as_str(), result.is_ok())).collect();
        assert_eq!(ids, [("a", true), ("b", false), ("c", false)]);
    }
    let nameless = Server::start(|seen| match seen.head.contains("/content") {
        true => answer(200, "", "<html>"),
        false => answer(200, "", r#"{"id":"batch_1","status":"completed","output_file_id":"file_1"}"#),
    })
    .await;
    let error = nameless.model().batch_api().unwrap().collect("batch_1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn a_model_answers_after_its_runtime_was_shut_down() {
    let server = Server::start(|_| completion("hi")).await;
    let model = server.model().build().unwrap();
    let calls = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            assert_eq!(blocking::wait(model.invoke("x")).unwrap().text(), "hi");
            // The connection ends with the runtime.
            runtime::shutdown(Duration::from_secs(30)).unwrap();
        }
    });
    calls.await.unwrap();
    assert_eq!((server.requests().len(), server.connections()), (3, 3));
}

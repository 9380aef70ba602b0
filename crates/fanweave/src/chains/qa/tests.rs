use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{ChatModel, prompt, vars};

/// Answers with `answer` of the prompt's text after a second, and takes note of calls.
#[derive(Clone)]
struct Clerk {
    answer: fn(&str) -> Result<String>,
    prompts: Arc<Mutex<Vec<String>>>,
    open: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
}

impl Clerk {
    fn new(answer: fn(&str) -> Result<String>) -> Self {
        Self { answer, prompts: Arc::default(), open: Arc::default(), peak: Arc::default() }
    }

    fn model(&self) -> Model {
        Model::new(self.clone())
    }

    fn prompts(&self) -> Vec<String> {
        self.prompts.lock().unwrap().clone()
    }
}

impl ChatModel for Clerk {
    fn name(&self) -> &str {
        "test/clerk"
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let _permit = cx.acquire().await?;
        let text = prompt.last_user_text();
        self.prompts.lock().unwrap().push(text.clone());
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(open, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        self.open.fetch_sub(1, Ordering::Relaxed);
        (self.answer)(&text).map(Message::assistant)
    }
}

/// The prompt's kind and context: enough to see what was made of what.
fn short(prompt: Qa) -> Qa {
    prompt
        .prompt(crate::prompt("reduce[{{ context }}]"))
        .document_prompt(crate::prompt("map[{{ context }}]"))
        .collapse_prompt(crate::prompt("collapse[{{ context }}]"))
}

fn echo(text: &str) -> Result<String> {
    Ok(text.to_owned())
}

fn documents(n: usize) -> Vec<Document> {
    (0..n).map(|i| Document::new(format!("text {i}")).with("source", format!("{i}.txt"))).collect()
}

fn ask(n: usize) -> Question {
    Question::new("why?", documents(n))
}

#[tokio::test]
async fn documents_are_joined_and_returned_as_sources() {
    let clerk = Clerk::new(echo);
    let qa = Qa::stuff(clerk.model()).prompt(prompt("{{ question }} {{ context }}")).chain();
    let answer = qa.invoke(ask(2)).await.unwrap();
    assert_eq!(answer.text, "why? text 0\n\ntext 1");
    assert_eq!(answer.sources, documents(2));
}

#[tokio::test]
async fn documents_that_do_not_fit_are_refused_before_any_call() {
    let clerk = Clerk::new(echo);
    let long = Question::new("why?", ["x".repeat(400), "y".repeat(400)]);
    let refused =
        async |qa: Qa| qa.max_tokens(90).chain().invoke(long.clone()).await.unwrap_err().to_string();
    insta::assert_snapshot!(refused(Qa::stuff(clerk.model())).await, @"step qa: the 2 documents together have about 201 tokens, more than the 90 of one prompt: retrieve fewer, raise `max_tokens`, or use `map_reduce`");
    for qa in [Qa::map_reduce(clerk.model()), Qa::refine(clerk.model()), Qa::map_rerank(clerk.model())] {
        let error = refused(qa).await;
        assert_eq!(
            error,
            "step qa: document 0 has about 100 tokens, more than the 90 of one prompt: split it, or raise `max_tokens`"
        );
    }
    assert!(clerk.prompts().is_empty());
}

#[tokio::test]
async fn no_documents_are_an_answer_without_a_call() {
    let clerk = Clerk::new(echo);
    for make in [Qa::stuff, Qa::map_reduce, Qa::refine, Qa::map_rerank] {
        let qa = make(clerk.model()).chain();
        let answer = qa.invoke(ask(0)).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.sources.len()), (NO_DOCUMENTS, 0));
        let pieces: Vec<_> = qa.stream(ask(0)).map(|piece| piece.unwrap().to_string()).collect().await;
        assert_eq!(pieces, [NO_DOCUMENTS]);
    }
    assert!(clerk.prompts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn map_reduce_takes_the_time_of_one_round_and_one_call() {
    for n in [6, 200] {
        let clerk = Clerk::new(|_| Ok("found".to_owned()));
        let qa = short(Qa::map_reduce(clerk.model())).chain();
        let started = Instant::now();
        let answer = qa.invoke(ask(n)).await.unwrap();
        assert_eq!((started.elapsed().as_secs(), clerk.prompts().len()), (2, n + 1));
        assert_eq!(clerk.peak.load(Ordering::Relaxed), n);
        assert_eq!(answer.sources.len(), n);
    }
}

#[tokio::test(start_paused = true)]
async fn too_much_is_collapsed_in_rounds_of_groups_at_once() {
    // 200 findings of 10 tokens: 25 or so to a group of 300, and 9 texts of 10 then fit.
    let clerk = Clerk::new(|_| Ok("0123456789012345678901234567890123456789".to_owned()));
    let qa = short(Qa::map_reduce(clerk.model())).max_tokens(300).chain();
    let started = Instant::now();
    qa.invoke(ask(200)).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 3, "map, one round of collapsing, reduce");
    let prompts = clerk.prompts();
    let collapsed: Vec<_> = prompts.iter().filter(|text| text.starts_with("collapse")).collect();
    assert_eq!(collapsed.len(), 8);
    for text in &prompts {
        let context = text.split_once('[').unwrap().1.trim_end_matches(']');
        assert!(context.len().div_ceil(4) <= 300, "{} tokens", context.len().div_ceil(4));
    }
}

#[tokio::test(start_paused = true)]
async fn findings_that_stay_too_long_are_an_error_and_no_loop() {
    let clerk = Clerk::new(|_| Ok("x".repeat(4 * 60)));
    let error =
        short(Qa::map_reduce(clerk.model())).max_tokens(100).chain().invoke(ask(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("no two fit"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_question_obey_its_concurrency_and_that_of_the_run() {
    let clerk = Clerk::new(echo);
    short(Qa::map_reduce(clerk.model())).concurrency(10).chain().invoke(ask(40)).await.unwrap();
    assert_eq!(clerk.peak.load(Ordering::Relaxed), 10);
    let clerk = Clerk::new(echo);
    let qa = short(Qa::map_reduce(clerk.model())).chain();
    let rows = qa.batch([ask(40), ask(40)]).concurrency(7).collect().await;
    assert!(rows.iter().all(Result::is_ok));
    assert_eq!(clerk.peak.load(Ordering::Relaxed), 7);
}

#[tokio::test(start_paused = true)]
async fn a_failing_document_ends_the_run_and_is_named() {
    let clerk = Clerk::new(|text| {
        if text.contains("text 3") { Err(Error::new(ErrorKind::Server, "down")) } else { echo(text) }
    });
    for make in [Qa::map_reduce, Qa::refine, Qa::map_rerank] {
        let error = short(make(clerk.model())).chain().invoke(ask(6)).await.unwrap_err();
        assert_eq!(error.to_string(), "step qa > document 3 (3.txt) > test/clerk: down");
    }
}

#[tokio::test(start_paused = true)]
async fn refine_goes_through_the_documents_in_order() {
    let clerk = Clerk::new(echo);
    let qa = Qa::refine(clerk.model())
        .document_prompt(prompt("{{ context }}"))
        .prompt(prompt("({{ answer }}) {{ context }}"))
        .chain();
    let started = Instant::now();
    assert_eq!(qa.invoke(ask(3)).await.unwrap().text, "((text 0) text 1) text 2");
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(qa.invoke(ask(1)).await.unwrap().text, "text 0");
}

#[tokio::test(start_paused = true)]
async fn the_highest_score_wins_and_answers_without_one_are_reported() {
    let clerk = Clerk::new(|text| {
        Ok(match text.chars().rev().find(char::is_ascii_digit) {
            Some('0') => "zero\nScore: 40".to_owned(),
            Some('1') => "no score here".to_owned(),
            Some('2') => "two\nScore: 90".to_owned(),
            _ => "three\nScore: 90".to_owned(),
        })
    });
    let qa = Qa::map_rerank(clerk.model()).prompt(prompt("{{ context }}")).chain();
    let started = Instant::now();
    let answer = qa.invoke(ask(4)).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 1);
    assert_eq!((answer.text.as_str(), answer.score), ("two", Some(90.0)));
    assert_eq!(answer.sources, documents(3)[2..]);
    assert_eq!(answer.skipped, [Skipped { document: 1, answer: "no score here".into() }]);
}

#[tokio::test]
async fn no_score_at_all_is_an_error_that_shows_an_answer() {
    let clerk = Clerk::new(|_| Ok("certainly!".to_owned()));
    let error = Qa::map_rerank(clerk.model()).chain().invoke(ask(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Parse);
    assert!(error.to_string().ends_with(
        "none of 2 answers ends with a line `Score: ` and a number; the first one is: certainly!"
    ));
}

#[tokio::test(start_paused = true)]
async fn the_stream_is_that_of_the_last_call() {
    use crate::model::fake::Fake;
    let pieces = async |qa: Qa| {
        let run = short(qa).chain().stream(ask(2));
        run.map(|piece| piece.unwrap().to_string()).collect::<Vec<_>>().await
    };
    let model = || Fake::echo().model();
    assert_eq!(pieces(Qa::stuff(model())).await.concat(), "map[text 0\n\ntext 1]");
    assert_eq!(pieces(Qa::map_reduce(model())).await.concat(), "reduce[map[text 0]\n\nmap[text 1]]");
    assert_eq!(pieces(Qa::refine(model())).await, ["reduce[text ", "1]"]);
    let scored = Fake::script([Ok("a\nScore: 1"), Ok("b\nScore: 2")]).model();
    assert_eq!(pieces(Qa::map_rerank(scored)).await, ["b"]);
}

#[tokio::test]
async fn every_default_prompt_can_be_filled() {
    let clerk = Clerk::new(|text| Ok(format!("{}\nScore: 50", text.len())));
    for make in [Qa::stuff, Qa::map_reduce, Qa::refine, Qa::map_rerank] {
        make(clerk.model()).chain().invoke(ask(3)).await.unwrap();
    }
    let template = crate::Template::parse(COLLAPSE_PROMPT).unwrap();
    template.render(&vars! { question: "q", context: "c" }).unwrap();
    assert!(clerk.prompts().iter().all(|text| text.contains("why?")));
}

//! The ready-made chains give the same output with every verb.

use fanweave::chains::math::Math;
use fanweave::chains::qa::{Qa, Question};
use fanweave::chains::{
    Conversation, ConversationInput, ConversationMemory, Conversational, FollowUp, Llm, RetrievalQa,
};
use fanweave::retrieval::Document;
use fanweave::stores::{MemorySessions, MemoryStore, VectorIndex};
use fanweave::testing::{Answer, Fake, HashEmbedder, Load, Sim};
use fanweave::{Chain, Context, Model, Tools, Vars, prompt, vars};

/// Runs the chain once, blocking, streamed and over several rows, and returns all outputs.
async fn with_every_verb<I, O>(chain: Chain<I, O>, input: I, text: impl Fn(O) -> String) -> Vec<String>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
{
    let mut answers = vec![text(chain.invoke(input.clone()).await.unwrap())];
    answers.push(text(chain.blocking().invoke(input.clone()).unwrap()));
    let mut run = chain.stream(input.clone());
    while let Some(piece) = run.next().await {
        piece.unwrap();
    }
    answers.push(text(run.output().await.unwrap()));
    let rows = chain.batch([input.clone(), input.clone(), input]).concurrency(2).collect().await;
    answers.extend(rows.into_iter().map(|row| text(row.unwrap())));
    answers
}

#[track_caller]
fn assert_all_the_same(answers: &[String]) {
    assert_eq!(answers.len(), 6);
    assert!(!answers[0].is_empty() && answers.iter().all(|text| *text == answers[0]), "{answers:?}");
}

fn model() -> Model {
    Model::new(Sim::writer().without_latency())
}

fn documents() -> [&'static str; 3] {
    [
        "The Rance station in Brittany opened in 1966.",
        "The Rance station has 24 turbines.",
        "Sihwa Lake in Korea has been the largest tidal station since 2011.",
    ]
}

#[tokio::test]
async fn a_chain_of_prompt_and_model() {
    let chain = Llm::<Vars>::new(prompt("Write a haiku about {{ topic }}."), model()).text();
    assert_all_the_same(&with_every_verb(chain, vars! { topic: "tides" }, |text| text).await);
}

#[tokio::test]
async fn arithmetic() {
    let chain = Math::new(model()).chain();
    let answers =
        with_every_verb(chain, "What is 12 times 7 plus 3?".to_owned(), |computed| computed.answer).await;
    assert_all_the_same(&answers);
    assert!(answers[0].contains("87"), "{answers:?}");
}

#[tokio::test]
async fn questions_about_documents_in_all_four_ways() {
    let question = Question::new("When did the Rance station open?", documents());
    for qa in [Qa::stuff(model()), Qa::map_reduce(model()), Qa::refine(model()), Qa::map_rerank(model())] {
        let answers = with_every_verb(qa.chain(), question.clone(), |answer| {
            assert!(!answer.sources.is_empty(), "sources are returned");
            answer.text
        });
        assert_all_the_same(&answers.await);
    }
}

#[tokio::test]
async fn retrieval_and_conversations() {
    let library = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder()).limit(2);
    library.add(documents().map(Document::new).to_vec(), &Context::new()).await.unwrap();
    let retrieval = RetrievalQa::new(library, Qa::stuff(model()));
    let question = "When did the Rance station open?".to_owned();
    let answers = with_every_verb(retrieval.clone().chain(), question.clone(), |answer| {
        assert!(!answer.sources.is_empty(), "sources are returned");
        answer.text
    });
    assert_all_the_same(&answers.await);

    let talk = Conversational::new(model(), retrieval).chain();
    let history = vec![("What stands in Brittany?".to_owned(), "The Rance station.".to_owned())];
    let answers = with_every_verb(talk, FollowUp::new("When did it open?", history), |answered| {
        assert!(!answered.question.is_empty(), "the question that was asked is returned");
        answered.text
    });
    assert_all_the_same(&answers.await);
}

/// Invokes a chain twice, and compares the calls of the second run with its diagram.
async fn assert_counted<I: Clone + Send + 'static, O: Send + 'static>(
    chain: Chain<I, O>,
    input: I,
    load: &Load,
    several: bool,
) {
    chain.invoke(input.clone()).await.unwrap();
    let before = load.calls();
    chain.invoke(input).await.unwrap();
    let calls = load.calls() - before;
    let models = fanweave::Runnable::describe(&chain).models();
    assert_eq!(
        (calls > 1, models > 1),
        (several, several),
        "{calls} calls, {models} models:\n{}",
        chain.graph()
    );
    assert!(calls >= 1 && models >= 1, "{calls} calls, {models} models:\n{}", chain.graph());
}

#[fanweave::call(model = "sim/writer")]
async fn one_call(topic: String) -> String {
    topic
}

#[fanweave::tool]
async fn look(city: String) -> String {
    city
}

#[fanweave::call(model = "sim/writer", tools(look), run_tools = 4)]
async fn agent(topic: String) -> String {
    topic
}

#[tokio::test]
async fn a_diagram_says_whether_a_chain_makes_several_calls() {
    let load = Load::default();
    let fake = |text: &'static str| Fake::answer_with(move |_| Answer::text(text)).count_in(&load).model();
    let library = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder());
    library.add(documents().map(Document::new).to_vec(), &Context::new()).await.unwrap();
    let question = || Question::new("When did it open?", documents());
    let rated = || fake("1966\nScore: 100");
    assert_counted(Llm::<Vars>::new(prompt("{{ x }}"), fake("a")).text(), vars! { x: 1 }, &load, false).await;
    assert_counted(Math::new(fake("```\n1 + 1\n```")).chain(), "1 + 1?".to_owned(), &load, false).await;
    assert_counted(Qa::stuff(fake("a")).chain(), question(), &load, false).await;
    assert_counted(Qa::map_reduce(fake("a")).chain(), question(), &load, true).await;
    assert_counted(Qa::refine(fake("a")).chain(), question(), &load, true).await;
    assert_counted(Qa::map_rerank(rated()).chain(), question(), &load, true).await;
    let retrieval = RetrievalQa::new(library, Qa::stuff(fake("a")));
    assert_counted(retrieval.clone().chain(), "Rance?".to_owned(), &load, false).await;
    let follow_up = FollowUp::new("When?", [("Rance?", "Yes.")]);
    assert_counted(Conversational::new(fake("Rance?"), retrieval).chain(), follow_up, &load, true).await;

    let input = || ConversationInput::new("ada", "hello");
    for (memory, several) in
        [(ConversationMemory::buffer(), false), (ConversationMemory::summary(fake("s"), 1), true)]
    {
        let talk = Conversation::new(fake("a"), MemorySessions::sessions(), memory).chain();
        assert_counted(talk, input(), &load, several).await;
    }
    let agents = Fake::answer_with(|prompt| match prompt.messages.len() {
        1 => Answer::calls([("look", serde_json::json!({ "city": "Oslo" }))]),
        _ => Answer::text("sunny"),
    });
    let agents = agents.count_in(&load).model().with_tools(Tools::new().with::<look>()).run_tools(4);
    assert_counted(fanweave::chain(agents), "Oslo?".into(), &load, true).await;

    assert_eq!(fanweave::Runnable::describe(&one_call::chain()).models(), 1);
    assert_eq!(fanweave::Runnable::describe(&agent::chain()).models(), 2);
}
